"""Which conversation a request belongs to, as a number for `sticky` selection.

A key is a hint for cache hits and even load, never an authority: a wrong one costs nothing but a cache. Choosing by it is `selector.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

SESSION_HEADERS = (
    b"x-session-id",
    b"x-session-affinity",
    b"x-claude-code-session-id",
    b"thread-id",
    b"session-id",
    b"session_id",
    b"x-conversation-id",
)
"""Lower-case names, the first present wins: a thread before the session that it is part of. Source: docs/sources.md, section 6."""

_SESSION_HEADERS = frozenset(SESSION_HEADERS)

AGENT_HEADER = b"x-claude-code-agent-id"
"""Subagents share their session's id and nothing else: each is a conversation with a prompt cache of its own."""

GIST_CHARS = 256  # of the beginning and of the end of each opening text: they tell conversations apart, the middle costs
MAX_TEXTS = 16


def derive_key(
    *,
    client: str,
    headers: Mapping[bytes, bytes],
    prompt_cache_key: str = "",
    user_id: str = "",
    opening: Callable[[], Sequence[str]] = tuple,
) -> int | None:
    """A 64-bit number that stays the same through a conversation, or None if nothing tells one from another.

    In order of trust: a session header (names in lower case), `prompt_cache_key`, `metadata.user_id`, else the opening texts
    (system prompt and first user message; asked for only then), which do not change as the conversation grows. `client` is the
    id of the API key: two keys never share a conversation.
    """
    if not _SESSION_HEADERS.isdisjoint(headers):
        for name in SESSION_HEADERS:
            if value := headers.get(name):
                agent = headers.get(AGENT_HEADER, b"")
                return _digest("session", client, value.decode("latin-1"), agent.decode("latin-1"))
    if prompt_cache_key:
        return _digest("cache", client, prompt_cache_key)
    if user_id:
        return _digest("user", client, user_id)
    texts = opening()
    if len(texts) > MAX_TEXTS:
        texts = [*texts[: MAX_TEXTS // 2], *texts[-MAX_TEXTS // 2 :]]
    gists = [text if len(text) <= 2 * GIST_CHARS else _gist(text) for text in texts]
    return _digest("opening", client, *gists) if any(gists) else None


def _gist(text: str) -> str:
    return f"{len(text)} {text[:GIST_CHARS]}{text[-GIST_CHARS:]}"


def _digest(*parts: str) -> int:
    # A NUL in a text might make two conversations of one client alike, which costs nothing but a cache.
    hashed = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(hashed.digest())
