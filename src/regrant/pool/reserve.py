"""Which (project, model) quota protection holds back, and until when: what a lease asks.

Knows no numbers; the ledger that decides is `quota.py`. Not thread-safe: it belongs to one event loop.
"""

from __future__ import annotations

from collections.abc import Mapping

from regrant.pool.cooldown import Cooldown

_NOTHING: Mapping[str, Cooldown] = {}


class Reserves:
    def __init__(self) -> None:
        self._held: dict[str, dict[str, Cooldown]] = {}

    def hold(self, project: str, model: str, end: Cooldown) -> None:
        """Hold the rest of the quota back until then; a later word about the same replaces the earlier."""
        self._held.setdefault(model, {})[project] = end

    def release(self, project: str, model: str) -> bool:
        """Whether it was held back."""
        held = self._held.get(model, {})
        found = held.pop(project, None) is not None
        if found and not held:
            del self._held[model]
        return found

    def of(self, model: str, now: float) -> Mapping[str, Cooldown]:
        """The projects that are held back for `model`; what has ended is forgotten. Valid until the next call."""
        if not self._held or (held := self._held.get(model)) is None:
            return _NOTHING
        for project in [project for project, end in held.items() if end.until <= now]:
            self.release(project, model)
        return self._held.get(model, _NOTHING)
