"""How fast those who wait are let loose on an account that has just come back: one, a moment later two, then four, and so on.

Pure; time is passed in. All at once they would run into the same limit again and each cost a refused call; this way the first
refusal stops the rest.
"""

from __future__ import annotations

import msgspec

PACE_S = 0.2  # about the time in which Google refuses a call that is over a limit
FORGET_S = 1.0  # without a lease for so long, an account starts with one again


class _Batch(msgspec.Struct):
    size: int
    left: int
    renewed_at: float


class Pacing:
    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}

    def spent(self, now: float) -> set[str]:
        """The accounts that have to wait for their next batch, `PACE_S` at most."""
        for id_, batch in list(self._batches.items()):
            age = now - batch.renewed_at
            if age >= FORGET_S:
                del self._batches[id_]
            elif age >= PACE_S and not batch.left:
                batch.size = batch.left = batch.size * 2
                batch.renewed_at = now
        return {id_ for id_, batch in self._batches.items() if not batch.left}

    def took(self, id_: str, now: float) -> bool:
        """One who waited was given the account; whether that was the last of its batch."""
        batch = self._batches.get(id_)
        if batch is None:
            batch = self._batches[id_] = _Batch(1, 1, now)
        batch.left = max(0, batch.left - 1)
        return not batch.left
