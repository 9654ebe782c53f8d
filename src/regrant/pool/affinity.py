"""Which conversation a request belongs to, as a number for `sticky` selection.

A key is a hint for cache hits and even load, never an authority: a wrong one costs nothing but a cache. Choosing by it is `selector.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

SESSION_HEADERS = (
    "x-session-id",
    "x-session-affinity",
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "thread-id",
    "x-conversation-id",
)
"""Lower-case names, the first present wins. Source: docs/sources.md, section 6."""

OPENING_CHARS = 4096  # of each opening text: enough to tell conversations apart, cheap to hash


def derive_key(
    *,
    client: str,
    headers: Mapping[str, str],
    prompt_cache_key: str = "",
    user_id: str = "",
    opening: Sequence[str] = (),
) -> int | None:
    """A 64-bit number that stays the same through a conversation, or None if nothing tells one from another.

    In order of trust: a session header (names in lower case), `prompt_cache_key`, `metadata.user_id`, else the opening texts
    (system prompt and first user message), which do not change as the conversation grows. `client` is the id of the API key: two
    keys never share a conversation.
    """
    for name in SESSION_HEADERS:
        if value := headers.get(name):
            return _digest(client, "session", value)
    if prompt_cache_key:
        return _digest(client, "cache", prompt_cache_key)
    if user_id:
        return _digest(client, "user", user_id)
    if not any(opening):
        return None
    return _digest(client, "opening", *(text[:OPENING_CHARS] for text in opening))


def _digest(*parts: str) -> int:
    hashed = blake2b(digest_size=8)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        hashed.update(len(raw).to_bytes(8))
        hashed.update(raw)
    return int.from_bytes(hashed.digest())
