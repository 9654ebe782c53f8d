"""A whole reply as a `message` object. The streamed form is in `stream.py`, which shares the pieces below.

Both write the same blocks: a text or thought without words has none; sources of a grounded answer are told as the results
of a web search after the last text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from regrant.dialects.anthropic import signature
from regrant.dialects.base import ReplyContext
from regrant.errors import DialectError
from regrant.messages.model import (
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

STOP_REASONS: dict[FinishReason, str] = {
    FinishReason.STOP: "end_turn",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.MALFORMED: "end_turn",
    FinishReason.OTHER: "end_turn",
}

NO_USAGE = Usage()


def encode_reply(reply: Reply, *, context: ReplyContext) -> bytes:
    """Raises: DialectError for pictures and sounds, which an assistant's message has no place for."""
    choice = reply.choices[0]
    blocks = _describe_parts([part for part in choice.parts if _is_visible(part)], context)
    citations = choice.finish.citations
    if citations:
        text = "".join(part.text for part in choice.parts if isinstance(part, Text))
        if blocks and blocks[-1]["type"] == "text":
            blocks[-1]["citations"] = [describe_citation(citation, text) for citation in citations]
        blocks.extend(describe_search(citations, context.id))
    message = describe_message(context, blocks) | describe_stop(choice.finish)
    message["usage"] = describe_usage(reply.usage, searched=bool(citations))
    return msgspec.json.encode(message)


def encode_count(input_tokens: int) -> bytes:
    """The answer to `count_tokens`."""
    return msgspec.json.encode({"input_tokens": input_tokens})


def describe_message(context: ReplyContext, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """A message with that content, not yet ended."""
    return {
        "id": f"msg_{context.id}",
        "type": "message",
        "role": "assistant",
        "model": context.model,
        "content": blocks,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": describe_usage(NO_USAGE, searched=False),
    }


def _is_visible(part: ReplyPart) -> bool:
    match part:
        case Text():
            return bool(part.text)
        case Thinking():
            return bool(part.text) or part.redacted is not None
        case _:
            return True


def _describe_parts(parts: Sequence[ReplyPart], context: ReplyContext) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case Text():
                blocks.append({"type": "text", "text": part.text})
            case Thinking():
                blocks.append(describe_thinking(part))
            case ToolCall():
                if blocks and blocks[-1]["type"] == "thinking":
                    blocks[-1]["signature"] = signature.wrap(part.signature)
                elif part.signature and context.thinks:
                    blocks.append(describe_thinking(Thinking(text=""), part.signature))
                blocks.append(describe_call(part))
            case Media():
                raise refuse_media(part)
    return blocks


def describe_thinking(part: Thinking, of_call: str | None = None) -> dict[str, Any]:
    """`of_call` is the signature of the call that follows."""
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": signature.wrap(of_call)}


def describe_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.args}


def refuse_media(media: Media) -> DialectError:
    return DialectError(f"The model answered with {media.mime}, which an Anthropic message cannot hold.")


def describe_citation(citation: Citation, text: str) -> dict[str, Any]:
    """`text` is the whole visible text, which citations count in."""
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": text[citation.start : citation.end],
        "encrypted_index": "",
    }


def describe_search(citations: Sequence[Citation], reply_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The search that led to `citations`, and its results: each source once."""
    search_id = f"srvtoolu_{reply_id}"
    titles = {citation.url: citation.title for citation in citations}
    results = [
        {"type": "web_search_result", "url": url, "title": title, "encrypted_content": "", "page_age": None}
        for url, title in titles.items()
    ]
    return (
        {"type": "server_tool_use", "id": search_id, "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": search_id, "content": results},
    )


def describe_stop(finish: Finish) -> dict[str, Any]:
    stopped: dict[str, Any] = {
        "stop_reason": STOP_REASONS[finish.reason],
        "stop_sequence": finish.detail or None if finish.reason is FinishReason.STOP_SEQUENCE else None,
    }
    if finish.reason is FinishReason.CONTENT_FILTER:
        text = f"The upstream's filter stopped this answer: {finish.detail or 'no reason given'}."
        stopped["stop_details"] = {"type": "refusal", "category": None, "explanation": text}
    return stopped


def describe_usage(usage: Usage, *, searched: bool) -> dict[str, Any]:
    """Anthropic counts cached tokens beside the others, not among them."""
    described: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
    if searched:
        described["server_tool_use"] = {"web_search_requests": 1, "web_fetch_requests": 0}
    return described
