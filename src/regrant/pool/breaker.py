"""One request first: what was left alone for a guessed time is tried by a single request before all use it again.

Theory of operation. A cool-down whose end Google named simply ends. One whose end is a guess leaves its circuit half-open: the
next request that needs it is the probe, and while the probe is out the rest see a short cool-down in its place. A success
closes the circuit, the same failure opens it again for longer; a probe that ends in anything else (its client left, the
request was wrong) or that takes long (a refusal comes at once, an answer may not) leaves the circuit to the next one.

An account that needs a person is not in the pool at all, so no cool-down can bring it back: `Trials` lets one real request
try it now and then, and its first success ends the attention.

Pure: no clock. The cool-downs themselves are `cooldown.py`, how long they last is decided in `upstream/classifier.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from regrant.pool.selector import Candidate
from regrant.upstream.faults import FaultKind

PROBE_S = (
    5.0  # how long one probe keeps the others away: refusals come sooner, a model that thinks answers later
)
FORGET_S = 3_600.0  # nobody wanted it for so long: what was known of it is old
MAX_CIRCUITS = 10_000
TRIAL_GROWTH_CAP = (
    12  # an account that needs a person is tried every five minutes at first, every hour at last
)
TRIAL_GAP_S = 1.0  # between two trials of any accounts: many that were refused together do not cost many requests at once
UNCLEAR_S = 60.0  # a trial that told nothing is repeated after this time at the latest

K = TypeVar("K")


class Circuit(msgspec.Struct, frozen=True):
    """Half-open since then (unix seconds), after `strikes` failures in a row."""

    strikes: int
    why: FaultKind
    since: float


class Breaker(Generic[K]):
    """`circuits` are those that are half-open, by what they protect; it stays the same object."""

    def __init__(self) -> None:
        self._circuits: dict[K, Circuit] = {}
        self.circuits: Mapping[K, Circuit] = self._circuits

    def half_open(self, key: K, circuit: Circuit) -> None:
        """Its guessed time is over."""
        if len(self._circuits) >= MAX_CIRCUITS:
            del self._circuits[next(iter(self._circuits))]
        self._circuits[key] = circuit

    def close(self, key: K) -> bool:
        """It works again, or its end is known now. Whether it was half-open."""
        return self._circuits.pop(key, None) is not None

    def find(self, keys: Iterable[K], now: float) -> dict[K, Circuit]:
        """Those of the keys that a request may only try."""
        found = {}
        for key in keys:
            circuit = self._circuits.get(key)
            if circuit is None:
                continue
            if now - circuit.since > FORGET_S:
                del self._circuits[key]
            else:
                found[key] = circuit
        return found


class _Patient(msgspec.Struct):
    candidate: Candidate
    next_at: float
    failures: int = 0


class Trials:
    """The accounts that wait for a person, and when each may be tried next. `first_s` seconds after it was sent away; 0: never."""

    def __init__(self, first_s: Callable[[], float]) -> None:
        self._first_s = first_s
        self._patients: dict[str, _Patient] = {}
        self._not_before = -math.inf
        self.next_at = math.inf
        """No trial is due before this moment (unix seconds)."""

    def enter(self, candidate: Candidate, now: float) -> None:
        """The account was sent away, or what is known of it changed."""
        if self._note(candidate, now):
            self._look_ahead()

    def leave(self, id_: str) -> None:
        """It is back, or gone."""
        if self._patients.pop(id_, None) is not None:
            self._look_ahead()

    def keep(self, candidates: Iterable[Candidate], now: float) -> None:
        """These are all that wait; of those known already, the time stays. The time set may have become 0: then none is tried any more."""
        kept = {candidate.id: candidate for candidate in candidates} if self._first_s() else {}
        for id_ in self._patients.keys() - kept.keys():
            del self._patients[id_]
        for candidate in kept.values():
            self._note(candidate, now)
        self._look_ahead()

    def take(
        self, now: float, may: Callable[[Candidate], bool], rests: Callable[[str], float]
    ) -> Candidate | None:
        """One account that is due and `may` be tried, not to be given again soon. `rests` tells until when an account is to be left alone."""
        self._not_before = now + TRIAL_GAP_S
        chosen: Candidate | None = None
        for id_, patient in self._patients.items():
            if patient.next_at > now:
                continue
            if (until := rests(id_)) > now:
                patient.next_at = until  # another process has tried it meanwhile
            elif chosen is None and may(patient.candidate):
                chosen = patient.candidate
                patient.next_at = now + min(UNCLEAR_S, self._first_s())
        self._look_ahead()
        return chosen

    def hasten(self, id_: str, now: float) -> None:
        """A person has ended its cool-down: the next request may try it."""
        patient = self._patients.get(id_)
        if patient is not None:
            patient.next_at = now
            self._look_ahead()

    def failed(self, id_: str, now: float) -> None:
        """It was tried, and a person is needed still."""
        patient = self._patients.get(id_)
        if patient is not None:
            patient.failures += 1
            patient.next_at = now + self._first_s() * min(TRIAL_GROWTH_CAP, 2.0 ** min(patient.failures, 30))
            self._look_ahead()

    def _note(self, candidate: Candidate, now: float) -> bool:
        """Whether it is one more that waits."""
        known = self._patients.get(candidate.id)
        first_s = self._first_s()
        if known is not None:
            known.candidate = candidate
        elif first_s:
            self._patients[candidate.id] = _Patient(candidate, now + first_s)
        return known is None and bool(first_s)

    def _look_ahead(self) -> None:
        soonest = min((patient.next_at for patient in self._patients.values()), default=math.inf)
        self.next_at = max(soonest, self._not_before)
