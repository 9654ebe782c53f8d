"""What can go wrong, and whose fault it is.

RegrantError
|-- SettingsError            the operator's settings; every problem at once
|-- UnsendableRequest        an outgoing request is malformed (URL, method, line break in a field); nothing was sent
|-- TransportError           talking HTTP to an upstream failed
|   |-- ConnectFailed        nothing was sent: DNS, refused, TLS handshake, proxy
|   |   |-- CertificateRefused   the peer's certificate is not trusted
|   |   `-- AddressRefused       the host is at an address that this client may not connect to
|   |-- ResetBeforeAnswer    the connection broke after bytes of the request may have gone out, before the status line
|   |-- AnswerTimeout        the request was sent and no status line came in time
|   |-- BodyCut              the answer's body ended early (reset, premature end, bad framing)
|   |-- BodyIdle             no byte of the body came for `idle_s`
|   |-- BadAnswer            what came is not HTTP, or breaks a limit (headers too large)
|   `-- BodyTooLarge         the body is longer than the caller allows
`-- DialectError             the client's request cannot be understood or expressed; says which part

The decision what to do about a fault is taken elsewhere (`upstream/faults.py`, `gateway/verdict.py`).
"""

from __future__ import annotations

from collections.abc import Sequence


class RegrantError(Exception):
    """The root of what Regrant raises on purpose."""


class SettingsError(RegrantError):
    """One or more settings are wrong. `problems` holds one sentence each, beginning with the key."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class UnsendableRequest(RegrantError, ValueError):
    """The caller's request must not be written: it could inject a line, or names no host. Quotes no value."""


class TransportError(RegrantError):
    """An HTTP exchange failed. `processed` is whether the peer may have acted on the request."""

    processed = True


class ConnectFailed(TransportError):
    processed = False


class CertificateRefused(ConnectFailed):
    pass


class AddressRefused(ConnectFailed):
    pass


class ResetBeforeAnswer(TransportError):
    pass


class AnswerTimeout(TransportError):
    pass


class BodyCut(TransportError):
    pass


class BodyIdle(TransportError):
    pass


class BadAnswer(TransportError):
    pass


class BodyTooLarge(TransportError):
    pass


class DialectError(RegrantError):
    """The request is malformed or holds content that cannot be expressed upstream.

    `param` names the part as a path (`messages[2].content[0]`), "" for the whole body.
    """

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message)
        self.param = param
