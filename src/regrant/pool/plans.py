"""How an account is chosen for a client key and a model: by which strategy, from which parts of the pool, in which order.

Pure. The rules are `choices.py`; made once for each choice and kept until the settings or the pool's members change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from regrant.pool.choices import DEFAULT, Choice, Choices
from regrant.pool.selector import Candidate, Part
from regrant.pool.strategies import STRATEGIES, Strategy


class Plan(msgspec.Struct, frozen=True):
    """Each part in its turn, until one has a free account."""

    strategy: Strategy
    parts: tuple[Part, ...]
    limit: str
    """The group that the request is confined to; "" when it may use everyone."""


class Plans:
    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._choices = Choices()
        self._others: dict[str, Strategy] = {}
        self._plans: dict[Choice, Plan] = {}
        self._whole: Plan | None = None

    def use(self, strategy: Strategy | None, choices: Choices) -> None:
        """Go by this strategy (None: the one in use) and these rules from now on."""
        self._strategy = strategy or self._strategy
        self._choices = choices
        self._others.clear()
        self.forget()

    def forget(self) -> None:
        """The pool's members have changed, and with them perhaps their priorities."""
        self._plans.clear()
        self._whole = None

    def of(self, client: str, model: str, members: Iterable[Candidate]) -> Plan:
        """The plan for that client key and model."""
        if not self._choices:
            if self._whole is None:
                self._whole = self._make(DEFAULT, members)
            return self._whole
        choice = self._choices.find(client, model)
        plan = self._plans.get(choice)
        if plan is None:
            plan = self._plans[choice] = self._make(choice, members)
        return plan

    def _make(self, choice: Choice, members: Iterable[Candidate]) -> Plan:
        strategy = self._named(choice.strategy) if choice.strategy else self._strategy
        groups = [choice.group, ""] if choice.group and choice.fallback else [choice.group]
        tiers: Sequence[int | None] = (None,)
        if strategy.tiered:
            tiers = sorted({candidate.priority for candidate in members}, reverse=True)
        return Plan(strategy, tuple(Part(group, tier) for group in groups for tier in tiers), groups[-1])

    def _named(self, name: str) -> Strategy:
        """The strategy that a rule asks for: one for all rules that do, so that it remembers whose turn it is."""
        if name not in self._others:
            self._others[name] = STRATEGIES[name]()
        return self._others[name]
