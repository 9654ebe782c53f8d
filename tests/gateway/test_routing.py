"""Which upstream model serves a name."""

from __future__ import annotations

import pytest

from regrant.gateway.routing import Rules, newest_of, route, route_known

ON_OFFER = [
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-3.1-pro-preview",
    "gemini-3.8-flash",
    "gemini-3.8-flash-lite",
    "gemini-10.0-flash-preview",
    "special-model",
]


def test_an_exact_alias_wins_over_every_pattern() -> None:
    rules = Rules({"gpt-*": "a", "gpt-4": "b", "gpt-4*": "c"})
    assert [getattr(route(name, rules, []), "model", None) for name in ("gpt-4", "gpt-4o", "gpt-5")] == [
        "b",
        "c",
        "a",
    ]


def test_between_equally_specific_patterns_the_alphabet_decides() -> None:
    rules = Rules({"*-b": "second", "a-*": "first"})
    found = route("a-b", rules, [])
    assert found is not None
    assert found.model == "second"  # "*" sorts before "a"


def test_an_alias_wins_over_a_model_on_offer_and_over_google_s_own_names() -> None:
    rules = Rules({"special-model": "other", "gemini-2.5-pro": "gemini-3.8-flash"})
    for name, served in rules.aliases.items():
        found = route(name, rules, ON_OFFER)
        assert found is not None
        assert found.model == served


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
    found = route(name, Rules({}), ON_OFFER)
    assert (found.rule if found else None) == rule


def test_presets_need_a_model_on_offer_and_give_way_to_the_default() -> None:
    assert route("gpt-5", Rules({}), []) is None
    found = route("gpt-5", Rules({}, default="x"), [])
    assert found is not None
    assert found.rule == "default"
    found = route("gpt-5", Rules({}, default="x", presets=False), ON_OFFER)
    assert found is not None
    assert found.rule == "default"


def test_versions_are_compared_as_numbers_and_side_lines_left_out() -> None:
    assert newest_of("flash", ON_OFFER) == "gemini-10.0-flash-preview"
    assert newest_of("flash", ["gemini-3.8-flash-preview", "gemini-3.8-flash"]) == "gemini-3.8-flash"
    assert newest_of("pro", ["gemini-3.8-flash"]) is None


def test_what_is_known_without_asking_google() -> None:
    assert route_known("gpt-5", Rules({})) is None
    assert route_known("fast", Rules({"fast": "m"})) is not None
