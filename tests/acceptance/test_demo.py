"""`regrant demo` tells the whole story against the built-in sandbox, and fails if any step is not so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_tells_every_step_and_exits_with_0(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REGRANT_")}
    home = tmp_path / "home"
    home.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "regrant", "demo"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=environ | {"HOME": str(home)},
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = ended.stdout.casefold()
    at = 0
    for word in ("ann", "revoke", "bob", "disabled", "invalid_grant", "sign", "ann"):
        found = told.find(word, at)
        assert found >= 0, f"{word!r} is not told after {told[:at]!r}"
        at = found + 1
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not list(home.rglob("*")), "the demo leaves nothing behind"
