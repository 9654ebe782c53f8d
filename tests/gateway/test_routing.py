"""Which upstream models serve a name, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant import settings
from regrant.gateway.routing import (
    MAX_CHAIN,
    Routed,
    Rules,
    matches,
    most_specific,
    newest_of,
    route,
    rules_for,
    steps,
)

ON_OFFER = [
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-3.1-pro-preview",
    "gemini-3.8-flash",
    "gemini-3.8-flash-lite",
    "gemini-10.0-flash-preview",
    "special-model",
]


def rules(aliases: Mapping[str, Any] | None = None, *, key: str = "", **models: Any) -> Rules:
    """What `[models]` says to the client key of this name."""
    changes = {f"models.{name}": value for name, value in ({"aliases": aliases or {}} | models).items()}
    return rules_for(settings.make(changes).models, f"id-of-{key}" if key else "", key)


def led(name: str, given_rules: Rules, discovered: list[str] | None = None) -> Routed:
    found = route(name, given_rules, discovered or [])
    assert found is not None, name
    return found


def test_an_exact_alias_wins_over_every_pattern() -> None:
    table = rules({"gpt-*": "a", "gpt-4": "b", "gpt-4*": "c"})
    assert [led(name, table).model for name in ("gpt-4", "gpt-4o", "gpt-5")] == ["b", "c", "a"]


def test_between_equally_specific_patterns_the_alphabet_decides() -> None:
    assert led("a-b", rules({"*-b": "second", "a-*": "first"})).model == "second"  # "*" sorts before "a"


def test_an_alias_wins_over_a_model_on_offer_and_over_google_s_own_names() -> None:
    aliases = {"special-model": "other", "gemini-2.5-pro": "gemini-3.8-flash"}
    for name, served in aliases.items():
        assert led(name, rules(aliases), ON_OFFER).model == served


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gemini-99-ultra", "passed on"),
        ("models/gemini-99-ultra", "passed on"),
        ("special-model", "discovered"),
        ("claude-haiku-5", "preset: newest Flash"),
        ("claude-opus-5", "preset: newest Pro"),
        ("o3", "preset: newest Pro"),
        ("olympus", None),
    ],
)
def test_each_rule_in_its_turn(name: str, rule: str | None) -> None:
    found = route(name, rules(), ON_OFFER)
    assert (found.rule if found else None) == rule


def test_presets_need_a_model_on_offer_and_give_way_to_the_default() -> None:
    assert route("gpt-5", rules(), []) is None
    assert led("gpt-5", rules(default="x")).rule == "default"
    assert led("gpt-5", rules(default="x", presets=False), ON_OFFER).rule == "default"


def test_versions_are_compared_as_numbers_and_side_lines_left_out() -> None:
    assert newest_of("flash", ON_OFFER) == "gemini-10.0-flash-preview"
    assert newest_of("flash", ["gemini-3.8-flash-preview", "gemini-3.8-flash"]) == "gemini-3.8-flash"
    assert newest_of("pro", ["gemini-3.8-flash"]) is None


def test_what_is_known_without_asking_google() -> None:
    assert route("gpt-5", rules(default="x"), None) is None
    assert route("fast", rules({"fast": "m"}), None) is not None


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("gpt-*", "gpt-", True),
        ("gpt-*", "xgpt-4", False),
        ("*", "", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a[b]*", "ab1", False),
        ("a.b*", "axb", False),
        ("a?", "ab", False),
        ("a", "a", True),
    ],
)
def test_only_the_star_is_a_wildcard(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


# -- models that stand in


@pytest.mark.parametrize(
    ("aliases", "fallbacks", "chain"),
    [
        ({"m": ["a", "b", "c"]}, {}, ("a", "b", "c")),
        ({"m": "a"}, {"a": "b"}, ("a", "b")),
        ({"m": "a"}, {"a": ["b", "c"], "b": "d"}, ("a", "b", "c", "d")),
        ({"m": ["a", "b"]}, {"a": "x", "b": "y"}, ("a", "b", "x", "y")),
        ({"m": "a"}, {"a": "b", "b": "a"}, ("a", "b")),
        ({"m": "a"}, {"a": "a"}, ("a",)),
        ({"m": "abc"}, {"a*": "x", "ab*": "y", "*": "z"}, ("abc", "y", "z")),
        ({"m": "abc"}, {"abc": "x", "ab*": "y"}, ("abc", "x")),
    ],
)
def test_the_order_of_those_that_stand_in(
    aliases: dict[str, Any], fallbacks: dict[str, Any], chain: tuple[str, ...]
) -> None:
    assert led("m", rules(aliases, fallbacks=fallbacks)).models == chain


def test_fallbacks_hold_for_google_s_names_however_they_were_found() -> None:
    table = rules(fallbacks={"gemini-3.8-*": "gemini-2.5-flash"})
    assert led("gemini-3.8-flash", table).models == ("gemini-3.8-flash", "gemini-2.5-flash")
    assert led("gpt-5-mini", table, ON_OFFER[:4]).models == ("gemini-3.8-flash", "gemini-2.5-flash")


def test_a_chain_has_an_end() -> None:
    table = rules(fallbacks={f"gemini-{number}": f"gemini-{number + 1}" for number in range(50)})
    assert len(led("gemini-0", table).models) == MAX_CHAIN


def test_claude_models_are_only_for_those_who_get_to_them() -> None:
    assert led("m", rules({"m": ["claude-x", "gemini-y"]})).googles == ("gemini-y",)
    assert led("m", rules({"m": "claude-x"})).googles == ("claude-x",)


# -- client keys


def test_what_holds_for_a_key_goes_before_what_holds_for_all() -> None:
    own = [{"key": "ci", "aliases": {"gpt-*": "for-ci"}, "fallbacks": {"for-*": "spare"}, "default": "last"}]
    aliases = {"gpt-5": "for-all"}
    assert led("gpt-5", rules(aliases, rules=own, key="ci")).models == ("for-ci", "spare")
    assert led("gpt-5", rules(aliases, rules=own, key="other")).models == ("for-all",)
    assert led("gpt-5", rules(aliases, rules=own)).models == ("for-all",)
    assert led("nothing", rules(aliases, rules=own, key="ci", default="general")).model == "last"
    assert led("nothing", rules(aliases, rules=own, default="general")).model == "general"


def test_a_key_is_meant_by_its_name_or_its_id_and_the_most_specific_rule_is_first() -> None:
    own = [
        {"key": "*", "aliases": {"m": "anybody"}},
        {"key": "team-*", "aliases": {"m": "team"}},
        {"key": "id-of-team-a", "aliases": {"m": "exactly"}},
    ]
    assert led("m", rules(rules=own, key="team-a")).model == "exactly"
    assert led("m", rules(rules=own, key="team-b")).model == "team"
    assert led("m", rules(rules=own, key="ci")).model == "anybody"
    assert route("m", rules(rules=own), []) is None


def test_models_that_a_key_may_not_use_are_left_out_or_nothing_is_left() -> None:
    own = [{"key": "ci", "allowed": ["*flash*"]}, {"key": "*", "allowed": ["gemini-2.5-pro"]}]
    chain = led("m", rules({"m": ["gemini-2.5-pro", "gemini-3.8-flash"]}, rules=own, key="ci"))
    assert (chain.models, chain.barred) == (("gemini-3.8-flash",), ("gemini-2.5-pro",))
    assert led("gemini-3.8-flash", rules(rules=own, key="other")).models == ()
    assert led("gemini-3.8-flash", rules(rules=own)).models == ("gemini-3.8-flash",)


def test_steps_go_on_after_the_one_that_decides() -> None:
    table = rules({"gpt-*": "a", "*": "b"}, default="c")
    found = [(step.rule, bool(step.models)) for step in steps("gpt-5", table, ON_OFFER)]
    assert found == [
        ("alias", False),
        ("wildcard gpt-*", True),
        ("passed on", False),
        ("discovered", False),
        ("preset: newest Pro", True),
        ("default", True),
    ]


# -- whatever the tables hold

NAMES = st.text("ab-1", min_size=1, max_size=5)
PATTERNS = st.text("ab-1*", min_size=1, max_size=5)
CHAINS = st.dictionaries(PATTERNS, st.lists(NAMES, min_size=1, max_size=3, unique=True), max_size=6)
RULES = st.lists(
    st.fixed_dictionaries({"key": PATTERNS, "aliases": CHAINS, "fallbacks": CHAINS, "default": NAMES}),
    max_size=3,
    unique_by=lambda rule: str(rule["key"]),
)


@given(NAMES, NAMES, CHAINS, CHAINS, RULES, st.data())
def test_the_order_of_the_tables_never_matters(
    name: str,
    key: str,
    aliases: dict[str, Any],
    fallbacks: dict[str, Any],
    own: list[Any],
    data: st.DataObject,
) -> None:
    def shuffled(table: dict[str, Any]) -> dict[str, Any]:
        return dict(data.draw(st.permutations(list(table.items()))))

    before = route(name, rules(aliases, fallbacks=fallbacks, rules=own, key=key), ON_OFFER)
    moved = [
        one | {part: shuffled(one[part]) for part in ("aliases", "fallbacks")}
        for one in data.draw(st.permutations(own))
    ]
    after = route(
        name, rules(shuffled(aliases), fallbacks=shuffled(fallbacks), rules=moved, key=key), ON_OFFER
    )
    assert (before and (before.models, before.rule)) == (after and (after.models, after.rule))


@given(NAMES, st.lists(PATTERNS, max_size=8))
def test_no_fitting_wildcard_has_more_literal_characters_than_the_one_that_wins(
    name: str, patterns: list[str]
) -> None:
    def literal(pattern: str) -> int:
        return len(pattern.replace("*", ""))

    fitting = [pattern for pattern in patterns if "*" in pattern and matches(pattern, name)]
    found = most_specific(name, patterns)
    assert (found is None) == (not fitting)
    if found is not None:
        assert literal(found) == max(map(literal, fitting))
        assert found == min(one for one in fitting if literal(one) == literal(found))


@given(NAMES, CHAINS, CHAINS)
def test_a_chain_names_each_model_once_and_begins_with_what_the_alias_says(
    name: str, aliases: dict[str, Any], fallbacks: dict[str, Any]
) -> None:
    found = route(name, rules(aliases, fallbacks=fallbacks), None)
    if found is not None:
        assert len(set(found.models)) == len(found.models) <= MAX_CHAIN
        said = aliases[name] if name in aliases else aliases[found.rule.removeprefix("wildcard ")]
        assert found.models[: len(said)] == tuple(said)
