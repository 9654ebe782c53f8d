"""What goes to Gemini and comes back is the same: each direction against the other one, written here once more."""

import json
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from regrant.dialects import gemini
from regrant.messages.fold import fold
from regrant.messages.model import (
    Choice,
    Finish,
    FinishReason,
    Media,
    Part,
    Reply,
    ReplyPart,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
)

WORDS = st.text(min_size=1, max_size=8)
SIGNATURE = st.none() | st.just("c2ln")
ARGS = st.sampled_from([b"{}", b'{"a":1}', b'{"a":{"b":"\xc3\xa9"}}']).map(msgspec.Raw)
NAMES = st.sampled_from(["get", "a/b", "a_b", "größe"])
MEDIA = st.builds(Media, mime=st.just("image/png"), data=st.just("eA=="))
CALLS = st.builds(ToolCall, id=st.uuids().map(str), name=NAMES, args=ARGS, signature=SIGNATURE)
REPLY_PARTS: st.SearchStrategy[ReplyPart] = st.one_of(
    st.builds(Text, text=WORDS, signature=SIGNATURE),
    st.builds(Thinking, text=WORDS, signature=SIGNATURE),
    MEDIA,
    CALLS,
)


def write_part(part: ReplyPart) -> dict[str, Any]:
    match part:
        case Text() | Thinking():
            written: dict[str, Any] = {"text": part.text}
            if isinstance(part, Thinking):
                written["thought"] = True
        case ToolCall():
            written = {
                "functionCall": {"id": part.id, "name": part.name, "args": json.loads(bytes(part.args))}
            }
        case Media():
            return {"inlineData": {"mimeType": part.mime, "data": part.data}}
    return written | ({"thoughtSignature": part.signature} if part.signature else {})


def write_reply(reply: Reply) -> bytes:
    candidates = [
        {
            "index": choice.finish.choice,
            "content": {"role": "model", "parts": [write_part(part) for part in choice.parts]},
            "finishReason": "STOP",
        }
        for choice in reply.choices
    ]
    usage = {"promptTokenCount": reply.usage.input_tokens, "candidatesTokenCount": reply.usage.output_tokens}
    body = {
        "candidates": candidates,
        "usageMetadata": usage,
        "responseId": reply.id,
        "modelVersion": reply.model,
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def distinct(parts: list[ReplyPart]) -> bool:
    """Whether no two neighbours are unsigned text of one kind, which Gemini cannot tell from one part."""
    return all(
        type(one) is not type(next_) or not isinstance(one, Text | Thinking) or one.signature
        for one, next_ in pairwise(parts)
    )


@given(st.lists(st.lists(REPLY_PARTS, max_size=5).filter(distinct), min_size=1, max_size=2))
def test_a_reply_written_as_gemini_writes_it_is_read_back(choices: Any) -> None:
    replied = Reply(
        id="R",
        model="M",
        choices=tuple(
            Choice(
                parts=tuple(parts),
                finish=Finish(
                    choice=number,
                    reason=FinishReason.TOOL_CALLS
                    if any(isinstance(part, ToolCall) for part in parts)
                    else FinishReason.STOP,
                ),
            )
            for number, parts in enumerate(choices)
        ),
        usage=Usage(input_tokens=3, output_tokens=2),
    )
    assert fold(gemini.decode_reply(write_reply(replied), call_prefix="p")) == replied


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Turn, ...]:
    """Conversations that already keep Google's order, so that nothing has to be mended."""
    turns: list[Turn] = []
    for _ in range(draw(st.integers(1, 3))):
        spoken = draw(st.lists(st.builds(Text, text=WORDS) | MEDIA, min_size=1, max_size=3))
        turns.append(Turn(role="user", parts=tuple(spoken)))
        for calls in draw(st.lists(st.lists(CALLS, min_size=1, max_size=3), max_size=2)):
            said = draw(st.lists(st.builds(Text, text=WORDS, signature=SIGNATURE), max_size=1))
            turns.append(Turn(role="assistant", parts=(*said, *calls)))
            results = tuple(
                ToolResult(
                    call_id=call.id,
                    content=(Text(text=draw(WORDS)),),
                    name=call.name,
                    is_error=draw(st.booleans()),
                )
                for call in calls
            )
            turns.append(Turn(role="user", parts=results))
        turns.append(Turn(role="assistant", parts=(Text(text=draw(WORDS)),)))
    return (*turns, Turn(role="user", parts=(Text(text="last"),)))


def read_part(part: dict[str, Any], names: dict[str, str]) -> Part:
    match part:
        case {"functionCall": call}:
            args = msgspec.Raw(msgspec.json.encode(call["args"]))
            return ToolCall(
                id=call["id"],
                name=names.get(call["name"], call["name"]),
                args=args,
                signature=part.get("thoughtSignature"),
            )
        case {"functionResponse": answer}:
            ((key, text),) = answer["response"].items()
            name = names.get(answer["name"], answer["name"])
            return ToolResult(
                call_id=answer["id"], content=(Text(text=text),), name=name, is_error=key == "error"
            )
        case {"inlineData": blob}:
            return Media(mime=blob["mimeType"], data=blob["data"])
    return Text(text=part["text"], signature=part.get("thoughtSignature"))


@given(conversations())
def test_a_conversation_in_googles_order_is_sent_without_a_loss(turns: Any) -> None:
    sent = gemini.encode_request(Request(model="m", turns=turns), model="gemini-2.5-flash")
    roles = {"user": "user", "model": "assistant"}
    read = [
        (roles[content["role"]], tuple(read_part(part, dict(sent.names)) for part in content["parts"]))
        for content in json.loads(sent.body)["contents"]
    ]
    assert read == [(turn.role, turn.parts) for turn in turns]
