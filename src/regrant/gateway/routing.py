"""Which upstream models serve the name that a client asked for, in the order in which they are tried.

Exact alias, then the most specific wildcard, then the models that the accounts can see, then the presets, then the
default; what holds for the client's key goes before what holds for all. Pure; discovering models is `discovery.py`,
remembering decisions `offer.py`, going on to the next model `pipeline.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator

import msgspec

from regrant.dialects.anthropic.vertex import is_claude
from regrant.settings.model import Chains, Models

MAX_CHAIN = 8

_SMALL = re.compile(r"haiku|mini|nano|flash|lite", re.IGNORECASE)
_FOREIGN = re.compile(r"(?:claude-|gpt-|o[0-9])", re.IGNORECASE)
_GOOGLES = re.compile(
    r"(?:gemini|gemma|learnlm|text-embedding|embedding|imagen|veo|aqa|tunedModels/)", re.IGNORECASE
)
_NUMBERED = re.compile(r"gemini-(\d+(?:\.\d+)?)-(pro|flash)(-preview)?")


class Layer(msgspec.Struct, frozen=True):
    """What one table of the settings says; `place` is its key there, `key` the client keys that it is for ("": all)."""

    place: str = "models"
    key: str = ""
    aliases: Chains = {}
    fallbacks: Chains = {}
    default: str = ""
    allowed: tuple[str, ...] = ()


class Rules(msgspec.Struct, frozen=True):
    """What the settings' `[models]` say to one client key: the most specific layer first."""

    layers: tuple[Layer, ...] = (Layer(),)
    presets: bool = True


class Step(msgspec.Struct, frozen=True):
    """One rule and what it says. `models` is empty where it does not match; `place` is its key in the settings, if it has one."""

    rule: str
    place: str
    models: tuple[str, ...]
    why: str


class Routed(msgspec.Struct, frozen=True):
    """The upstream's own names of the models that serve, in their order, and the rule that led to them.

    `barred` are those that the client's key may not use; where that leaves nothing, `models` is empty.
    """

    models: tuple[str, ...]
    rule: str
    place: str = ""
    barred: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        return self.models[0] if self.models else ""

    @property
    def googles(self) -> tuple[str, ...]:
        """Those that are no Claude models, which only Messages requests get to; all, where there are no others."""
        if len(self.models) == 1:
            return self.models
        return tuple(model for model in self.models if not is_claude(model)) or self.models


def rules_for(models: Models, key_id: str = "", key_name: str = "") -> Rules:
    """The layers that hold for a client key; requests without a key have the general one only."""
    mine = [
        Layer(f"models.rules[{index}]", rule.key, rule.aliases, rule.fallbacks, rule.default, rule.allowed)
        for index, rule in enumerate(models.rules)
        if (key_id and matches(rule.key, key_id)) or (key_name and matches(rule.key, key_name))
    ]
    mine.sort(key=lambda layer: ("*" in layer.key, specificity(layer.key)))
    general = Layer("models", "", models.aliases, models.fallbacks, models.default)
    return Rules((*mine, general), models.presets)


def route(name: str, rules: Rules, discovered: Collection[str] | None) -> Routed | None:
    """The decision; None means that nobody can serve the name.

    Without `discovered`: what can be said without knowing the models on offer.
    """
    found = next((step for step in steps(name, rules, discovered) if step.models), None)
    return None if found is None else _chained(found, rules)


def steps(name: str, rules: Rules, discovered: Collection[str] | None) -> Iterator[Step]:
    """Each rule in its turn. The first one that matches decides."""
    name = name.removeprefix("models/")
    for layer in rules.layers:
        yield _alias(name, layer)
        yield _wildcard(name, layer)
    yield _googles(name)
    if discovered is None:
        return
    yield _discovered(name, discovered)
    yield _preset(name, discovered, wanted=rules.presets)
    for layer in rules.layers:
        yield _default(layer)


def _alias(name: str, layer: Layer) -> Step:
    place = f"{layer.place}.aliases"
    found = layer.aliases.get(name)
    if found is None:
        return Step("alias", place, (), "no alias of this name")
    return Step("alias", place, found, "an alias of exactly this name")


