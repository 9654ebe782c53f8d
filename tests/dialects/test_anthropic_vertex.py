"""Claude on Vertex: names, what changes in a request and what does not, and the watch on the answer's bytes."""

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.dialects.anthropic import vertex
from regrant.errors import DialectError
from regrant.messages.model import Usage


@pytest.mark.parametrize(
    ("name", "on_vertex"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5@20250929"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5@20250929"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5@20250929"),
        ("claude-opus-4-8", "claude-opus-4-8"),
        ("claude-9-20301231", "claude-9@20301231"),
    ],
)
def test_names_carry_their_date_behind_an_at_sign(name: str, on_vertex: str) -> None:
    assert vertex.vertex_name(name) == on_vertex


def test_a_request_keeps_every_byte_of_its_fields_but_the_model() -> None:
    body = (
        b'{"model":"claude-x", "messages" : [ {"role":"user","content":"\\u00e9"} ],"invented":{ "a" : 1e2 }}'
    )
    assert vertex.to_vertex(body) == (
        b'{"anthropic_version":"vertex-2023-10-16",'
        b'"messages":[ {"role":"user","content":"\\u00e9"} ],"invented":{ "a" : 1e2 }}'
    )


def test_counting_names_the_model_in_the_body() -> None:
    sent = json.loads(vertex.to_vertex(b'{"model":"claude-x","messages":[]}', count_for="claude-x@1"))
    assert sent["model"] == "claude-x@1"


def test_fields_that_vertex_refused_are_left_out() -> None:
    body = b'{"model":"m","context_management":{},"messages":[]}'
    assert b"context" not in vertex.to_vertex(body, without=frozenset({"context_management"}))


def test_thoughts_of_other_models_do_not_go_to_claude() -> None:
    def thought(signature: str) -> dict[str, str]:
        return {"type": "thinking", "thinking": "hm", "signature": signature}

    text = {"type": "text", "text": "regrant:"}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [thought("regrant:AbC="), thought("EqQB"), text]},
    ]
    sent = json.loads(vertex.to_vertex(json.dumps({"model": "m", "messages": messages}).encode()))
    assert sent["messages"][1]["content"] == [thought("EqQB"), text]
    assert sent["messages"][0] == messages[0]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"messages":[]}', b'{"model":1}', b"\xff", b"[" * 100_000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(DialectError):
        vertex.read_opening(body)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_broken_messages_are_passed_on_or_refused(before: Any, after: Any) -> None:
    body = b'{"model":"m","messages":[' + before + b'{"content":[{"signature":"regrant:x"}]}' + after + b"]}"
    with contextlib.suppress(DialectError):
        vertex.to_vertex(body)


def test_objections_name_betas_and_fields() -> None:
    betas = "Unexpected value(s) `context-1m-2025-08-07`, `effort-2025-11-24` for the `anthropic-beta` header. See …"
    assert vertex.read_objections(betas) == (
        frozenset({"context-1m-2025-08-07", "effort-2025-11-24"}),
        frozenset(),
    )
    assert vertex.read_objections("context_management: Extra inputs are not permitted")[1] == {
        "context_management"
    }
    assert vertex.read_objections("output_config.effort: Extra inputs are not permitted")[1] == {
        "output_config"
    }
    assert vertex.read_objections("max_tokens: Field required") == (frozenset(), frozenset())


STREAM = b"""\
event: message_start
data: {"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: message_delta
data: {"type":"message_delta","usage":{"output_tokens":9}}

event: message_stop
data: {"type":"message_stop"}

"""


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_a_stream_is_understood_however_it_is_cut(cuts: Any) -> None:
    scanner = vertex.AnthropicStreamScanner()
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(places):
        scanner.feed(STREAM[start:end])
    assert scanner.complete
    assert scanner.idle
    assert scanner.usage == Usage(input_tokens=7, cached_tokens=2, output_tokens=9)


def test_a_stream_is_not_complete_before_its_last_event_or_after_an_error() -> None:
    scanner = vertex.AnthropicStreamScanner()
    scanner.feed(STREAM.rpartition(b"event: message_stop")[0])
    assert (scanner.started, scanner.complete, scanner.error) == (True, False, None)
    scanner.feed(b'event: error\ndata: {"type":"error"}\n\nevent: message_stop\ndata: {}\n\n')
    assert not scanner.complete
    assert scanner.error == b'{"type":"error"}'


def test_the_words_that_open_a_conversation_stay_the_same_while_it_grows() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "Be kind.", **mark}]
    first = {"role": "user", "content": [{"type": "text", "text": "Hello", **mark}]}
    later = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    more = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Go on"}]
    begun = vertex.read_texts(json.dumps({"system": system, "messages": [first]}).encode())
    assert begun == ("Be kind.", "Hello")
    assert vertex.read_texts(json.dumps({"messages": [later, *more], "system": "Be kind."}).encode()) == begun


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"{", b'{"messages": [1]}', b'{"messages": [{"content": 7}]}']
)
def test_an_opening_that_cannot_be_read_is_none(body: bytes) -> None:
    assert vertex.read_texts(body) == ()
