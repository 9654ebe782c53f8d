"""The front door: answers the clients' routes.

Reads the request, lets `guard.py` judge it, decodes it, hands it to the pipeline and writes the answer in the client's
dialect. A client that leaves cancels its request: the upstream connection is closed, a refresh in flight goes on. After
the commit point a failure is told with the dialect's own error event, so that a cut stream never looks finished.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from regrant import logs
from regrant.dialects import anthropic, gemini, openai_chat
from regrant.dialects.base import ProblemDialect
from regrant.errors import DialectError
from regrant.gateway import guard
from regrant.gateway.answering import Answering, ConnectionAborted
from regrant.gateway.identity import new_request_id
from regrant.gateway.inbound import Inbound
from regrant.gateway.keys import KeyRing, Mode, effective_mode
from regrant.gateway.offer import Offer
from regrant.gateway.patience import read_patience
from regrant.gateway.routes import Action, Speech, find_route
from regrant.listener.conversation import ClientLeft, Conversation
from regrant.listener.head import encode_fields
from regrant.messages.catalogue import ModelInfo
from regrant.messages.problem import Problem, ProblemKind, describe_refusal
from regrant.settings import Settings
from regrant.settings import model as settings_model
from regrant.traffic.exchange import Bodies, Exchange

log = logs.get("gateway")

SPEAKERS: dict[Speech, ProblemDialect] = {
    Speech.OPENAI: openai_chat,
    Speech.ANTHROPIC: anthropic,
    Speech.GEMINI: gemini,
}


BODY_IDLE_S = 25.0  # without a byte of a body that was announced; less than the drain at the end takes


class TooLarge(Exception):  # control flow of this module only
    """The body is over the limit."""


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
        metrics: Callable[[str], Awaitable[tuple[str, bytes]]],
    ) -> None:
        """`metrics` makes content type and body for a scraper's Accept header."""
        self._services = services
        self._offer = offer
        self._readiness = readiness
        self._settings = settings
        self._keys = keys
        self._on_exchange = on_exchange
        self._metrics = metrics
        self._mode: tuple[settings_model.Server | None, Mode] = (None, "strict")
        self.in_flight = 0
        """How many requests for models are under way."""

    async def answer(self, conversation: Conversation) -> None:
        """One request. Only this method answers errors that nobody foresaw."""
        inbound = self._take_in(conversation)
        exchange = inbound.exchange
        try:
            await self._serve(inbound)
        except ClientLeft:
            exchange.problem = "client left"
        except ConnectionAborted:
            conversation.abort()
        except Exception as error:
            # The request boundary: the process lives on, the client learns no more than the id.
            log.error("request_failed", f"request {exchange.id} failed: {error!r}", request=exchange.id)
            _apologize(inbound)
        finally:
            exchange.ms = (time.perf_counter() - exchange.started) * 1000
            if inbound.route.action in self._services:
                self._on_exchange(exchange)

    def _take_in(self, conversation: Conversation) -> Inbound:
        headers = dict(reversed(conversation.headers))  # the first field of a name counts
        route = find_route(conversation.method, conversation.path, conversation.query, headers)
        now = time.time()
        exchange = Exchange(
            id=new_request_id(now),
            at=now,
            dialect=route.speech,
            started=time.perf_counter(),
            patience_s=read_patience(headers),
            model=route.model,
        )
        settings = self._settings()
        if settings.traffic.record_bodies:
            exchange.bodies = Bodies()
        cors = cors_lines(headers, settings.server) if b"origin" in headers else b""
        id_header = b"request-id" if route.speech is Speech.ANTHROPIC else b""
        answering = Answering(conversation, exchange, cors, id_header)
        return Inbound(conversation, route, headers, exchange, answering)

    async def _serve(self, inbound: Inbound) -> None:
        answering, conversation = inbound.answering, inbound.conversation
        if inbound.route.action is Action.NOTHING:
            answering.whole(200, (), b"")
            return
        if conversation.method == "OPTIONS" and answering.extra:
            answering.whole(204, _PREFLIGHT, b"")
            return
        admitted = self._admit(conversation)
        if isinstance(admitted, Problem):
            self._turn_away(inbound, admitted)
            return
        if admitted.key is not None:
            inbound.client_id, inbound.exchange.key = admitted.key.id, admitted.key.name
        service = self._services.get(inbound.route.action)
        if service is not None:
            self.in_flight += 1
            try:
                await self._generate(inbound, service)
            finally:
                self.in_flight -= 1
        else:
            await self._inform(inbound)

    def _admit(self, conversation: Conversation) -> guard.Admitted | Problem:
        server = self._settings().server
        return guard.check(
            conversation.path,
            conversation.headers,
            conversation.query,
            server=server,
            mode=self._mode_of(server),
            ring=self._keys(),
        )

    def _mode_of(self, server: settings_model.Server) -> Mode:
        known, mode = self._mode
        if known is not server:
            mode = effective_mode(server)
            self._mode = (server, mode)
        return mode

    async def _generate(self, inbound: Inbound, service: Service) -> None:
        limit = self._settings().server.max_body_mb << 20
        try:
            inbound.body = await read_body(inbound.conversation, inbound.headers, limit)
        except TooLarge:
            text = f"The request body is over {limit >> 20} MB (server.max_body_mb)."
            self._turn_away(inbound, Problem(ProblemKind.TOO_LARGE, text))
            return
        except TimeoutError:
            text = f"The request body stopped coming: nothing arrived for {BODY_IDLE_S:.0f} s."
            self._turn_away(inbound, Problem(ProblemKind.INVALID_REQUEST, text, status=408))
            return
        if inbound.exchange.bodies is not None:
            inbound.exchange.bodies.take_request(inbound.body)
        conversation = inbound.conversation
        conversation.leaving_cancels = True
        try:
            await service.serve(inbound)
        except DialectError as error:
            self._tell(inbound, describe_refusal(error))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if conversation.gone and task is not None and task.uncancel() == 0:
                raise ClientLeft from None
            raise

    async def _inform(self, inbound: Inbound) -> None:
        answering, conversation = inbound.answering, inbound.conversation
        match inbound.route.action:
            case Action.HEALTH:
                answering.json(200, b'{"status":"ok"}')
            case Action.READY:
                ready = self._readiness.can_serve()
                body = msgspec.json.encode({"ready": ready, "reasons": self._readiness.reasons()})
                answering.json(200 if ready else 503, body)
            case Action.METRICS:
                kind, body = await self._metrics(inbound.headers.get(b"accept", b"").decode("latin-1"))
                answering.whole(200, ((b"content-type", kind.encode()),), body)
            case Action.MODELS | Action.MODEL:
                await self._list_models(inbound)
            case Action.METHOD_NOT_ALLOWED:
                text = f"{conversation.method} is not allowed on {conversation.path[:200]}."
                self._tell(inbound, Problem(ProblemKind.METHOD_NOT_ALLOWED, text))
            case _:
                text = f"There is nothing at {conversation.method} {conversation.path[:200]}."
                self._tell(inbound, Problem(ProblemKind.NOT_FOUND, text))

    async def _list_models(self, inbound: Inbound) -> None:
        route, answering = inbound.route, inbound.answering
        offered = await self._offer.models(inbound.client_id, inbound.exchange.key)
        if isinstance(offered, Problem):
            self._tell(inbound, offered)
            return
        speaker = SPEAKERS[route.speech]
        if route.action is Action.MODELS:
            answering.json(200, speaker.encode_models(offered))
            return
        found = _find_model(offered, route.model)
        if found is None:
            text = f"The model {route.model[:200]!r} is not one of GET /v1/models."
            self._tell(inbound, Problem(ProblemKind.MODEL_NOT_FOUND, text, code="model_not_found"))
        else:
            answering.json(200, speaker.encode_model(found))

    def _tell(self, inbound: Inbound, problem: Problem) -> None:
        inbound.refuse(problem, SPEAKERS[inbound.route.speech])

    def _turn_away(self, inbound: Inbound, problem: Problem) -> None:
        inbound.exchange.problem = problem.kind
        inbound.answering.turn_away(SPEAKERS[inbound.route.speech].encode_problem(problem))


