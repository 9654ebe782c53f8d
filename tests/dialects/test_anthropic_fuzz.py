"""No bytes and no JSON make the reader of Messages raise anything but DialectError, and what is sent keeps Google's order."""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dialects.test_fuzz import (
    ANY_JSON,
    CHUNK,
    END,
    NAMES,
    TEXT,
    check_order,
    damage,
    objects,
    sse,
)

from regrant.dialects import anthropic, gemini
from regrant.dialects.base import ReplyContext
from regrant.errors import DialectError
from regrant.messages.fold import fold
from regrant.messages.model import Reply

IDS = st.sampled_from(["t1", "t2", "t3"])
SOURCE = st.one_of(
    objects("type", "data", type=st.just("base64"), data=TEXT, media_type=st.just("image/png")),
    objects("type", "url", type=st.just("url"), url=st.sampled_from(["https://x.example/a", "data:,", "x"])),
    objects("type", "file_id", type=st.just("file"), file_id=TEXT),
)


def block(kind: str, *needed: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return objects("type", *needed, type=st.just(kind), **fields)


TEXT_BLOCK = block("text", "text", text=TEXT, cache_control=ANY_JSON)
IMAGE = block("image", "source", source=SOURCE)
REFERENCE = block("tool_reference", "tool_name", tool_name=NAMES)


def results(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    content = TEXT | st.lists(part, max_size=2)
    return block("tool_result", "tool_use_id", tool_use_id=IDS, content=content, is_error=st.booleans())


RESULT = results(TEXT_BLOCK | REFERENCE)
CALL = block("tool_use", "id", "name", "input", id=IDS, name=NAMES, input=ANY_JSON)
THOUGHT = block("thinking", "thinking", thinking=TEXT, signature=st.sampled_from(["", "SIG", "regrant:c2ln"]))
PLAIN_MESSAGE = st.one_of(
    objects("role", "content", role=st.sampled_from(["user", "assistant", "system"]), content=TEXT),
    objects("role", "content", role=st.just("user"), content=st.lists(TEXT_BLOCK | RESULT, max_size=3)),
    objects(
        "role",
        "content",
        role=st.just("assistant"),
        content=st.lists(TEXT_BLOCK | CALL | THOUGHT, max_size=4),
    ),
    objects("role", "content", role=st.just("system"), content=st.lists(TEXT_BLOCK, max_size=2)),
)
RICH_MESSAGE = objects(
    "role",
    "content",
    role=st.just("user"),
    content=st.lists(
        IMAGE | results(IMAGE) | block("document", "source", source=SOURCE, title=TEXT), max_size=3
    ),
)
TOOL = objects("name", name=NAMES, description=TEXT, input_schema=ANY_JSON, defer_loading=st.booleans())


def requests(message: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return objects(
        "model",
        "messages",
        model=st.just("m"),
        messages=st.lists(message, min_size=1, max_size=7),
        max_tokens=st.integers(1, 10**6),
        system=TEXT | st.lists(TEXT_BLOCK, max_size=2),
        stop_sequences=st.lists(TEXT, max_size=7),
        thinking=objects(
            "type",
            type=st.sampled_from(["enabled", "adaptive", "disabled"]),
            budget_tokens=st.integers(0, 10**6),
        ),
        output_config=objects(effort=TEXT),
        metadata=objects(user_id=TEXT),
        anything=ANY_JSON,
    )


MODELS = st.sampled_from(["gemini-3.8-flash", "gemini-2.5-pro", "gemini-2.0-flash", "x"])


def convert(body: bytes, model: str) -> None:
    request = anthropic.decode_request(body)
    check_order(json.loads(gemini.encode_request(request, model=model).body)["contents"])
    counted = gemini.encode_count(request, model=model)
    assert (
        json.loads(counted.gemini)["generateContentRequest"]["contents"]
        == json.loads(counted.vertex)["contents"]
    )


@given(requests(PLAIN_MESSAGE), MODELS)
@settings(max_examples=300)
def test_any_conversation_of_texts_calls_and_thoughts_is_converted(request: Any, model: Any) -> None:
    convert(json.dumps(request).encode(), model)


@given(requests(PLAIN_MESSAGE | RICH_MESSAGE), st.lists(TOOL, max_size=3), MODELS, NAMES)
def test_any_conversation_with_media_and_tools_is_converted_or_refused(
    request: Any, tools: Any, model: Any, chosen: Any
) -> None:
    with contextlib.suppress(DialectError):
        choice = {"type": "tool", "name": chosen}
        convert(json.dumps(request | {"tools": tools, "tool_choice": choice}).encode(), model)


@given(requests(PLAIN_MESSAGE | RICH_MESSAGE), st.integers(0, 999), ANY_JSON)
@settings(max_examples=300)
def test_a_message_request_with_anything_in_one_place_is_converted_or_refused(
    request: Any, place: Any, replacement: Any
) -> None:
    with contextlib.suppress(DialectError):
        convert(json.dumps(damage(request, place, replacement)).encode(), "gemini-3.8-flash")


@given(requests(PLAIN_MESSAGE), st.integers(0, 5000), st.binary(min_size=1, max_size=2))
def test_a_message_request_with_broken_bytes_is_converted_or_refused(
    request: Any, place: Any, broken: Any
) -> None:
    body = json.dumps(request, ensure_ascii=False).encode()
    place %= len(body)
    with contextlib.suppress(DialectError):
        convert(body[:place] + broken + body[place + 1 :], "x")


@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_than_messages_is_refused(body: Any) -> None:
    with contextlib.suppress(DialectError):
        convert(body, "x")


@given(st.lists(CHUNK, max_size=4), END, st.booleans())
@settings(max_examples=300)
def test_any_answer_of_geminis_can_be_written_or_is_refused(chunks: list[Any], end: Any, thinks: Any) -> None:
    decoder = gemini.reply_decoder(call_prefix="p")
    events = [event for chunk in sse([*chunks, *end]) for event in decoder.feed(chunk)] + decoder.end()
    context = ReplyContext(id="1", created=1, model="m", thinks=thinks)
    encoder = anthropic.stream_encoder(context)
    with contextlib.suppress(DialectError):
        for event in events:
            encoder.encode(event)
        folded = fold(events)
        if isinstance(folded, Reply):
            anthropic.encode_reply(folded, context=context)
