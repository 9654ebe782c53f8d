"""Writing messages, whole and streamed, so that the official SDK's own types and its accumulator accept them."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from regrant.dialects import anthropic, gemini
from regrant.dialects.base import ReplyContext
from regrant.errors import DialectError
from regrant.messages.fold import fold, unfold
from regrant.messages.model import (
    Choice,
    Citation,
    Finish,
    FinishReason,
    Media,
    Reply,
    ReplyPart,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartEnded, PartStarted, Started

CONTEXT = ReplyContext(id="1", created=5, model="claude-x")
THINKING = ReplyContext(id="1", created=5, model="claude-x", thinks=True)
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def one(*parts: ReplyPart, reason: FinishReason = FinishReason.STOP, **finish: Any) -> Reply:
    choice = Choice(parts=parts, finish=Finish(choice=0, reason=reason, **finish))
    usage = Usage(input_tokens=7, cached_tokens=4, output_tokens=3, reasoning_tokens=2)
    return Reply(id="up", model="gemini", choices=(choice,), usage=usage)


def plain(reply: Reply, context: ReplyContext = CONTEXT) -> Any:
    body = anthropic.encode_reply(reply, context=context)
    Message.model_validate_json(body, strict=True)
    return json.loads(body)


def streamed(events: list[Event], context: ReplyContext = CONTEXT) -> list[Any]:
    """The data of each event; names and types are checked on the way."""
    encoder = anthropic.stream_encoder(context)
    frames = b"".join(encoder.encode(event) for event in events).split(b"\n\n")
    assert frames.pop() == b""
    found: list[Any] = []
    for frame in frames:
        name, data = frame.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        if event["type"] != "error":
            EVENTS.validate_json(json.dumps(event), strict=True)
        found.append(event)
    return found


def gather(events: list[Any]) -> Any:
    """What a client pieces together: the oracle for streams, written without the encoder's help."""
    message: dict[str, Any] = {}
    open_index = -1
    arguments = ""
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            assert not message
            message = event["message"]
        elif kind == "content_block_start":
            assert open_index == -1
            open_index = event["index"]
            assert open_index == len(message["content"])
            message["content"].append(event["content_block"])
            arguments = ""
        elif kind == "content_block_stop":
            assert event["index"] == open_index
            if arguments:
                message["content"][-1]["input"] = json.loads(arguments)
            open_index = -1
        elif kind == "content_block_delta":
            assert event["index"] == open_index
            block, delta = message["content"][-1], event["delta"]
            match delta["type"]:
                case "text_delta":
                    block["text"] += delta["text"]
                case "thinking_delta":
                    block["thinking"] += delta["thinking"]
                case "signature_delta":
                    assert block["signature"] == ""
                    block["signature"] = delta["signature"]
                case "input_json_delta":
                    arguments += delta["partial_json"]
                case "citations_delta":
                    block.setdefault("citations", []).append(delta["citation"])
        elif kind == "message_delta":
            assert open_index == -1
            message |= event["delta"]
            message["usage"] = event["usage"]
        else:
            assert kind == "message_stop"
            assert event is events[-1]
    assert events[-1]["type"] == "message_stop"
    return message


GEMINI_STREAM = """\
data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Plan…","thought":true}]},"index":0}],"usageMetadata":{"promptTokenCount":20,"thoughtsTokenCount":9,"totalTokenCount":29},"modelVersion":"gemini-3.8-flash","responseId":"R1"}

data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"id":"c1","name":"get","args":{"p":"a"}},"thoughtSignature":"AbC="},{"functionCall":{"id":"c2","name":"get","args":{"p":"b"}}}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":15,"thoughtsTokenCount":30,"totalTokenCount":65}}

"""

ANTHROPIC_STREAM = """\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0,"output_tokens_details":{"thinking_tokens":0}}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Plan…"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"regrant:AbC="}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"c1","name":"get","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\\"p\\":\\"a\\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"c2","name":"get","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"p\\":\\"b\\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":45,"output_tokens_details":{"thinking_tokens":30}}}

event: message_stop
data: {"type":"message_stop"}

"""


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_worked_stream_of_the_facts_becomes_the_events_beside_it(size: int) -> None:
    decoder = gemini.reply_decoder(call_prefix="p")
    raw = GEMINI_STREAM.encode()
    events = [event for at in range(0, len(raw), size) for event in decoder.feed(raw[at : at + size])]
    events += decoder.end()
    encoder = anthropic.stream_encoder(CONTEXT)
    assert b"".join(encoder.encode(event) for event in events).decode() == ANTHROPIC_STREAM