def _wildcard(name: str, layer: Layer) -> Step:
    place = f"{layer.place}.aliases"
    pattern = most_specific(name, layer.aliases)
    if pattern is None:
        return Step("wildcard", place, (), "no wildcard fits the name")
    others = sum("*" in other and matches(other, name) for other in layer.aliases) - 1
    why = f"{pattern} is the most specific of {others + 1} that fit" if others else f"only {pattern} fits"
    return Step(f"wildcard {pattern}", place, layer.aliases[pattern], why)


def _googles(name: str) -> Step:
    if _GOOGLES.match(name):
        return Step("passed on", "", (name,), "one of Google's own names, which Google itself judges")
    return Step("passed on", "", (), "not one of Google's own names")


def _discovered(name: str, discovered: Collection[str]) -> Step:
    if name in discovered:
        return Step("discovered", "", (name,), "an account can see a model of this name")
    return Step("discovered", "", (), f"none of the {len(discovered)} models that the accounts can see")


def _preset(name: str, discovered: Collection[str], *, wanted: bool) -> Step:
    place = "models.presets"
    if not wanted:
        return Step("preset", place, (), "switched off")
    line = "flash" if _SMALL.search(name) else "pro" if _FOREIGN.match(name) else ""
    if not line:
        return Step("preset", place, (), "not a well-known name of another vendor")
    newest = newest_of(line, discovered)
    if newest is None:
        return Step("preset", place, (), f"no account can see a {line.title()} model")
    why = f"the newest {line.title()} model that the accounts can see"
    return Step(f"preset: newest {line.title()}", place, (newest,), why)


def _default(layer: Layer) -> Step:
    place = f"{layer.place}.default"
    if layer.default:
        return Step("default", place, (layer.default,), "for names that nothing else matches")
    return Step("default", place, (), "not set")


def _chained(step: Step, rules: Rules) -> Routed:
    """With the models that stand in, and without those that the key may not use."""
    chain = dict.fromkeys(step.models)
    waiting = list(step.models)
    while waiting:  # those that stand in may have others that stand in for them
        fresh = [one for one in _stand_ins(waiting.pop(0), rules.layers) if one not in chain]
        chain.update(dict.fromkeys(fresh))
        waiting += fresh
    kept = [model for model in chain if may_use(model, rules)]
    barred = [model for model in chain if model not in kept]
    return Routed(tuple(kept[:MAX_CHAIN]), step.rule, step.place, tuple(barred))


def barred_by(name: str, rules: Rules, discovered: Collection[str]) -> tuple[str, ...]:
    """The models that the name leads to and that the client's key may not use."""
    routed = route(name, rules, discovered)
    return routed.barred if routed else ()


def may_use(model: str, rules: Rules) -> bool:
    """Whether the client's key may be served by this model: the most specific layer that says so decides."""
    allowed = next((layer.allowed for layer in rules.layers if layer.allowed), ("*",))
    return any(matches(pattern, model) for pattern in allowed)


def _stand_ins(model: str, layers: Iterable[Layer]) -> tuple[str, ...]:
    for layer in layers:
        pattern = model if model in layer.fallbacks else most_specific(model, layer.fallbacks)
        if pattern is not None:
            return layer.fallbacks[pattern]
    return ()


def most_specific(name: str, patterns: Iterable[str]) -> str | None:
    """The fitting wildcard with the most literal characters; the alphabet decides between equals."""
    fitting = [pattern for pattern in patterns if "*" in pattern and matches(pattern, name)]
    return min(fitting, key=specificity, default=None)


def specificity(pattern: str) -> tuple[int, str]:
    """The more specific a pattern, the smaller."""
    return pattern.count("*") - len(pattern), pattern


def matches(pattern: str, name: str) -> bool:
    """Whether the name fits the pattern, in which only * has a meaning: any characters, or none."""
    return pattern == name or ("*" in pattern and _compiled(pattern).fullmatch(name) is not None)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def newest_of(line: str, discovered: Collection[str]) -> str | None:
    """The newest model of a line (`pro` or `flash`); a preview only where no finished one is as new."""
    found = [
        (match, name) for name in discovered if (match := _NUMBERED.fullmatch(name)) and match[2] == line
    ]
    if not found:
        return None
    return max(found, key=lambda pair: (_version(pair[0][1]), pair[0][3] is None))[1]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))
