"""Watching relayed Gemini answers in all three forms."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.dialects import gemini
from regrant.dialects.gemini import StreamForm
from regrant.dialects.gemini.scanner import ElementSplitter
from regrant.messages.model import Usage
from regrant.messages.problem import Problem, ProblemKind

FIRST = {"candidates": [{"content": {"parts": [{"text": 'a"}]{["\\'}]}}], "modelVersion": "M"}
LAST = {
    "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
}
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}}
ERROR = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
GONE = Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone")


def write(form: StreamForm, *events: dict[str, Any], closed: bool = True) -> bytes:
    encoded = [json.dumps(event).encode() for event in events]
    match form:
        case "sse":
            return b"".join(b"data: " + event + b"\r\n\r\n" for event in encoded)
        case "array":
            return b"[" + b"\n,\r\n".join(encoded) + (b"]" if closed else b"")
        case "json":
            return encoded[-1]


def watch(form: StreamForm, *chunks: bytes) -> gemini.GeminiStreamScanner:
    scanner = gemini.GeminiStreamScanner(form)
    for chunk in chunks:
        scanner.feed(chunk)
    scanner.end()
    return scanner


FORMS: tuple[StreamForm, ...] = ("sse", "array", "json")
STREAMS: tuple[StreamForm, ...] = ("sse", "array")


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_answer_is_complete_and_its_cost_is_known(form: Any) -> None:
    scanner = watch(form, write(form, FIRST, LAST))
    assert scanner.complete
    assert scanner.error is None
    assert scanner.usage == Usage(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize("form", FORMS)
def test_a_blocked_prompt_is_complete(form: Any) -> None:
    assert watch(form, write(form, BLOCKED)).complete


@pytest.mark.parametrize("form", STREAMS)
def test_the_first_event_counts_once_it_is_whole(form: Any) -> None:
    scanner = gemini.GeminiStreamScanner(form)
    data = write(form, FIRST, LAST)
    at = data.index(b'"M"}') + 4 + (4 if form == "sse" else 0)
    seen = []
    for piece in (data[: at - 1], data[at - 1 : at]):
        scanner.feed(piece)
        seen.append(scanner.started)
    assert seen == [False, True]
    assert scanner.model_version == "M"


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_without_a_finish_reason_is_not_complete(form: Any) -> None:
    assert not watch(form, write(form, FIRST)).complete


def test_an_array_that_is_not_closed_is_not_complete() -> None:
    assert not watch("array", write("array", FIRST, LAST, closed=False)).complete


@pytest.mark.parametrize("form", FORMS)
def test_an_error_as_first_event_is_seen(form: Any) -> None:
    scanner = watch(form, write(form, ERROR))
    assert scanner.started
    assert scanner.error is not None
    assert json.loads(scanner.error) == ERROR
    assert not scanner.complete


@pytest.mark.parametrize("form", STREAMS)
def test_an_error_after_the_finish_reason_is_not_complete(form: Any) -> None:
    scanner = watch(form, write(form, FIRST, LAST, ERROR))
    assert scanner.error is not None
    assert not scanner.complete


def test_a_bare_error_in_an_sse_stream_is_seen() -> None:
    scanner = watch("sse", write("sse", FIRST), json.dumps(ERROR, indent=1).encode())
    assert scanner.error is not None
    assert json.loads(scanner.error) == ERROR


@pytest.mark.parametrize("body", [json.dumps(ERROR).encode(), json.dumps([ERROR]).encode()])
def test_a_bare_or_wrapped_error_in_place_of_an_array_is_seen(body: Any) -> None:
    assert watch("array", body).error is not None


@pytest.mark.parametrize("form", FORMS)
def test_words_in_the_models_text_are_not_taken_for_fields(form: Any) -> None:
    text = json.dumps(LAST) + json.dumps(ERROR)
    call = {"name": "f", "args": {"finishReason": "STOP", "error": {"code": 1}}}
    event = {"candidates": [{"content": {"parts": [{"text": text}, {"functionCall": call}]}}]}
    scanner = watch(form, write(form, event))
    assert not scanner.complete
    assert scanner.error is None


@pytest.mark.parametrize("form", FORMS)
@given(places=st.lists(st.integers(0, 10_000), max_size=10), ending=st.sampled_from([LAST, ERROR, FIRST]))
def test_how_the_bytes_are_cut_never_matters(form: Any, places: list[int], ending: Any) -> None:
    data = write(form, FIRST, ending)
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    cut = watch(form, *(data[start:stop] for start, stop in pairwise(edges)))
    whole = watch(form, data)
    assert (cut.complete, cut.error, cut.usage, cut.started) == (
        whole.complete,
        whole.error,
        whole.usage,
        whole.started,
    )


@pytest.mark.parametrize("form", FORMS)
@given(
    chunks=st.lists(
        st.binary(max_size=30) | st.sampled_from([b"[", b"{", b'"', b"\\", b"]", b"}", b"\n", b"data: {"]),
        max_size=12,
    )
)
def test_no_bytes_raise(form: Any, chunks: list[bytes]) -> None:
    watch(form, *chunks)


@given(
    st.lists(
        st.recursive(
            st.none() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ).map(lambda inner: {"x": inner}),
        max_size=4,
    ),
    st.lists(st.integers(0, 999), max_size=6),
)
def test_a_split_array_gives_its_elements(elements: Any, places: list[int]) -> None:
    data = json.dumps(elements, ensure_ascii=False).encode()
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    splitter = ElementSplitter()
    found = [element for start, stop in pairwise(edges) for element in splitter.feed(data[start:stop])]
    assert [json.loads(element) for element in found] == elements
    assert splitter.closed


@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize("relayed", [b"", None], ids=["nothing relayed", "one event relayed"])
def test_an_error_after_a_cut_is_readable_and_never_looks_complete(form: Any, relayed: Any) -> None:
    said = write(form, FIRST, closed=False) if relayed is None else relayed
    stream = said + gemini.error_event(GONE, form, begun=bool(said))
    scanner = watch(form, stream)
    assert not scanner.complete
    assert scanner.error is not None
    assert json.loads(scanner.error)["error"]["status"] == "UNAVAILABLE"
    if form == "array":
        assert json.loads(stream)[-1]["error"]["code"] == 502


def test_a_plain_answer_that_was_cut_cannot_be_mended() -> None:
    assert gemini.error_event(GONE, "json") == b""
    assert json.loads(gemini.error_event(GONE, "json", begun=False))["error"]["code"] == 502


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_array_cut_inside_an_escape_is_split_all_the_same(size: int) -> None:
    elements = [{"a": '\\"]}{["'}, {"b": "\\\\"}]
    data = json.dumps(elements).encode()
    splitter = ElementSplitter()
    found = [
        element
        for start in range(0, len(data), size)
        for element in splitter.feed(data[start : start + size])
    ]
    assert [json.loads(element) for element in found] == elements
