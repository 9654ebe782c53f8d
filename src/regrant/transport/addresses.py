"""Which addresses belong to the public internet: what may be connected to on behalf of somebody else.

Pure. A name is looked up, and the addresses that came out are checked and used, in `dial.py`; never the name alone, because
whoever owns it may change where it points between two looks.
Source: IANA's special-purpose address registries (RFC 6890); RFC 6052 and RFC 8215 for NAT64.
"""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's platform service for its virtual machines
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.ip_network("64:ff9b:1::/48"),  # NAT64 of a local network
    ipaddress.ip_network("2001::/23"),  # Teredo and other tunnels
    ipaddress.ip_network("2002::/16"),  # 6to4: holds an IPv4 address of anybody's choice
    ipaddress.ip_network("fec0::/10"),
)


def is_public(address: str) -> bool:
    """Whether `address`, a number and no name, is a single host of the public internet. What is no address is not."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    if any(ip in network for network in _NEVER if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local)
