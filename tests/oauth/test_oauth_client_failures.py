"""What becomes of requests that may not be sent, and of exchanges that the transport could not finish."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from regrant.errors import BodyCut, ConnectFailed, TransportError
from regrant.oauth.client import GoogleOAuth
from regrant.oauth.google import OAuthClient, Unavailable
from regrant.secret import Secret
from regrant.transport.model import Request, Response

CLIENT = OAuthClient("123-app.apps.example", Secret("client-secret-1"))
TOKEN = Secret("refresh-ann-1")


@dataclass
class Endpoints:
    token: str

    @property
    def authorize(self) -> str:
        return self.token

    @property
    def revoke(self) -> str:
        return self.token

    @property
    def userinfo(self) -> str:
        return self.token


ENDPOINTS = Endpoints("https://oauth2.example/token")


class ForbiddenTransport:
    """Fails the test by being used."""

    async def send(self, request: Request) -> Response:
        raise AssertionError(f"a request was sent to {request.url}")

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    "url",
    [
        "http://oauth2.example/token",
        "http://192.0.2.1/token",
        "http://127.0.0.1.example/token",
        "http://127.0.0.1@oauth2.example/token",
        "http://localhost.example/token",
        "HTTP://oauth2.example/token",
        "ftp://127.0.0.1/token",
        "file:///etc/passwd",
        "//127.0.0.1/token",
        "token",
        "",
        "https://",
        "http://[::1/token",
    ],
)
async def test_no_credential_is_ever_sent_in_the_clear_to_another_host(url: str) -> None:
    google = GoogleOAuth(ForbiddenTransport(), Endpoints(url))
    refusals = [
        await google.refresh(CLIENT, TOKEN),
        await google.exchange(CLIENT, Secret("4/0code"), "http://127.0.0.1:5/", Secret("verifier-1")),
        await google.identify(Secret("access-ann-1")),
        await google.revoke(TOKEN),
    ]
    for outcome in refusals:
        assert isinstance(outcome, Unavailable)
        assert "https" in outcome.reason


class FailingTransport:
    """Raises what it was given, as a real transport does."""

    def __init__(self, error: TransportError) -> None:
        self._error = error

    async def send(self, request: Request) -> Response:
        raise self._error

    async def close(self) -> None:
        return


def _failures() -> list[type[TransportError]]:
    def below(kind: type[TransportError]) -> list[type[TransportError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    return below(TransportError)


@pytest.mark.parametrize("failure", _failures(), ids=lambda failure: failure.__name__)
async def test_each_failure_of_the_transport_becomes_a_sentence_without_secrets(
    failure: Callable[[str], TransportError],
) -> None:
    transport = FailingTransport(failure("while sending refresh-ann-1\r\nwith client-secret-1"))
    outcome = await GoogleOAuth(transport, ENDPOINTS).refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Unavailable)
    assert "oauth2.example" in outcome.reason
    assert "while sending [secret] with [secret]" in outcome.reason


class CutResponse:
    """An answer whose body breaks off; counts how often it is given up."""

    status = 400
    headers = ((b"content-type", b"application/json"),)
    closed = 0

    def header(self, name: bytes) -> bytes | None:
        return None

    complete = False

    def arrived(self) -> bytes:
        return b""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"{"
        raise BodyCut("the body was cut")

    async def read(self, limit: int) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def close(self) -> None:
        self.closed += 1


class CuttingTransport:
    def __init__(self) -> None:
        self.response = CutResponse()

    async def send(self, request: Request) -> Response:
        return self.response

    async def close(self) -> None:
        return


async def test_an_answer_that_cannot_be_read_is_given_up() -> None:
    transport = CuttingTransport()
    outcome = await GoogleOAuth(transport, ENDPOINTS).refresh(CLIENT, TOKEN)
    assert outcome == Unavailable("no verdict from oauth2.example: the body was cut")
    assert transport.response.closed == 1


async def test_a_failure_without_words_is_still_a_sentence() -> None:
    google = GoogleOAuth(FailingTransport(ConnectFailed()), ENDPOINTS)
    assert await google.refresh(CLIENT, TOKEN) == Unavailable(
        "no verdict from oauth2.example: the exchange broke off"
    )


async def test_a_request_shows_neither_its_body_nor_its_fields() -> None:
    request = Request(
        "POST", "https://oauth2.example/token", ((b"authorization", b"access-ann-1"),), b"refresh-ann-1"
    )
    assert "ann-1" not in repr(request)
