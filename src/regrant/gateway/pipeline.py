"""The journey of one request from an account to Google and back, up to the commit point.

Theory of operation. One loop, one failure per layer: `open` leases accounts until one answers, `_attempt` gets a token
and makes one call, `_first_event` reads until the answer is known to be one. Nothing has been sent to the client before
`open` returns, so every failure up to there may be repaired with another account. What a failure means is judged by
`upstream/classifier.py`, what follows from it by `verdict.py`; this file carries it out. The set of accounts that were tried
is kept for the whole request: none is asked twice but for the one replay after a 401, and the one without the thought
signatures that Google refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import tzinfo

import msgspec

from regrant.accounts.keeper import AccountUnusable, Keeper
from regrant.clock import Clock
from regrant.errors import AnswerTimeout, BadAnswer, BodyCut, DialectError, TransportError
from regrant.gateway import verdict
from regrant.gateway.reading import Reading
from regrant.gateway.verdict import Ending, GiveUp, Progress, RetrySame
from regrant.pool.endpoints import Endpoints
from regrant.pool.lease import Lease, Unavailable, Wish
from regrant.pool.pool import Pool
from regrant.pool.quota_guard import QuotaGuard
from regrant.pool.selector import Candidate
from regrant.secret import Secret
from regrant.settings.model import Pool as Limits
from regrant.traffic.exchange import Attempt, Exchange
from regrant.transport.model import Headers, Request, Response, Transport
from regrant.upstream import google
from regrant.upstream.classifier import classify_answer, classify_transport
from regrant.upstream.faults import (
    REFUSED_S,
    Call,
    Fault,
    FaultKind,
    Remedy,
    account_died,
    token_refused,
    token_unavailable,
)

MAX_ERROR_BYTES = 1 << 20
SHORTEST_PAUSE_S = 0.05
LONG_TOKEN_S = 2.0  # a refresh takes a tenth of that; who waits longer is better served by another account


class Ask(msgspec.Struct, frozen=True):
    """What a request wants of Google. `build` writes the call for one account, `read` begins reading one answer."""

    model: str
    build: Callable[[str, Secret, float], Request]
    """(account id, access token, seconds left until the deadline) -> the call."""
    read: Callable[[], Reading]
    key: int | None = None
    through_vertex: bool = False
    """It goes to Vertex, whatever the account's own upstream is."""
    suits: Callable[[Candidate], bool] | None = None
    """Which accounts may be asked at all; None = every one."""
    metered: bool = True
    """It counts against the model's quota; lists of models and the counting of tokens do not."""
    forget_signatures: Callable[[], bool] = lambda: False
    """Replace the thought signatures in what `build` writes, after Google refused one; whether that changes anything."""
    stand_ins: tuple[Callable[[], Ask], ...] = ()
    """What is asked for, in this order, when this model cannot serve: each makes the same request for another model."""


def with_stand_ins(ask: Ask, models: Sequence[str], make: Callable[[str], Ask]) -> Ask:
    """The request for the first of `models`, with the others to stand in; `make` makes it for one of them."""
    stand_ins = tuple(functools.partial(make, model) for model in models[1:])
    return msgspec.structs.replace(ask, stand_ins=stand_ins)


class Answer(msgspec.Struct):
    """An answer of Google's whose first event has come. Close it when done; the lease ends with it."""

    response: Response
    reading: Reading
    lease: Lease
    chunks: AsyncIterator[bytes]
    ended: bool

    async def close(self) -> None:
        self.lease.release()
        await self.response.close()


class Refusal(msgspec.Struct, frozen=True):
    """No account could serve. `passed_on` is Google's own answer where that is the client's business."""

    ending: Ending
    passed_on: tuple[int, Headers, bytes] | None = None
    reasons: dict[str, int] = msgspec.field(default_factory=dict)
    google_says: str = ""
    absent: bool = False
    """No account was left to ask: one that comes back may change that."""
    others_may: bool = False
    """It is about the model, and neither attempts nor time are used up: another one may serve."""


