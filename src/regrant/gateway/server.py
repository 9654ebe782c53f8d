"""The front door: a bare ASGI application for the clients' routes.

Reads the request, lets `guard.py` judge it, decodes it, hands it to the pipeline and writes the answer in the client's
dialect. A client that leaves cancels its request: the upstream connection is closed, a refresh in flight goes on. After
the commit point a failure is told with the dialect's own error event, so that a cut stream never looks finished.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import msgspec

from regrant import logs
from regrant.dialects import anthropic, gemini, openai_chat
from regrant.dialects.base import ProblemDialect
from regrant.errors import DialectError
from regrant.gateway import guard
from regrant.gateway.answering import Answering, ConnectionAborted, Receive, Send
from regrant.gateway.inbound import Inbound
from regrant.gateway.keys import KeyRing, effective_mode
from regrant.gateway.offer import Offer
from regrant.gateway.overhearing import overheard
from regrant.gateway.patience import read_patience
from regrant.gateway.routes import Action, Speech, find_route
from regrant.messages.catalogue import ModelInfo
from regrant.messages.problem import Problem, ProblemKind, describe_refusal
from regrant.settings import Settings
from regrant.traffic.exchange import Bodies, Exchange

Scope = MutableMapping[str, Any]

log = logs.get("gateway")

SPEAKERS: dict[Speech, ProblemDialect] = {
    Speech.OPENAI: openai_chat,
    Speech.ANTHROPIC: anthropic,
    Speech.GEMINI: gemini,
}


BODY_IDLE_S = 25.0  # without a byte of a body that was announced; less than the drain at the end takes
WATCH_AFTER_S = 0.02  # most fast requests are over by then, and need no watcher


class TooLarge(Exception):  # control flow of this module only
    """The body is over the limit."""


class ClientLeft(Exception):  # control flow of this module only
    """Nobody is left to answer."""


class Service(Protocol):
    """Answers the requests of one route."""

    async def serve(self, inbound: Inbound) -> None:
        """Raises DialectError for a request that cannot be understood or expressed."""
        ...


class Readiness(Protocol):
    def can_serve(self) -> bool: ...

    def reasons(self) -> dict[str, int]: ...


class Gateway:
    def __init__(
        self,
        services: Mapping[Action, Service],
        offer: Offer,
        readiness: Readiness,
        *,
        settings: Callable[[], Settings],
        keys: Callable[[], KeyRing],
        on_exchange: Callable[[Exchange], None] = lambda _: None,
    ) -> None:
        self._services = services
        self._offer = offer
        self._readiness = readiness
        self._settings = settings
        self._keys = keys
        self._on_exchange = on_exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Only this method answers errors that nobody foresaw."""
        inbound = self._take_in(scope, send)
        exchange, answering = inbound.exchange, inbound.answering
        try:
            await self._serve(scope, receive, inbound)
        except ClientLeft:
            exchange.problem = "client left"
        except ConnectionAborted:
            raise
        except Exception as error:
            # The request boundary: the process lives on, the client learns no more than the id.
            log.error("request_failed", f"request {exchange.id} failed: {error!r}", request=exchange.id)
            problem = Problem(
                ProblemKind.INTERNAL, f"The gateway failed. Its log says why under {exchange.id}."
            )
            await answering.fail(SPEAKERS[inbound.route.speech].encode_problem(problem))
        finally:
            exchange.ms = (time.perf_counter() - exchange.started) * 1000
            if inbound.route.action in self._services:
                self._on_exchange(exchange)

    def _take_in(self, scope: Scope, send: Send) -> Inbound:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)
        route = find_route(scope["method"], scope["path"], scope["query_string"], headers)
        exchange = Exchange(
            id="req_" + secrets.token_hex(12),
            at=time.time(),
            dialect=route.speech,
            started=time.perf_counter(),
            patience_s=read_patience(headers),
            model=route.model,
        )
        settings = self._settings()
        if settings.traffic.record_bodies:
            exchange.bodies = Bodies()
            send = overheard(send, exchange.bodies)
        cors = cors_headers(headers, settings.server)
        answering = Answering(
            send,
            exchange,
            cors,
            bodiless=scope["method"] == "HEAD",
            id_header=b"request-id" if route.speech is Speech.ANTHROPIC else b"",
        )
        return Inbound(
            route=route, query=scope["query_string"], headers=headers, exchange=exchange, answering=answering
        )

    async def _serve(self, scope: Scope, receive: Receive, inbound: Inbound) -> None:
        answering = inbound.answering
        if inbound.route.action is Action.NOTHING:
            await answering.whole(200, (), b"")
            return
        if scope["method"] == "OPTIONS" and answering.extra:
            await answering.whole(204, _PREFLIGHT, b"")
            return
        admitted = self._admit(scope)
        if isinstance(admitted, Problem):
            await self._turn_away(inbound, admitted, receive)
            return
        if admitted.key is not None:
            inbound.client_id, inbound.exchange.key = admitted.key.id, admitted.key.name
        service = self._services.get(inbound.route.action)
        if service is not None:
            await self._generate(receive, inbound, service)
        else:
            await self._inform(inbound, scope)

    def _admit(self, scope: Scope) -> guard.Admitted | Problem:
        server = self._settings().server
        return guard.check(
            scope["path"],
            scope["headers"],
            scope["query_string"],
            server=server,
            mode=effective_mode(server),
            ring=self._keys(),
        )

    async def _generate(self, receive: Receive, inbound: Inbound, service: Service) -> None:
        limit = self._settings().server.max_body_mb << 20
        try:
            inbound.body = await read_body(receive, inbound.headers, limit)
        except TooLarge:
            text = f"The request body is over {limit >> 20} MB (server.max_body_mb)."
            await self._turn_away(inbound, Problem(ProblemKind.TOO_LARGE, text), receive)
            return
        except TimeoutError:
            text = f"The request body stopped coming: nothing arrived for {BODY_IDLE_S:.0f} s."
            await self._turn_away(inbound, Problem(ProblemKind.INVALID_REQUEST, text, status=408), receive)
            return
        if inbound.exchange.bodies is not None:
            inbound.exchange.bodies.take_request(inbound.body)
        try:
            await until_client_leaves(service.serve(inbound), receive)
        except DialectError as error:
            await self._tell(inbound, describe_refusal(error))

    async def _inform(self, inbound: Inbound, scope: Scope) -> None:
        answering = inbound.answering
        match inbound.route.action:
            case Action.HEALTH:
                await answering.json(200, b'{"status":"ok"}')
            case Action.READY:
                ready = self._readiness.can_serve()
                body = msgspec.json.encode({"ready": ready, "reasons": self._readiness.reasons()})
                await answering.json(200 if ready else 503, body)
            case Action.MODELS | Action.MODEL:
                await self._list_models(inbound)
            case Action.METHOD_NOT_ALLOWED:
                text = f"{scope['method']} is not allowed on {scope['path']}."
                await self._tell(inbound, Problem(ProblemKind.METHOD_NOT_ALLOWED, text))
            case _:
                text = f"There is nothing at {scope['method']} {scope['path'][:200]}."
                await self._tell(inbound, Problem(ProblemKind.NOT_FOUND, text))

    async def _list_models(self, inbound: Inbound) -> None:
        route, answering = inbound.route, inbound.answering
        offered = await self._offer.models()
        if isinstance(offered, Problem):
            await self._tell(inbound, offered)
            return
        speaker = SPEAKERS[route.speech]
        if route.action is Action.MODELS:
            await answering.json(200, speaker.encode_models(offered))
            return
        found = _find_model(offered, route.model)
        if found is None:
            text = f"The model {route.model[:200]!r} is not one of GET /v1/models."
            await self._tell(inbound, Problem(ProblemKind.MODEL_NOT_FOUND, text, code="model_not_found"))
        else:
            await answering.json(200, speaker.encode_model(found))

    async def _tell(self, inbound: Inbound, problem: Problem) -> None:
        await inbound.refuse(problem, SPEAKERS[inbound.route.speech])

    async def _turn_away(self, inbound: Inbound, problem: Problem, receive: Receive) -> None:
        inbound.exchange.problem = problem.kind
        await inbound.answering.turn_away(SPEAKERS[inbound.route.speech].encode_problem(problem), receive)


