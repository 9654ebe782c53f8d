"""Origins and targets of well-formed URLs; the malformed ones are refused in test_http_client.py through the client."""

from __future__ import annotations

import pytest

from regrant.errors import UnsendableRequest
from regrant.transport.url import MAX_REMEMBERED_CHARACTERS, Origin, _parse_known, parse_url

URLS = {
    "http://Example.COM": ("http", "example.com", 80, "/", "example.com"),
    "https://example.com?x=1": ("https", "example.com", 443, "/?x=1", "example.com"),
    "https://example.com:443/a": ("https", "example.com", 443, "/a", "example.com"),
    "http://example.com:8080/a/b?c=d#e": ("http", "example.com", 8080, "/a/b?c=d", "example.com:8080"),
    "http://[::1]:99/": ("http", "::1", 99, "/", "[::1]:99"),
    "https://[2001:DB8:0::1]/x": ("https", "2001:db8::1", 443, "/x", "[2001:db8::1]"),
    "http://example.com#part": ("http", "example.com", 80, "/", "example.com"),
    "http://host_name.test./": ("http", "host_name.test.", 80, "/", "host_name.test."),
    "HTTP://localhost/": ("http", "localhost", 80, "/", "localhost"),
}


@pytest.mark.parametrize("url", URLS)
def test_url_is_split_into_origin_and_target(url: str) -> None:
    scheme, host, port, target, host_field = URLS[url]
    origin, found = parse_url(url)
    assert (origin, found) == (Origin(scheme, host, port), target)
    assert origin.host_field == host_field


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.8.7", "::1"])
def test_this_machine_is_known_by_name_and_number(host: str) -> None:
    assert Origin("http", host, 80).loopback


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "10.0.0.1", "::2", "0.0.0.0"])
def test_other_machines_are_not_taken_for_this_one(host: str) -> None:
    assert not Origin("http", host, 80).loopback


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("localhost/x", "has no scheme"),
        ("ftp://localhost/", "must begin"),
        ("http://ann:pass-1@h.test/", "credentials"),
    ],
)
def test_refusal_says_what_is_wrong_and_quotes_no_credential(url: str, advice: str) -> None:
    with pytest.raises(UnsendableRequest, match=advice) as caught:
        parse_url(url)
    assert "ann" not in str(caught.value)


def test_only_short_addresses_are_remembered() -> None:
    _parse_known.cache_clear()
    start = "http://remembered.test/"
    for length in (MAX_REMEMBERED_CHARACTERS, MAX_REMEMBERED_CHARACTERS + 1):
        target = "/" + "a" * (length - len(start))
        assert parse_url("http://remembered.test" + target) == (Origin("http", "remembered.test", 80), target)
    assert _parse_known.cache_info().currsize == 1
