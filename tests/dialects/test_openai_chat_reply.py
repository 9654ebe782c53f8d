"""Writing chat completions, whole and streamed, so that the official SDK's own types accept them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from regrant.dialects import gemini, openai_chat
from regrant.dialects.base import ReplyContext
from regrant.errors import DialectError
from regrant.messages.fold import unfold
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
    TokenLogprob,
    ToolCall,
    Usage,
)
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartEnded, PartStarted, Started

CONTEXT = ReplyContext(
    id="1", created=5, model="gpt-x", include_usage=True, freeform_tools=frozenset({"patch"})
)
GONE = Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone")


def one(*parts: ReplyPart, reason: FinishReason = FinishReason.STOP, **finish: Any) -> Reply:
    choice = Choice(parts=parts, finish=Finish(choice=0, reason=reason, **finish))
    return Reply(
        id="up",
        model="gemini",
        choices=(choice,),
        usage=Usage(input_tokens=3, cached_tokens=1, output_tokens=2, reasoning_tokens=1),
    )


def plain(reply: Reply) -> Any:
    body = openai_chat.encode_reply(reply, context=CONTEXT)
    ChatCompletion.model_validate_json(body, strict=True)
    return json.loads(body)


def streamed(events: list[Event], context: ReplyContext = CONTEXT, *, in_sdk: bool = True) -> list[Any]:
    """`in_sdk`: the SDK's types know such chunks; they know no custom calls in streams, though OpenAI sends them."""
    encoder = openai_chat.stream_encoder(context)
    lines = b"".join(encoder.encode(event) for event in events).split(b"\n\n")
    assert lines.pop() == b""
    assert all(line.startswith(b"data: ") for line in lines)
    chunks: list[Any] = ["[DONE]" if line == b"data: [DONE]" else json.loads(line[6:]) for line in lines]
    for chunk in chunks:
        if in_sdk and chunk != "[DONE]":
            ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)
    return chunks


def gather(chunks: list[Any]) -> dict[int, dict[str, Any]]:
    """What a client pieces together: the oracle for streams, written without the encoder's help."""
    said: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"] if isinstance(chunk, dict) else ():
            mine = said.setdefault(
                choice["index"], {"content": "", "reasoning": "", "calls": {}, "finish": None, "roles": 0}
            )
            delta = choice["delta"]
            mine["roles"] += delta.get("role") == "assistant"
            mine["content"] += delta.get("content") or ""
            mine["reasoning"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", ()):
                kept = mine["calls"].setdefault(
                    call["index"], {"id": call.get("id"), "arguments": "", "name": ""}
                )
                kept["name"] += call.get("function", {}).get("name", "")
                kept["arguments"] += call.get("function", {}).get("arguments", "")
            mine["finish"] = choice["finish_reason"] or mine["finish"]
    return said


def test_golden_transcript_of_a_thought_and_two_calls() -> None:
    events = gemini.decode_reply(
        b'[{"candidates":[{"content":{"parts":[{"text":"Plan","thought":true}]},"index":0}]},'
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"id":"c1","name":"get","args":{"p":"a"}},"thoughtSignature":"AbC="},'
        b'{"functionCall":{"id":"c2","name":"get","args":{"p":"b"}}}]},"finishReason":"STOP","index":0}],'
        b'"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":15,"thoughtsTokenCount":30}}]',
        call_prefix="p",
    )
    thought, first, second, finish, usage, done = streamed(events)
    assert thought["choices"][0]["delta"] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Plan",
    }
    assert first["choices"][0]["delta"] == {
        "tool_calls": [
            {
                "index": 0,
                "id": "c1",
                "type": "function",
                "function": {"name": "get", "arguments": '{"p":"a"}'},
                "extra_content": {"google": {"thought_signature": "AbC="}},
            }
        ]
    }
    assert second["choices"][0]["delta"]["tool_calls"][0]["index"] == 1
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 45,
        "total_tokens": 65,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in (thought, first, second, finish))


def test_a_plain_reply_echoes_the_name_that_was_asked_for() -> None:
    assert plain(one(Thinking(text="hm"), Text(text="Hello"))) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "gpt-x",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "reasoning_content": "hm",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_a_call_alone_has_no_content() -> None:
    call = ToolCall(id="c", name="get", args=msgspec.Raw(b'{"a":"\xc3\xa9"}'), signature="c2ln")
    message = plain(one(call, reason=FinishReason.TOOL_CALLS))["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "get", "arguments": '{"a":"é"}'}
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (FinishReason.STOP, "stop"),
        (FinishReason.STOP_SEQUENCE, "stop"),
        (FinishReason.LENGTH, "length"),
        (FinishReason.TOOL_CALLS, "tool_calls"),
        (FinishReason.CONTENT_FILTER, "content_filter"),
        (FinishReason.MALFORMED, "stop"),
        (FinishReason.OTHER, "stop"),
    ],
)
def test_every_finish_reason(reason: Any, expected: Any) -> None:
    reply = one(Text(text="a"), reason=reason)
    assert plain(reply)["choices"][0]["finish_reason"] == expected
    assert streamed(list(unfold(reply)))[-3]["choices"][0]["finish_reason"] == expected


def test_a_blocked_prompt_is_a_refusal_that_says_why() -> None:
    reply = one(reason=FinishReason.CONTENT_FILTER, detail="PROHIBITED_CONTENT")
    message = plain(reply)["choices"][0]["message"]
    assert message["content"] == ""
    assert "PROHIBITED_CONTENT" in message["refusal"]
    first = streamed(list(unfold(reply)))[0]["choices"][0]["delta"]
    assert first == {"role": "assistant", "content": "", "refusal": message["refusal"]}


