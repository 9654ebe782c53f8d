"""Foreign hosts and pages; client keys are tested in test_keys.py."""

from __future__ import annotations

import msgspec
import pytest

from regrant.gateway.guard import Admitted, check, foreign_origin, host_is_ours
from regrant.gateway.keys import KeyRing, Mode, ring_of
from regrant.messages.problem import Problem, ProblemKind
from regrant.secret import Secret
from regrant.settings import Server

SERVER = Server(
    host="127.0.0.1",
    port=8045,
    workers=1,
    auth_mode="auto",
    api_key=Secret(""),
    max_body_mb=100,
    trusted_proxies=(),
    allowed_hosts=(),
    allowed_origins=(),
    public_url="",
)
RING = ring_of((), Secret("right-key"))


def judge(
    mode: Mode, *headers: tuple[bytes, bytes], path: str = "/v1/models", ring: KeyRing = RING
) -> object:
    return check(path, headers, b"", server=SERVER, mode=mode, ring=ring)


@pytest.mark.parametrize(
    "host", ["", "localhost", "x.localhost:1", "127.0.0.1:8045", "[::1]:8045", "::1", "10.0.0.1"]
)
def test_addresses_and_localhost_are_ours(host: str) -> None:
    assert host_is_ours(host, SERVER)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[evil]:1"]
)
def test_other_names_are_not(host: str) -> None:
    assert not host_is_ours(host, SERVER)


def test_names_of_the_settings_are_ours() -> None:
    server = msgspec.structs.replace(
        SERVER, allowed_hosts=("gw.test:443", "*.lan.test"), public_url="https://Public.test/x", host="box"
    )
    assert all(host_is_ours(host, server) for host in ("gw.test", "a.lan.test", "public.test:1", "box:8045"))
    assert not host_is_ours("lan.test", server)


def test_an_allowed_origin_may_call_from_anywhere_and_null_never() -> None:
    server = msgspec.structs.replace(SERVER, allowed_origins=("https://App.test/",))
    assert not foreign_origin({b"origin": b"https://app.test", b"sec-fetch-site": b"cross-site"}, server)
    assert foreign_origin({b"origin": b"null"}, server)
    assert foreign_origin({b"origin": b"https://app.test.evil.example"}, server)


def test_a_key_opens_whatever_the_page_and_the_mode() -> None:
    foreign = [(b"host", b"evil.example"), (b"origin", b"https://evil.example")]
    for mode in ("off", "strict", "all_except_health"):
        admitted = judge(mode, *foreign, (b"x-api-key", b"right-key"))
        assert isinstance(admitted, Admitted)
        assert admitted.key is not None
        refused = judge(mode, *foreign)
        assert isinstance(refused, Problem)
        assert refused.kind is ProblemKind.ORIGIN_NOT_ALLOWED


def test_an_empty_ring_admits_nobody_where_a_key_is_needed() -> None:
    refused = judge("strict", (b"host", b"localhost"), (b"x-api-key", b""), ring=KeyRing())
    assert isinstance(refused, Problem)
    assert refused.kind is ProblemKind.UNAUTHORIZED
