"""Claude models on Vertex: Anthropic's Messages protocol at `:rawPredict` and `:streamRawPredict`.

Who may call is `gemini_endpoints.py`. Source: docs/sources.md, section 5.
"""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.sandbox import faults
from regrant.sandbox.gemini import tokens_in
from regrant.sandbox.gemini_endpoints import Denied, Question
from regrant.sandbox.script import Said
from regrant.sandbox.wire import Answer, Form, JsonObject, json_answer

CLAUDE_MODELS = {
    "claude-opus-4-5@20251101",
    "claude-sonnet-4-5@20250929",
    "claude-haiku-4-5@20251001",
    "claude-opus-4-8",
    "claude-sonnet-4-6",
}
_VERSIONS = {"vertex-2023-10-16", "2026-10-21"}


def answer(question: Question, said: Said | None) -> Answer:
    """Raises Denied for what Vertex refuses before Claude sees it; Claude's own refusals keep Anthropic's form."""
    body = _body(question)
    if question.target.endpoint == "count":
        return _count(body)
    if question.target.model not in CLAUDE_MODELS:
        raise Denied(faults.model_not_found(question.about))
    if problem := _problem(body):
        return _refusal(problem, question)
    message = _message(question, body, said)
    if question.target.endpoint == "generate":
        return json_answer(message)
    return _stream(message)


def _body(question: Question) -> JsonObject:
    try:
        return msgspec.json.decode(question.call.body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Denied(faults.api_error(400, "Invalid JSON payload received.")) from error


def _count(body: JsonObject) -> Answer:
    if "model" not in body:
        raise Denied(faults.api_error(400, "model: Field required"))
    return json_answer({"input_tokens": _input_tokens(body)})


def _problem(body: JsonObject) -> str:
    if body.get("anthropic_version") not in _VERSIONS:
        return (
            "anthropic_version: Field required"
            if "anthropic_version" not in body
            else "anthropic_version: Invalid"
        )
    if "model" in body:
        return "model: Extra inputs are not permitted"
    for name in ("max_tokens", "messages"):
        if not body.get(name):
            return f"{name}: Field required"
    return ""


def _refusal(problem: str, question: Question) -> Answer:
    error = {"type": "invalid_request_error", "message": problem}
    body = {"type": "error", "error": error, "request_id": f"req_vrtx_{question.response_id}"}
    return json_answer(body, status=400)


def _input_tokens(body: JsonObject) -> int:
    counted = {key: body[key] for key in ("system", "messages", "tools") if key in body}
    return max(1, len(msgspec.json.encode(counted)) // 4)


def _message(question: Question, body: JsonObject, said: Said | None) -> JsonObject:
    if said is not None and said.response is not None:
        return said.response
    text = said.text if said is not None and said.text is not None else _text(question, body)
    usage = {"input_tokens": _input_tokens(body), "output_tokens": tokens_in(text)}
    return {
        "id": f"msg_vrtx_{question.response_id}",
        "type": "message",
        "role": "assistant",
        "model": question.target.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


def _text(question: Question, body: JsonObject) -> str:
    content = body["messages"][-1].get("content", "")
    blocks = (
        [content] if isinstance(content, str) else [b.get("text", "") for b in content if isinstance(b, dict)]
    )
    return f"Hello from {question.grant.person.first_name}'s account. You said: {' '.join(b for b in blocks if b)}"


def _stream(message: JsonObject) -> Answer:
    """Anthropic's events, with names, as streamRawPredict sends them."""
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[JsonObject] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(message["content"]):
        events.append(
            {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
        )
        words = str(block.get("text", "")).split(" ")
        for number, word in enumerate(words):
            text = word + (" " if number + 1 < len(words) else "")
            delta = {"type": "text_delta", "text": text}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append(
        {"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage["output_tokens"]}}
    )
    events.append({"type": "message_stop"})
    pieces = tuple(
        f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n" for event in events
    )
    return Answer(200, (("content-type", "text/event-stream"),), pieces, Form.SSE)
