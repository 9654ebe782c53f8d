"""One request of a client as it came in, with where its answer goes."""

from __future__ import annotations

from dataclasses import dataclass

from regrant.dialects.base import ProblemDialect
from regrant.gateway.answering import Answering
from regrant.gateway.routes import Route
from regrant.messages.problem import Problem
from regrant.traffic.exchange import Exchange


@dataclass(slots=True, kw_only=True)
class Inbound:
    """`headers` has the first field of each name, in lower case; `client_id` is the id of the key that was shown, or ""."""

    route: Route
    query: bytes
    headers: dict[bytes, bytes]
    exchange: Exchange
    answering: Answering
    client_id: str = ""
    body: bytes = b""

    @property
    def text_headers(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers.items()}

    async def refuse(self, problem: Problem, dialect: ProblemDialect) -> None:
        """Answer with the problem, in that dialect, and note it in the exchange."""
        self.exchange.problem = problem.kind
        await self.answering.fail(dialect.encode_problem(problem))
