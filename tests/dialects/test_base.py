"""The dialects are what the gateway takes them for, and the official SDK understands their errors."""

import json

from openai._streaming import SSEDecoder

from regrant.dialects import anthropic, gemini, openai_chat
from regrant.dialects.base import ClientDialect, ProblemDialect, ReplyContext, ServerDialect, reply_context
from regrant.messages.problem import Problem, ProblemKind

SERVERS: tuple[ServerDialect, ...] = (openai_chat, anthropic, gemini)
CLIENTS: tuple[ClientDialect, ...] = (gemini,)
PROBLEMS: tuple[ProblemDialect, ...] = (openai_chat, anthropic, gemini)
"""mypy proves that these packages have the functions that the protocols ask for."""


def test_every_dialect_tells_problems_and_models() -> None:
    for dialect in PROBLEMS:
        assert json.loads(dialect.encode_problem(Problem(ProblemKind.INTERNAL, "x")).body)
        assert json.loads(dialect.encode_models([])) is not None


def test_the_context_of_a_reply_comes_from_its_request() -> None:
    body = b'{"model":"gpt-x","stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}],"tools":[{"type":"custom","custom":{"name":"patch"}}]}'
    request = openai_chat.decode_request(body)
    expected = ReplyContext(
        id="i", created=7, model="gpt-x", include_usage=True, freeform_tools=frozenset({"patch"})
    )
    assert reply_context(request, id="i", created=7) == expected


def test_the_openai_sdk_reads_the_error_event_and_skips_the_keep_alive() -> None:
    encoder = openai_chat.stream_encoder(ReplyContext(id="i", created=7, model="m"))
    said = encoder.keep_alive() + encoder.fail(Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone"))
    events = list(SSEDecoder().iter_bytes(iter([said])))
    told = [event.json() for event in events if event.data]
    assert [event["error"]["message"] for event in told] == ["gone"]
