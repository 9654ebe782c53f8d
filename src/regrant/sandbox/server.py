"""The sandbox on a socket: an ASGI app under uvicorn, startable in any event loop.

What is answered is `service.py` and `control.py`; how it goes out is `delivery.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from typing import cast
from urllib.parse import parse_qsl

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from regrant.sandbox.control import PREFIX, Control
from regrant.sandbox.delivery import Exchange, Message, Receive, Send, deliver, deliver_plainly
from regrant.sandbox.google import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Google, OAuthClient, Quotas
from regrant.sandbox.journal import Journal
from regrant.sandbox.script import Scripts
from regrant.sandbox.service import Service
from regrant.sandbox.wire import Answer, Call, json_answer

DEFAULT_PEOPLE = ("ann", "bob", "cara")
_TRANSPORT = "regrant.sandbox.transport"
_LOOPBACK = {"127.0.0.1", "::1"}


class _Protocol(HttpToolsProtocol):
    """Hands the connection to the app, which must be able to break it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("Message", self.scope)[_TRANSPORT] = self.transport


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it listens and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program, of which the sandbox may be one part."""
        yield


class Sandbox:
    """A pretend Google. `start` returns its URL; `stop` ends it, dropping connections that hang."""

    def __init__(
        self,
        *,
        people: Sequence[str] = DEFAULT_PEOPLE,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_cert: str = "",
        tls_key: str = "",
    ) -> None:
        self._people = tuple(people)
        self._host, self._port = host, port
        self._tls_cert, self._tls_key = tls_cert, tls_key
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._server: _Server | None = None
        google = Google(_new_id)
        journal = Journal(google.name_of, lambda: _client_secrets(google))
        self.service = Service(google, Scripts(), journal, _new_id)
        self.control = Control(self.service, time.time, self.reset, self._stopping)
        self._furnish()
        self.url = ""

    def reset(self) -> None:
        """Back to the start: no grants, no scripts, an empty journal."""
        google = self.service.google
        for collection in (google.people, google.clients, google.grants, google.tokens, google.codes):
            collection.clear()
        google.next_sign_in = None
        google.quotas = Quotas()
        self.service.scripts.clear()
        self.service.journal.clear()
        self.service.signatures = "model"
        self._furnish()

    def _furnish(self) -> None:
        self.service.google.add_client(OAuthClient(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET))
        for name in self._people:
            self.service.google.add_person(name if "@" in name else f"{name}@example.com")

    async def start(self) -> str:
        """Listen and serve in the running event loop. Raises OSError if the port is taken."""
        listener = listen(self._host, self._port)
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            proxy_headers=False,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
            ssl_certfile=self._tls_cert or None,
            ssl_keyfile=self._tls_key or None,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.listening.wait()
        scheme = "https" if self._tls_cert else "http"
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{scheme}://{host}:{listener.getsockname()[1]}"
        return self.url

    async def stop(self) -> None:
        """Idempotent."""
        self._stopping.set()
        self.control.changed.set()
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._task = None

    async def _app(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        call = _call(scope, body)
        exchange = Exchange(receive, send, scope[_TRANSPORT], self._stopping)
        if call.path.startswith(PREFIX):
            await deliver_plainly(exchange, await self._controlled(call, scope))
            return
        entry, answer, manner = self.service.serve(call, time.time())
        self.control.changed.set()
        await deliver(exchange, answer, manner, entry, self.service.journal)

    async def _controlled(self, call: Call, scope: Message) -> Answer:
        """The control API has no key, so it answers neither other machines nor pages of other sites."""
        client = scope.get("client")
        if client is not None and client[0] not in _LOOPBACK:
            return json_answer({"error": "The control API answers on loopback only"}, status=403)
        if call.header("origin"):
            return json_answer(
                {"error": "The control API does not answer browsers' cross-site requests"}, status=403
            )
        return await self.control.serve(call)


def _new_id() -> str:
    return secrets.token_hex(8)


def _client_secrets(google: Google) -> dict[str, str]:
    return {client.client_secret: f"secret of {client.client_id}" for client in google.clients.values()}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that name their protocol; with it each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client left before its end."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _call(scope: Message, body: bytes) -> Call:
    raw_query = scope["query_string"].decode("latin-1")
    query: dict[str, str] = {}
    for key, value in parse_qsl(raw_query, keep_blank_values=True):
        query.setdefault(key, value)
    headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
    )
    return Call(scope["method"], scope["path"], raw_query, query, headers, body)
