"""Pool, keys, settings and models of the admin API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.admin.office_server import OfficeServer, until
from tests.sandbox_client import CLIENT_SECRET, SandboxControl

CHECKS = ["disabled", "quota", "paused", "attention", "cooldown", "client"]
MODEL = "gemini-2.5-flash"


def test_pool_explains_every_account_in_the_contracts_order(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    ann = office.add(sandbox.grant("ann@example.com").refresh_token)
    bob = office.add(sandbox.grant("bob@example.com").refresh_token)
    office.call("POST", f"/api/accounts/{bob['id']}/pause", {"reason": "holiday"})
    reply = office.call("GET", f"/api/pool?model={MODEL}")
    assert reply.status == 200
    assert {"model", "can_serve", "accounts"} <= set(reply.json)
    assert (reply.json["model"], reply.json["can_serve"]) == (MODEL, True)
    by_id = {place["id"]: place for place in reply.json["accounts"]}
    assert set(by_id[ann["id"]]) == {"id", "email", "serves", "checks", "turn"}
    assert [check["check"] for check in by_id[ann["id"]]["checks"]] == CHECKS
    assert by_id[ann["id"]]["serves"] is True
    assert all(check == {"check": check["check"], "ok": True} for check in by_id[ann["id"]]["checks"])
    assert by_id[bob["id"]]["serves"] is False
    failed = [check for check in by_id[bob["id"]]["checks"] if not check["ok"]]
    assert [check["check"] for check in failed] == ["paused"]
    assert failed[0]["since"] > 0
    assert failed[0]["advice"] == {
        "text": "Paused by its owner.",
        "url": "",
        "command": "regrant accounts resume bob@example.com",
    }


def test_pool_of_dead_accounts_cannot_serve(office: OfficeServer, sandbox: SandboxControl) -> None:
    ann = office.add(sandbox.grant("ann@example.com").refresh_token)
    sandbox.revoke("ann@example.com")
    office.call("POST", f"/api/accounts/{ann['id']}/verify")
    reply = office.call("GET", "/api/pool").json
    assert (reply["model"], reply["can_serve"]) == (None, False)
    assert reply["accounts"][0]["checks"][0]["ok"] is False


def ask(office: OfficeServer) -> int:
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    return office.plain("POST", f"/v1beta/models/{MODEL}:generateContent", body).status


def test_cool_down_shows_in_the_account_and_in_the_pool(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    ann = office.add(sandbox.grant("ann@example.com").refresh_token)
    sandbox.script("error", name="429_per_minute", endpoint="generate")
    assert ask(office) == 429
    shown = office.call("GET", f"/api/accounts/{ann['id']}").json
    assert (shown["state"], shown["cause"]) == ("cooling", "rate_limited")
    assert [set(one) for one in shown["cooldowns"]] == [{"model", "until", "why"}]
    assert shown["cooldowns"][0]["model"] == MODEL
    assert shown["cooldowns"][0]["until"] > 0
    assert shown["advice"]["text"]
    place = office.call("GET", f"/api/pool?model={MODEL}").json["accounts"][0]
    assert [check["check"] for check in place["checks"] if not check["ok"]] == ["cooldown"]
    other = office.call("GET", "/api/pool?model=gemini-2.5-pro").json
    assert other["can_serve"] is True


def test_cool_down_until_a_person_acts_has_no_end(office: OfficeServer, sandbox: SandboxControl) -> None:
    ann = office.add(sandbox.grant("ann@example.com").refresh_token)
    sandbox.script("error", name="429_depleted", endpoint="generate")
    ask(office)
    shown = office.call("GET", f"/api/accounts/{ann['id']}").json
    assert [(one["model"], one["until"]) for one in shown["cooldowns"]] == [("*", None)]


def test_key_is_shown_once_works_at_once_and_is_revoked_at_once(
    tmp_path: Path, sandbox: SandboxControl
) -> None:
    with OfficeServer(tmp_path, sandbox, **{"server.auth_mode": "all_except_health"}) as office:
        office.add(sandbox.grant("ann@example.com").refresh_token)
        assert office.plain("GET", "/v1/models").status == 401
        made = office.call("POST", "/api/keys", {"name": "laptop"})
        assert made.status == 201
        key = made.json["key"]
        assert set(made.json) == {"id", "name", "hint", "created_at", "last_used_at", "key"}
        listed = office.call("GET", "/api/keys")
        assert key not in listed.raw.decode()
        assert [one["name"] for one in listed.json["items"]] == ["laptop"]
        assert office.plain("GET", "/v1/models", headers={"x-api-key": key}).status == 200
        assert office.call("DELETE", "/api/keys/laptop").status == 204
        assert office.plain("GET", "/v1/models", headers={"x-api-key": key}).status == 401
        by_id = office.call("POST", "/api/keys", {"name": "by id"}).json["id"]
        assert office.call("DELETE", f"/api/keys/{by_id}").status == 204


def test_key_refusals_name_the_reason(office: OfficeServer) -> None:
    office.call("POST", "/api/keys", {"name": "laptop"})
    taken = office.call("POST", "/api/keys", {"name": "laptop"})
    assert (taken.status, taken.error["code"]) == (409, "name_taken")
    for name in ("", "  ", "settings", "a\nb", "x" * 101, 5):
        refused = office.call("POST", "/api/keys", {"name": name})
        assert (refused.status, refused.error["problems"][0]["key"]) == (422, "name"), name
    missing = office.call("DELETE", "/api/keys/nobody")
    assert (missing.status, missing.error["code"]) == (404, "key_not_found")


def test_key_of_the_settings_is_listed_and_not_deleted(tmp_path: Path, sandbox: SandboxControl) -> None:
    with OfficeServer(tmp_path, sandbox, **{"server.api_key": "word-of-the-settings"}) as office:
        listed = office.call("GET", "/api/keys").json["items"]
        assert [one["id"] for one in listed] == ["settings"]
        refused = office.call("DELETE", "/api/keys/settings")
        assert (refused.status, refused.error["code"]) == (409, "key_of_settings")


def test_unreadable_key_file_is_told_without_its_path(office: OfficeServer) -> None:
    (office.folder / "keys.json").write_text("{")
    reply = office.call("POST", "/api/keys", {"name": "laptop"})
    assert (reply.status, reply.error["code"]) == (503, "not_persisted")
    assert str(office.folder) not in reply.raw.decode()


def test_settings_show_value_and_origin_and_mask_secrets(office: OfficeServer) -> None:
    reply = office.call("GET", "/api/settings")
    assert reply.status == 200
    by_key = {one["key"]: one for one in reply.json["items"]}
    assert (by_key["pool.max_attempts"]["value"], by_key["pool.max_attempts"]["origin"]) == (4, "default")
    assert by_key["google.client_id"]["origin"] == "flag"
    assert by_key["google.client_secret"]["value"] == "[secret]"
    assert by_key["server.port"]["restart"] is True
    assert reply.json["restart"] == []
    assert CLIENT_SECRET not in reply.raw.decode()


def test_changed_settings_are_saved_and_in_force_at_once(office: OfficeServer) -> None:
    (office.folder / "config.toml").write_text("# my words\n[pool]\nmax_attempts = 2\n")
    reply = office.call("PATCH", "/api/settings", {"pool.max_attempts": 7, "models.aliases": {"gpt": MODEL}})
    assert reply.status == 200
    by_key = {one["key"]: one for one in reply.json["items"]}
    assert (by_key["pool.max_attempts"]["value"], by_key["pool.max_attempts"]["origin"]) == (7, "config.toml")
    assert by_key["models.aliases"]["value"] == {"gpt": MODEL}
    assert "# my words" in (office.folder / "config.toml").read_text()
    assert office.on_loop(lambda: office.app.settings().pool.max_attempts) == 7
    back = office.call("PATCH", "/api/settings", {"pool.max_attempts": None}).json
    assert {one["key"]: one["origin"] for one in back["items"]}["pool.max_attempts"] == "default"


def test_settings_that_need_a_restart_stay_listed(office: OfficeServer) -> None:
    assert office.call("PATCH", "/api/settings", {"server.workers": 2}).json["restart"] == ["server.workers"]
    assert office.call("GET", "/api/settings").json["restart"] == ["server.workers"]
    assert office.call("PATCH", "/api/settings", {"server.workers": 1}).json["restart"] == []


def test_setting_that_a_flag_overrides_is_saved_and_told(office: OfficeServer) -> None:
    reply = office.call("PATCH", "/api/settings", {"google.client_id": "mine.apps", "pool.max_attempts": 5})
    assert reply.json["overridden"] == ["google.client_id"]
    assert "mine.apps" in (office.folder / "config.toml").read_text()


def test_wrong_settings_are_422_each_with_its_key_and_nothing_is_saved(office: OfficeServer) -> None:
    changes = {"pool.max_attempts": 0, "server.port": "x", "log.level": "debug"}
    reply = office.call("PATCH", "/api/settings", changes)
    assert (reply.status, reply.error["code"]) == (422, "settings_refused")
    assert sorted(one["key"] for one in reply.error["problems"]) == ["pool.max_attempts", "server.port"]
    assert not (office.folder / "config.toml").exists()
    unknown = office.call("PATCH", "/api/settings", {"pool.max_attemps": 5})
    assert "pool.max_attempts" in unknown.error["message"]
    secret = office.call("PATCH", "/api/settings", {"server.api_key": "two words"})
    assert (secret.status, "two words" in secret.raw.decode()) == (422, False)
    masked = office.call("PATCH", "/api/settings", {"google.client_secret": "[secret]"})
    assert masked.status == 422


@pytest.mark.parametrize("body", [[], "x", 5, None])
def test_settings_that_are_no_object_are_refused(office: OfficeServer, body: object) -> None:
    raw = json.dumps(body).encode()
    reply = office.call("PATCH", "/api/settings", raw, **{"content-type": "application/json"})
    assert reply.status == 422


def test_models_are_listed_and_a_name_is_explained(office: OfficeServer, sandbox: SandboxControl) -> None:
    office.add(sandbox.grant("ann@example.com").refresh_token)
    office.call("PATCH", "/api/settings", {"models.aliases": {"fast": MODEL}, "models.presets": False})
    listed = office.call("GET", "/api/models").json
    names = {one["id"] for one in listed["items"]}
    assert {MODEL, "fast"} <= names
    assert listed["next"] is None
    explained = office.call("POST", "/api/models/explain", {"model": "fast"})
    told = {name: explained.json[name] for name in ("model", "served_model", "rule", "advice")}
    assert told == {"model": "fast", "served_model": MODEL, "rule": "alias", "advice": None}
    nobody = office.call("POST", "/api/models/explain", {"model": "claude-x"}).json
    assert nobody["served_model"] is None
    assert "models.default" in nobody["advice"]


def test_models_without_accounts_are_503_with_the_way_out(office: OfficeServer) -> None:
    reply = office.call("GET", "/api/models")
    assert reply.status == 503
    assert reply.error["hint"]


def test_hand_edit_of_config_reaches_the_api(office: OfficeServer) -> None:
    (office.folder / "config.toml").write_text("[pool]\nmax_attempts = 3\n")
    until(
        lambda: any(
            one["key"] == "pool.max_attempts" and one["value"] == 3
            for one in office.call("GET", "/api/settings").json["items"]
        )
    )