def _apologize(inbound: Inbound) -> None:
    text = f"The gateway failed. Its log says why under {inbound.exchange.id}."
    problem = SPEAKERS[inbound.route.speech].encode_problem(Problem(ProblemKind.INTERNAL, text))
    if inbound.answering.committed:
        inbound.conversation.abort()
    else:
        inbound.answering.fail(problem)


def _find_model(offered: Sequence[ModelInfo], name: str) -> ModelInfo | None:
    wanted = name.removeprefix("models/")
    return next((model for model in offered if model.id == wanted), None)


_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"*, authorization, content-type, x-api-key, x-goog-api-key, api-key"),
    (b"access-control-max-age", b"600"),
)


def cors_lines(headers: Mapping[bytes, bytes], server: Any) -> bytes:
    """What lets a page of an allowed origin read the answer; nothing for anybody else."""
    origin = headers.get(b"origin")
    if origin is None or origin.decode("latin-1").lower() not in guard.allowed_origins(server):
        return b""
    return encode_fields(((b"access-control-allow-origin", origin), (b"vary", b"origin")))


async def read_body(conversation: Conversation, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The whole request body. Raises TooLarge before much over `limit` is kept, ClientLeft, TimeoutError."""
    if conversation.received:
        body = conversation.take()
        if len(body) > limit:
            raise TooLarge
        return body
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge
    parts: list[bytes] = []
    size = 0
    while True:
        async with asyncio.timeout(BODY_IDLE_S):
            part = await conversation.read()
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > limit:
            raise TooLarge
        parts.append(part)
