"""No bytes and no JSON make a converter raise anything but DialectError, and what it writes keeps Google's order."""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from regrant.dialects import gemini, openai_chat
from regrant.dialects.base import ReplyContext
from regrant.errors import DialectError
from regrant.messages.fold import fold
from regrant.messages.model import Reply
from regrant.messages.stream import Event, Finished, Grammar

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def damage(value: Any, place: int, replacement: Any) -> Any:
    """`value` with its node number `place` (modulo their count, depth first) replaced."""
    place %= size(value)
    if place == 0:
        return replacement
    place -= 1
    items: list[tuple[Any, Any]] = list(value.items() if isinstance(value, dict) else enumerate(value))
    for position, (key, inner) in enumerate(items):
        if place < size(inner):
            items[position] = (key, damage(inner, place, replacement))
            break
        place -= size(inner)
    return dict(items) if isinstance(value, dict) else [inner for _, inner in items]


def size(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(size(one) for one in inner)


def objects(*needed: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    required = {name: fields.pop(name) for name in needed}
    return st.fixed_dictionaries(required, optional=fields)


TEXT = st.text(max_size=8)
IDS = st.sampled_from(["c1", "c2", "c3"])
NAMES = st.sampled_from(["get", "a/b", "a_b", ""]) | TEXT
URLS = st.sampled_from(
    [
        "https://x.example/a.png",
        "data:image/png;base64,eA==",
        "data:image/gif;base64,eA==",
        "data:,",
        "nonsense",
    ]
)
CHAT_PART = st.one_of(
    objects("type", "text", type=st.just("text"), text=TEXT),
    objects("type", "image_url", type=st.just("image_url"), image_url=objects("url", url=URLS)),
    objects("type", "file", type=st.just("file"), file=objects(file_data=URLS, filename=TEXT, file_id=TEXT)),
    objects(
        "type",
        "input_audio",
        type=st.just("input_audio"),
        input_audio=objects("data", "format", data=TEXT, format=st.just("wav")),
    ),
)
TEXTS = st.none() | TEXT | st.lists(objects("type", "text", type=st.just("text"), text=TEXT), max_size=2)
ARGUMENTS = st.sampled_from(["", "{}", "{", '{"a":1}', "[]"]) | st.dictionaries(TEXT, ANY_JSON, max_size=2)
CHAT_CALL = st.one_of(
    objects(
        "id",
        "function",
        id=IDS,
        type=st.just("function"),
        function=objects("name", name=NAMES, arguments=ARGUMENTS),
    ),
    objects("custom", id=IDS, type=st.just("custom"), custom=objects("name", name=NAMES, input=TEXT)),
)
PLAIN_MESSAGE = st.one_of(
    objects("role", "content", role=st.sampled_from(["system", "developer", "user"]), content=TEXTS),
    objects("role", "content", role=st.just("user"), content=TEXTS),
    objects(
        "role",
        role=st.just("assistant"),
        content=TEXTS,
        tool_calls=st.none() | st.lists(CHAT_CALL, max_size=3),
    ),
    objects("role", "tool_calls", role=st.just("assistant"), tool_calls=st.lists(CHAT_CALL, max_size=3)),
    objects("role", "tool_call_id", role=st.just("tool"), tool_call_id=IDS, content=TEXTS),
    objects("role", "function_call", role=st.just("assistant"), function_call=objects("name", name=NAMES)),
    objects("role", "name", role=st.just("function"), name=NAMES, content=TEXTS),
)
RICH_MESSAGE = objects("role", "content", role=st.just("user"), content=st.lists(CHAT_PART, max_size=3))
FUNCTION = objects("name", name=NAMES, description=TEXT, parameters=ANY_JSON)
CHOICE = st.sampled_from(["auto", "none", "required"]) | objects(
    "type", "function", type=st.just("function"), function=objects("name", name=NAMES)
)


def chats(message: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return objects(
        "model",
        "messages",
        model=st.just("m"),
        messages=st.lists(message, min_size=1, max_size=7),
        tools=st.lists(objects("type", "function", type=st.just("function"), function=FUNCTION), max_size=3),
        response_format=objects("type", type=st.sampled_from(["text", "json_object"])),
        reasoning_effort=st.sampled_from(["none", "low", "max"]),
        stop=TEXT | st.lists(TEXT, max_size=7),
        n=st.integers(1, 3),
        temperature=st.floats(0, 2),
        stream_options=objects(include_usage=st.booleans()),
        extra_body=objects(google=objects(thinking_config=objects(thinking_budget=st.integers(-2, 10**6)))),
        anything=ANY_JSON,
    )


MODELS = st.sampled_from(["gemini-3.8-flash", "gemini-2.5-pro", "gemini-2.0-flash", "x"])


def convert(body: bytes, model: str) -> bytes:
    sent = gemini.encode_request(openai_chat.decode_request(body), model=model).body
    check_order(json.loads(sent)["contents"])
    return sent


def check_order(contents: list[Any]) -> None:
    """What Google insists on, written down once more."""
    assert contents[0]["role"] == contents[-1]["role"] == "user"
    for before, after in zip(contents, [*contents[1:], None], strict=True):
        assert before["parts"]
        assert all(part.get("text") != "" for part in before["parts"])
        calls = [part["functionCall"]["id"] for part in before["parts"] if "functionCall" in part]
        answers = (
            [part["functionResponse"]["id"] for part in after["parts"] if "functionResponse" in part]
            if after
            else []
        )
        assert calls == answers
        assert not answers or len(answers) == len(after["parts"])


@given(chats(PLAIN_MESSAGE), MODELS)
@settings(max_examples=300)
def test_any_conversation_of_texts_and_calls_is_converted(chat: Any, model: Any) -> None:
    convert(json.dumps(chat).encode(), model)


@given(chats(PLAIN_MESSAGE | RICH_MESSAGE), MODELS, CHOICE)
def test_any_conversation_with_media_and_a_tool_choice_is_converted_or_refused(
    chat: Any, model: Any, choice: Any
) -> None:
    with contextlib.suppress(DialectError):
        convert(json.dumps(chat | {"tool_choice": choice}).encode(), model)


@given(chats(PLAIN_MESSAGE | RICH_MESSAGE), st.integers(0, 999), ANY_JSON)
@settings(max_examples=300)
def test_a_request_with_anything_in_one_place_is_converted_or_refused(
    chat: Any, place: Any, replacement: Any
) -> None:
    with contextlib.suppress(DialectError):
        convert(json.dumps(damage(chat, place, replacement)).encode(), "gemini-3.8-flash")


@given(chats(PLAIN_MESSAGE), st.integers(0, 5000), st.binary(min_size=1, max_size=2))
def test_a_request_with_broken_bytes_is_converted_or_refused(chat: Any, place: Any, broken: Any) -> None:
    body = json.dumps(chat, ensure_ascii=False).encode()
    place %= len(body)
    with contextlib.suppress(DialectError):
        convert(body[:place] + broken + body[place + 1 :], "x")


@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(body: Any) -> None:
    with contextlib.suppress(DialectError):
        convert(body, "x")


REPLY_PART = st.one_of(
    objects("text", text=TEXT, thought=st.booleans(), thoughtSignature=st.just("c2ln")),
    objects(
        "functionCall",
        functionCall=objects(name=NAMES, id=IDS, args=objects(a=ANY_JSON)),
        thoughtSignature=st.just("c2ln"),
    ),
    objects(
        "inlineData", inlineData=objects("mimeType", mimeType=st.just("image/png"), data=st.just("eA=="))
    ),
    objects(thoughtSignature=st.just("c2ln")),
)
SEGMENT = objects(startIndex=st.integers(-9, 99), endIndex=st.integers(-9, 99))
GROUNDING = objects(
    groundingChunks=st.lists(objects(web=objects("uri", uri=TEXT, title=TEXT)), max_size=2),
    groundingSupports=st.lists(
        objects(segment=SEGMENT, groundingChunkIndices=st.lists(st.integers(-3, 3), max_size=2)), max_size=2
    ),
)
CANDIDATE = objects(
    "content",
    content=objects("parts", parts=st.lists(REPLY_PART, max_size=3)),
    finishReason=st.sampled_from(["STOP", "STOP", "SAFETY", "NEW"]),
    index=st.integers(-1, 1),
    groundingMetadata=GROUNDING,
)
CHUNK = objects(
    "candidates",
    candidates=st.lists(CANDIDATE, max_size=2),
    promptFeedback=objects(blockReason=st.just("SAFETY")),
    usageMetadata=objects(promptTokenCount=st.integers(0, 9)),
)
ERROR = objects("error", error=objects(code=st.sampled_from([400, 429, 503]), message=TEXT))
END = st.sampled_from([[], [{"candidates": [{"index": index, "finishReason": "STOP"} for index in (0, 1)]}]])
CONTEXT = ReplyContext(id="1", created=1, model="m", include_usage=True)


def check(events: list[Event]) -> None:
    grammar = Grammar()
    for event in events:
        grammar.accept(event)
    assert grammar.complete


def read(chunks: list[bytes]) -> list[Event]:
    decoder = gemini.reply_decoder(call_prefix="p")
    events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()
    check(events)
    with contextlib.suppress(DialectError):
        encoder = openai_chat.stream_encoder(CONTEXT)
        for event in events:
            encoder.encode(event)
        folded = fold(events)
        if isinstance(folded, Reply):
            openai_chat.encode_reply(folded, context=CONTEXT)
    return events


def sse(chunks: list[Any]) -> list[bytes]:
    return [b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks]


@given(st.lists(CHUNK, max_size=4), END)
@settings(max_examples=300)
def test_a_stream_says_what_the_same_chunks_say_in_an_array(chunks: list[Any], end: Any) -> None:
    whole = gemini.decode_reply(json.dumps([*chunks, *end]).encode(), call_prefix="p")
    check(whole)
    assert len(read(sse([*chunks, *end]))) >= 1
    if isinstance(whole[-1], Finished):
        assert fold(read(sse([*chunks, *end]))) == fold(whole)


@given(st.lists(CHUNK | ERROR, min_size=1, max_size=4), END, st.integers(1, 999), ANY_JSON)
@settings(max_examples=300)
def test_a_stream_with_anything_in_one_place_obeys_the_grammar(
    chunks: list[Any], end: Any, place: Any, replacement: Any
) -> None:
    stream = [*chunks, *end]
    damaged = damage(stream, 1 + place % (size(stream) - 1), replacement)
    read(sse(damaged))
    check(gemini.decode_reply(json.dumps(damaged).encode(), call_prefix="p"))


@given(
    st.lists(
        st.binary(max_size=20) | st.sampled_from([b"data: ", b"{", b"}", b"\n\n", b'{"error":{}}']),
        max_size=8,
    )
)
def test_any_bytes_from_upstream_obey_the_grammar(chunks: list[bytes]) -> None:
    read(chunks)
