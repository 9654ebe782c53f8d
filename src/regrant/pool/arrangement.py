"""The pool as the settings want it: strategy, groups of accounts, and who may use which group.

Turns `[[pool.groups]]` and `[[pool.choices]]` into the values that the pool works with; the rules themselves are `choices.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from regrant.pool.choices import Choice, Choices, Rule
from regrant.pool.pool import Pool
from regrant.pool.strategies import STRATEGIES
from regrant.settings.model import Pool as PoolSettings
from regrant.settings.model import PoolChoice, PoolGroup


class Place(msgspec.Struct, frozen=True):
    """Where an account stands: its groups; priority and weight are those of the first group that lists it."""

    groups: frozenset[str] = frozenset()
    priority: int = 0
    weight: float = 1.0


NOWHERE = Place()


class Grouping:
    """Names of accounts (e-mail, id, label; case-folded) and the groups that list them."""

    def __init__(self, groups: Iterable[PoolGroup] = (), choices: Iterable[PoolChoice] = ()) -> None:
        self._groups = tuple(groups)
        self._listed: dict[str, list[int]] = {}
        for number, group in enumerate(self._groups):
            for name in group.accounts:
                self._listed.setdefault(name.casefold(), []).append(number)
        self._pinned = {choice.account.casefold() for choice in choices if choice.account}

    def place(self, *names: str) -> Place:
        """The place of the account that has all these names."""
        if not self._listed and not self._pinned:
            return NOWHERE
        folded = {name.casefold() for name in names if name}
        numbers = sorted({number for name in folded for number in self._listed.get(name, ())})
        listed = [self._groups[number] for number in numbers]
        pins = {pin_of(name) for name in folded & self._pinned}
        groups = frozenset({group.name for group in listed} | pins)
        if not listed:
            return Place(groups)
        first = listed[0]
        return Place(groups, first.priority, first.weight)


def pin_of(account: str) -> str:
    """The group of one that a rule for a single account stands for; no group of the settings has a blank in its name."""
    return f"account {account.casefold()}"


def grouping_of(settings: PoolSettings) -> Grouping:
    return Grouping(settings.groups, settings.choices)


def arrange(pool: Pool, settings: PoolSettings, before: PoolSettings | None = None) -> None:
    """Bring the pool in line with the settings; whose turn it is goes on unless the strategy is another than `before`."""
    same = before is not None and before.strategy == settings.strategy
    strategy = None if same else STRATEGIES[settings.strategy]()
    pool.use(strategy, Choices(map(_rule, settings.choices)), slow_start_s=settings.slow_start_s)


def _rule(choice: PoolChoice) -> Rule:
    group = pin_of(choice.account) if choice.account else choice.group
    return Rule(Choice(group, choice.strategy, choice.fallback), choice.key, choice.model)
