"""Writes the guard's verdicts into the account files, for readers: `protected_models`, and until when.

What is held back for serving is the pool's memory, never these files; that makes a file that is late, or that a killed process left,
harmless. An entry without an end in `protected_until` is a person's or an import's: it is honoured as it is, and ends at the midnight
that a guard sees.
"""

from __future__ import annotations

from collections.abc import Mapping

from regrant.accounts.entry import Entry
from regrant.accounts.events import QuotaJudged
from regrant.accounts.keeper import Keeper

Held = Mapping[str, Mapping[str, int]]
"""Project -> model -> unix second of the reset."""


class Verdicts:
    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def write(self, held: Held, now: float, project_of: Mapping[str, str], *, midnight: bool) -> None:
        """Bring the files in line with what is held back, one after another. `midnight`: a new day ends what people had set."""
        for entry in self._keeper.entries():
            if entry.corrupt is not None:
                continue
            wanted = held.get(project_of.get(entry.account.id, ""), {})
            event = _difference(entry, wanted, now, midnight=midnight)
            if event is not None:
                await self._keeper.settle(entry, event)


def _difference(entry: Entry, wanted: Mapping[str, int], now: float, *, midnight: bool) -> QuotaJudged | None:
    """What the file lacks and what it has too much; None when it says what is so."""
    account = entry.account
    known = account.protected_until
    held = {
        model: until
        for model, until in wanted.items()
        if until > now and model not in account.protected_by_hand and known.get(model) != until
    }
    released = set(known) - set(wanted)
    if midnight:
        released |= account.protected_by_hand
    return QuotaJudged(held, frozenset(released)) if held or released else None
