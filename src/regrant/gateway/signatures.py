"""Thought signatures of tool calls, kept for the clients that do not send them back.

Theory of operation. Gemini 3 signs the first tool call of a step and wants the signature back with it, but most clients
return a call's id, name and arguments only. So each signature is kept by the id of its call, together with where it was
minted, because nobody else is sure to verify it; what follows from that for a request is `passport.py`. Looking up is a
matter of memory; the state database is told of every change, so that a restart and the other processes know it too.
Ids are only looked for among those of the same client key. Entries end after a day, the oldest go when there are too many.
Source: docs/sources.md, section 4.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from regrant.clock import Clock
from regrant.state import Change, StateDatabase, follow

KIND: Final = "signature"
KEEP_S: Final = 86_400.0  # a conversation that rests longer goes on with Google's stand-in
MAX_KEPT: Final = 20_000
MAX_CHARACTERS: Final = 32 << 20  # of all signatures together; one is some kB


class Kept(msgspec.Struct, frozen=True):
    """`mint` names upstream, account, project and model; it is compared and nothing else. `until`: unix seconds."""

    signature: str
    mint: str
    until: float


class SignatureStore:
    def __init__(
        self,
        state: StateDatabase,
        clock: Clock,
        *,
        max_kept: int = MAX_KEPT,
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        self._state = state
        self._clock = clock
        self._max_kept = max_kept
        self._max_characters = max_characters
        self._kept: dict[str, Kept] = {}
        """By key, the least recently used first."""
        self._characters = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, client: str, call_id: str) -> Kept | None:
        """What is kept for that tool call of a client key ("" for clients without one)."""
        key = _key(client, call_id)
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        if kept.until <= self._clock.now():
            self._characters -= len(kept.signature)
            return None
        self._kept[key] = kept
        return kept

    def keep(self, client: str, call_id: str, signature: str, mint: str) -> None:
        key = _key(client, call_id)
        kept = Kept(signature, mint, self._clock.now() + KEEP_S)
        self._put(key, kept)
        if key in self._kept:
            self._state.put(KIND, key, [signature, mint], kept.until)

    async def take_in(self) -> None:
        """Take in what is known from earlier runs."""
        known = await asyncio.to_thread(self._state.load, KIND)
        for key, (value, until) in sorted(known.items(), key=lambda item: item[1][1]):
            self._take(key, value, until)

    async def follow(self) -> None:
        """Take in what other processes change, until cancelled."""
        await follow(self._state, self._apply)

    def _apply(self, change: Change) -> None:
        if change.kind == KIND:
            self._take(change.key, None if change.deleted else change.value, change.until)

    def _take(self, key: str, value: Any, until: float) -> None:
        if value is None:
            self._drop(key)
            return
        try:
            signature, mint = msgspec.convert(value, tuple[str, str])
        except msgspec.ValidationError:
            return  # written by a version that knows more
        self._put(key, Kept(signature, mint, until))

    def _put(self, key: str, kept: Kept) -> None:
        self._drop(key)
        self._kept[key] = kept
        self._characters += len(kept.signature)
        while len(self._kept) > self._max_kept or self._characters > self._max_characters:
            oldest = next(iter(self._kept))
            self._drop(oldest)
            self._state.delete(KIND, oldest)

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._characters -= len(kept.signature)


def _key(client: str, call_id: str) -> str:
    return f"{client} {call_id}"
