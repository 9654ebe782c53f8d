"""Who answers a Messages request: Claude on Vertex where an account has it, else a Gemini model.

The order is that of `routing.py`: an alias decides for good; a Claude name that nothing else matches is tried on Vertex. Of a list of
models, the Claude models at its beginning are tried first; further on they are passed over.
"""

from __future__ import annotations

import itertools
from typing import Protocol

from regrant.dialects.anthropic import vertex
from regrant.gateway.claude import ClaudeRelay, Question
from regrant.gateway.inbound import Inbound
from regrant.gateway.offer import Offer


class Service(Protocol):
    """Answers in Gemini's name."""

    async def serve(self, inbound: Inbound) -> None: ...


class MessagesApi:
    def __init__(
        self,
        claude: ClaudeRelay,
        gemini: Service,
        offer: Offer,
        *,
        counting: bool = False,
    ) -> None:
        self._claude = claude
        self._gemini = gemini
        self._offer = offer
        self._counting = counting

    async def serve(self, inbound: Inbound) -> None:
        """Answer one request. Raises DialectError for one that cannot be understood or expressed."""
        opening = vertex.read_opening(inbound.body)
        name = inbound.exchange.model = opening.model
        known = self._offer.settled(name, inbound.client_id, inbound.exchange.key)
        if known is None:
            tried = self._offer.tries_claude(name, inbound.client_id, inbound.exchange.key)
            claudes: tuple[str, ...] = (name,) if tried else ()
        else:
            claudes = tuple(itertools.takewhile(vertex.is_claude, known.models))
        others = known is not None and len(known.models) > len(claudes)
        for number, model in enumerate(claudes, 1):
            question = Question(
                model=vertex.vertex_name(model),
                conversation=opening.conversation,
                stream=bool(opening.stream) and not self._counting,
                counting=self._counting,
                only=known is not None,
                name=name if name != model else "",
                replaceable=number < len(claudes) or others,
            )
            if await self._claude.serve(inbound, question):
                return
        await self._gemini.serve(inbound)
