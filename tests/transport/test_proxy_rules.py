"""Which proxy an origin goes through, by the setting and by the variables of the environment."""

from __future__ import annotations

import pytest
from tests.transport.hostile import AGENT, OK, Peer, ask, serving

from regrant.errors import SettingsError
from regrant.transport.client import HttpClient
from regrant.transport.proxy_rules import describe_route, parse_exemptions, proxy_rules
from regrant.transport.url import Origin, parse_url

A, B, C = "http://a.test:1", "socks5://b.test:2", "http://c.test:3"


def way(url: str, setting: str = "", **environment: str) -> str:
    """The host of the proxy for `url`, or nothing."""
    origin, _ = parse_url(url)
    proxy = proxy_rules(setting, environment).proxy_for(origin)
    return proxy.host if proxy else ""


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_each_scheme_has_its_variable_and_all_proxy_fills_in(case: type[str]) -> None:
    both = {case("http_proxy"): A, case("https_proxy"): B, case("all_proxy"): C}
    assert way("http://x.test", **both) == "a.test"
    assert way("https://x.test", **both) == "b.test"
    assert way("http://x.test", **{case("all_proxy"): C}) == "c.test"
    assert way("https://x.test", **{case("http_proxy"): A}) == ""
    assert way("http://x.test", **{case("https_proxy"): B}) == ""


def test_lower_case_goes_before_capitals_even_if_empty() -> None:
    assert way("https://x.test", https_proxy=A, HTTPS_PROXY=C) == "a.test"
    assert way("https://x.test", https_proxy="", HTTPS_PROXY=C) == ""
    assert way("https://x.test", HTTPS_PROXY=A, no_proxy="", NO_PROXY="*") == "a.test"


def test_setting_goes_before_the_environment_and_its_exemptions() -> None:
    assert way("https://x.test", C, HTTPS_PROXY=A, NO_PROXY="*") == "c.test"
    assert way("http://x.test", C, HTTP_PROXY=A) == "c.test"


@pytest.mark.parametrize("setting", ["none", "direct"])
def test_none_and_direct_ignore_the_environment(setting: str) -> None:
    assert way("https://x.test", setting, HTTPS_PROXY=A, ALL_PROXY="not even an address") == ""


def test_address_without_scheme_is_that_of_an_http_proxy() -> None:
    proxy = proxy_rules("", {"HTTPS_PROXY": " ann:pass-1@a.test:8 "}).https
    assert proxy is not None
    assert (proxy.address, proxy.source) == ("http://a.test:8", "HTTPS_PROXY")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "x.localhost"])
@pytest.mark.parametrize("setting", [C, ""])
def test_loopback_is_never_proxied(host: str, setting: str) -> None:
    assert way(f"http://{host}:8045/", setting, ALL_PROXY=A) == ""


EXEMPT = {
    "example.com": (
        ["example.com", "a.example.com", "a.b.example.com", "example.com."],
        ["badexample.com", "com"],
    ),
    ".example.com": (["example.com", "a.example.com"], ["badexample.com"]),
    "*.example.com": (["a.example.com"], ["badexample.com"]),
    "EXAMPLE.com.": (["example.com"], ["example.org"]),
    "*": (["example.com", "10.0.0.1", "[2001:db8::1]"], []),
    "example.com:8443": (["example.com:8443"], ["example.com", "example.com:8444"]),
    "*:8443": (["example.com:8443"], ["example.com"]),
    "10.0.0.0/8": (["10.1.2.3", "10.255.255.255:81"], ["11.0.0.1", "example.com", "[2001:db8::1]"]),
    "10.1.2.3": (["10.1.2.3"], ["10.1.2.4", "110.1.2.3"]),
    "10.1.2.3/8": (["10.9.9.9"], ["11.0.0.1"]),
    "3": ([], ["10.1.2.3", "0.0.0.4"]),
    "2001:db8::/32": (["[2001:db8::1]"], ["[2001:db9::1]", "10.0.0.1"]),
    "2001:DB8:0::1": (["[2001:db8::1]"], ["[2001:db8::2]"]),
    "[2001:db8::1]:8443": (["[2001:db8::1]:8443"], ["[2001:db8::1]"]),
    "[2001:db8::1]": (["[2001:db8::1]", "[2001:db8::1]:99"], []),
    "a.test, b.test c.test,,": (["a.test", "b.test", "c.test"], ["d.test"]),
    "10.0.0.0/99": ([], ["10.0.0.1"]),
    ".": ([], ["example.com"]),
    "": ([], ["example.com"]),
}


@pytest.mark.parametrize("entry", EXEMPT)
def test_no_proxy_exempts_what_it_names_and_nothing_else(entry: str) -> None:
    exempt, proxied = EXEMPT[entry]
    for host in exempt:
        assert way(f"https://{host}/", HTTPS_PROXY=A, NO_PROXY=entry) == "", host
    for host in proxied:
        assert way(f"https://{host}/", HTTPS_PROXY=A, NO_PROXY=entry) == "a.test", host


def test_port_of_an_exemption_is_compared_with_the_default_port_of_the_scheme() -> None:
    (entry,) = parse_exemptions("example.com:443")
    assert entry.covers(Origin("https", "example.com", 443))
    assert not entry.covers(Origin("http", "example.com", 80))


def test_every_variable_that_cannot_be_used_is_named_once_and_unquoted() -> None:
    broken = {"HTTPS_PROXY": "https://ann:pass-1@a.test", "ALL_PROXY": "socks4://ann:pass-1@a.test"}
    with pytest.raises(SettingsError) as caught:
        proxy_rules("", broken)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["ALL_PROXY", "HTTPS_PROXY"]
    assert "pass-1" not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        proxy_rules("", {"ALL_PROXY": "socks4://a.test"})
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("url", "setting", "words"),
    [
        (
            "https://x.test/a?key=hush-1",
            "",
            "through the proxy socks5h://b.test:2, through a tunnel (from HTTPS_PROXY)",
        ),
        (
            "http://x.test",
            "",
            "through the proxy http://a.test:1, by absolute-form requests (from HTTP_PROXY)",
        ),
        (
            "https://x.test",
            "http://ann:pass-1@[2001:db8::1]:9",
            "through the proxy http://[2001:db8::1]:9, through a tunnel (from network.proxy)",
        ),
        ("https://lan.test", "", "directly (exempt by NO_PROXY)"),
        ("https://127.0.0.1:9", "", "directly (this machine)"),
        ("https://x.test", "none", "directly"),
    ],
)
def test_route_is_told_in_words_without_credentials(url: str, setting: str, words: str) -> None:
    environment = {"HTTPS_PROXY": "socks5://ann:pass-1@b.test:2", "HTTP_PROXY": A, "NO_PROXY": "lan.test"}
    assert describe_route(url, proxy_rules(setting, environment)) == words


async def test_client_follows_the_environment_that_it_is_given() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.request()).split(b"\r\n")[0])
        await peer.say(OK)

    async with serving(script) as proxy:
        client = HttpClient(user_agent=AGENT, environment={"HTTP_PROXY": f"127.0.0.1:{proxy.port}"})
        try:
            assert await ask(client, "http://origin.test/x") == (200, b"ok")
        finally:
            await client.close()
    assert seen == [b"GET http://origin.test/x HTTP/1.1"]
