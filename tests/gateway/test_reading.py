"""When an upstream answer is known to be one, and when it must not look complete."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regrant.dialects.gemini import StreamForm
from regrant.gateway.reading import Relay

FIRST: dict[str, Any] = {"candidates": [{"content": {"parts": [{"text": "a"}]}}]}
LAST: dict[str, Any] = {"candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}]}


def is_ready(relay: Relay) -> bool:
    return relay.ready


def relayed(form: StreamForm, *pieces: bytes) -> Relay:
    relay = Relay(form, generates=True)
    for piece in pieces:
        relay.feed(piece)
    relay.end()
    return relay


def test_half_an_event_is_no_answer_yet() -> None:
    relay = Relay("sse", generates=True)
    whole = b"data: " + json.dumps(FIRST).encode() + b"\r\n\r\n"
    relay.feed(whole[:20])
    assert not is_ready(relay)
    relay.feed(whole[20:])
    assert is_ready(relay)
    assert relay.take() == whole
    assert relay.take() == b""


@pytest.mark.parametrize("form", ["sse", "array"])
def test_a_page_of_a_portal_never_becomes_an_answer(form: StreamForm) -> None:
    assert not relayed(form, b"<html>", b"</html>").ready


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"half":'])
def test_a_whole_body_that_is_no_object_is_a_failure(body: bytes) -> None:
    relay = relayed("json", body) if body else relayed("json")
    assert relay.failure == body


def test_a_whole_body_is_ready_at_its_end_only() -> None:
    relay = Relay("json", generates=True)
    relay.feed(json.dumps(LAST).encode())
    assert not is_ready(relay)
    relay.end()
    assert is_ready(relay)
    assert relay.failure is None


def test_a_complete_array_keeps_its_bracket_and_a_broken_one_loses_it() -> None:
    whole = json.dumps([FIRST, LAST]).encode() + b"\n"
    complete = relayed("array", whole)
    assert not complete.incomplete
    assert complete.take() == whole

    broken = relayed("array", b"[" + json.dumps(FIRST).encode(), b"\n]\n")
    assert broken.incomplete
    assert broken.take() == b"[" + json.dumps(FIRST).encode() + b"\n"


def test_an_error_object_before_the_first_event_is_a_failure() -> None:
    error = b'{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}'
    relay = Relay("sse", generates=True)
    relay.feed(error + b"\n")
    assert relay.failure == error
