"""With all endpoints overridden, no other address is contacted: not by name, not by number."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
STORY = Path(__file__).with_name("isolated_story.py")
LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+")


def run_story(*before: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, str(STORY), str(data_dir)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )


@pytest.mark.root
def test_the_whole_story_runs_where_only_loopback_exists(data_dir: Path) -> None:
    unshare = shutil.which("unshare")
    assert unshare is not None
    script = 'ip link set lo up && exec "$0" "$@"'
    told = run_story(unshare, "--net", "sh", "-c", script, data_dir=data_dir)
    assert told.returncode == 0, told.stderr[-4000:]
    assert told.stdout.strip().endswith("done")


@pytest.mark.root
def test_the_whole_story_contacts_loopback_and_nobody_else(data_dir: Path, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    assert strace is not None
    trace = tmp_path / "trace.txt"
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    told = run_story(strace, "-f", "-qq", "-e", calls, "-o", str(trace), data_dir=data_dir)
    assert told.returncode == 0, told.stderr[-4000:]
    text = trace.read_text()
    numbers = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', text)
    contacted = {first or second for first, second in numbers}
    assert contacted, "the trace shows nothing"
    assert all(LOOPBACK.fullmatch(address) for address in contacted), contacted
    assert "htons(53)" not in text, "a name was looked up"
    assert "nscd" not in "".join(line for line in text.splitlines() if "= 0" in line)
