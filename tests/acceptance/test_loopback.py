"""With all endpoints overridden nothing but loopback is contacted: neither needed nor so much as tried."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.accounts.worker_process import required

ROOT = Path(__file__).parent.parent.parent
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


@pytest.mark.root
def test_with_all_endpoints_overridden_no_other_address_is_contacted(tmp_path: Path) -> None:
    required(sys.platform == "linux" and os.geteuid() == 0, "root on Linux, to make a network namespace")
    required(shutil.which("strace") is not None, "strace, to see what is tried")
    calls = tmp_path / "calls"
    watched = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(calls)]
    ended = subprocess.run(
        [
            "unshare",
            "--net",
            *watched,
            sys.executable,
            "-m",
            "tests.acceptance.loopback_story",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stdout) == (0, "told\n"), ended.stderr
    contacted = {first or second for first, second in ADDRESS.findall(calls.read_text(errors="replace"))}
    assert contacted == {"127.0.0.1"}
