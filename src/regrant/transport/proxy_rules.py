"""Which proxy an origin is asked through: the setting, else the variables that every command-line tool knows.

Pure: the environment is passed in. Falling back from a proxy to a direct connection exists nowhere: a proxy that
does not answer is a ConnectFailed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Mapping

import msgspec

from regrant.errors import SettingsError
from regrant.transport.proxy import Proxy, find_route, parse_proxy
from regrant.transport.url import DEFAULT_PORTS, Origin, parse_url

DIRECT = frozenset({"none", "direct"})
SETTING = "network.proxy"
_WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):([0-9]+)")


class Exemption(msgspec.Struct, frozen=True):
    """One entry of NO_PROXY: a host and all below it, an address, a network, or `*`; `port` 0 is every port."""

    host: str
    port: int

    def covers(self, origin: Origin) -> bool:
        if self.port not in {0, origin.port}:
            return False
        host = origin.host.removesuffix(".")
        if self.host in {"*", host}:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host.endswith("." + self.host)
        return _within(address, self.host)


class ProxyRules(msgspec.Struct, frozen=True):
    """A proxy for each scheme, None for a direct connection, and what is exempt from both."""

    http: Proxy | None
    https: Proxy | None
    exempt: tuple[Exemption, ...] = ()

    def proxy_for(self, origin: Origin) -> Proxy | None:
        proxy = self.https if origin.secure else self.http
        if proxy is None or origin.loopback or any(entry.covers(origin) for entry in self.exempt):
            return None
        return proxy


def proxy_rules(setting: str, environment: Mapping[str, str]) -> ProxyRules:
    """The rules of `[network] proxy`, or where that is empty of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    `none` or `direct` ignores the environment. As in Python's own libraries a variable in lower case goes before
    the one in capitals, even if it is empty. Raises SettingsError naming each setting or variable that cannot be used.
    """
    if setting in DIRECT:
        return ProxyRules(None, None)
    if setting:
        proxy = parse_proxy(setting, source=SETTING)
        return ProxyRules(proxy, proxy)
    found: dict[str, Proxy | None] = {}
    problems: list[str] = []
    for scheme in DEFAULT_PORTS:
        try:
            found[scheme] = _from_environment(scheme, environment)
        except SettingsError as exc:
            problems += exc.problems
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))
    _, exempt = _variable("no_proxy", environment)
    return ProxyRules(found["http"], found["https"], parse_exemptions(exempt))


def describe_route(url: str, rules: ProxyRules) -> str:
    """How requests to `url` travel, in words for a person, without credentials. Raises UnsendableRequest."""
    origin, _ = parse_url(url)
    proxy = rules.proxy_for(origin)
    if proxy is not None:
        way = "by absolute-form requests" if find_route(origin, proxy).target_prefix else "through a tunnel"
        return f"through the proxy {proxy.address}, {way} (from {proxy.source})"
    configured = rules.https if origin.secure else rules.http
    if configured is None:
        return "directly"
    return "directly (this machine)" if origin.loopback else "directly (exempt by NO_PROXY)"


def parse_exemptions(text: str) -> tuple[Exemption, ...]:
    """The entries of NO_PROXY, separated by commas or blanks. An entry that means nothing exempts nothing."""
    entries = text.lower().replace(",", " ").split()
    return tuple(exemption for entry in entries if (exemption := _parse_exemption(entry)).host)


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _parse_exemption(entry: str) -> Exemption:
    found = _WITH_PORT.fullmatch(entry)
    host, port = (found[1], int(found[2])) if found else (entry, 0)
    if host != "*":
        host = host.strip("[]").removeprefix("*").strip(".")
    with contextlib.suppress(ValueError):  # a name or a network stays as it is
        host = ipaddress.ip_address(host).compressed
    return Exemption(host, port)


def _from_environment(scheme: str, environment: Mapping[str, str]) -> Proxy | None:
    for wanted in (f"{scheme}_proxy", "all_proxy"):
        name, value = _variable(wanted, environment)
        if value:
            # As curl does: an address without scheme is that of an HTTP proxy.
            return parse_proxy(value if "://" in value else f"http://{value}", source=name)
    return None


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    used = name if name in environment else name.upper()
    return used, environment.get(used, "").strip()