class _Journey(msgspec.Struct):
    """What one request has tried so far."""

    ask: Ask
    exchange: Exchange
    deadline: float
    tried: set[str] = msgspec.field(default_factory=set)
    refused_projects: frozenset[str] = frozenset()
    """Their other accounts are asked last: most probably they are refused as well."""
    calls: int = 0
    outages: int = 0
    answered: bool = False
    """Bytes of the last answer's body had come before it failed."""
    called: set[str] = set()
    """Accounts with which the model API was called."""
    away: dict[str, float] = {}
    """Accounts whose token could not be had just now, and when (unix seconds) it is asked for again."""
    outlasted_s: float = 0.0
    """How long it has waited for that."""
    replay: Lease | None = None
    last: Fault | None = None
    passed_on: tuple[int, Headers, bytes] | None = None
    several: bool = False
    """There is more than one model to try."""
    patient: bool = True
    """It waits for an account where that is worth while; not as long as another model may serve at once."""

    def turn_to(self, ask: Ask, tried: set[str]) -> None:
        """Go on with another model: what went wrong so far says little about it, but what it cost stays."""
        self.ask, self.tried = ask, tried
        self.refused_projects = frozenset()
        self.away.clear()
        self.called.clear()
        self.replay = self.last = self.passed_on = None
        self.exchange.served_model = ask.model

    @property
    def replayed(self) -> bool:
        """This attempt is the replay after a 401, with a fresh token."""
        token_refused = self.last is not None and self.last.kind is FaultKind.TOKEN_REJECTED
        return self.replay is not None and token_refused


def _feed_arrived(reading: Reading, response: Response, journey: _Journey) -> bool:
    """Read what came together with the head: nearly always all of a plain answer. Whether that was all."""
    complete = response.complete
    if data := response.arrived():
        reading.feed(data)
        journey.answered = True
    if complete:
        reading.end()
    return complete


async def _feed_first_event(reading: Reading, chunks: AsyncIterator[bytes], journey: _Journey) -> bool:
    """Read on until the first event is there. Whether the body has ended. Raises TransportError."""
    while not reading.ready and reading.failure is None:
        try:
            reading.feed(await anext(chunks))
            journey.answered = True
        except StopAsyncIteration:
            reading.end()
            return True
    return False


