"""Which requests belong to one conversation."""

from __future__ import annotations

import pytest

from regrant.pool.affinity import AGENT_HEADER, SESSION_HEADERS, derive_key

OPENING = ("You are helpful.", "Hello, my first question")


@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_a_session_header_decides_whatever_else_is_said(name: bytes) -> None:
    one = derive_key(client="k", headers={name: b"s1"}, prompt_cache_key="x", opening=lambda: OPENING)
    assert one == derive_key(client="k", headers={name: b"s1"}, opening=lambda: ("other",))
    assert one != derive_key(client="k", headers={name: b"s2"}, prompt_cache_key="x", opening=lambda: OPENING)


def test_the_body_fields_come_next_then_the_opening() -> None:
    cached = derive_key(client="k", headers={}, prompt_cache_key="c", user_id="u", opening=lambda: OPENING)
    assert cached == derive_key(client="k", headers={}, prompt_cache_key="c")
    assert derive_key(client="k", headers={}, user_id="u", opening=lambda: OPENING) == derive_key(
        client="k", headers={}, user_id="u"
    )
    assert derive_key(client="k", headers={}, opening=lambda: OPENING) == derive_key(
        client="k", headers={}, opening=lambda: list(OPENING)
    )


def test_two_clients_never_share_a_conversation() -> None:
    assert derive_key(client="a", headers={}, opening=lambda: OPENING) != derive_key(
        client="b", headers={}, opening=lambda: OPENING
    )


def test_parts_do_not_run_into_each_other() -> None:
    assert derive_key(client="k", headers={}, opening=lambda: ("ab", "c")) != derive_key(
        client="k", headers={}, opening=lambda: ("a", "bc")
    )
    assert derive_key(client="ka", headers={}, user_id="b") != derive_key(
        client="k", headers={}, user_id="ab"
    )


def test_nothing_to_tell_a_conversation_by_is_no_conversation() -> None:
    assert derive_key(client="k", headers={}) is None
    assert derive_key(client="k", headers={b"x-session-id": b""}, opening=lambda: ("", "")) is None


def test_a_lone_surrogate_is_hashed_like_any_text() -> None:
    assert derive_key(client="k", headers={}, opening=lambda: ("\ud800",)) is not None


def test_subagents_of_one_session_are_conversations_of_their_own() -> None:
    session = {b"x-claude-code-session-id": b"s"}
    whole = derive_key(client="k", headers=session)
    parts = [derive_key(client="k", headers=session | {AGENT_HEADER: agent}) for agent in (b"a", b"b", b"a")]
    assert parts[0] == parts[2]
    assert len({whole, *parts}) == 3


def test_a_thread_is_told_from_the_session_that_it_is_part_of() -> None:
    one, other = (
        derive_key(client="k", headers={b"session-id": b"s", b"thread-id": name}) for name in (b"1", b"2")
    )
    assert one != other


def test_a_long_opening_is_told_by_its_ends_and_its_length() -> None:
    def key_of(*texts: str) -> int | None:
        return derive_key(client="k", headers={}, opening=lambda: texts)

    prompt = "You are an agent. " * 4000
    assert key_of(prompt, "one") != key_of(prompt, "two")
    assert key_of("a" + prompt) != key_of("b" + prompt)
    assert key_of(prompt + "a") != key_of(prompt + "b")
    assert key_of(prompt[:9000] + prompt[-9000:]) != key_of(prompt[:9000] + "." + prompt[-9000:])
    assert key_of(*["tool"] * 40, "one") != key_of(*["tool"] * 40, "two")


def test_the_opening_is_not_read_where_something_better_tells() -> None:
    def fail() -> list[str]:
        raise AssertionError("read in vain")

    assert derive_key(client="k", headers={b"x-session-id": b"s"}, opening=fail)
    assert derive_key(client="k", headers={}, prompt_cache_key="c", opening=fail)
    assert derive_key(client="k", headers={}, user_id="u", opening=fail)
