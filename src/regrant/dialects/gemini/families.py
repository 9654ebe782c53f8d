"""What the Gemini models accept, told by their names.

Only differences that change the body of a request are here; which models exist is discovered at run time. A name that
says nothing about its age (`gemini-flash-latest`) counts as the newest.
Source: ai.google.dev/gemini-api/docs/{thinking,thought-signatures,whats-new-gemini-3.6}, as of November 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from regrant.messages.model import Effort

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_NEWEST = (99, 0)
_LEVELS = {Effort.LOW: "LOW", Effort.MEDIUM: "MEDIUM"}


@dataclass(frozen=True)
class Family:
    """One for each name, as `family_of` remembers them: what follows from the name is worked out once."""

    version: tuple[int, int]
    lite: bool
    pro: bool
    draws: bool = False
    """It answers with pictures."""

    @cached_property
    def needs_signatures(self) -> bool:
        """A tool call of the current turn without its thought signature is refused."""
        return self.version >= (3, 0)

    @cached_property
    def thinks_by_level(self) -> bool:
        return self.version >= (3, 0)

    @cached_property
    def thinks(self) -> bool:
        """How hard it thinks can be set."""
        return self.version >= (2, 5) and not self.draws

    @cached_property
    def json_with_tools(self) -> bool:
        """JSON output, and tools that Google runs, may be combined with functions."""
        return self.version >= (3, 0)

    @cached_property
    def media_in_results(self) -> bool:
        return self.version >= (3, 0)

    @cached_property
    def sampling(self) -> bool:
        """temperature, topP and topK have an effect; later models ignore them and are announced to refuse them."""
        if self.lite:
            return self.version < (3, 5)
        return self.version < (3, 6)

    @cached_property
    def budgets(self) -> tuple[int, int]:
        """The least and the greatest thinking budget above zero, in tokens."""
        if self.pro:
            return 128, 32_768
        return (512, 24_576) if self.lite else (1, 24_576)

    def level_of(self, effort: Effort) -> str:
        """The thinking level nearest to `effort` that the model has."""
        if effort is Effort.NONE or effort is Effort.MINIMAL:
            return "LOW" if self.pro or self.version >= (3, 7) else "MINIMAL"
        level = _LEVELS.get(effort, "HIGH")
        if level == "MEDIUM" and self.pro and self.version < (3, 1):
            level = "HIGH"
        return level

    def budget_of(self, effort: Effort) -> int:
        """The budget that Google's own OpenAI endpoint gives for `effort`, within the model's range."""
        budget = {Effort.NONE: 0, Effort.MINIMAL: 512, Effort.LOW: 1024, Effort.MEDIUM: 8192}.get(
            effort, 24_576
        )
        return self.clamp(budget)

    def clamp(self, budget: int) -> int:
        """`budget` within the model's range; -1 (the model decides) stays, 0 (none) stays where it is allowed."""
        if budget < 0:
            return -1
        least, greatest = self.budgets
        if budget == 0 and not self.pro:
            return 0
        return min(max(budget, least), greatest)


@lru_cache(maxsize=256)
def family_of(model: str) -> Family:
    """`model` with or without a `models/` or `publishers/google/models/` in front."""
    name = model.rpartition("/")[2].lower()
    match = _VERSION.match(name)
    version = (int(match[1]), int(match[2] or 0)) if match else _NEWEST
    return Family(version=version, lite="lite" in name, pro="-pro" in name, draws="-image" in name)
