"""One request of a client as it came in, with where its answer goes."""

from __future__ import annotations

import msgspec

from regrant.dialects.base import ProblemDialect
from regrant.gateway.answering import Answering
from regrant.gateway.routes import Route
from regrant.listener.conversation import Conversation
from regrant.messages.problem import Problem
from regrant.traffic.exchange import Exchange


class Inbound(msgspec.Struct):
    """`headers` has the first field of each name, in lower case; `client_id` is the id of the key that was shown, or ""."""

    conversation: Conversation
    route: Route
    headers: dict[bytes, bytes]
    exchange: Exchange
    answering: Answering
    client_id: str = ""
    body: bytes = b""

    @property
    def query(self) -> bytes:
        return self.conversation.query

    def refuse(self, problem: Problem, dialect: ProblemDialect) -> None:
        """Answer with the problem, in that dialect, and note it in the exchange."""
        self.exchange.problem = problem.kind
        self.answering.fail(dialect.encode_problem(problem))
