"""The models on offer, and which of them serves the name that a client asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from regrant.clock import Clock
from regrant.gateway import routing
from regrant.gateway.calls import Calls
from regrant.gateway.discovery import MAX_PAGES, Discovery, read_page
from regrant.gateway.pipeline import Pipeline, Refusal
from regrant.gateway.reading import Relay
from regrant.gateway.telling import tell, unknown_model
from regrant.messages.catalogue import ModelInfo
from regrant.messages.problem import Problem
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.settings import Settings
from regrant.settings.model import Models
from regrant.traffic.exchange import Exchange

Source = tuple[str, str]
"""Upstream and project: models belong to them."""

MAX_ROUTES = 1000
MAX_SOURCES = 16  # projects that are asked; beyond them nothing new is likely


class Offer:
    def __init__(
        self, pipeline: Pipeline, calls: Calls, pool: Pool, *, settings: Callable[[], Settings], clock: Clock
    ) -> None:
        self._pipeline = pipeline
        self._calls = calls
        self._pool = pool
        self._settings = settings
        self.discovery = Discovery(self._fetch, clock)
        self._refused: Refusal | None = None
        self._routed_by: Models | None = None
        self._routes: dict[str, routing.Routed] = {}
        """Where names lead by the settings alone, as long as those stay as they are."""

    async def route(self, name: str) -> routing.Routed | Problem:
        """The upstream model for a name. Google is asked which models there are only where that matters.

        While nobody could be asked, a name is not called unknown: the client is told why nobody could.
        """
        models = self._settings().models
        if models is not self._routed_by:
            self._routed_by = models
            self._routes.clear()
        known = self._routes.get(name)
        if known is not None:
            return known
        rules = routing.Rules(models.aliases, models.default, models.presets)
        known = routing.route_known(name, rules)
        if known is not None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[name] = known
            return known
        models_seen = await self.discovery.models()
        routed = routing.route(name, rules, models_seen)
        if routed is not None:
            return routed
        if not models_seen and self._refused is not None:
            return tell(self._refused)
        return unknown_model(name)

    async def models(self) -> Sequence[ModelInfo] | Problem:
        """What clients may ask for: the models that the accounts can see, and the aliases of the settings."""
        models = await self.discovery.models()
        if not models:
            found = await self._list()
            if isinstance(found, Refusal):
                return tell(found)
            models = {model.id: model for model in found}
        aliases = [
            msgspec.structs.replace(models[target], id=alias)
            for alias, target in self._settings().models.aliases.items()
            if "*" not in alias and alias not in models and target in models
        ]
        return [*models.values(), *aliases]

    async def _fetch(self) -> Sequence[ModelInfo] | None:
        found = await self._list()
        self._refused = found if isinstance(found, Refusal) else None
        return None if isinstance(found, Refusal) else found

    async def _list(self) -> Sequence[ModelInfo] | Refusal:
        """The models that the accounts can see: one account of each project and upstream is asked."""
        sources = dict.fromkeys((one.upstream, one.project) for one in self._pool.candidates)
        asked: list[Source | None] = [*list(sources)[:MAX_SOURCES]] or [None]
        answers = await asyncio.gather(*(self._list_one(source) for source in asked))
        found = [models for models in answers if not isinstance(models, Refusal)]
        if not found:
            return answers[0]
        return list({model.id: model for models in found for model in models}.values())

    async def _list_one(self, source: Source | None) -> Sequence[ModelInfo] | Refusal:
        """All pages of the list, as the accounts of one project see them; None: as anybody does."""
        found: list[ModelInfo] = []
        page_token = ""
        for _ in range(MAX_PAGES):
            ask = self._calls.ask_models(page_token, None if source is None else _belongs_to(source))
            outcome = await self._pipeline.open(ask, Exchange(id="", at=0.0, dialect=""))
            if isinstance(outcome, Refusal):
                return outcome
            try:
                assert isinstance(outcome.reading, Relay)
                models, page_token = read_page(outcome.reading.take())
            except msgspec.MsgspecError:
                break
            finally:
                await outcome.close()
            found += models
            if not page_token:
                break
        return found


def _belongs_to(source: Source) -> Callable[[Candidate], bool]:
    return lambda candidate: (candidate.upstream, candidate.project) == source
