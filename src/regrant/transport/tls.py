"""TLS as a client: what is trusted, and whether a peer ended the conversation properly.

Verification can be extended by a CA file and never switched off. Opening the connection is `dial.py`.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache

from regrant.errors import SettingsError


@lru_cache(maxsize=8)
def client_context(ca_file: str = "") -> ssl.SSLContext:
    """Verify peers against the system's CAs and, if given, those of `ca_file` (PEM) as well; TLS 1.2 or newer.

    One context for all who trust the same: reading the system's CAs takes tens of milliseconds. Raises SettingsError when the file cannot be read or holds no certificate.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as exc:
            reason = exc.strerror or "it holds no PEM certificate"
            raise SettingsError([f"network.ca_file: {ca_file!r} cannot be used: {reason}"]) from exc
    return context


def ended_properly(transport: asyncio.Transport) -> bool:
    """Whether the peer's end of the stream is one that it meant: always on plain TCP, close_notify over TLS.

    Event loops report a cut TLS connection and a closed one alike; OpenSSL knows: after close_notify, and only
    then, a read returns nothing instead of failing (RFC 8446 section 6.1, truncation attacks).
    """
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return bool(tls.read(1) == b"")
    except ssl.SSLError:
        return False