class Pipeline:
    def __init__(
        self,
        keeper: Keeper,
        pool: Pool,
        transport: Transport,
        *,
        clock: Clock,
        limits: Callable[[], Limits],
        quota_zone: Callable[[], tzinfo],
        quota: QuotaGuard,
        vertex_base: Callable[[], str],
    ) -> None:
        self._keeper = keeper
        self._pool = pool
        self._transport = transport
        self._clock = clock
        self._limits = limits
        self._quota_zone = quota_zone
        self._quota = quota
        self._vertex_base = vertex_base
        self._endpoints = Endpoints()

    async def open(self, ask: Ask, exchange: Exchange) -> Answer | Refusal:
        """Find an account that answers. The caller is cancelled when its client leaves; nothing is left behind then."""
        limits = self._limits()
        patience_s = limits.deadline_s if exchange.patience_s is None else exchange.patience_s
        journey = _Journey(ask, exchange, self._clock.monotonic() + min(limits.deadline_s, patience_s))
        if exchange.attempts:  # another question of the same request, which has one deadline for all
            journey.deadline -= time.perf_counter() - exchange.started
            journey.calls = exchange.spent
        if ask.stand_ins:
            return await self._open_one_of(journey, limits)
        return await self._open(journey, limits)

    async def _open_one_of(self, journey: _Journey, limits: Limits) -> Answer | Refusal:
        """The models in their order, none of which is waited for; if all are out, the one that is back first is.

        `max_attempts` and the deadline hold for all of them together.
        """
        journey.several, journey.patient = True, False
        refused: list[tuple[Refusal, Ask, set[str]]] = []
        for ask in _in_order(journey.ask):
            if refused:
                journey.turn_to(ask, set())
            outcome = await self._open(journey, limits)
            if isinstance(outcome, Answer) or not outcome.others_may:
                return outcome
            refused.append((outcome, ask, journey.tried))
        soonest = min(refused, key=lambda one: (_seconds_out(one[0]), not one[0].absent))
        if not soonest[0].absent:
            return soonest[0]
        journey.patient = True
        journey.turn_to(*soonest[1:])
        return await self._open(journey, limits)

    async def _open(self, journey: _Journey, limits: Limits) -> Answer | Refusal:
        while True:
            lease = journey.replay or self._lease_elsewhere(journey) or await self._lease(journey, limits)
            if isinstance(lease, Unavailable):
                if journey.away and await self._outlast(journey, limits):
                    continue
                return self._refuse_absence(journey, lease)
            outcome = await self._try(journey, lease)
            if isinstance(outcome, Answer):
                return outcome
            refusal = self._after(journey, lease, outcome, limits)
            if refusal is not None:
                return refusal

    def _lease_elsewhere(self, journey: _Journey) -> Lease | None:
        """An account of a project that has not refused this request, and of an endpoint that can be reached, if one is free."""
        out = self._endpoints.out(self._clock.now()) if self._endpoints else frozenset[str]()
        if not journey.refused_projects and not out:
            return None
        wish, refused, suits = _wish(journey), journey.refused_projects, journey.ask.suits

        def elsewhere_for(one: Candidate) -> bool:
            reachable = one.project not in refused and self._endpoint(one, journey.ask) not in out
            return reachable and (suits is None or suits(one))

        wish.suits = elsewhere_for
        elsewhere = self._pool.lease(wish)
        return elsewhere if isinstance(elsewhere, Lease) else None

    def _lease(self, journey: _Journey, limits: Limits) -> Awaitable[Lease | Unavailable]:
        if not journey.patient:
            return self._pool.lease_or_wait(
                _wish(journey), deadline=journey.deadline, max_wait_s=0, rescue_s=0
            )
        # Where only some accounts suit, somebody else stands by; a client that is gone before a person can act is told at once.
        patient = journey.exchange.patience_s is None or journey.exchange.patience_s > limits.rescue_s
        rescue_s = limits.rescue_s if journey.ask.suits is None and patient else 0.0
        return self._pool.lease_or_wait(
            _wish(journey), deadline=journey.deadline, max_wait_s=limits.max_wait_s, rescue_s=rescue_s
        )

    async def _outlast(self, journey: _Journey, limits: Limits) -> bool:
        """Nobody is left but accounts whose token could not be had: wait until the first is asked for again, if that is soon."""
        now, left_s = self._clock.now(), journey.deadline - self._clock.monotonic()
        pause_s = max(SHORTEST_PAUSE_S, min(journey.away.values()) - now)
        if journey.outlasted_s + pause_s > min(limits.max_wait_s, journey.outlasted_s + left_s):
            return False
        journey.outlasted_s += pause_s
        await asyncio.sleep(pause_s)
        now = self._clock.now()
        for account_id in [one for one, retry_at in journey.away.items() if retry_at <= now]:
            del journey.away[account_id]
            journey.tried.discard(account_id)
        return True

    async def _try(self, journey: _Journey, lease: Lease) -> Answer | Fault:
        """One attempt; the lease is released unless it ends in an answer, and kept for a replay by `_after`."""
        attempt = Attempt(account_id=lease.account.id, model=journey.ask.model if journey.several else "")
        journey.exchange.attempts.append(attempt)
        journey.tried.add(lease.account.id)
        journey.answered = False
        started = time.perf_counter()
        outcome: Answer | Fault | None = None
        try:
            outcome = await self._attempt(journey, lease, attempt)
        finally:
            attempt.ms = (time.perf_counter() - started) * 1000
            if not isinstance(outcome, Answer):
                lease.release()
        if isinstance(outcome, Fault):
            attempt.fault, attempt.said = outcome.kind, outcome.message
        return outcome

    async def _attempt(self, journey: _Journey, lease: Lease, attempt: Attempt) -> Answer | Fault:
        account_id = lease.account.id
        token = self._keeper.ready_token(account_id)
        if token is None:
            waited = await self._wait_for_token(journey, lease)
            if isinstance(waited, Fault):
                return waited
            token = waited
        journey.calls += 1
        journey.called.add(account_id)
        if journey.ask.metered:
            self._quota.called(lease.account.project, lease.model)
        left_s = max(0.05, journey.deadline - self._clock.monotonic())
        try:
            response = await self._transport.send(journey.ask.build(account_id, token, left_s))
        except TransportError as error:
            return classify_transport(error)
        attempt.status = response.status
        try:
            if response.status != 200:
                return await self._refused(journey, lease, token, response)
            return await self._first_event(journey, lease, response)
        except BaseException:
            await response.close()
            raise

    async def _wait_for_token(self, journey: _Journey, lease: Lease) -> Secret | Fault:
        account_id = lease.account.id
        left_s = journey.deadline - self._clock.monotonic()
        limit_s = LONG_TOKEN_S if left_s > LONG_TOKEN_S and self._others_are_ready(journey) else left_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._keeper.token(account_id, trial=lease.trial)
        except TimeoutError:
            if limit_s < left_s:
                self._note_away(journey, account_id, self._clock.now())
                return token_unavailable("its token takes long, and others have theirs")
            return token_unavailable("no token came before the deadline")
        except AccountUnusable as error:
            if error.why == "disabled":
                # Out of the pool now; whoever brings it back may save this request.
                journey.tried.discard(account_id)
                return account_died()
            if error.why == "away":
                self._note_away(journey, account_id, error.retry_at)
                return token_unavailable(error.why)
            return token_refused(error.why, oauth_client=error.why == "client")

    @staticmethod
    def _note_away(journey: _Journey, account_id: str, retry_at: float) -> None:
        """Its token may be waited for, unless the account has been called already: nobody is asked twice."""
        if account_id not in journey.called:
            journey.away[account_id] = retry_at

    def _others_are_ready(self, journey: _Journey) -> bool:
        """Whether an account that was not tried has a token that can be used at once."""
        return any(
            one.id not in journey.tried and self._keeper.ready_token(one.id) is not None
            for one in self._pool.candidates
        )

    async def _refused(self, journey: _Journey, lease: Lease, token: Secret, response: Response) -> Fault:
        try:
            # Even at the deadline: what the body says decides how long everybody leaves the account alone.
            async with asyncio.timeout(max(1.0, journey.deadline - self._clock.monotonic())):
                body = await response.read(MAX_ERROR_BYTES)
        except (TransportError, TimeoutError):
            body = b""
        finally:
            await response.close()
        fault = classify_answer(response.status, response.headers, body, self._call(journey, lease))
        journey.passed_on = (response.status, response.headers, body)
        if fault.kind is FaultKind.TOKEN_REJECTED:
            self._keeper.reject(lease.account.id, token)
        return fault

    async def _first_event(self, journey: _Journey, lease: Lease, response: Response) -> Answer | Fault:
        reading = journey.ask.read()
        chunks = response.chunks()
        try:
            ended = _feed_arrived(reading, response, journey)
            if not ended and not reading.ready and reading.failure is None:
                async with asyncio.timeout(journey.deadline - self._clock.monotonic()):
                    ended = await _feed_first_event(reading, chunks, journey)
        except TimeoutError:
            await response.close()
            return classify_transport(AnswerTimeout("no event came before the deadline"))
        except TransportError as error:
            await response.close()
            return classify_transport(error)
        if reading.failure is not None:
            await response.close()
            journey.passed_on = None
            return classify_answer(200, response.headers, reading.failure, self._call(journey, lease))
        if not reading.ready:
            await response.close()
            end = "the answer ended before its first event"
            return classify_transport(BadAnswer(end) if journey.answered else BodyCut(end))
        self._pool.succeeded(lease)
        if self._endpoints:
            self._endpoints.worked(self._endpoint(lease.account, journey.ask))
        self._keeper.served(lease.account.id)
        return Answer(response, reading, lease, chunks, ended)

    def _call(self, journey: _Journey, lease: Lease) -> Call:
        on_vertex = lease.account.upstream == "vertex"
        return Call(
            model=journey.ask.model,
            project=lease.account.project,
            now=self._clock.now(),
            tz=self._quota_zone(),
            strikes=lease.strikes,
            vertex=on_vertex or journey.ask.through_vertex,
            attend=on_vertex or not journey.ask.through_vertex,
            replayed=journey.replayed,
            refused_s=self._limits().attention_retry_s or REFUSED_S,
            jitter=random.random(),  # noqa: S311 - it spreads retries, it guards nothing
        )

    def _endpoint(self, account: Candidate, ask: Ask) -> str:
        upstream = "vertex" if ask.through_vertex else account.upstream
        return google.endpoint_name(upstream, account.location, self._vertex_base())

    def _after(self, journey: _Journey, lease: Lease, fault: Fault, limits: Limits) -> Refusal | None:
        """Apply the fault and decide: None to go on, else what the client is told."""
        self._pool.report(lease, fault)
        if fault.kind is FaultKind.CONNECT_FAILED:
            name = self._endpoint(lease.account, journey.ask)
            self._endpoints.failed(name, self._clock.now(), random.random())  # noqa: S311 - it spreads retries
        if fault.remedy is Remedy.OTHER_PROJECT:
            journey.refused_projects |= {lease.account.project}
        if fault.limits:
            self._quota.refused(lease.account.project, lease.model, fault)
        if fault.attention is not None:
            attention = fault.attention
            self._keeper.needs_attention(lease.account.id, attention.code, attention.message, attention.url)
        progress = Progress(
            calls=journey.calls,
            max_attempts=limits.max_attempts,
            time_left_s=journey.deadline - self._clock.monotonic(),
            outages=journey.outages,
            answered=journey.answered,
            replayed=journey.replayed,
            mended=fault.kind is FaultKind.SIGNATURE_REFUSED and journey.ask.forget_signatures(),
        )
        if fault.kind is FaultKind.ACCOUNT_DIED and journey.replayed:
            journey.calls -= 1  # the refused call ended in the account's death
        if lease.trial and fault.attention is not None:
            journey.calls -= 1  # the request was lent to find this out; it loses no attempt by it
        decision = verdict.judge(fault, progress, now=self._clock.now())
        journey.outages += verdict.is_outage(fault)
        journey.last = fault
        journey.replay = None
        match decision:
            case RetrySame():
                journey.replay = self._pool.renew(lease)
            case GiveUp(ending):
                return self._refusal(journey, ending, fault)
            case _:
                pass
        return None

    def _refuse_absence(self, journey: _Journey, unavailable: Unavailable) -> Refusal:
        zone = self._quota_zone()
        ending = verdict.describe_absence(unavailable, journey.last, now=self._clock.now(), tz=zone)
        refusal = self._refusal(journey, ending, journey.last)
        reasons = {reason.value: count for reason, count in unavailable.reasons.items() if count}
        journey.exchange.reasons = reasons
        return msgspec.structs.replace(refusal, reasons=reasons, absent=True)

    def _refusal(self, journey: _Journey, ending: Ending, fault: Fault | None) -> Refusal:
        others_may = (
            (fault is None or verdict.is_about_the_model(fault))
            and journey.calls < self._limits().max_attempts
            and self._clock.monotonic() < journey.deadline
        )
        if ending.kind is not verdict.EndingKind.PASS_ON:
            return Refusal(ending, others_may=others_may)
        google_says = fault.message if fault else ""
        return Refusal(ending, journey.passed_on, google_says=google_says, others_may=others_may)


def _in_order(ask: Ask) -> Iterator[Ask]:
    """The request for each model in turn; one that this request cannot be written for is passed over."""
    yield ask
    for make in ask.stand_ins:
        with contextlib.suppress(DialectError):
            ask = make()
            yield ask


def _wish(journey: _Journey) -> Wish:
    ask = journey.ask
    return Wish(ask.model, ask.key, journey.tried, ask.suits, journey.exchange.key)


def _seconds_out(refusal: Refusal) -> float:
    """How long the model is out; for ever, where nobody knows."""
    wait = refusal.ending.retry_after_s
    return math.inf if wait is None else wait
