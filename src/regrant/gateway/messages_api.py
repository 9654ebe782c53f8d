"""Who answers a Messages request: Claude on Vertex where an account has it, else a Gemini model.

The order is that of `routing.py`: an alias decides for good; a Claude name that nothing else matches is tried on Vertex.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from regrant.dialects.anthropic import vertex
from regrant.gateway import routing
from regrant.gateway.claude import ClaudeRelay, Question
from regrant.gateway.inbound import Inbound
from regrant.settings import Settings


class Service(Protocol):
    """Answers in Gemini's name."""

    async def serve(self, inbound: Inbound) -> None: ...


class MessagesApi:
    def __init__(
        self,
        claude: ClaudeRelay,
        gemini: Service,
        *,
        settings: Callable[[], Settings],
        counting: bool = False,
    ) -> None:
        self._claude = claude
        self._gemini = gemini
        self._settings = settings
        self._counting = counting

    async def serve(self, inbound: Inbound) -> None:
        """Answer one request. Raises DialectError for one that cannot be understood or expressed."""
        opening = vertex.read_opening(inbound.body)
        name = inbound.exchange.model = opening.model
        models = self._settings().models
        known = routing.route_known(name, routing.Rules(models.aliases, models.default, models.presets))
        target = known.model if known else name
        if vertex.is_claude(target) and (known is not None or models.presets):
            question = Question(
                model=vertex.vertex_name(target),
                conversation=opening.conversation,
                stream=bool(opening.stream) and not self._counting,
                counting=self._counting,
                only=known is not None,
            )
            if await self._claude.serve(inbound, question):
                return
        await self._gemini.serve(inbound)
