"""Reading Gemini's answers: the golden transcript, every odd chunk seen in the wild, and every cut."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.dialects import gemini
from regrant.dialects.gemini.reply import decode_reply, read_reply
from regrant.messages.fold import fold
from regrant.messages.model import (
    Citation,
    FinishReason,
    Media,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from regrant.messages.problem import ProblemKind
from regrant.messages.stream import (
    Event,
    Failed,
    Finished,
    Grammar,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
)

GOLDEN = (
    b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Plan\xe2\x80\xa6","thought":true}]},"index":0}],'
    b'"usageMetadata":{"promptTokenCount":20,"thoughtsTokenCount":9,"totalTokenCount":29},"modelVersion":"gemini-3.8-flash","responseId":"R1"}\r\n\r\n'
    b'data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"id":"c1","name":"get","args":{"p":"a"}},"thoughtSignature":"AbC="},'
    b'{"functionCall":{"id":"c2","name":"get","args":{"p":"b"}}}]},"finishReason":"STOP","index":0}],'
    b'"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":15,"thoughtsTokenCount":30,"totalTokenCount":65}}\r\n\r\n'
)
ERROR = b'{ "error": {\n  "code": 503,\n  "message": "The model is overloaded.",\n  "status": "UNAVAILABLE"\n} }\n'


def decode(*chunks: bytes, names: dict[str, str] | None = None) -> list[Event]:
    decoder = gemini.reply_decoder(call_prefix="p", names=names or {})
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    events += decoder.end()
    check(events)
    assert decoder.feed(GOLDEN) == []
    return events


def check(events: list[Event]) -> None:
    grammar = Grammar()
    for event in events:
        grammar.accept(event)
    assert grammar.complete


def chunk(*parts: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if finish:
        candidate["finishReason"] = finish
    return sse({"candidates": [candidate | more.pop("candidate", {})]} | more)


def sse(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"


def reply(*chunks: bytes, **more: Any) -> Reply:
    folded = fold(decode(*chunks, **more))
    assert isinstance(folded, Reply)
    return folded


def failure(*chunks: bytes) -> Failed:
    last = decode(*chunks)[-1]
    assert isinstance(last, Failed)
    return last


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def test_golden_transcript_of_a_thought_and_two_calls() -> None:
    first = ToolCall(id="c1", name="get", args=msgspec.Raw(b'{"p":"a"}'), signature="AbC=")
    second = ToolCall(id="c2", name="get", args=msgspec.Raw(b'{"p":"b"}'))
    events = decode(GOLDEN)
    assert events[:-1] == [
        Started(id="R1", model="gemini-3.8-flash"),
        PartStarted(part=Thinking(text="Plan…"), index=0),
        PartEnded(index=0),
        PartStarted(part=first, index=1),
        PartEnded(index=1),
        PartStarted(part=second, index=2),
        PartEnded(index=2),
    ]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.finishes[0].reason is FinishReason.TOOL_CALLS
    assert finished.usage == Usage(input_tokens=20, output_tokens=45, reasoning_tokens=30)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_how_the_stream_is_cut_never_matters(places: list[int]) -> None:
    assert decode(*cut(GOLDEN, places)) == decode(GOLDEN)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_how_an_error_in_mid_stream_is_cut_never_matters(places: list[int]) -> None:
    whole = chunk({"text": "a"}) + ERROR
    assert decode(*cut(whole, places)) == decode(whole)


def test_a_plain_answer_and_its_stream_say_the_same() -> None:
    body = json.dumps(
        {
            "candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
            "responseId": "R",
            "modelVersion": "M",
        }
    ).encode()
    events = gemini.decode_reply(body, call_prefix="p")
    check(events)
    streamed = reply(
        chunk({"text": "Hel"}, responseId="R", modelVersion="M"),
        chunk({"text": "lo"}),
        chunk(finish="STOP", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 2}),
    )
    assert fold(events) == streamed


def test_chunks_of_one_kind_are_one_part_and_kinds_never_overlap() -> None:
    events = decode(
        chunk({"text": "a", "thought": True}, {"text": "b", "thought": True}),
        chunk({"text": "c"}),
        chunk({"text": "d"}, {"text": "e", "thought": True}, finish="STOP"),
    )
    assert [type(event) for event in events[1:-1]] == [
        PartStarted, PartDelta, PartEnded,
        PartStarted, PartDelta, PartEnded,
        PartStarted, PartEnded,
    ]  # fmt: skip
    folded = fold(events)
    assert isinstance(folded, Reply)
    assert folded.choices[0].parts == (Thinking(text="ab"), Text(text="cd"), Thinking(text="e"))


def test_a_signature_in_an_empty_last_part_belongs_to_the_text_before_it() -> None:
    got = reply(chunk({"text": "hi"}), chunk({"text": "", "thoughtSignature": "c2ln"}, finish="STOP"))
    assert got.choices[0].parts == (Text(text="hi", signature="c2ln"),)


def test_a_signed_part_is_never_merged_with_the_next() -> None:
    got = reply(chunk({"text": "a", "thoughtSignature": "c2ln"}, {"text": "b"}, finish="STOP"))
    assert got.choices[0].parts == (Text(text="a", signature="c2ln"), Text(text="b"))


def test_a_signature_without_any_text_is_kept() -> None:
    got = reply(chunk({"thoughtSignature": "c2ln"}, finish="STOP"))
    assert got.choices[0].parts == (Text(text="", signature="c2ln"),)


def test_calls_without_an_id_get_stable_ones_and_without_arguments_an_empty_object() -> None:
    got = reply(
        chunk({"functionCall": {"name": "a"}}, {"functionCall": {"name": "b", "args": None}}, finish="STOP")
    )
    assert got.choices[0].parts == (ToolCall(id="call_p_0", name="a"), ToolCall(id="call_p_1", name="b"))


def test_tool_names_are_given_back_as_the_client_wrote_them() -> None:
    got = reply(chunk({"functionCall": {"name": "a_b"}}, finish="STOP"), names={"a_b": "a/b"})
    part = got.choices[0].parts[0]
    assert isinstance(part, ToolCall)
    assert part.name == "a/b"


def test_chunks_without_content_or_parts_are_no_parts() -> None:
    nothing = sse({"candidates": [{"content": {"role": "model"}, "index": 0}]})
    got = reply(
        nothing,
        chunk({"text": "a"}),
        sse({"usageMetadata": {"promptTokenCount": 1}}),
        sse({"candidates": [{"finishReason": "STOP"}]}),
    )
    assert got.choices[0].parts == (Text(text="a"),)


def test_usage_is_the_last_one_seen_and_counts_thoughts_and_tool_prompts() -> None:
    last = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 6,
        "toolUsePromptTokenCount": 7,
        "totalTokenCount": 28,
    }
    got = reply(
        chunk({"text": "a"}, usageMetadata={"promptTokenCount": 99}), chunk(finish="STOP", usageMetadata=last)
    )
    assert got.usage == Usage(input_tokens=17, cached_tokens=4, output_tokens=11, reasoning_tokens=6)
    assert got.usage.total_tokens == last["totalTokenCount"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("SAFETY", FinishReason.CONTENT_FILTER),
        ("IMAGE_PROHIBITED_CONTENT", FinishReason.CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", FinishReason.MALFORMED),
        ("SOMETHING_NEW", FinishReason.OTHER),
    ],
)
def test_every_finish_reason_has_a_meaning(word: Any, reason: Any) -> None:
    finish = reply(chunk({"text": "a"}, finish=word)).choices[0].finish
    assert finish.reason is reason
    assert finish.detail == ("" if word in {"STOP", "MAX_TOKENS"} else word)


def test_a_blocked_prompt_is_a_finished_reply_without_parts() -> None:
    got = reply(
        sse(
            {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": 8},
            }
        )
    )
    assert got.choices[0].parts == ()
    assert got.choices[0].finish.reason is FinishReason.CONTENT_FILTER
    assert got.choices[0].finish.detail == "PROHIBITED_CONTENT"
    assert got.usage.input_tokens == 8


def test_several_candidates_are_several_choices() -> None:
    got = reply(
        chunk({"text": "b"}, index=1),
        chunk({"text": "a"}),
        chunk({"text": "B"}, finish="MAX_TOKENS", index=1),
        chunk(finish="STOP"),
    )
    assert [(choice.finish.choice, choice.finish.reason, choice.parts) for choice in got.choices] == [
        (0, FinishReason.STOP, (Text(text="a"),)),
        (1, FinishReason.LENGTH, (Text(text="bB"),)),
    ]


def test_pictures_come_whole() -> None:
    got = reply(
        chunk(
            {"text": "here"},
            {"inlineData": {"mimeType": "image/png", "data": "eA=="}},
            {"text": "!"},
            finish="STOP",
        )
    )
    assert got.choices[0].parts == (Text(text="here"), Media(mime="image/png", data="eA=="), Text(text="!"))


def test_code_that_google_ran_is_shown_as_text() -> None:
    got = reply(
        chunk(
            {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
            finish="STOP",
        )
    )
    assert got.choices[0].parts == (Text(text="\n```python\nprint(1)\n```\n\n```\n1\n```\n"),)


def test_sources_are_counted_in_code_points_not_bytes() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"maps": {}}],
        "groundingSupports": [
            {"segment": {"startIndex": 3, "endIndex": 5}, "groundingChunkIndices": [0, 1, 9]}
        ],
    }
    got = reply(chunk({"text": "é é!"}, finish="STOP", candidate={"groundingMetadata": grounding}))
    assert got.choices[0].finish.citations == (Citation(url="https://a.example", title="A", start=2, end=3),)


def test_log_probabilities_are_gathered_over_the_stream() -> None:
    def scored(token: str) -> dict[str, Any]:
        one = {"token": token, "logProbability": -0.5}
        return {"logprobsResult": {"chosenCandidates": [one], "topCandidates": [{"candidates": [one]}]}}

    got = reply(
        chunk({"text": "a"}, candidate=scored("a")),
        chunk({"text": "b"}, finish="STOP", candidate=scored("b")),
    )
    assert [one.token for one in got.choices[0].finish.logprobs] == ["a", "b"]
    assert got.choices[0].finish.logprobs[0].top == (TokenLogprob(token="a", logprob=-0.5),)


def test_a_bare_error_in_mid_stream_fails_the_reply_at_once() -> None:
    decoder = gemini.reply_decoder(call_prefix="p")
    decoder.feed(chunk({"text": "a"}))
    (failed,) = decoder.feed(ERROR)
    assert isinstance(failed, Failed)
    assert (failed.problem.kind, failed.problem.http_status) == (ProblemKind.UPSTREAM_UNAVAILABLE, 503)
    assert json.loads(failed.upstream_error)["error"]["code"] == 503
    assert decoder.end() == []


@pytest.mark.parametrize(
    "ending",
    [
        b'data: {"error":{"code":500,"message":"x","status":"INTERNAL"}}\r\n\r\n',
        b'[{"error":{"code":500,"message":"x","status":"INTERNAL"}}]',
        b'data: [{"error":{"code":500,"message":"x","status":"INTERNAL"}}]\n\n',
        b'{"error":{"code":500',
    ],
)
def test_every_form_of_an_error_fails_the_reply(ending: Any) -> None:
    assert failure(chunk({"text": "a"}), ending).problem.kind is ProblemKind.UPSTREAM_UNAVAILABLE


def test_an_error_after_the_finish_reason_still_fails_the_reply() -> None:
    assert failure(chunk({"text": "a"}, finish="STOP"), ERROR).problem.http_status == 503


def test_a_body_that_ends_without_a_finish_reason_fails() -> None:
    assert failure(chunk({"text": "a"})).problem.kind is ProblemKind.UPSTREAM_UNAVAILABLE


def test_one_candidate_without_a_finish_reason_fails_the_whole_reply() -> None:
    failure(chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, index=1))


def test_an_empty_body_fails() -> None:
    failure()


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: {\r\n\r\n",
        b"<html>\n",
        b'data: {"candidates":3}\n\n',
        b"data: \xff\n\n",
        b'data: {"x":"\xff"}\n\n',
    ],
)
def test_what_cannot_be_read_fails_and_raises_nothing(garbage: Any) -> None:
    assert failure(garbage).problem.kind is ProblemKind.UPSTREAM_UNAVAILABLE


def test_what_google_says_of_the_clients_own_request_reaches_the_client_and_nothing_else_does() -> None:
    own = failure(sse({"error": {"code": 400, "message": "bad schema", "status": "INVALID_ARGUMENT"}}))
    assert (own.problem.kind, own.problem.http_status, own.problem.message) == (
        ProblemKind.UPSTREAM_REJECTED,
        400,
        "bad schema",
    )
    other = failure(
        sse({"error": {"code": 403, "message": "ann@example.com lacks it", "status": "PERMISSION_DENIED"}})
    )
    assert "ann" not in other.problem.message


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"[{}]", b"null", b"<html>", b'{"error":{"code":429}}', b'[{"error":{"code":429}}]'],
)
def test_a_plain_answer_that_is_none_fails(body: Any) -> None:
    events = gemini.decode_reply(body, call_prefix="p")
    check(events)
    assert isinstance(events[-1], Failed)


def test_an_array_of_chunks_is_read_like_a_stream() -> None:
    body = b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]},\r\n{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}]'
    folded = fold(gemini.decode_reply(body, call_prefix="p"))
    assert isinstance(folded, Reply)
    assert folded.choices[0].parts == (Text(text="ab"),)


def test_half_an_error_after_the_finish_reason_is_no_clean_end() -> None:
    assert (
        failure(chunk({"text": "a"}, finish="STOP"), b'{"error":{"code":500').problem.kind
        is ProblemKind.UPSTREAM_UNAVAILABLE
    )


def test_arguments_that_are_not_utf_8_fail_the_reply() -> None:
    parts = b'{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}'
    failure(b'data: {"candidates":[{"content":' + parts + b',"finishReason":"STOP"}]}\n\n')


PLAIN = st.builds(
    lambda texts, word, usage, extra: msgspec.json.encode(
        {
            "candidates": [{"content": {"role": "model", "parts": texts}, "finishReason": word, "index": 0}],
            "responseId": "r1",
            "modelVersion": "gemini-3.8-flash",
            **({"usageMetadata": usage} if usage else {}),
            **extra,
        }
    ),
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"text": st.text()}),
            st.fixed_dictionaries({"text": st.text(), "thought": st.booleans()}),
            st.fixed_dictionaries({"text": st.text(), "thoughtSignature": st.just("c2lnbmF0dXJl")}),
            st.fixed_dictionaries({"functionCall": st.just({"name": "f", "args": {"a": 1}})}),
        ),
        max_size=4,
    ),
    st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "FINISH_REASON_UNSPECIFIED", "SOMETHING_NEW"]),
    st.none() | st.just({"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}),
    st.sampled_from([{}, {"promptFeedback": {"blockReason": "SAFETY"}}, {"error": {"code": 500}}]),
)


@given(PLAIN)
def test_a_whole_answer_reads_as_its_events_fold(body: bytes) -> None:
    assert read_reply(body, call_prefix="p") == fold(decode_reply(body, call_prefix="p"))