def test_a_plain_answer() -> None:
    assert plain(one(Text(text="hello"))) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 3,
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.STOP, "end_turn"),
        (FinishReason.LENGTH, "max_tokens"),
        (FinishReason.TOOL_CALLS, "tool_use"),
        (FinishReason.CONTENT_FILTER, "refusal"),
        (FinishReason.MALFORMED, "end_turn"),
        (FinishReason.OTHER, "end_turn"),
    ],
)
def test_every_finish_has_its_stop_reason(reason: FinishReason, word: str) -> None:
    answer = plain(one(Text(text="x"), reason=reason))
    assert (answer["stop_reason"], answer["stop_sequence"]) == (word, None)


def test_a_stop_sequence_is_named_where_it_is_known() -> None:
    answer = plain(one(reason=FinishReason.STOP_SEQUENCE, detail="END"))
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")


def test_a_refusal_says_what_the_upstream_calls_it() -> None:
    answer = plain(one(reason=FinishReason.CONTENT_FILTER, detail="PROHIBITED_CONTENT"))
    assert answer["content"] == []
    assert "PROHIBITED_CONTENT" in answer["stop_details"]["explanation"]


def test_a_signed_call_without_thoughts_gets_a_block_for_its_signature_if_the_client_expects_thoughts() -> (
    None
):
    reply = one(ToolCall(id="c", name="get", signature="AbC="))
    expected = [{"type": "thinking", "thinking": "", "signature": "regrant:AbC="}]
    call = [{"type": "tool_use", "id": "c", "name": "get", "input": {}}]
    assert plain(reply)["content"] == call
    assert plain(reply, THINKING)["content"] == expected + call
    assert gather(streamed(list(unfold(reply)), THINKING))["content"] == expected + call


def test_a_signature_comes_back_as_it_was_given() -> None:
    reply = one(
        Thinking(text="hm"), ToolCall(id="c", name="get", signature="AbC="), reason=FinishReason.TOOL_CALLS
    )
    history = {"role": "assistant", "content": plain(reply)["content"]}
    again = {"model": "m", "messages": [{"role": "user", "content": "hi"}, history]}
    request = anthropic.decode_request(json.dumps(again).encode())
    assert request.turns[1].parts[1] == ToolCall(
        id="c", name="get", args=msgspec.Raw(b"{}"), signature="AbC="
    )


def test_the_sources_of_an_answer_are_told_as_citations_and_as_results_of_a_search() -> None:
    cited = (
        Citation(url="https://a", title="A", start=0, end=5),
        Citation(url="https://b", title="B", start=6, end=11),
        Citation(url="https://a", title="A", start=6, end=11),
    )
    reply = one(Text(text="hello"), Text(text=" wörld"), citations=cited)
    answer = plain(reply)
    first, second, search, results = answer["content"]
    assert "citations" not in first
    assert [(one["url"], one["cited_text"]) for one in second["citations"]] == [
        ("https://a", "hello"),
        ("https://b", "wörld"),
        ("https://a", "wörld"),
    ]
    assert search == {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    assert results["tool_use_id"] == "srvtoolu_1"
    assert [one["url"] for one in results["content"]] == ["https://a", "https://b"]
    assert answer["usage"]["server_tool_use"]["web_search_requests"] == 1
    assert gather(streamed(list(unfold(reply)))) == answer


@pytest.mark.parametrize("mime", ["image/png", "audio/wav"])
def test_media_cannot_be_held_and_are_refused_by_name(mime: str) -> None:
    reply = one(Media(mime=mime, data="eA=="))
    with pytest.raises(DialectError, match=mime):
        anthropic.encode_reply(reply, context=CONTEXT)
    with pytest.raises(DialectError, match=mime):
        streamed(list(unfold(reply)))


def test_a_count_of_tokens() -> None:
    assert json.loads(anthropic.encode_count(12)) == {"input_tokens": 12}


def test_a_stream_that_fails_ends_with_an_error_and_never_with_message_stop() -> None:
    gone = Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone")
    events = streamed(
        [Started(id="", model=""), PartStarted(part=Text(text="a"), index=0), Failed(problem=gone)]
    )
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "error",
    ]
    assert events[-1]["error"] == {"type": "overloaded_error", "message": "gone"}


