"""No bytes and no JSON make a converter raise anything but DialectError."""

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
from regrant.messages.stream import Grammar

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


def maybe(likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there, sometimes anything."""
    return st.one_of(likely, likely, likely, likely, ANY_JSON)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return maybe(st.fixed_dictionaries({}, optional={name: maybe(value) for name, value in fields.items()}))


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
    objects(type=st.just("text"), text=TEXT),
    objects(type=st.just("image_url"), image_url=objects(url=URLS)),
    objects(type=st.just("file"), file=objects(file_data=URLS, filename=TEXT, file_id=TEXT)),
    objects(type=st.just("input_audio"), input_audio=objects(data=TEXT, format=st.just("wav"))),
)
CHAT_CALL = objects(
    id=IDS,
    type=st.sampled_from(["function", "custom"]),
    function=objects(name=NAMES, arguments=st.sampled_from(["", "{}", "{", '{"a":1}', "[]"])),
    custom=objects(name=NAMES, input=TEXT),
)
CHAT_MESSAGE = objects(
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
    content=TEXT | st.lists(CHAT_PART, max_size=3),
    tool_calls=st.lists(CHAT_CALL, max_size=3),
    tool_call_id=IDS,
    name=NAMES,
)
CHAT_TOOL = objects(
    type=st.just("function"), function=objects(name=NAMES, description=TEXT, parameters=ANY_JSON)
)
CHAT = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(CHAT_MESSAGE, min_size=1, max_size=6)},
    optional={
        "tools": maybe(st.lists(CHAT_TOOL, max_size=3)),
        "tool_choice": maybe(
            st.sampled_from(["auto", "none", "required"])
            | objects(type=st.just("function"), function=objects(name=NAMES))
        ),
        "response_format": objects(
            type=st.sampled_from(["text", "json_object", "json_schema"]), json_schema=objects(schema=ANY_JSON)
        ),
        "reasoning_effort": maybe(st.sampled_from(["none", "low", "max"])),
        "stop": maybe(TEXT | st.lists(TEXT, max_size=7)),
        "n": maybe(st.integers(0, 3)),
        "temperature": maybe(st.floats(0, 2)),
        "stream_options": objects(include_usage=st.booleans()),
        "extra_body": objects(
            google=objects(
                thinking_config=objects(thinking_budget=st.integers(-2, 10**6), thinking_level=TEXT)
            )
        ),
        "anything": ANY_JSON,
    },
)
MODELS = st.sampled_from(["gemini-3.8-flash", "gemini-2.5-pro", "gemini-2.0-flash", "x"])


def convert(body: bytes, model: str) -> None:
    with contextlib.suppress(DialectError):
        request = openai_chat.decode_request(body)
        sent = gemini.encode_request(request, model=model)
        check_order(json.loads(sent.body)["contents"])


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


@given(CHAT, MODELS)
@settings(max_examples=400)
def test_any_chat_request_is_converted_to_a_conversation_google_accepts_or_refused(
    request_: Any, model: Any
) -> None:
    convert(json.dumps(request_).encode(), model)


@given(ANY_JSON, MODELS)
def test_any_json_is_converted_or_refused(value: Any, model: Any) -> None:
    convert(json.dumps(value).encode(), model)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(body: Any) -> None:
    convert(body, "x")


@given(CHAT, st.integers(0, 5000), st.binary(min_size=1, max_size=2))
def test_a_damaged_request_is_converted_or_refused(request_: Any, place: Any, damage: Any) -> None:
    body = json.dumps(request_, ensure_ascii=False).encode()
    place %= len(body)
    convert(body[:place] + damage + body[place + 1 :], "x")


REPLY_PART = objects(
    text=TEXT,
    thought=st.booleans(),
    thoughtSignature=st.just("c2ln"),
    functionCall=objects(name=NAMES, id=IDS, args=objects(a=ANY_JSON)),
    inlineData=objects(mimeType=st.just("image/png"), data=st.just("eA==")),
)
SEGMENT = objects(startIndex=st.integers(-9, 99), endIndex=st.integers(-9, 99))
GROUNDING = objects(
    groundingChunks=st.lists(objects(web=objects(uri=TEXT, title=TEXT)), max_size=2),
    groundingSupports=st.lists(
        objects(segment=SEGMENT, groundingChunkIndices=st.lists(st.integers(-3, 3), max_size=2)), max_size=2
    ),
)
CHUNK = objects(
    candidates=st.lists(
        objects(
            content=objects(parts=st.lists(REPLY_PART, max_size=3)),
            finishReason=st.sampled_from(["STOP", "SAFETY", "NEW"]),
            index=st.integers(-1, 2),
            groundingMetadata=GROUNDING,
        ),
        max_size=2,
    ),
    promptFeedback=objects(blockReason=st.just("SAFETY")),
    usageMetadata=objects(promptTokenCount=st.integers(0, 9)),
    error=objects(code=st.sampled_from([400, 429, 503]), message=TEXT),
)
CONTEXT = ReplyContext(id="1", created=1, model="m", include_usage=True)


def read(chunks: list[bytes]) -> None:
    decoder = gemini.reply_decoder(call_prefix="p")
    events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()
    grammar, encoder = Grammar(), openai_chat.stream_encoder(CONTEXT)
    for event in events:
        grammar.accept(event)
        encoder.encode(event)
    assert grammar.complete
    folded = fold(events)
    if isinstance(folded, Reply):
        openai_chat.encode_reply(folded, context=CONTEXT)


@given(st.lists(CHUNK, max_size=4))
@settings(max_examples=300)
def test_any_stream_of_gemini_obeys_the_grammar_and_is_written(chunks: list[bytes]) -> None:
    encoded = [json.dumps(chunk).encode() for chunk in chunks]
    with contextlib.suppress(DialectError):
        read([b"data: " + chunk + b"\r\n\r\n" for chunk in encoded])
    events = gemini.decode_reply(b"[" + b",".join(encoded) + b"]", call_prefix="p")
    grammar = Grammar()
    for event in events:
        grammar.accept(event)
    assert grammar.complete


@given(
    st.lists(
        st.binary(max_size=20) | st.sampled_from([b"data: ", b"{", b"}", b"\n\n", b'{"error":{}}']),
        max_size=8,
    )
)
def test_any_bytes_from_upstream_obey_the_grammar(chunks: list[bytes]) -> None:
    with contextlib.suppress(DialectError):
        read(chunks)
