"""Requests in a client's dialect that are counted, not answered: Gemini's own count, never an estimate."""

from __future__ import annotations

from typing import Protocol

from regrant.dialects import gemini
from regrant.dialects.base import ServerDialect
from regrant.gateway.calls import Calls, ModelCall
from regrant.gateway.inbound import Inbound
from regrant.gateway.offer import Offer
from regrant.gateway.passport import FixedBody
from regrant.gateway.pictures import Pictures
from regrant.gateway.pipeline import Pipeline, Refusal
from regrant.gateway.reading import Relay
from regrant.gateway.telling import CUT, tell
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
        routed = await self._offer.route(request.model)
        if isinstance(routed, Problem):
            inbound.refuse(routed, dialect)
            return
        exchange.served_model = routed.model
        request = await self._pictures.embed(request)
        asked = gemini.encode_count(request, model=routed.model)
        call = ModelCall(
            model=routed.model,
            method="countTokens",
            body=FixedBody(asked.gemini),
            vertex_body=FixedBody(asked.vertex),
        )
        ask = self._calls.ask_model(call, lambda: Relay("json", generates=False), key=None)
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