def test_a_sign_of_life_is_a_ping() -> None:
    assert anthropic.stream_encoder(CONTEXT).keep_alive() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_arguments_may_come_in_pieces() -> None:
    call = ToolCall(id="c", name="get", args=msgspec.Raw(b""))
    events: list[Event] = [
        Started(id="", model=""),
        PartStarted(part=call, index=0),
        PartDelta(text='{"p":', index=0),
        PartDelta(text='"é"}', index=0),
        PartEnded(index=0),
        Finished(finishes=(Finish(choice=0, reason=FinishReason.TOOL_CALLS),)),
    ]
    assert gather(streamed(events))["content"][0]["input"] == {"p": "é"}


def test_thoughts_and_texts_that_take_turns_are_blocks_of_their_own() -> None:
    events: list[Event] = [
        Started(id="", model=""),
        PartStarted(part=Thinking(text=""), index=0),
        PartDelta(text="a", index=0),
        PartEnded(index=0),
        PartStarted(part=Text(text="b"), index=1),
        PartDelta(text="100 %s", index=1),
        PartEnded(index=1),
        PartStarted(part=Thinking(text="c"), index=2),
        PartEnded(index=2),
        Finished(finishes=(Finish(choice=0, reason=FinishReason.STOP),)),
    ]
    assert gather(streamed(events))["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "regrant:"},
        {"type": "text", "text": "b100 %s"},
        {"type": "thinking", "thinking": "c", "signature": "regrant:"},
    ]


def test_gotcha_12_usage_counts_up_and_the_last_one_is_told_at_the_end() -> None:
    chunks = [{"text": "hm", "thought": True}, {"text": "a"}, {"text": "b"}, {"text": "so", "thought": True}]
    lines = [
        {
            "candidates": [{"content": {"parts": [part]}, **({"finishReason": "STOP"} if n == 3 else {})}],
            "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": n},
        }
        for n, part in enumerate(chunks)
    ]
    decoder = gemini.reply_decoder(call_prefix="p")
    raw = b"".join(b"data: " + json.dumps(line).encode() + b"\r\n\r\n" for line in lines)
    events = streamed(decoder.feed(raw) + decoder.end())
    assert events[0]["message"]["usage"]["input_tokens"] == 0
    message = gather(events)
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "thinking"]
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (20, 3)


WORDS = st.text(max_size=6)
SIGNATURES = st.none() | st.just("c2ln")
ARGUMENTS = st.dictionaries(WORDS, WORDS, max_size=2).map(
    lambda value: msgspec.Raw(json.dumps(value).encode())
)
PARTS = st.one_of(
    st.builds(Text, text=WORDS, signature=SIGNATURES),
    st.builds(Thinking, text=WORDS, signature=SIGNATURES),
    st.builds(Thinking, text=st.just(""), redacted=WORDS),
    st.builds(ToolCall, id=WORDS, name=WORDS, args=ARGUMENTS, signature=SIGNATURES),
)
CITATIONS = st.builds(Citation, url=WORDS, title=WORDS, start=st.integers(0, 9), end=st.integers(0, 9))
FINISHES = st.builds(
    Finish,
    choice=st.just(0),
    reason=st.sampled_from(FinishReason),
    detail=WORDS,
    citations=st.lists(CITATIONS, max_size=2).map(tuple),
)


def spread(events: Iterable[Event], cut: int) -> list[Event]:
    """The same reply with the words of texts and thoughts after the first `cut` characters in a delta."""
    spread_out: list[Event] = []
    for event in events:
        part = event.part if isinstance(event, PartStarted) else None
        if isinstance(event, PartStarted) and isinstance(part, Text | Thinking):
            shorter = msgspec.structs.replace(part, text=part.text[:cut])
            spread_out.append(PartStarted(part=shorter, index=event.index))
            spread_out.append(PartDelta(text=part.text[cut:], index=event.index))
        else:
            spread_out.append(event)
    return spread_out


@given(st.lists(PARTS, max_size=6).map(tuple), FINISHES, st.booleans(), st.integers(0, 3))
def test_a_stream_says_what_the_plain_answer_says(
    parts: tuple[ReplyPart, ...], finish: Finish, thinks: Any, cut: int
) -> None:
    context = THINKING if thinks else CONTEXT
    reply = Reply(id="", model="", choices=(Choice(parts=parts, finish=finish),), usage=Usage(input_tokens=2))
    events = spread(unfold(reply), cut)
    assert fold(events) == reply
    assert gather(streamed(events, context)) == plain(reply, context)
