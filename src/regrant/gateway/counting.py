"""Requests in a client's dialect that are counted, not answered: Gemini's own count, never an estimate."""

from __future__ import annotations

import functools
from typing import Protocol

from regrant.dialects import gemini
from regrant.dialects.base import ServerDialect
from regrant.gateway.calls import Calls, ModelCall
from regrant.gateway.inbound import Inbound
from regrant.gateway.offer import Offer
from regrant.gateway.passport import FixedBody
from regrant.gateway.pictures import Pictures
from regrant.gateway.pipeline import Ask, Pipeline, Refusal, with_stand_ins
from regrant.gateway.reading import Relay
from regrant.gateway.telling import CUT, tell
from regrant.messages.model import Request
from regrant.messages.problem import Problem


class CountingDialect(ServerDialect, Protocol):
    """A dialect whose clients can ask for the number of tokens of a request."""

    def encode_count(self, input_tokens: int) -> bytes: ...


class CountService:
    def __init__(
        self,
        dialect: CountingDialect,
        pipeline: Pipeline,
        calls: Calls,
        offer: Offer,
        pictures: Pictures,
    ) -> None:
        self._dialect = dialect
        self._pipeline = pipeline
        self._calls = calls
        self._offer = offer
        self._pictures = pictures

    async def serve(self, inbound: Inbound) -> None:
        """Answer one request. Raises DialectError for one that cannot be understood or expressed."""
        dialect, exchange, answering = self._dialect, inbound.exchange, inbound.answering
        request = dialect.decode_request(inbound.body)
        exchange.model = request.model
        models = await self._offer.chain(request.model, inbound)
        if isinstance(models, Problem):
            inbound.refuse(models, dialect)
            return
        exchange.served_model = models[0]
        request = await self._pictures.embed(request)
        ask = self._ask(request, models[0])
        if len(models) > 1:
            ask = with_stand_ins(ask, models, functools.partial(self._ask, request))
        outcome = await self._pipeline.open(ask, exchange)
        if isinstance(outcome, Refusal):
            inbound.refuse(tell(outcome), dialect)
            return
        try:
            assert isinstance(outcome.reading, Relay)
            counted = gemini.read_count(outcome.reading.take())
        finally:
            await outcome.close()
        if counted is None:
            inbound.refuse(CUT, dialect)
        else:
            answering.json(200, dialect.encode_count(counted))

    def _ask(self, request: Request, model: str) -> Ask:
        asked = gemini.encode_count(request, model=model)
        call = ModelCall(
            model=model,
            method="countTokens",
            body=FixedBody(asked.gemini),
            vertex_body=FixedBody(asked.vertex),
        )
        return self._calls.ask_model(call, lambda: Relay("json", generates=False), key=None)
