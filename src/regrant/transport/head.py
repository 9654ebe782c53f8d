"""The bytes of a request before its body: one line, the fields, a blank line.

Nothing that a caller passes can add a line or a second message: control characters are refused, and the fields
that decide framing are set here alone. The answer's side is `parser.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from regrant.errors import UnsendableRequest
from regrant.transport.model import Request

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_OURS = frozenset(
    {b"host", b"content-length", b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization"}
    | {b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
)
_AGENT = b"user-agent: "


def encode_head(request: Request, target: str, *, fixed: bytes, agent_line: bytes) -> bytes:
    """The head of `request` but for its end, which depends on the body: `end_head`.

    `fixed` holds whole lines of the route, `agent_line` the default agent.

    Fields of the caller that belong to the connection or the framing are left out; `User-Agent` replaces ours.
    Raises UnsendableRequest for a method, name or value that could inject anything.
    """
    if request.method not in METHODS:
        raise UnsendableRequest("the method is not one of " + ", ".join(sorted(METHODS)))
    parts = [f"{request.method} {target} HTTP/1.1\r\n".encode("ascii"), fixed]
    agent = agent_line
    for name, value in request.headers:
        start = line_start(name)
        if not start:
            continue
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise UnsendableRequest(
                f"the value of the field {start[:-2].decode()!r} holds a line break or a NUL"
            )
        if start == _AGENT:
            agent = b""
        parts += (start, value, b"\r\n")
    parts.append(agent)
    return b"".join(parts)


def end_head(head: bytes, request: Request) -> bytes:
    """`head` with the length of the body, ready to write."""
    if request.body or request.method in _WITH_BODY:
        return b"%bcontent-length: %d\r\n\r\n" % (head, len(request.body))
    return head + b"\r\n"


@lru_cache(maxsize=512)
def line_start(name: bytes) -> bytes:
    """`name: ` in lower case, or nothing for a field that only the client may set. Raises UnsendableRequest."""
    if not _TOKEN.fullmatch(name):
        raise UnsendableRequest(
            "the name of a header field is empty or holds a character that is not allowed"
        )
    lower = name.lower()
    return b"" if lower in _OURS else lower + b": "


def check_agent(user_agent: str) -> bytes:
    """The line of the default `User-Agent`. Raises UnsendableRequest if it holds anything but printable ASCII."""
    if not user_agent or not user_agent.isascii() or not user_agent.isprintable():
        raise UnsendableRequest("the user agent must be printable ASCII")
    return _AGENT + user_agent.encode("ascii") + b"\r\n"
