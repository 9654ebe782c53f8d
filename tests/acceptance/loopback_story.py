"""A whole story in a network namespace of its own that has nothing but loopback; started by `test_loopback.py`.

Prints `told` if every step was as it should be. Arguments: an empty folder.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import urllib.request
from pathlib import Path

from tests.acceptance.harness import MODEL, Gateway, account_file, regrant
from tests.sandbox_client import SandboxProcess

SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def tell(folder: Path) -> None:
    data_dir = folder / "data"
    data_dir.mkdir()
    with SandboxProcess() as sandbox:
        account_file(data_dir, "ann", sandbox.grant("ann@example.com"))
        with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
            assert gateway.served_by() == "ann"
            assert gateway.chat("and bit by bit", stream=True).status == 200
            body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
            assert gateway.call("POST", f"/v1beta/models/{MODEL}:generateContent", body).status == 200
            assert gateway.call("GET", "/v1/models").status == 200
            sandbox.revoke("ann@example.com")
            assert gateway.chat().status == 503
            assert gateway.account("ann")["state"] == "disabled"
            new = sandbox.grant("ann@example.com").refresh_token
            added = regrant(data_dir, sandbox.url, "accounts", "add", "--refresh-token-file", "-", stdin=new)
            assert added.returncode == 0, added.stderr
            start = {"login_hint": "bob@example.com", "redirect": "gateway"}
            flow = gateway.admin("POST", "/api/oauth/start", start).json()
            with urllib.request.urlopen(flow["authorize_url"], timeout=20) as page:
                assert page.status == 200
            assert len(gateway.admin("GET", "/api/accounts").json()["items"]) == 2


if __name__ == "__main__":
    raise_loopback()
    tell(Path(sys.argv[1]))
    sys.stdout.write("told\n")
