"""Which (project, model), project, account or model is left alone, and until when.

Keeps what it is told and forgets what has ended; what ended by guess is tried by one request first (`breaker.py`). How long is
decided in `upstream/classifier.py`; sharing with other processes is `sharing.py`. Not thread-safe: it belongs to one event loop.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from regrant.pool.breaker import PROBE_S, Breaker, Circuit
from regrant.upstream.faults import FaultKind, Scope


class CooldownKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is held back; the parts that the scope does not name are ""."""

    scope: Scope
    project: str = ""
    model: str = ""
    account: str = ""

    @classmethod
    def of(cls, scope: Scope, *, project: str, model: str, account: str) -> CooldownKey:
        """The key of `scope` for an account's call, keeping only the parts that the scope names."""
        match scope:
            case Scope.PROJECT_MODEL:
                return cls(scope=scope, project=project, model=model)
            case Scope.PROJECT:
                return cls(scope=scope, project=project)
            case Scope.ACCOUNT:
                return cls(scope=scope, account=account)
            case Scope.MODEL:
                return cls(scope=scope, model=model)

    def encode(self) -> str:
        """A text form for a store; `decode` reads it."""
        return msgspec.json.encode([self.scope, self.project, self.model, self.account]).decode()

    @classmethod
    def decode(cls, text: str) -> CooldownKey:
        """Read `encode`'s text. Raises msgspec.ValidationError or msgspec.DecodeError for anything else."""
        scope, project, model, account = msgspec.json.decode(text, type=tuple[Scope, str, str, str])
        return cls(scope=scope, project=project, model=model, account=account)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The end in unix seconds (infinite: until a person acts) and the fault that caused it."""

    until: float
    why: FaultKind
    strikes: int = 0
    """How many failures in a row led to it, where the end is a guess; 0 where the end is known."""
    probing: bool = False
    """One request is trying it now; the end is when the next may."""
    since: float | None = field(default=None, compare=False)
    """When it began, in unix seconds; None: not known."""


class Probe:
    """One request's trial of what is half-open."""

    __slots__ = ("_cooldowns", "keys", "strikes")

    def __init__(self, cooldowns: Cooldowns, keys: tuple[CooldownKey, ...], strikes: int) -> None:
        self._cooldowns = cooldowns
        self.keys = keys
        self.strikes = strikes

    def over(self) -> None:
        """Let the next request try. Does nothing for what was closed or opened meanwhile."""
        for key in self.keys:
            self._cooldowns.leave_to_next(key)


class Blocked(msgspec.Struct, frozen=True):
    """What is held back for one model at one moment. Valid until the next call of `Cooldowns`."""

    model: Cooldown | None
    project_models: Mapping[str, Cooldown]
    projects: Mapping[str, Cooldown]
    accounts: Mapping[str, Cooldown]

    @property
    def nothing(self) -> bool:
        return self.model is None and not (self.project_models or self.projects or self.accounts)

    def of(self, project: str, account: str) -> Cooldown | None:
        """The cool-down that holds this account of this project back the longest."""
        longest = self.model
        for held in (
            self.project_models.get(project),
            self.projects.get(project),
            self.accounts.get(account),
        ):
            if held is not None and (longest is None or held.until > longest.until):
                longest = held
        return longest


_NOTHING: Mapping[str, Cooldown] = {}


