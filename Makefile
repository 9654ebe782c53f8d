# Regrant. The two that matter: `make demo` tells the whole story, `make test` runs every test.
.PHONY: help demo run test soak check format lock docs bench bench-quick conformance clean

help:
	@echo "make demo   the life of an account in a minute, against the built-in sandbox"
	@echo "make test   install what is needed, check the code, run all tests"
	@echo "make soak   every fault at random for ten minutes; SOAK_S=60 for one, SEED=7 for one run again"
	@echo "make run    the gateway with your own accounts, on http://127.0.0.1:8045"
	@echo "make check  lint, types, import contracts    make format   make lock   make docs"
	@echo "make bench  every figure beside nginx and litellm    make bench-quick    make conformance  deaths beside litellm"

demo:
	@scripts/install run
	@.venv/bin/python -m regrant demo

run:
	@scripts/install run
	@.venv/bin/python -m regrant serve

test:
	@scripts/stage "install: system tools" scripts/install_tools
	@scripts/stage "install: Python packages" scripts/install dev
	@scripts/stage "check" scripts/check
	@scripts/stage "test" scripts/test

soak:
	@scripts/install dev
	@.venv/bin/python -m tests.acceptance.chaos.soak

check:
	@scripts/install dev
	@scripts/check

format:
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock:
	@scripts/lock

docs:
	@.venv/bin/python scripts/settings_doc.py
	@.venv/bin/python scripts/lifecycle_diagram.py

clean:
	rm -rf .venv .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

bench:
	@scripts/install_tools bench
	@scripts/install dev
	@scripts/install_litellm
	@.venv/bin/python bench/compare.py

bench-quick:
	@scripts/install_tools bench
	@scripts/install dev
	@.venv/bin/python bench/compare.py --quick

conformance:
	@scripts/install dev
	@scripts/install_litellm
	@.venv/bin/python bench/conformance.py
