"""Anthropic to Claude on Vertex: bytes that are passed on as they are, but for the model and the version.

Theory of operation. Nobody can ask Vertex which Claude models a project has, so that it is tried: `serve` answers the
request, or says that Claude is not to be had here, and then somebody else may answer (`messages_api.py`). A refusal that
names betas or fields which Vertex does not know is repeated once without exactly those, and they are left out for some
hours. Claude's own errors are passed on untouched: clients go by their words.
"""

from __future__ import annotations

from typing import Final

import msgspec

from regrant.clock import Clock
from regrant.dialects import anthropic
from regrant.dialects.anthropic import vertex
from regrant.dialects.base import JSON, SSE
from regrant.errors import TransportError
from regrant.gateway.answering import Answering
from regrant.gateway.calls import Calls, ModelCall, is_on_vertex
from regrant.gateway.inbound import Inbound
from regrant.gateway.keepalive import KeepAlive
from regrant.gateway.passport import FixedBody
from regrant.gateway.pipeline import Answer, Ask, Pipeline, Refusal
from regrant.gateway.reading import read_next
from regrant.gateway.telling import CUT, tell
from regrant.pool.affinity import derive_key
from regrant.pool.lease import Unavailable, Wish
from regrant.pool.pool import Pool
from regrant.upstream.faults import FaultKind

REMEMBER_S: Final = 4 * 3600.0
BETA: Final = b"anthropic-beta"
PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'

LACKING = frozenset(
    {
        FaultKind.MODEL_NOT_ALLOWED,
        FaultKind.MODEL_NOT_FOUND,
        FaultKind.PERMISSION,
        FaultKind.UNUSABLE_HERE,
        FaultKind.NO_QUOTA,
        FaultKind.BILLING,
        FaultKind.ACCOUNT_DIED,
        FaultKind.TOKEN_REFUSED,
    }
)
"""Faults that say: Claude is not to be had with this account."""


class ClaudeReading:
    """An answer of Claude's on its way to the client. `held` are the bytes that came before the commit point."""

    def __init__(self, *, stream: bool) -> None:
        self.scanner = vertex.AnthropicStreamScanner()
        self.held: list[bytes] = []
        self._stream = stream
        self._whole = False

    @property
    def ready(self) -> bool:
        return self.scanner.started or self._whole

    @property
    def failure(self) -> bytes | None:
        return None if self.scanner.started else self.scanner.error

    def feed(self, chunk: bytes) -> None:
        if self._stream:
            self.scanner.feed(chunk)
        self.held.append(chunk)

    def end(self) -> None:
        self._whole = not self._stream and b"".join(self.held).lstrip().startswith(b"{")

    def take(self) -> bytes:
        """What was held back until now."""
        held = b"".join(self.held)
        self.held.clear()
        return held


class _Objections(msgspec.Struct, frozen=True):
    betas: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    until: float = 0.0


class Question(msgspec.Struct, frozen=True):
    """One request of a client, as far as it is read. `model` is Vertex's name."""

    model: str
    conversation: str
    stream: bool
    counting: bool
    """It asks for the number of tokens, not for an answer."""
    only: bool
    """It was asked for by name, so that any account may be tried."""
    name: str = ""
    """What the answer calls the model, where the client has another name for it than Claude has."""
    replaceable: bool = False
    """Another model stands in when this one cannot serve."""


