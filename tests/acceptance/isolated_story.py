"""A life with the gateway, told in one process tree: `python isolated_story.py DATA_DIR`. Ends with 0 if all of it is so.

Started by `test_gateway_isolation.py` where nothing but loopback exists, or under the eyes of strace.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.acceptance.harness import (
    MODEL,
    Gateway,
    account_file,
    chat_body,
    read_account,
    regrant,
    wait_until,
)
from tests.acceptance.wire import gemini_body, gemini_path
from tests.sandbox_client import SandboxProcess


def tell(data_dir: Path) -> None:
    with SandboxProcess() as sandbox:
        for name in ("ann", "bob"):
            account_file(data_dir, name, sandbox.grant(f"{name}@example.com"))
        with Gateway(data_dir, sandbox.url) as gateway:
            first = gateway.served_by()
            assert gateway.chat(stream=True).status == 200
            assert gateway.chat(model="gpt-5").status == 200
            assert gateway.call("POST", gemini_path("streamGenerateContent"), gemini_body()).status == 200
            assert gateway.call("GET", "/v1/models").status == 200
            assert gateway.call("GET", "/nope").status == 404
            sandbox.revoke(f"{first}@example.com")
            second = gateway.served_by()
            assert second != first
            wait_until(lambda: "disabled" in read_account(data_dir, first), "the death is stored")
            assert gateway.admin("GET", "/api/accounts").status == 200
            token = data_dir.parent / "refresh-token.txt"
            token.write_text(sandbox.grant(f"{first}@example.com").refresh_token)
            added = regrant(data_dir, sandbox.url, "accounts", "add", "--refresh-token-file", str(token))
            assert added.returncode == 0, added.stderr
            wait_until(lambda: not gateway.ready()["reasons"], "the account is back")
            assert gateway.served_by() == first
            sandbox.script("error", name="500", endpoint="generate")
            assert gateway.call("POST", "/v1/chat/completions", chat_body("hi", model=MODEL)).status == 200
            gateway.stop()


if __name__ == "__main__":
    tell(Path(sys.argv[1]))
    print("done")
