"""What the head of a request may be, beyond what llhttp sees to.

Pure. Framing is llhttp's: both kinds of length, repeated or malformed ones, bare line feeds and folded fields never come here.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import httptools

Target = tuple[str, bytes, bytes]
Headers = list[tuple[bytes, bytes]]

_WEIGHED = frozenset({b"host", b"expect", b"transfer-encoding"})


class BadRequest(Exception):  # control flow of this package only
    """What a request may not be. Holds the status to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def weigh_head(version: str, headers: Headers) -> bool:
    """Whether the client waits for `100 Continue`. Raises BadRequest.

    Source: RFC 9112 sections 3.2 (one Host), 6.1 (no transfer coding with HTTP/1.0, nor unknown ones); RFC 9110 10.1.1.
    """
    if version not in {"1.1", "1.0"}:
        raise BadRequest(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    hosts = 0
    expects = False
    for name, value in headers:
        if name in _WEIGHED:
            if name == b"host":
                hosts += 1
            elif name == b"expect":
                expects = version == "1.1" and value.strip().lower() == b"100-continue"
            elif version == "1.0":
                raise BadRequest(400, "HTTP/1.0 has no Transfer-Encoding.")
            elif value.strip().lower() != b"chunked":
                raise BadRequest(501, "No other Transfer-Encoding than chunked is understood.")
    if hosts != 1 and (hosts or version == "1.1"):
        raise BadRequest(400, "A request has one Host.")
    return expects


def split_target(url: bytes) -> Target:
    """Decoded path, raw path and query of a request's target. Raises BadRequest."""
    if not url.isascii():
        raise BadRequest(400, "The address of the request is not ASCII.")
    if not url.startswith(b"/"):
        return _split_absolute(url)
    if b"#" in url:
        url = url.partition(b"#")[0]
    raw, _, query = url.partition(b"?")
    path = unquote_to_bytes(raw).decode("utf-8", "replace") if b"%" in raw else raw.decode("ascii")
    return path, raw, query


def _split_absolute(url: bytes) -> Target:
    """`http://host/path`, as a proxy is asked; and `*`."""
    if url == b"*":
        return "*", url, b""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise BadRequest(400, "The address of the request cannot be read.") from None
    path = parsed.path or b"/"
    if not path.startswith(b"/"):
        raise BadRequest(400, "The address of the request cannot be read.")
    return split_target(path + (b"?" + parsed.query if parsed.query else b""))
