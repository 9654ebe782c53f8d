"""The body of a request that also asks for another protocol.

llhttp takes what follows such a head for the other protocol, but until the server agrees it is the body: Java's HttpClient
sends `Upgrade: h2c` with every first request. A parser that is told nothing but how the body is framed reads on.
"""

from __future__ import annotations

from typing import Protocol

import httptools

from regrant.listener.request import Headers

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Callbacks(Protocol):
    """What llhttp tells."""

    def on_message_begin(self) -> None: ...

    def on_url(self, url: bytes) -> None: ...

    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_headers_complete(self) -> None: ...

    def on_body(self, body: bytes) -> None: ...

    def on_message_complete(self) -> None: ...


def parser_of_body(callbacks: Callbacks, headers: Headers) -> httptools.HttpRequestParser:
    """A parser that goes on with the body of a request with these headers, and with the requests after it."""
    filtered = _Filtered(callbacks)
    parser = httptools.HttpRequestParser(filtered)
    framing = b"".join(b"%b: %b\r\n" % field for field in headers if field[0] in _FRAMING)
    parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
    filtered.muted = False
    return parser


class _Filtered:
    """`muted` while the head comes that is made up."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.muted = True
        self._callbacks = callbacks
        self.on_body = callbacks.on_body
        self.on_message_complete = callbacks.on_message_complete

    def on_message_begin(self) -> None:
        if not self.muted:
            self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.muted:
            self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.muted:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.muted:
            self._callbacks.on_headers_complete()
