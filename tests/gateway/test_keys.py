from __future__ import annotations

import hashlib
import re
import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.gateway.keys import (
    ACCEPTED,
    Key,
    KeyRing,
    Mode,
    client_keys_of,
    effective_mode,
    make_key,
    needs_key,
    ring_of,
    secret_from,
    shown_keys,
)
from regrant.secret import Secret
from regrant.settings import make

tokens = st.text(string.ascii_letters + string.digits + "-_", min_size=43, max_size=43)


def key_of(value: str, name: str = "first") -> Key:
    return make_key(Secret(value), id=f"id-{name}", name=name, now=5.0)


def test_a_new_key_is_43_url_safe_characters_behind_the_prefix_and_only_its_hash_is_stored() -> None:
    secret = secret_from(secrets.token_urlsafe(32))
    assert re.fullmatch(r"rg-[A-Za-z0-9_-]{43}", secret.reveal())
    key = make_key(secret, id="k", name="n", now=7.0)
    assert key.hash == hashlib.sha256(secret.reveal().encode()).hexdigest()
    assert (key.hint, key.created_at, key.last_used_at) == (secret.reveal()[-4:], 7.0, None)
    assert secret.reveal() not in repr(key)


def test_the_hint_of_a_short_key_is_left_out() -> None:
    assert key_of("fifteen-letters").hint == ""


@given(st.lists(tokens, unique=True, min_size=1, max_size=5), st.lists(st.text(max_size=60), max_size=3))
def test_every_key_of_the_ring_is_found_among_other_candidates_and_nothing_else_is(
    values: list[str], others: list[str]
) -> None:
    ring = ring_of([key_of(value, value) for value in values], Secret())
    strangers = [other for other in others if other not in values]
    assert ring.match(strangers) is None
    for value in values:
        found = ring.match([*strangers, value])
        assert found is not None
        assert found.name == value


def test_an_empty_ring_and_an_empty_key_match_nothing() -> None:
    assert not ring_of([], Secret())
    assert KeyRing().match(["", "x"]) is None
    assert ring_of([], Secret("word")).match([""]) is None


def test_the_key_of_the_settings_counts_as_one_more_named_settings() -> None:
    ring = ring_of([key_of("one")], Secret("two"))
    assert [key.name for key in ring.keys] == ["first", "settings"]
    found = ring.match(["two"])
    assert found is not None
    assert found.id == "settings"


def test_a_hash_that_was_mangled_by_hand_matches_nothing_and_breaks_nothing() -> None:
    mangled = [
        Key(id="a", name="a", hash="ü", hint="", created_at=0),
        Key(id="b", name="b", hash="", hint="", created_at=0),
    ]
    assert ring_of([*mangled, key_of("good")], Secret()).match(["bad"]) is None
    assert ring_of([*mangled, key_of("good")], Secret()).match(["good"]) is not None


class CountedKeys(tuple[Key, ...]):
    """Counts how many keys a search has looked at."""

    __slots__ = ()
    seen = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        for key in super().__iter__():
            CountedKeys.seen += 1
            yield key


@pytest.mark.parametrize("wanted", ["k0", "k4", "none"])
def test_every_key_is_compared_wherever_the_match_is(wanted: str) -> None:
    ring = KeyRing(CountedKeys(key_of(f"k{number}", f"k{number}") for number in range(5)))
    CountedKeys.seen = 0
    ring.match([wanted])
    assert CountedKeys.seen == 5


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        (b"authorization", b"Bearer word", "Authorization"),
        (b"authorization", b"bearer   word ", "Authorization"),
        (b"authorization", b"word", "Authorization"),
        (b"x-api-key", b"word", "x-api-key"),
        (b"x-goog-api-key", b" word ", "x-goog-api-key"),
        (b"api-key", b"word", "api-key"),
    ],
)
def test_a_key_is_found_in_every_header_of_the_contract(name: bytes, value: bytes, place: str) -> None:
    assert shown_keys([(b"host", b"x"), (name, value)], b"") == [(place, "word")]
    assert place in ACCEPTED


@pytest.mark.parametrize("query", [b"key=wo%2Drd", b"alt=sse&key=wo-rd", b"key=wo-rd&key="])
def test_a_key_is_found_in_the_query(query: bytes) -> None:
    assert shown_keys([], query) == [("?key=", "wo-rd")]


@pytest.mark.parametrize("query", [b"", b"monkey=word", b"key", b"key=", b"KEY=word", b"k%65y2=word"])
def test_nothing_else_in_the_query_is_a_key(query: bytes) -> None:
    assert client_keys_of([], query) == []


def test_any_valid_key_of_several_is_enough() -> None:
    headers = [
        (b"authorization", b"Bearer wrong"),
        (b"x-api-key", b""),
        (b"x-api-key", b"good"),
        (b"api-key", b"bad"),
    ]
    candidates = client_keys_of(headers, b"key=other")
    assert candidates == ["wrong", "good", "bad", "other"]
    assert ring_of([key_of("good")], Secret()).match(candidates) is not None


@given(
    st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"other"]), st.binary())), st.binary()
)
def test_any_bytes_in_headers_and_query_are_read_without_an_error(
    headers: list[tuple[bytes, bytes]], query: bytes
) -> None:
    assert ring_of([key_of("good" * 10)], Secret()).match(client_keys_of(headers, query)) is None


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "off"),
        ({"server.host": "127.9.9.9"}, "off"),
        ({"server.host": "::1"}, "off"),
        ({"server.host": "LOCALHOST"}, "off"),
        ({"server.host": "0.0.0.0"}, "all_except_health"),
        ({"server.host": "::"}, "all_except_health"),
        ({"server.host": "localhost.example.org"}, "all_except_health"),
        ({"server.trusted_proxies": ["10.0.0.1"]}, "all_except_health"),
        ({"server.allowed_hosts": ["a.org"]}, "all_except_health"),
        ({"server.public_url": "https://a.org"}, "all_except_health"),
        ({"server.allowed_origins": ["https://a.org"]}, "off"),
        ({"server.api_key": "word"}, "off"),
        ({"server.auth_mode": "off", "server.host": "0.0.0.0"}, "off"),
        ({"server.auth_mode": "strict"}, "strict"),
        ({"server.auth_mode": "all_except_health"}, "all_except_health"),
    ],
)
def test_auto_asks_for_keys_as_soon_as_anybody_else_may_connect(
    changes: dict[str, object], mode: str
) -> None:
    assert effective_mode(make(changes).server) == mode


@pytest.mark.parametrize(
    ("mode", "health", "other"),
    [("off", False, False), ("strict", True, True), ("all_except_health", False, True)],
)
def test_only_health_checks_are_free_and_only_in_their_mode(mode: Mode, *, health: bool, other: bool) -> None:
    assert {needs_key(mode, path) for path in ("/healthz", "/health", "/readyz")} == {health}
    assert {needs_key(mode, path) for path in ("/metrics", "/v1/models", "/healthz/", "/", "/HEALTHZ")} == {
        other
    }
