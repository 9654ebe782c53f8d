"""What happens when, made from a seed alone: the same seed is the same story, in every run.

Carrying it out is `driver.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from tests.acceptance.chaos import faults
from tests.acceptance.chaos.faults import Fault

MODELS = ("gemini-3.5-flash-lite", "gemini-2.5-flash", "gemini-3.8-flash")
LONG_MODEL = MODELS[1]
"""The only model that meets limits which outlast the run."""
NAMES = ("ann", "bob", "cara", "dan", "eve", "finn", "gus", "hana", "ida", "jon", "kim", "leo")
PROJECTS = {name: f"project-{number // 2 if number < 8 else number}" for number, name in enumerate(NAMES)}
"""Four projects of two accounts, four of one."""
ON_VERTEX = frozenset({"kim", "leo"})
LONG_PROJECTS = ("project-0", "project-1", "project-10")
"""The only ones that meet faults which outlast the run."""
SPARED = frozenset({"finn", "ida", "jon"})
"""They meet limits and outages like everybody, but nobody takes them out: most of the time somebody is healthy."""
EVERY_S = 0.1
"""How long it is from one thing that goes wrong to the next, on the average."""
STRATEGIES = ("sticky", "round_robin", "least_loaded", "weighted", "priority", "fill_first")


@dataclass(frozen=True)
class Act:
    """Something that happens `at` seconds after the start. `what` is the name of a method of `Stage`."""

    at: float
    what: str
    who: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    strategy: str
    acts: tuple[Act, ...]

    def written(self) -> str:
        """The story, a line an act."""
        return "\n".join(json.dumps(asdict(act), default=str) for act in self.acts)


def make_plan(seed: int, seconds: float) -> Plan:
    """A story of that length; it is long over when the last act is done."""
    random = Random(seed)
    deck = Deck(random)
    acts: list[Act] = []
    at = 0.5
    while at < seconds:
        acts += _choose(random, deck, at, seconds)
        at += random.expovariate(1 / EVERY_S)
    strategy = STRATEGIES[seed % len(STRATEGIES)]
    return Plan(seed, seconds, strategy, tuple(sorted(acts, key=lambda act: act.at)))


class Deck:
    """All the faults in an order by chance, again and again: each has its turn."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._cards: list[Fault] = []

    def draw(self) -> Fault:
        if not self._cards:
            self._cards = [fault for group, often in faults.KINDS for fault in group for _ in range(often)]
            self._random.shuffle(self._cards)
        return self._cards.pop()


def _choose(random: Random, deck: Deck, at: float, seconds: float) -> list[Act]:
    """One thing that goes wrong, and what ends it."""

    def _burst(random: Random, at: float) -> Iterator[Act]:
        return _play(random, deck.draw(), at)

    makers = (_burst, _condition, _trouble_with_tokens, _life, _long_limit, _blackout)
    [make] = random.choices(makers, (60, 8, 8, 10, 5 if at < seconds / 2 else 0, 1))
    return list(make(random, at))


def _unlucky(random: Random) -> str:
    return random.choice([name for name in NAMES if name not in SPARED])


def _where(random: Random, fault: Fault) -> dict[str, str]:
    """Whom a fault meets: an account, a project, a model of a project, or anybody."""
    if fault.attend:
        name = _unlucky(random)
        return random.choice(({"email": email(name)}, {"project": PROJECTS[name]}))
    name = random.choice(NAMES)
    model = random.choice(MODELS)
    choices: tuple[dict[str, str], ...] = (
        {"email": email(name)},
        {"project": PROJECTS[name]},
        {"project": PROJECTS[name], "model": model},
        {"model": model},
        {},
    )
    return random.choice(choices)


def _play(random: Random, fault: Fault, at: float) -> Iterator[Act]:
    """A fault that a few calls meet."""
    where = _where(random, fault)
    if fault.name == "429_vertex":
        where = {"email": email(random.choice(sorted(ON_VERTEX)))}
    times = 1 if fault in faults.OVERLOADS or fault.kind == "hang" else random.choice((1, 1, 2, 3))
    [endpoint] = random.choices(("generate", "stream", "count"), (0, 1, 0) if fault.streamed else (9, 9, 1))
    yield Act(at, "script", details={"endpoint": endpoint, "times": times, **where}, fault=fault)


def _condition(random: Random, at: float) -> Iterator[Act]:
    """A fault that lasts until somebody mends it."""
    fault = random.choice((*faults.REFUSALS, *faults.BILLS, *faults.LIMITS[:2]))
    name = _unlucky(random)
    where = {"project": PROJECTS[name]} if fault.person or random.random() < 0.3 else {"email": email(name)}
    label = f"{at:.3f}"
    until = at + random.uniform(0.5, 3.0)
    for endpoint in ("generate", "stream", "count"):
        details = {"endpoint": endpoint, "times": None, "label": label, **where}
        yield Act(at, "script", details=details, fault=fault)
    yield Act(until, "unscript", details={"label": label})


def _trouble_with_tokens(random: Random, at: float) -> Iterator[Act]:
    name = _unlucky(random)
    behaviour = faults.TOKEN_HANG if random.random() < 0.02 else random.choice(faults.TOKEN_TROUBLES)
    yield Act(at, "trouble_tokens", name, {"behaviour": behaviour, "times": random.choice((1, 1, 2))})
    yield Act(at + 0.01, "expire", name)


def _life(random: Random, at: float) -> Iterator[Act]:
    """Something that a person or Google does to an account as such, and what puts it right."""
    name = _unlucky(random)
    later = at + random.uniform(1.5, 4.0)
    match random.choice(("revoke", "revoke", "deny", "pause", "pause_by_hand", "label_by_hand", "expire")):
        case "revoke":
            yield Act(at, "revoke", name)
            yield Act(later, random.choice(("sign_in", "sign_in_by_hand")), name)
        case "deny":
            yield Act(at, "deny", name, {"name": random.choice(faults.DEADLY)})
            yield Act(later, random.choice(("sign_in", "verify")), name)
        case "pause":
            yield Act(at, "pause", name)
            yield Act(later, "resume", name)
        case "pause_by_hand":
            yield Act(at, "pause_by_hand", name)
            yield Act(later, "resume_by_hand", name)
        case other:
            yield Act(at, other, name)


def _long_limit(random: Random, at: float) -> Iterator[Act]:
    fault = random.choice(faults.LONG_LIMITS)
    where: dict[str, str] = {"project": random.choice(LONG_PROJECTS)}
    if fault.scope == "project_model":
        where["model"] = LONG_MODEL
    yield Act(at, "script", details={"endpoint": "generate", "times": 1, **where}, fault=fault)


def _blackout(random: Random, at: float) -> Iterator[Act]:
    """Nothing of Google's works for a moment."""
    fault = random.choice(faults.OUTAGES)
    label = f"{at:.3f}"
    for endpoint in ("generate", "stream"):
        details = {"endpoint": endpoint, "times": None, "label": label}
        yield Act(at, "script", details=details, fault=fault)
    yield Act(at + random.uniform(0.2, 0.8), "unscript", details={"label": label})


def email(name: str) -> str:
    return f"{name}@example.com"
