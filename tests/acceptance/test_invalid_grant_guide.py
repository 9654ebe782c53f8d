"""docs/invalid-grant.md, followed to the letter: every command in it is run, and says what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.harness import Gateway, People, environment, wait_until
from tests.sandbox_client import SandboxProcess

PAGE = Path(__file__).parent.parent.parent / "docs" / "invalid-grant.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)

BROWSER = """#!{python}
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=20).read()
"""
REGRANT = """#!/bin/sh
exec {python} -m regrant "$@"
"""


def steps() -> list[tuple[str, list[str]]]:
    """The page's commands in order, each with the lines that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall(PAGE.read_text()):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def as_pattern(line: str) -> str:
    """`…` stands for anything within a line."""
    return ".*".join(re.escape(fragment) for fragment in line.split("…"))


def test_every_command_of_the_guide_works_and_prints_what_the_guide_says(
    sandbox: SandboxProcess, data_dir: Path, people: People, tmp_path: Path
) -> None:
    people("ann", "bob")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("browser", BROWSER), ("regrant", REGRANT)):
        (tools / name).write_text(text.format(python=sys.executable))
        (tools / name).chmod(0o755)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.revoke("ann@example.com")
        wait_until(
            lambda: gateway.served_by(os.urandom(4).hex()) and gateway.messages("account_disabled"),
            "Ann's death",
        )
        env = environment(sandbox.url) | {
            "REGRANT_DATA_DIR": str(data_dir),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "BROWSER": f"{tools}/browser %s",
        }
        assert len(steps()) >= 9
        for command, said in steps():
            run = subprocess.run(
                ["bash", "-c", command.replace("http://127.0.0.1:8045", gateway.url)],
                env=env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert run.returncode == 0, f"$ {command}\n{run.stdout}{run.stderr}"
            for line in said:
                assert re.search(as_pattern(line), run.stdout), (
                    f"$ {command}\nwanted: {line}\nprinted:\n{run.stdout}{run.stderr}"
                )
