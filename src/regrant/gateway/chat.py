"""Requests in a client's dialect served by Gemini, through the message model; streamed or whole by one path."""

from __future__ import annotations

import functools
import time

from regrant.dialects.base import SSE, ReplyContext, ServerDialect, StreamEncoder, reply_context
from regrant.errors import DialectError, TransportError
from regrant.gateway.answering import Answering
from regrant.gateway.calls import Calls, ModelCall
from regrant.gateway.inbound import Inbound
from regrant.gateway.keepalive import KeepAlive
from regrant.gateway.offer import Offer
from regrant.gateway.passport import Passport
from regrant.gateway.pictures import Pictures
from regrant.gateway.pipeline import Answer, Ask, Pipeline, Refusal, with_stand_ins
from regrant.gateway.reading import Stream, Whole, read_next
from regrant.gateway.signatures import SignatureStore
from regrant.gateway.telling import CUT, tell
from regrant.messages.model import Request, Text
from regrant.messages.problem import Problem, describe_refusal
from regrant.messages.stream import Event, Failed, Finished
from regrant.pool.affinity import derive_key
from regrant.traffic.exchange import Exchange


class ChatService:
    """Serves one dialect of clients."""

    def __init__(
        self,
        dialect: ServerDialect,
        pipeline: Pipeline,
        calls: Calls,
        offer: Offer,
        *,
        signatures: SignatureStore,
        pictures: Pictures,
    ) -> None:
        self._dialect = dialect
        self._pipeline = pipeline
        self._calls = calls
        self._offer = offer
        self._signatures = signatures
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
        ask = self._ask(inbound, request, models[0])
        if len(models) > 1:
            ask = with_stand_ins(ask, models, functools.partial(self._ask, inbound, request))
        outcome = await self._pipeline.open(ask, exchange)
        if isinstance(outcome, Refusal):
            inbound.refuse(tell(outcome), dialect)
            return
        context = reply_context(request, id=exchange.id.removeprefix("req_"), created=int(time.time()))
        try:
            if isinstance(outcome.reading, Whole):
                _answer_whole(outcome.reading, dialect, context, answering)
            else:
                await _answer_stream(outcome, dialect.stream_encoder(context), answering)
        finally:
            await outcome.close()

    def _ask(self, inbound: Inbound, request: Request, model: str) -> Ask:
        passport = Passport(request, model=model, store=self._signatures, client=inbound.client_id)
        inbound.exchange.dropped = (*request.dropped, *passport.encoded.dropped)
        key = derive_key(
            client=inbound.client_id,
            headers=inbound.headers,
            user_id=request.conversation,
            opening=lambda: _opening_of(request),
        )
        prefix = inbound.exchange.id.removeprefix("req_")
        reading: type[Stream | Whole] = Stream if request.stream else Whole
        method, query = ("streamGenerateContent", "alt=sse") if request.stream else ("generateContent", "")
        call = ModelCall(model=model, method=method, query=query, body=passport)
        return self._calls.ask_model(
            call,
            lambda: reading(call_prefix=prefix, names=passport.encoded.names, note=passport.note),
            key=key,
        )


def _answer_whole(
    reading: Whole, dialect: ServerDialect, context: ReplyContext, answering: Answering
) -> None:
    reply = reading.reply
    assert reply is not None, "an answer is given only once it has been read"
    if isinstance(reply, Failed):
        answering.fail(dialect.encode_problem(reply.problem))
        return
    answering.exchange.usage = reply.usage
    answering.json(200, dialect.encode_reply(reply, context=context))


async def _answer_stream(answer: Answer, encoder: StreamEncoder, answering: Answering) -> None:
    answering.start(200, ((b"content-type", SSE), (b"cache-control", b"no-cache")))
    translation = _Translation(encoder, answering.exchange)
    try:
        await _pump(answer, translation, answering)
    except TransportError:
        translation.problem = CUT
    except DialectError as error:
        translation.problem = describe_refusal(error)
    last = translation.take()
    if translation.problem is not None:
        answering.exchange.problem = "cut"
        last += encoder.fail(translation.problem)
    answering.end(last)


async def _pump(answer: Answer, translation: _Translation, answering: Answering) -> None:
    """Translate until the end of the reply; what comes together from the upstream goes out together."""
    reading = answer.reading
    assert isinstance(reading, Stream)
    with KeepAlive(answering, translation.encoder.keep_alive(), idle=True) as pulse:
        while True:
            events, reading.events = reading.events, []
            translation.add(events)
            if answer.ended or reading.over:
                return
            if data := translation.take():
                await answering.write(data)
                pulse.touch()
            await read_next(answer)


class _Translation:
    """What a streamed reply is in the client's words. `problem` is what broke it off, if anything did."""

    def __init__(self, encoder: StreamEncoder, exchange: Exchange) -> None:
        self.encoder = encoder
        self.problem: Problem | None = None
        self._exchange = exchange
        self._pieces: list[bytes] = []

    def add(self, events: list[Event]) -> None:
        """Raises DialectError for a part that the dialect cannot hold; what came before it is kept."""
        encode, pieces = self.encoder.encode, self._pieces
        for event in events:
            if isinstance(event, Failed):
                self.problem = event.problem
                return
            if isinstance(event, Finished):
                self._exchange.usage = event.usage
            pieces.append(encode(event))

    def take(self) -> bytes:
        """What was translated since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _opening_of(request: Request) -> list[str]:
    """The texts that stay the same through a conversation: the system prompt and the first turn."""
    first = request.turns[0].parts if request.turns else ()
    return [part.text for part in (*request.system, *first) if type(part) is Text]