class ClaudeRelay:
    def __init__(self, pipeline: Pipeline, calls: Calls, pool: Pool, clock: Clock) -> None:
        self._pipeline = pipeline
        self._pool = pool
        self._calls = calls
        self._clock = clock
        self._objections: dict[str, _Objections] = {}
        self._proven: set[str] = set()
        """Models that have answered: when one of them is away, nobody else stands in."""

    async def serve(self, inbound: Inbound, question: Question) -> bool:
        """Answer the request, or return False when Claude is not to be had.

        Raises DialectError for a body that is no JSON object.
        """
        dispensable = not question.only and question.model not in self._proven
        if (dispensable or question.replaceable) and not self._is_free(question):
            return False
        inbound.exchange.served_model = question.model
        outcome = await self._open(inbound, question)
        if isinstance(outcome, Refusal) and self._learn(question, outcome):
            outcome = await self._open(inbound, question)
        if isinstance(outcome, Refusal):
            if question.replaceable and outcome.others_may:
                inbound.exchange.spent = sum(attempt.status > 0 for attempt in inbound.exchange.attempts)
                return False
            if dispensable and all(attempt.fault in LACKING for attempt in inbound.exchange.attempts):
                return False
            _refuse(outcome, inbound.answering)
            return True
        if not question.counting:
            self._proven.add(question.model)
        try:
            await _answer(outcome, inbound.answering, question)
        finally:
            await outcome.close()
        return True

    def _is_free(self, question: Question) -> bool:
        """Whether an account that might have Claude could be asked right now."""
        lease = self._pool.lease(Wish(question.model, suits=None if question.only else is_on_vertex))
        if isinstance(lease, Unavailable):
            return False
        lease.release()
        return True

    async def _open(self, inbound: Inbound, question: Question) -> Answer | Refusal:
        return await self._pipeline.open(self._ask(inbound, question), inbound.exchange)

    def _ask(self, inbound: Inbound, question: Question) -> Ask:
        known = self._objections.get(question.model, _Objections())
        if known.until <= self._clock.monotonic():
            known = _Objections()
        body = vertex.to_vertex(
            inbound.body, without=known.fields, count_for=question.model if question.counting else ""
        )
        call = ModelCall(
            model=vertex.COUNTER if question.counting else question.model,
            method="streamRawPredict" if question.stream else "rawPredict",
            body=FixedBody(body),
            headers=() if question.counting else tuple(_betas(inbound, known.betas)),
        )
        key = derive_key(
            client=inbound.client_id,
            headers=inbound.headers,
            user_id=question.conversation,
            opening=lambda: vertex.read_texts(inbound.body),
        )
        stream = question.stream
        return self._calls.ask_claude(
            call,
            lambda: ClaudeReading(stream=stream),
            key=key,
            everybody=question.only,
            metered=not question.counting,
        )

    def _learn(self, question: Question, refusal: Refusal) -> bool:
        """Note what Vertex refuses by name; whether there was anything to note."""
        if refusal.passed_on is None or refusal.passed_on[0] != 400:
            return False
        betas, fields = vertex.read_objections(refusal.google_says)
        if not betas and not fields:
            return False
        known = self._objections.get(question.model, _Objections())
        until = self._clock.monotonic() + REMEMBER_S
        self._objections[question.model] = _Objections(known.betas | betas, known.fields | fields, until)
        return True


def _betas(inbound: Inbound, without: frozenset[str]) -> list[tuple[bytes, bytes]]:
    sent = inbound.headers.get(BETA, b"").decode("latin-1").split(",")
    kept = [beta.strip() for beta in sent if beta.strip() and beta.strip() not in without]
    return [(BETA, ",".join(kept).encode("latin-1"))] if kept else []


def _refuse(refusal: Refusal, answering: Answering) -> None:
    problem = tell(refusal)
    answering.exchange.problem = problem.kind
    if refusal.passed_on is not None and _is_anthropics(refusal.passed_on[2]):
        status, _, body = refusal.passed_on
        answering.whole(status, ((b"content-type", JSON),), body)
    else:
        answering.fail(anthropic.encode_problem(problem))


class _Kind(msgspec.Struct):
    type: str


def _is_anthropics(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Kind).type == "error"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


async def _answer(answer: Answer, answering: Answering, question: Question) -> None:
    reading = answer.reading
    assert isinstance(reading, ClaudeReading)
    if not question.stream:
        body = reading.take()
        answering.exchange.usage = None if question.counting else vertex.read_usage(body)
        if question.name:
            body = vertex.rename_reply(body, question.name)
        answering.whole(200, ((b"content-type", JSON),), body)
        return
    answering.start(200, ((b"content-type", SSE), (b"cache-control", b"no-cache")))
    if question.name:
        reading.held = [vertex.rename_start(reading.take(), question.name)]
    await _pump(answer, reading, answering)
    answering.exchange.usage = reading.scanner.usage
    last = reading.take()
    if reading.scanner.complete or reading.scanner.error is not None:
        answering.end(last)
        return
    answering.exchange.problem = "cut"
    closing = b"" if reading.scanner.idle else b"\n\n"
    answering.end(last + closing + anthropic.encode_failure(CUT))


async def _pump(answer: Answer, reading: ClaudeReading, answering: Answering) -> None:
    """Pass the bytes on until the upstream's end, clean or not; its last ones are left to the caller."""
    with KeepAlive(answering, PING, idle=False) as pulse:
        while not answer.ended:
            if data := reading.take():
                pulse.idle = False
                await answering.write(data)
                pulse.idle = reading.scanner.idle
                pulse.touch()
            try:
                await read_next(answer)
            except TransportError:
                return
