"""Which models the accounts can see, asked of Google and remembered for an hour.

Nobody waits for a list that is out of date: it is asked for anew in the background, and the old one holds until the new one
is there, however long Google is away. How Google is asked is `offer.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from regrant import logs
from regrant.clock import Clock
from regrant.messages.catalogue import ModelInfo

KEEP_S = 3600.0
KEEP_FAILURE_S = 15.0
PATIENCE_S = 2.0
MAX_PAGES = 10

log = logs.get("discovery")


class _Model(msgspec.Struct, rename="camel"):
    name: str = ""
    display_name: str | None = None
    description: str | None = None
    version: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None
    supported_generation_methods: list[str] = []
    thinking: bool | None = None


class _Page(msgspec.Struct, rename="camel"):
    models: list[_Model] = []
    publisher_models: list[_Model] = []
    next_page_token: str = ""


def read_page(body: bytes) -> tuple[list[ModelInfo], str]:
    """The models of one page and the token of the next, "" at the end. Raises msgspec.MsgspecError."""
    page = msgspec.json.decode(body, type=_Page)
    found = [_info(model) for model in (*page.models, *page.publisher_models) if model.name]
    return found, page.next_page_token


def _info(model: _Model) -> ModelInfo:
    info = ModelInfo(
        id=model.name.rpartition("models/")[2],
        display_name=model.display_name or "",
        description=model.description or "",
        version=model.version or "",
        input_token_limit=model.input_token_limit,
        output_token_limit=model.output_token_limit,
        thinking=model.thinking,
    )
    methods = tuple(model.supported_generation_methods)
    return msgspec.structs.replace(info, methods=methods) if methods else info


class _Known(msgspec.Struct):
    models: dict[str, ModelInfo] = msgspec.field(default_factory=dict)
    until: float = 0.0


Fetch = Callable[[], Awaitable[Sequence[ModelInfo] | None]]
"""Asks Google for the models of every project; None when nobody could be asked."""


class Discovery:
    def __init__(self, fetch: Fetch, clock: Clock, *, patience_s: float = PATIENCE_S) -> None:
        """`patience_s` is how long a newer list is waited for where an older one would do."""
        self._fetch = fetch
        self._patience_s = patience_s
        self._clock = clock
        self._known = _Known()
        self._asking: asyncio.Task[None] | None = None

    def now_known(self) -> dict[str, ModelInfo]:
        """What is known without asking; may be out of date or empty. The same object as long as nothing new is known."""
        return self._known.models

    @property
    def fresh(self) -> bool:
        """Whether what is known is good enough, and not only the best there is."""
        return self._clock.monotonic() < self._known.until

    def refresh(self) -> asyncio.Task[None]:
        """Ask Google in the background; everybody shares one question."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="discover models")
            self._asking.add_done_callback(_tell_failure)
        return self._asking

    async def models(self) -> dict[str, ModelInfo]:
        """The models by id, asked of Google if that was too long ago; an old list rather than a long wait."""
        if not self.fresh:
            asking = self.refresh()
            if self._known.models:
                await asyncio.wait({asking}, timeout=self._patience_s)
            else:
                await asyncio.shield(asking)
        return self._known.models

    def forget(self) -> None:
        """Ask anew next time: the accounts have changed. What is known holds until then."""
        self._known.until = 0.0

    async def _ask(self) -> None:
        try:
            found = await self._fetch()
            now = self._clock.monotonic()
            if found is None:
                self._known.until = now + KEEP_FAILURE_S
            else:
                self._known = _Known({model.id: model for model in found}, now + KEEP_S)
        finally:
            self._asking = None


def _tell_failure(asking: asyncio.Task[None]) -> None:
    if not asking.cancelled() and (error := asking.exception()) is not None:
        log.error("models_unknown", f"the models could not be listed: {error!r}")
