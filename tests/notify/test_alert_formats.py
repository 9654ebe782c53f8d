"""What each receiver gets, as text, against the documented shape of each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.notify.facts import DEATH, changed, closed, opened, webhook

from regrant.accounts.incidents import IncidentChange
from regrant.notify.alert import Alert, alert_of, lasting, trial_alert
from regrant.notify.formats import format_of, write

NOW = DEATH.since + 400


def alert(change: IncidentChange) -> Alert:
    return alert_of(change, NOW)


def written(change: IncidentChange, url: str = "https://example.org/x", **options: Any) -> tuple[str, str]:
    message = write(alert(change), webhook(url, **options))
    return message.url, message.body.decode()


def test_plain_json_is_the_documented_object() -> None:
    _, body = written(closed(requests=3))
    assert json.loads(body) == {
        "id": "death-1-closed",
        "event": "account_died",
        "phase": "closed",
        "at": NOW,
        "incident": "death-1",
        "severity": "warning",
        "title": "ann@example.com: the grant died (revoked)",
        "text": "Sign in again with this account.",
        "url": "https://myaccount.google.com/permissions",
        "command": "regrant accounts reauth ann@example.com",
        "since": DEATH.since,
        "until": DEATH.since + 303,
        "length_s": 303,
        "requests": 3,
        "accounts": ["ann"],
        "emails": ["ann@example.com"],
        "client_id": "client-1",
        "cause": "revoked",
    }


def test_slack_gets_one_text_with_its_three_characters_escaped() -> None:
    _, body = written(opened(text="Say <hello> & <!channel>"), format="slack")
    assert body == (
        '{"text":"*ann@example.com: the grant died (revoked)*\\nSay &lt;hello&gt; &amp; &lt;!channel&gt;\\n'
        '<https://myaccount.google.com/permissions>\\n`regrant accounts reauth ann@example.com`"}'
    )


def test_discord_gets_content_that_pings_nobody_and_formats_nothing() -> None:
    _, body = written(opened(title="a_b@example.com *died*", text="@everyone look"), format="discord")
    assert body == (
        '{"content":"**a\\\\_b@example.com \\\\*died\\\\***\\n@everyone look\\n'
        '<https://myaccount.google.com/permissions>\\n`regrant accounts reauth ann@example.com`",'
        '"allowed_mentions":{"parse":[]}}'
    )


def test_ntfy_gets_a_json_publication_at_the_root_of_its_server() -> None:
    url, body = written(opened(severity="critical"), "https://ntfy.sh/my-topic?auth=pretend")
    assert url == "https://ntfy.sh/?auth=pretend"
    assert json.loads(body) == {
        "topic": "my-topic",
        "title": "ann@example.com: the grant died (revoked)",
        "message": "Sign in again with this account.\nhttps://myaccount.google.com/permissions\n"
        "regrant accounts reauth ann@example.com",
        "priority": 5,
        "tags": ["rotating_light"],
        "click": "https://myaccount.google.com/permissions",
    }


def test_ntfy_keeps_the_path_that_is_before_its_topic() -> None:
    url, body = written(opened(), "https://example.org/push/my-topic/", format="ntfy")
    assert (url, json.loads(body)["topic"]) == ("https://example.org/push/", "my-topic")


@pytest.mark.parametrize("format", ["slack", "discord", "ntfy"])
def test_the_end_says_how_long_it_lasted_and_how_many_requests_it_touched(format: str) -> None:  # noqa: A002 - a setting's name
    _, body = written(closed(requests=2), "https://example.org/topic", format=format)
    assert "It lasted 5 min 3 s; 2 requests were touched." in body
    assert "Sign in again" not in body


@pytest.mark.parametrize(
    ("format", "measure"),
    [
        ("discord", lambda body: len(json.loads(body)["content"].encode("utf-16-le")) // 2 <= 2000),
        ("slack", lambda body: len(json.loads(body)["text"]) <= 4000),
        ("ntfy", lambda body: len(json.loads(body)["message"].encode()) <= 4096),
    ],
)
@pytest.mark.parametrize("letter", ["x", "ü", "😀", "*"])
def test_a_long_advice_is_cut_and_the_way_to_mend_it_is_not(format: str, measure: Any, letter: str) -> None:  # noqa: A002 - a setting's name
    _, body = written(opened(text=letter * 9000), "https://example.org/topic", format=format)
    assert measure(body), len(body)
    assert "…" in json.loads(body)[{"discord": "content", "slack": "text", "ntfy": "message"}[format]]
    assert "regrant accounts reauth ann@example.com" in body


@pytest.mark.parametrize("format", ["slack", "discord", "ntfy"])
def test_a_message_that_is_too_long_without_its_advice_fits_all_the_same(format: str) -> None:  # noqa: A002 - a setting's name
    change = opened(title="t" * 5000, command="c" * 5000)
    document = json.loads(written(change, "https://example.org/topic", format=format)[1])
    text = document[{"discord": "content", "slack": "text", "ntfy": "message"}[format]]
    assert len(text) <= {"discord": 2000, "slack": 4000, "ntfy": 4096}[format]


def test_many_accounts_are_named_up_to_ten() -> None:
    emails = tuple(f"p{number}@example.com" for number in range(14))
    _, body = written(opened(emails=emails, accounts=emails), format="slack")
    assert "p9@example.com and 4 more." in body
    assert "p10@" not in body


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://hooks.slack.com/services/a/b/c", "slack"),
        ("https://discord.com/api/webhooks/1/x", "discord"),
        ("https://canary.discord.com/api/webhooks/1/x", "discord"),
        ("https://discordapp.com/api/webhooks/1/x", "discord"),
        ("https://discord.com/elsewhere", "json"),
        ("https://notdiscord.com/api/webhooks/1/x", "json"),
        ("https://ntfy.sh/topic", "ntfy"),
        ("https://ntfy.example.org/topic", "ntfy"),
        ("http://ntfy/topic", "ntfy"),
        ("https://ntfy.sh", "json"),
        ("https://example.org/hooks.slack.com", "json"),
        ("https://hooks.slack.com.example.org/x", "json"),
    ],
)
def test_a_receiver_is_recognised_by_its_host(url: str, found: str) -> None:
    assert format_of(webhook(url)) == found
    assert format_of(webhook(url, format="json")) == "json"


def test_each_update_has_an_id_of_its_own_and_the_same_each_time() -> None:
    soon, sooner = (alert(changed("updated", title=f"It dies within {hours} hours")) for hours in (48, 6))
    assert soon.id != sooner.id
    assert soon.id == alert(changed("updated", title="It dies within 48 hours", requests=9)).id


def test_a_trial_can_be_written_for_everyone_and_is_unlike_any_other() -> None:
    for name in ("json", "slack", "discord", "ntfy"):
        body = write(trial_alert("7", NOW), webhook("https://example.org/t", format=name)).body
        assert b"This is a test" in body
    assert trial_alert("7", NOW).id != trial_alert("8", NOW).id


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a second"),
        (45, "45 s"),
        (303, "5 min 3 s"),
        (7200, "2 h"),
        (7201, "2 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_length_is_told_in_its_two_largest_units(seconds: int, words: str) -> None:
    assert lasting(seconds) == words
