"""Which requests belong to one conversation."""

from __future__ import annotations

import pytest

from regrant.pool.affinity import SESSION_HEADERS, derive_key

OPENING = ("You are helpful.", "Hello, my first question")


@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_a_session_header_decides_whatever_else_is_said(name: str) -> None:
    one = derive_key(client="k", headers={name: "s1"}, prompt_cache_key="x", opening=OPENING)
    assert one == derive_key(client="k", headers={name: "s1"}, opening=("other",))
    assert one != derive_key(client="k", headers={name: "s2"}, prompt_cache_key="x", opening=OPENING)


def test_the_body_fields_come_next_then_the_opening() -> None:
    cached = derive_key(client="k", headers={}, prompt_cache_key="c", user_id="u", opening=OPENING)
    assert cached == derive_key(client="k", headers={}, prompt_cache_key="c")
    assert derive_key(client="k", headers={}, user_id="u", opening=OPENING) == derive_key(
        client="k", headers={}, user_id="u"
    )
    assert derive_key(client="k", headers={}, opening=OPENING) == derive_key(
        client="k", headers={}, opening=list(OPENING)
    )


def test_two_clients_never_share_a_conversation() -> None:
    assert derive_key(client="a", headers={}, opening=OPENING) != derive_key(
        client="b", headers={}, opening=OPENING
    )


def test_parts_do_not_run_into_each_other() -> None:
    assert derive_key(client="k", headers={}, opening=("ab", "c")) != derive_key(
        client="k", headers={}, opening=("a", "bc")
    )
    assert derive_key(client="ka", headers={}, user_id="b") != derive_key(
        client="k", headers={}, user_id="ab"
    )


def test_nothing_to_tell_a_conversation_by_is_no_conversation() -> None:
    assert derive_key(client="k", headers={}) is None
    assert derive_key(client="k", headers={"x-session-id": ""}, opening=("", "")) is None


def test_a_lone_surrogate_is_hashed_like_any_text() -> None:
    assert derive_key(client="k", headers={}, opening=("\ud800",)) is not None