class Cooldowns:
    def __init__(self, on_change: Callable[[CooldownKey], None] = lambda _key: None) -> None:
        """`on_change` is told whenever something begins or ends to be held back."""
        self._on_change = on_change
        self._models: dict[str, Cooldown] = {}
        self._project_models: dict[str, dict[str, Cooldown]] = {}
        self._projects: dict[str, Cooldown] = {}
        self._accounts: dict[str, Cooldown] = {}
        self._ends: list[tuple[float, int, CooldownKey]] = []
        self._serial = 0
        self._breaker: Breaker[CooldownKey] = Breaker()

    def set(
        self,
        key: CooldownKey,
        until: float,
        why: FaultKind,
        strikes: int = 0,
        *,
        since: float | None = None,
    ) -> bool:
        """Hold `key` back until `until`; a later end that is already known stays. Whether anything changed.

        `strikes`: the end is a guess after so many failures in a row. Those of one moment count once, whoever came last.
        """
        known = self._shelf(key).get(self._name(key))
        if known is not None and not known.probing:
            if known.until >= until:
                return False
            strikes = max(strikes, known.strikes) if strikes else 0
            since = known.since or since
        self._breaker.close(key)
        self._hold(key, Cooldown(until, why, strikes, since=since))
        return True

    def clear(self, key: CooldownKey) -> bool:
        """Forget `key`, on a person's act, a probe's success or another process's word. Whether anything was known of it."""
        half_open = self._breaker.close(key)
        return self._release(key) or half_open

    @property
    def circuits(self) -> Mapping[CooldownKey, Circuit]:
        """What is half-open now, and later: while it is empty, `probe` need not be asked."""
        return self._breaker.circuits

    def probe(self, *, project: str, account: str, model: str, now: float) -> Probe | None:
        """Begin a trial of all that is half-open for this call; None if nothing is."""
        keys = (CooldownKey.of(scope, project=project, model=model, account=account) for scope in Scope)
        found = self._breaker.find(keys, now)
        if not found:
            return None
        for key, circuit in found.items():
            self._hold(key, Cooldown(now + PROBE_S, circuit.why, circuit.strikes, probing=True, since=now))
        return Probe(self, tuple(found), max(circuit.strikes for circuit in found.values()))

    def leave_to_next(self, key: CooldownKey) -> None:
        """The trial of `key` ended without a verdict."""
        held = self.get(key)
        if held is not None and held.probing:
            self._release(key)

    def _hold(self, key: CooldownKey, cooldown: Cooldown) -> None:
        self._shelf(key, create=True)[self._name(key)] = cooldown
        if not math.isinf(cooldown.until):
            self._serial += 1
            heapq.heappush(self._ends, (cooldown.until, self._serial, key))
        self._on_change(key)

    def _release(self, key: CooldownKey) -> bool:
        found = self._shelf(key).pop(self._name(key), None) is not None
        self._drop_empty(key)
        if found:
            self._on_change(key)
        return found

    def get(self, key: CooldownKey) -> Cooldown | None:
        return self._shelf(key).get(self._name(key))

    @property
    def next_end(self) -> float:
        """Nothing ends before this moment; `prune` has nothing to do until then."""
        return self._ends[0][0] if self._ends else math.inf

    def holds(self, project: str, account: str, model: str) -> bool:
        """Whether anything but the model's own cool-down holds this account of this project back."""
        return (
            project in self._project_models.get(model, _NOTHING)
            or project in self._projects
            or account in self._accounts
        )

    def holds_model(self, model: str) -> bool:
        """Whether the model is held back for everyone."""
        return model in self._models

    def active_until(self, *, project: str, model: str, account: str, now: float) -> float | None:
        """The end of the longest cool-down that holds this account back for this model, or None."""
        held = self.blocked(model, now).of(project, account)
        return None if held is None else held.until

    def blocked(self, model: str, now: float) -> Blocked:
        """Everything that matters for `model` at `now`; what has ended is forgotten first."""
        self.prune(now)
        return Blocked(
            self._models.get(model),
            self._project_models.get(model, _NOTHING),
            self._projects,
            self._accounts,
        )

    def prune(self, now: float) -> None:
        """Forget every cool-down whose end is `now` or earlier; those that were guesses become half-open."""
        while self._ends and self._ends[0][0] <= now:
            _, _, key = heapq.heappop(self._ends)
            cooldown = self.get(key)
            if cooldown is None or cooldown.until > now:
                continue
            if cooldown.strikes and not cooldown.probing:
                self._breaker.half_open(key, Circuit(cooldown.strikes, cooldown.why, now))
            self._release(key)

    def items(self) -> Iterator[tuple[CooldownKey, Cooldown]]:
        """All that is kept, in no order, for display; call `prune` first."""
        for model, cooldown in self._models.items():
            yield CooldownKey(scope=Scope.MODEL, model=model), cooldown
        for model, projects in self._project_models.items():
            for project, cooldown in projects.items():
                yield CooldownKey(scope=Scope.PROJECT_MODEL, project=project, model=model), cooldown
        for project, cooldown in self._projects.items():
            yield CooldownKey(scope=Scope.PROJECT, project=project), cooldown
        for account, cooldown in self._accounts.items():
            yield CooldownKey(scope=Scope.ACCOUNT, account=account), cooldown

    def _shelf(self, key: CooldownKey, *, create: bool = False) -> dict[str, Cooldown]:
        match key.scope:
            case Scope.MODEL:
                return self._models
            case Scope.PROJECT:
                return self._projects
            case Scope.ACCOUNT:
                return self._accounts
            case Scope.PROJECT_MODEL if create:
                return self._project_models.setdefault(key.model, {})
            case Scope.PROJECT_MODEL:
                return self._project_models.get(key.model, {})

    def _name(self, key: CooldownKey) -> str:
        match key.scope:
            case Scope.MODEL:
                return key.model
            case Scope.ACCOUNT:
                return key.account
            case Scope.PROJECT | Scope.PROJECT_MODEL:
                return key.project

    def _drop_empty(self, key: CooldownKey) -> None:
        if key.scope is Scope.PROJECT_MODEL and not self._project_models.get(key.model, True):
            del self._project_models[key.model]
