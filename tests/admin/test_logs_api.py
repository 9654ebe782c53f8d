"""The log over the admin API."""

from __future__ import annotations

import json
from pathlib import Path

from tests.admin.office_server import OfficeServer
from tests.sandbox_client import SandboxControl

from regrant.admin.logs_route import MAX_BYTES, read_newest


def test_death_of_an_account_is_in_the_log_in_the_contracts_words(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    office.configure_log()
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    sandbox.revoke("ann@example.com")
    office.call("POST", f"/api/accounts/{account['id']}/verify")
    items = office.call("GET", "/api/logs?limit=1").json["items"]
    assert len(items) == 1
    message = "Disabling account due to invalid_grant (ann@example.com): refresh_token likely revoked/expired"
    assert (items[0]["event"], items[0]["message"]) == ("account_disabled", message)
    assert office.call("GET", "/api/logs?limit=0").status == 422


def test_newest_lines_come_first_and_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "regrant.log"
    assert read_newest(path, 5) == []
    path.write_bytes(b'{"n":1}\nnot json\n{"n":2}\n\xff\n[3]\n{"n":3}\n{"n":')
    assert [one["n"] for one in read_newest(path, 5)] == [3, 2, 1]
    assert [one["n"] for one in read_newest(path, 2)] == [3, 2]


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "regrant.log"
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"
    path.write_bytes(b'{"text":"first"}\n' + line * (MAX_BYTES // len(line) + 10))
    found = read_newest(path, 1_000_000)
    assert len(found) == MAX_BYTES // len(line)
    assert all(one["text"] != "first" for one in found)
