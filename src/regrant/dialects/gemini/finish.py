"""How Gemini says that, how and on what sources an answer ended. The rest of an answer is read in `reply.py`."""

from __future__ import annotations

from regrant.dialects.gemini import wire
from regrant.messages.model import Citation, FinishReason, TokenLogprob

_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.MALFORMED,
    "MALFORMED_RESPONSE": FinishReason.MALFORMED,
    "UNEXPECTED_TOOL_CALL": FinishReason.MALFORMED,
    "TOO_MANY_TOOL_CALLS": FinishReason.MALFORMED,
    "MISSING_THOUGHT_SIGNATURE": FinishReason.MALFORMED,
}


def finish_reason(word: str, *, called: bool) -> FinishReason:
    """Gemini says STOP for a tool call too. Words that are not known yet count as OTHER."""
    reason = _REASONS.get(word)
    if reason is None:
        return FinishReason.CONTENT_FILTER if word.startswith("IMAGE_") else FinishReason.OTHER
    return FinishReason.TOOL_CALLS if called and reason is FinishReason.STOP else reason


def describe_logprobs(result: wire.LogprobsResult) -> list[TokenLogprob]:
    tops = result.top_candidates or []
    described: list[TokenLogprob] = []
    for index, chosen in enumerate(result.chosen_candidates or ()):
        others = (tops[index].candidates or ()) if index < len(tops) else ()
        top = tuple(TokenLogprob(token=one.token, logprob=one.log_probability) for one in others)
        described.append(TokenLogprob(token=chosen.token, logprob=chosen.log_probability, top=top))
    return described


def describe_citations(grounding: wire.GroundingMetadata, text: str) -> tuple[Citation, ...]:
    """Gemini counts bytes of `text` as UTF-8; citations count code points."""
    encoded = text.encode()
    chunks = grounding.grounding_chunks or []
    citations: list[Citation] = []
    for support in grounding.grounding_supports or ():
        segment = support.segment or wire.Segment()
        start = len(encoded[: max(segment.start_index, 0)].decode(errors="ignore"))
        end = len(encoded[: max(segment.end_index, 0)].decode(errors="ignore"))
        for index in support.grounding_chunk_indices or ():
            web = chunks[index].web if 0 <= index < len(chunks) else None
            if web is not None and web.uri:
                citations.append(Citation(url=web.uri, title=web.title, start=start, end=end))
    return tuple(citations)
