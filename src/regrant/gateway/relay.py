"""Gemini to Gemini: bytes that are passed on as they are, watched but not changed.

What must change does: the address, the credentials, and the model's name where an alias stands for another.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from regrant.dialects import gemini
from regrant.dialects.base import JSON
from regrant.dialects.gemini import StreamForm
from regrant.errors import TransportError
from regrant.gateway.answering import Answering, ConnectionAborted
from regrant.gateway.calls import Calls, ModelCall
from regrant.gateway.inbound import Inbound
from regrant.gateway.offer import Offer
from regrant.gateway.opening import read_opening, rename_models
from regrant.gateway.passport import RelayedBody
from regrant.gateway.pipeline import Answer, Ask, Pipeline, Refusal, with_stand_ins
from regrant.gateway.reading import Relay, read_next
from regrant.gateway.telling import CUT, tell
from regrant.messages.problem import Problem
from regrant.pool.affinity import derive_key
from regrant.upstream import google


class GeminiRelay:
    def __init__(self, pipeline: Pipeline, calls: Calls, offer: Offer) -> None:
        self._pipeline = pipeline
        self._calls = calls
        self._offer = offer

    async def serve(self, inbound: Inbound) -> None:
        """Answer one request. Raises DialectError for a body that is no JSON object."""
        route, exchange = inbound.route, inbound.exchange
        opening = read_opening(inbound.body)
        models = await self._offer.chain(route.model, inbound)
        if isinstance(models, Problem):
            inbound.refuse(models, gemini)
            return
        exchange.served_model = models[0]
        query = _without_key(inbound.query) if inbound.query else []
        form = _form(route.method, dict(query))
        key = derive_key(
            client=inbound.client_id,
            headers=inbound.headers,
            prompt_cache_key=opening.cached_content,
            opening=lambda: opening.texts,
        )
        headers = google.forwarded(tuple(inbound.headers.items()))
        generates = "enerateContent" in route.method

        def make(model: str) -> Ask:
            same = model == route.model.removeprefix("models/")
            call = ModelCall(
                model=model,
                method=route.method,
                query=urlencode(query) if query else "",
                body=RelayedBody(inbound.body if same else rename_models(inbound.body, model)),
                headers=headers,
            )
            return self._calls.ask_model(call, lambda: Relay(form, generates=generates), key=key)

        ask = make(models[0])
        if len(models) > 1:
            ask = with_stand_ins(ask, models, make)
        outcome = await self._pipeline.open(ask, exchange)
        if isinstance(outcome, Refusal):
            _refuse(outcome, inbound.answering)
            return
        try:
            await _answer(outcome, inbound.answering, form)
        finally:
            await outcome.close()


def _without_key(query: bytes) -> list[tuple[str, str]]:
    """The fields of the address that go on to Google: all but a client key."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return [pair for pair in pairs if pair[0] != "key"]


def _refuse(refusal: Refusal, answering: Answering) -> None:
    problem = tell(refusal)
    answering.exchange.problem = problem.kind
    if refusal.passed_on is None:
        answering.fail(gemini.encode_problem(problem))
        return
    status, headers, body = refusal.passed_on
    kind = next((value for name, value in headers if name == b"content-type"), JSON)
    answering.whole(status, ((b"content-type", kind),), body)


async def _answer(answer: Answer, answering: Answering, form: StreamForm) -> None:
    reading = answer.reading
    assert isinstance(reading, Relay)
    head = [(b"content-type", answer.response.header(b"content-type") or JSON)]
    if form == "json":
        answering.whole(200, head, reading.take())
        answering.exchange.usage = reading.scanner.usage
        return
    answering.start(200, [*head, (b"cache-control", b"no-cache")])
    whole = await _pump(answer, reading, answering)
    answering.exchange.usage = reading.scanner.usage
    last = reading.take()
    if whole and not reading.incomplete:
        answering.end(last)
        return
    answering.exchange.problem = "cut"
    closing = gemini.error_event(CUT, form, begun=True)
    if not closing:
        await answering.write(last)
        raise ConnectionAborted
    answering.end(last + closing)


async def _pump(answer: Answer, reading: Relay, answering: Answering) -> bool:
    """Pass the bytes on until the upstream's end, its last ones excepted; False when it broke off.

    No sign of life is put between them while the model thinks: google-genai takes a comment for a broken event.
    """
    try:
        while not answer.ended:
            await answering.write(reading.take())
            await read_next(answer)
    except TransportError:
        return False
    return True


def _form(method: str, query: dict[str, str]) -> StreamForm:
    if method != "streamGenerateContent":
        return "json"
    return "sse" if "sse" in {query.get("alt"), query.get("$alt")} else "array"
