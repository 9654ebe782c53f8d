"""Keeping what is answered, for owners who want it in the traffic log: nothing here runs unless they do."""

from __future__ import annotations

from typing import Any

from regrant.gateway.answering import Send
from regrant.traffic.exchange import Bodies


def overheard(send: Send, bodies: Bodies) -> Send:
    """`send`, telling `bodies` of every piece of the answer on its way."""

    async def send_on(message: Any) -> None:
        if message["type"] == "http.response.body":
            bodies.take_answer(message.get("body", b""))
        await send(message)

    return send_on
