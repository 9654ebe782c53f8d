"""`POST /api/notify/test` with real receivers."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.admin.office_server import OfficeServer
from tests.notify.receiver import Receiver, Reply, is_genuine
from tests.sandbox_client import SandboxControl


def test_trial_says_what_each_webhook_made_of_it_and_shows_no_address(
    tmp_path: Path, sandbox: SandboxControl
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with Receiver() as fine, Receiver(Reply(410)) as gone:
        webhooks = [
            {"url": f"{fine.url}/pretend-path", "name": "fine", "secret": "pretend-word"},
            {"url": f"{gone.url}/pretend-path", "name": "gone", "format": "slack"},
            {"url": f"http://127.0.0.1:{port}/pretend-path", "name": "down", "format": "discord"},
        ]
        with OfficeServer(tmp_path / "data", sandbox, **{"notify.webhooks": webhooks}) as office:
            results = office.call("POST", "/api/notify/test").json["results"]
            shown = [(one["webhook"], one["format"], one["ok"], one["status"]) for one in results]
            assert shown == [
                ("fine", "json", True, 200),
                ("gone", "slack", False, 410),
                ("down", "discord", False, None),
            ]
            assert "Make a new one" in results[1]["advice"]
            [only] = office.call("POST", "/api/notify/test", {"webhook": "fine"}).json["results"]
            assert only["ok"]
            missing = office.call("POST", "/api/notify/test", {"webhook": "nobody"})
            assert (missing.status, missing.error["code"]) == (404, "webhook_not_found")
            settings = office.call("GET", "/api/settings").raw
            assert b"pretend" not in b"".join([settings, *office.answers])
    assert len(fine.posts) == 2
    assert is_genuine(fine.posts[0], "pretend-word")
    assert fine.posts[0].id != fine.posts[1].id


def test_trial_without_a_webhook_says_so(office: OfficeServer) -> None:
    reply = office.call("POST", "/api/notify/test")
    assert (reply.status, reply.error["code"]) == (404, "webhook_not_found")
    assert "notify.webhooks" in reply.error["hint"]


def test_a_webhook_that_is_set_while_the_gateway_runs_is_used_at_once(office: OfficeServer) -> None:
    with Receiver() as receiver:
        reply = office.call("PATCH", "/api/settings", {"notify.webhooks": [receiver.url]})
        assert reply.status == 200, reply.raw
        assert office.call("POST", "/api/notify/test").json["results"][0]["ok"]
        assert len(receiver.posts) == 1
