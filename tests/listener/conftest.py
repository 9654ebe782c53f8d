"""Each test here runs twice: on asyncio's own event loop, as on Windows, and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories() -> dict[str, LoopFactory]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
