"""Which upstream model serves the name that a client asked for.

Exact alias, then the most specific wildcard, then the models that the accounts can see, then the presets, then the
default. Pure; discovering models is `discovery.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

import msgspec

_SMALL = re.compile(r"haiku|mini|nano|flash|lite", re.IGNORECASE)
_FOREIGN = re.compile(r"(?:claude-|gpt-|o[0-9])", re.IGNORECASE)
_GOOGLES = re.compile(
    r"(?:gemini|gemma|learnlm|text-embedding|embedding|imagen|veo|aqa|tunedModels/)", re.IGNORECASE
)
_NUMBERED = re.compile(r"gemini-(\d+(?:\.\d+)?)-(pro|flash)(-preview)?")


class Routed(msgspec.Struct, frozen=True):
    """The upstream's own name of a model, and the rule that led to it."""

    model: str
    rule: str


class Rules(msgspec.Struct, frozen=True):
    """What the settings' `[models]` say."""

    aliases: Mapping[str, str]
    default: str = ""
    presets: bool = True


def route_known(name: str, rules: Rules) -> Routed | None:
    """What can be said without knowing the models on offer: an alias, or a name of Google's own making."""
    name = name.removeprefix("models/")
    alias = rules.aliases.get(name)
    if alias is not None:
        return Routed(alias, "alias")
    wildcard = _most_specific(name, rules.aliases)
    if wildcard is not None:
        return Routed(rules.aliases[wildcard], f"wildcard {wildcard}")
    if _GOOGLES.match(name):
        return Routed(name, "passed on")
    return None


def route(name: str, rules: Rules, discovered: Collection[str]) -> Routed | None:
    """The whole decision; None means that nobody can serve the name."""
    known = route_known(name, rules)
    if known is not None:
        return known
    name = name.removeprefix("models/")
    if name in discovered:
        return Routed(name, "discovered")
    if rules.presets:
        preset = _preset(name, discovered)
        if preset is not None:
            return preset
    return Routed(rules.default, "default") if rules.default else None


def _preset(name: str, discovered: Collection[str]) -> Routed | None:
    if _SMALL.search(name):
        newest = newest_of("flash", discovered)
        return Routed(newest, "preset: newest Flash") if newest else None
    if _FOREIGN.match(name):
        newest = newest_of("pro", discovered)
        return Routed(newest, "preset: newest Pro") if newest else None
    return None


def _most_specific(name: str, aliases: Mapping[str, str]) -> str | None:
    """The matching pattern with the most literal characters; the alphabet decides between equals."""
    matching = [pattern for pattern in aliases if "*" in pattern and fnmatchcase(name, pattern)]
    return min(matching, key=lambda pattern: (pattern.count("*") - len(pattern), pattern), default=None)


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
