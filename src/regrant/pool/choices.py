"""Which part of the pool a client key and a model may use, and how an account is chosen there. The most specific rule wins.

Pure. Which account is in which group is the account's own knowledge (`selector.Candidate`); the rules come from the settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

MAX_KNOWN = 10_000  # (key, model) pairs whose choice is remembered


class Choice(msgspec.Struct, frozen=True):
    """`group` "" is the whole pool, `strategy` "" the pool's own. `fallback`: everyone else when nobody of the group is free."""

    group: str = ""
    strategy: str = ""
    fallback: bool = False


DEFAULT = Choice()


class Rule(msgspec.Struct, frozen=True):
    """`key` is the name of a client key ("": any), `model` a model's name, with * as wildcard ("": any)."""

    choice: Choice
    key: str = ""
    model: str = ""

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The more specific, the higher: a key before a model, a whole name before a pattern, a longer one before a shorter."""
        literal = len(self.model.replace("*", ""))
        return bool(self.key), bool(self.model) and "*" not in self.model, literal

    def fits(self, key: str, model: str) -> bool:
        return self.key in {"", key} and (not self.model or _matches(self.model, model))


class Choices:
    """Of equally specific rules the first wins."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = sorted(rules, key=lambda rule: rule.rank, reverse=True)
        self._known: dict[tuple[str, str], Choice] = {}

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    def find(self, key: str, model: str) -> Choice:
        """The choice for that client key and model; DEFAULT where no rule fits."""
        found = self._known.get((key, model))
        if found is None:
            fitting = (rule.choice for rule in self._rules if rule.fits(key, model))
            found = next(fitting, DEFAULT)
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key, model] = found
        return found


def _matches(pattern: str, model: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), model, re.DOTALL) is not None
