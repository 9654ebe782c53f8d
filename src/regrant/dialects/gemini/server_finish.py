"""How an answer ended, on what sources and at what cost, in Gemini's words. `finish.py` reads what this writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from regrant.dialects.gemini.finish import finish_reason
from regrant.messages.model import Citation, Finish, FinishReason, TokenLogprob, Usage

_WORDS: dict[FinishReason, str] = {
    FinishReason.STOP: "STOP",
    FinishReason.STOP_SEQUENCE: "STOP",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.MALFORMED: "MALFORMED_RESPONSE",
    FinishReason.OTHER: "OTHER",
}
_GOOGLES_WORD = re.compile(r"[A-Z][A-Z_]*")
_REASONS_TO_BLOCK = frozenset(
    {"SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"}
)


def blocked_prompt(finishes: Sequence[Finish], *, spoke: bool) -> dict[str, Any] | None:
    """`promptFeedback` for an answer that a filter stopped before its first word (`spoke` is false); else None."""
    if spoke or len(finishes) != 1:
        return None
    (finish,) = finishes
    if finish.reason is not FinishReason.CONTENT_FILTER or finish.detail not in _REASONS_TO_BLOCK:
        return None
    return {"blockReason": finish.detail}


def describe_finish(finish: Finish, text: str) -> dict[str, Any]:
    """The fields of a candidate that ends so. `text` is its whole visible text, which citations count in."""
    word = _word_of(finish)
    described: dict[str, Any] = {"finishReason": word}
    if finish.detail and finish.detail != word:
        described["finishMessage"] = finish.detail
    if finish.citations:
        described["groundingMetadata"] = _describe_citations(finish.citations, text)
    if finish.logprobs:
        described["logprobsResult"] = _describe_logprobs(finish.logprobs)
    return described


def _word_of(finish: Finish) -> str:
    """Google's own word is repeated; what another vendor says becomes the nearest word of Google's."""
    ours = _GOOGLES_WORD.fullmatch(finish.detail) is not None
    if ours and finish_reason(finish.detail, called=False) is finish.reason:
        return finish.detail
    return _WORDS[finish.reason]


def _describe_citations(citations: Sequence[Citation], text: str) -> dict[str, Any]:
    sources = list(dict.fromkeys((citation.url, citation.title) for citation in citations))
    supports = [
        {
            "segment": {
                "startIndex": len(text[: citation.start].encode()),
                "endIndex": len(text[: citation.end].encode()),
                "text": text[citation.start : citation.end],
            },
            "groundingChunkIndices": [sources.index((citation.url, citation.title))],
        }
        for citation in citations
    ]
    chunks = [{"web": {"uri": url, "title": title}} for url, title in sources]
    return {"groundingChunks": chunks, "groundingSupports": supports}


def _describe_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "chosenCandidates": [_describe_token(one) for one in logprobs],
        "topCandidates": [{"candidates": [_describe_token(top) for top in one.top]} for one in logprobs],
    }


def _describe_token(one: TokenLogprob) -> dict[str, Any]:
    return {"token": one.token, "logProbability": one.logprob}


def describe_usage(usage: Usage) -> dict[str, int]:
    """Gemini counts thoughts beside the answer."""
    described = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "totalTokenCount": usage.total_tokens,
    }
    if usage.cached_tokens:
        described["cachedContentTokenCount"] = usage.cached_tokens
    if usage.reasoning_tokens:
        described["thoughtsTokenCount"] = usage.reasoning_tokens
    return described