def test_a_freeform_call_is_written_whole_as_plain_text() -> None:
    whole = ToolCall(id="c", name="patch", args=msgspec.Raw(b'{"input":"a\\nb"}'))
    assert plain(one(whole))["choices"][0]["message"]["tool_calls"] == [
        {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "a\nb"}}
    ]
    events: list[Event] = [
        Started(id="", model=""),
        PartStarted(part=ToolCall(id="c", name="patch", args=msgspec.Raw(b"")), index=0),
        PartDelta(text='{"input":"a', index=0),
        PartDelta(text='\\nb"}', index=0),
        PartEnded(index=0),
        Finished(finishes=(Finish(choice=0, reason=FinishReason.TOOL_CALLS),)),
    ]
    calls = streamed(events, in_sdk=False)[0]["choices"][0]["delta"]["tool_calls"]
    assert calls == [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "patch", "input": "a\nb"}}]


def test_arguments_that_come_in_pieces_are_passed_on_in_pieces() -> None:
    events: list[Event] = [
        Started(id="", model=""),
        PartStarted(part=ToolCall(id="c", name="get", args=msgspec.Raw(b"")), index=0),
        PartDelta(text='{"a":', index=0),
        PartDelta(text="1}", index=0),
        PartEnded(index=0),
        Finished(finishes=(Finish(choice=0, reason=FinishReason.TOOL_CALLS),)),
    ]
    assert gather(streamed(events))[0]["calls"] == {0: {"id": "c", "name": "get", "arguments": '{"a":1}'}}


def test_pictures_are_data_urls_and_other_media_are_refused() -> None:
    picture = Media(mime="image/png", data="eA==")
    expected = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]
    assert plain(one(Text(text="a"), picture))["choices"][0]["message"]["images"] == expected
    assert streamed(list(unfold(one(picture))))[0]["choices"][0]["delta"]["images"] == expected
    with pytest.raises(DialectError, match="audio/wav"):
        plain(one(Media(mime="audio/wav", data="eA==")))


def test_sources_and_log_probabilities_are_told() -> None:
    citation = Citation(url="https://a.example", title="A", start=0, end=1)
    scores = (TokenLogprob(token="a", logprob=-0.5, top=(TokenLogprob(token="b", logprob=-1.0),)),)
    reply = one(Text(text="a"), citations=(citation,), logprobs=scores)
    choice = plain(reply)["choices"][0]
    annotation = {
        "type": "url_citation",
        "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1},
    }
    assert choice["message"]["annotations"] == [annotation]
    assert choice["logprobs"]["content"][0]["top_logprobs"] == [
        {"token": "b", "logprob": -1.0, "bytes": [98]}
    ]
    chunks = streamed(list(unfold(reply)))
    assert chunks[1]["choices"][0]["delta"]["annotations"] == [annotation]
    assert chunks[2]["choices"][0]["logprobs"]["content"][0]["token"] == "a"


def test_without_include_usage_no_chunk_speaks_of_it() -> None:
    context = ReplyContext(id="1", created=5, model="m")
    chunks = streamed(list(unfold(one(Text(text="a")))), context)
    assert all("usage" not in chunk for chunk in chunks[:-1])
    assert all(chunk["choices"] for chunk in chunks[:-1])


@pytest.mark.parametrize("how", ["event", "call"])
def test_a_stream_that_fails_never_looks_finished(how: Any) -> None:
    encoder = openai_chat.stream_encoder(CONTEXT)
    encoder.encode(Started(id="", model=""))
    encoder.encode(PartStarted(part=Text(text="a"), index=0))
    said = encoder.encode(Failed(problem=GONE)) if how == "event" else encoder.fail(GONE)
    assert json.loads(said.removeprefix(b"data: "))["error"]["code"] == "upstream_unavailable"
    assert said.endswith(b"\n\n")
    assert b"[DONE]" not in said
    assert b"finish_reason" not in said


def test_a_keep_alive_is_a_comment() -> None:
    said = openai_chat.stream_encoder(CONTEXT).keep_alive()
    assert said.startswith(b":")
    assert said.endswith(b"\n\n")


PARTS = st.one_of(
    st.builds(Text, text=st.text(max_size=8)),
    st.builds(Thinking, text=st.text(max_size=8)),
    st.builds(
        ToolCall,
        id=st.text(max_size=4),
        name=st.just("get"),
        args=st.sampled_from([b"{}", b'{"a":1}']).map(msgspec.Raw),
    ),
)


@given(st.lists(st.lists(PARTS, max_size=5), min_size=1, max_size=3), st.data())
def test_a_stream_pieced_together_equals_the_plain_reply(choices: Any, data: st.DataObject) -> None:
    reply = Reply(
        id="",
        model="",
        choices=tuple(
            Choice(
                parts=tuple(parts),
                finish=Finish(choice=number, reason=data.draw(st.sampled_from(FinishReason))),
            )
            for number, parts in enumerate(choices)
        ),
    )
    said = gather(streamed(list(unfold(reply))))
    whole = plain(reply)
    for choice in whole["choices"]:
        mine, message = said[choice["index"]], choice["message"]
        assert mine["roles"] == 1
        assert mine["content"] == (message["content"] or "")
        assert mine["reasoning"] == message.get("reasoning_content", "")
        assert mine["finish"] == choice["finish_reason"]
        calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())]
        assert [mine["calls"][index] for index in sorted(mine["calls"])] == calls
