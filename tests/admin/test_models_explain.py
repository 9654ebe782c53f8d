"""`POST /api/models/explain` shows the whole decision: each rule, the models it leads to, and who could serve them now."""

from __future__ import annotations

from typing import Any

import pytest
from tests.admin.office_server import OfficeServer
from tests.sandbox_client import SandboxControl

FIRST, SECOND = "gemini-3.8-flash", "gemini-2.5-flash"
CLAUDE = "claude-opus-4-8"
Json = dict[str, Any]


def explain(office: OfficeServer, model: str, **more: str) -> Json:
    reply = office.call("POST", "/api/models/explain", {"model": model, **more})
    assert reply.status == 200, reply.raw
    answer: Json = reply.json
    return answer


def configure(office: OfficeServer, **models: Any) -> None:
    changes = {f"models.{name}": value for name, value in models.items()}
    reply = office.call("PATCH", "/api/settings", changes)
    assert reply.status == 200, reply.raw


def test_every_rule_is_told_in_its_order_with_the_one_that_decides(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    office.add(sandbox.grant("ann@example.com").refresh_token)
    configure(office, aliases={"gpt-*": SECOND, "*": FIRST, "other": FIRST}, default=SECOND)
    answer = explain(office, "gpt-5")
    told = [(rule["rule"], rule["matches"], rule["decides"]) for rule in answer["rules"]]
    assert told[:3] == [
        ("alias", False, False),
        ("wildcard gpt-*", True, True),
        ("passed on", False, False),
    ]
    assert [rule["rule"] for rule in answer["rules"]][-1] == "default"
    assert (answer["rules"][-1]["matches"], answer["rules"][-1]["decides"]) == (True, False)
    assert answer["rules"][1]["place"] == "models.aliases"
    assert "most specific of 2" in answer["rules"][1]["why"]
    assert all(rule["why"] for rule in answer["rules"])
    assert (answer["served_model"], answer["rule"]) == (SECOND, "wildcard gpt-*")


def test_the_chain_tells_who_could_serve_each_model_now_and_what_would_be_sent(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    ann = office.add(sandbox.grant("ann@example.com").refresh_token)
    configure(office, aliases={"fast": FIRST}, fallbacks={FIRST: SECOND})
    sandbox.script("error", name="429_per_minute", model=FIRST, retry_delay="50s")
    body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
    assert office.plain("POST", "/v1/chat/completions", body).headers["x-regrant-model"] == SECOND
    answer = explain(office, "fast")
    first, second = answer["chain"]
    assert (answer["served_model"], answer["serves_now"]) == (FIRST, SECOND)
    assert (first["model"], first["can_serve"], first["sent"]) == (FIRST, False, None)
    [place] = first["accounts"]
    assert place["id"] == ann["id"]
    assert [check["check"] for check in place["checks"] if not check["ok"]] == ["cooldown"]
    assert (second["model"], second["can_serve"]) == (SECOND, True)
    assert second["sent"] == {
        "account": "ann@example.com",
        "model": SECOND,
        "url": f"{sandbox.url}/v1beta/models/{SECOND}:generateContent",
    }
    judged = office.call("GET", f"/api/pool?model={SECOND}").json["accounts"]
    assert second["accounts"] == judged


def test_a_key_is_explained_with_its_own_rules_by_name_and_by_id(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    office.add(sandbox.grant("ann@example.com").refresh_token)
    key = office.call("POST", "/api/keys", {"name": "ci"}).json
    rule = {"key": "ci", "aliases": {"fast": [SECOND, FIRST]}, "allowed": ["gemini-2.5-*"]}
    configure(office, aliases={"fast": FIRST}, rules=[rule])
    assert explain(office, "fast")["served_model"] == FIRST
    for word in ("ci", key["id"]):
        answer = explain(office, "fast", key=word)
        assert (answer["key"], answer["served_model"], answer["barred"]) == ("ci", SECOND, [FIRST])
        assert answer["rules"][0]["place"] == "models.rules[0].aliases"
    barred = explain(office, FIRST, key="ci")
    assert (barred["served_model"], barred["barred"], barred["chain"]) == (None, [FIRST], [])
    assert "models.rules" in barred["advice"]
    unknown = office.call("POST", "/api/models/explain", {"model": "fast", "key": "nobody"})
    assert (unknown.status, unknown.error["code"]) == (404, "key_not_found")


def test_claude_is_for_messages_requests_and_only_at_the_beginning(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    refresh_token = sandbox.grant("ann@example.com").refresh_token
    office.add(refresh_token, upstream="vertex", location="global", project_id="ann-project")
    configure(office, aliases={"best": [CLAUDE, FIRST], "last": [FIRST, CLAUDE]})
    messages = explain(office, "best", dialect="anthropic")
    assert [link["model"] for link in messages["chain"]] == [CLAUDE, FIRST]
    where = f"{sandbox.url}/v1/projects/ann-project/locations/global/publishers"
    assert messages["chain"][0]["sent"]["url"] == f"{where}/anthropic/models/{CLAUDE}:rawPredict"
    assert messages["chain"][1]["sent"]["url"] == f"{where}/google/models/{FIRST}:generateContent"
    assert messages["serves_now"] == CLAUDE
    chat = explain(office, "best")
    assert (chat["served_model"], chat["chain"][0]["sent"]) == (FIRST, None)
    assert "Messages" in chat["chain"][0]["passed_over"]
    assert explain(office, "last", dialect="anthropic")["chain"][1]["passed_over"]
    preset = explain(office, CLAUDE, dialect="anthropic")
    assert (preset["rule"], preset["served_model"]) == ("claude", CLAUDE)
    assert [link["model"] for link in preset["chain"]] == [CLAUDE, "gemini-3.1-pro-preview"]
    assert explain(office, CLAUDE)["served_model"] == "gemini-3.1-pro-preview"


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_what_is_told_is_what_happens(office: OfficeServer, sandbox: SandboxControl, dialect: str) -> None:
    office.add(sandbox.grant("ann@example.com").refresh_token)
    configure(office, aliases={"fast": FIRST}, fallbacks={FIRST: SECOND})
    contents = [{"role": "user", "content": "hi"}]
    calls: dict[str, Any] = {
        "openai": ("/v1/chat/completions", {"messages": contents}),
        "anthropic": ("/v1/messages", {"messages": contents, "max_tokens": 9}),
        "gemini": ("/v1beta/models/{}:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
    }
    path, body = calls[dialect]
    for name in ("fast", FIRST, "gpt-5-mini", "claude-opus-5", "nobody-knows"):
        told = explain(office, name, dialect=dialect)
        named = body if dialect == "gemini" else body | {"model": name}
        answer = office.plain("POST", path.format(name), named)
        if told["serves_now"] is None:
            assert answer.status == 404
            continue
        assert answer.status == 200, answer.raw
        assert answer.headers["x-regrant-model"] == told["serves_now"]
        assert sandbox.journal()[-1]["path"] == told["chain"][0]["sent"]["url"].removeprefix(sandbox.url)


def test_without_accounts_the_way_out_is_told(office: OfficeServer) -> None:
    answer = explain(office, "gpt-5")
    assert (answer["served_model"], answer["chain"]) == (None, [])
    assert "accounts add" in answer["advice"]
    known = explain(office, FIRST)
    assert (known["served_model"], known["serves_now"]) == (FIRST, None)