def _find_model(offered: Sequence[ModelInfo], name: str) -> ModelInfo | None:
    wanted = name.removeprefix("models/")
    return next((model for model in offered if model.id == wanted), None)


_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"*, authorization, content-type, x-api-key, x-goog-api-key, api-key"),
    (b"access-control-max-age", b"600"),
)


def cors_headers(headers: dict[bytes, bytes], server: Any) -> tuple[tuple[bytes, bytes], ...]:
    """What lets a page of an allowed origin read the answer; nothing for anybody else."""
    origin = headers.get(b"origin")
    if origin is None or origin.decode("latin-1").lower() not in guard.allowed_origins(server):
        return ()
    return ((b"access-control-allow-origin", origin), (b"vary", b"origin"))


async def read_body(receive: Receive, headers: dict[bytes, bytes], limit: int) -> bytes:
    """The whole request body. Raises TooLarge before a byte over `limit` is kept, ClientLeft, TimeoutError."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge
    parts: list[bytes] = []
    size = 0
    while True:
        async with asyncio.timeout(BODY_IDLE_S):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def until_client_leaves(work: Any, receive: Receive) -> None:
    """Run `work`; when the client disconnects, cancel it at once. Raises ClientLeft."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    left = False
    watcher: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch(), name="watch for the client leaving")

    timer = loop.call_later(WATCH_AFTER_S, begin)
    try:
        await work
    except asyncio.CancelledError:
        if left and task.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
