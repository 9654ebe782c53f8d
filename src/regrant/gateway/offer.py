"""The models on offer, and which of them serve the name that a client asked for.

Theory of operation. What the settings alone decide is decided once and remembered while they stay as they are; so is what
follows from the list of models, while that stays as it is. Which rule decides is `routing.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from regrant.clock import Clock
from regrant.dialects.anthropic.vertex import is_claude
from regrant.gateway import routing
from regrant.gateway.calls import Calls
from regrant.gateway.discovery import MAX_PAGES, Discovery, read_page
from regrant.gateway.inbound import Inbound
from regrant.gateway.pipeline import Pipeline, Refusal
from regrant.gateway.reading import Relay
from regrant.gateway.routing import Routed
from regrant.gateway.telling import barred_model, tell, unknown_model
from regrant.messages.catalogue import ModelInfo
from regrant.messages.problem import Problem
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.settings import Settings
from regrant.settings.model import Models
from regrant.traffic.exchange import Exchange

Source = tuple[str, str]
"""Upstream and project: models belong to them."""

Asked = str | tuple[str, str]
"""A name; with the id of the client's key, where keys have rules of their own."""

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
        self._listed: dict[Source | None, Sequence[ModelInfo]] = {}
        """What each project last answered."""
        self._routed_by: Models | None = None
        self._routes: dict[Asked, Routed | None] = {}
        """Where names lead by the settings alone, as long as those stay as they are; None: they do not say."""
        self._chains: dict[Asked, tuple[str, ...]] = {}
        """The same for requests of every day, ready to use."""
        self._listed_routes: dict[Asked, Routed] = {}
        """Where names lead by the list of models that was `_routed_on`."""
        self._routed_on: dict[str, ModelInfo] | None = None

    def tries_claude(self, name: str, key_id: str, key_name: str) -> bool:
        """Whether a name that the settings do not settle is tried as a Claude model on Vertex first."""
        models = self._settings().models
        if not models.presets or not is_claude(name):
            return False
        return not models.rules or routing.may_use(name, routing.rules_for(models, key_id, key_name))

    async def chain(self, name: str, inbound: Inbound) -> tuple[str, ...] | Problem:
        """The models that a request is served by, in their order; none of them is Claude, unless there is no other."""
        models = self._settings().models
        if models is self._routed_by:
            chain = self._chains.get((inbound.client_id, name) if models.rules else name)
            if chain is not None:
                return chain
        routed = await self.route(name, inbound.client_id, inbound.exchange.key)
        if isinstance(routed, Problem):
            return routed
        asked: Asked = (inbound.client_id, name) if self._settings().models.rules else name
        if self._routes.get(asked) is routed:
            self._chains[asked] = routed.googles
        return routed.googles

    async def route(self, name: str, key_id: str = "", key_name: str = "") -> Routed | Problem:
        """The upstream models for a name. Google is asked which models there are only where that matters.

        While nobody could be asked, a name is not called unknown: the client is told why nobody could.
        """
        routed = self.settled(name, key_id, key_name) or await self._route_by_list(name, key_id, key_name)
        if routed is None:
            if not self.discovery.now_known() and self._refused is not None:
                return tell(self._refused)
            return unknown_model(name)
        return routed if routed.models else barred_model(name, key_name)

    def settled(self, name: str, key_id: str = "", key_name: str = "") -> Routed | None:
        """What the settings alone say about a name."""
        models = self._settings().models
        if models is not self._routed_by:
            self._routed_by = models
            self._forget_routes()
            self._listed_routes.clear()
        asked: Asked = (key_id, name) if models.rules else name
        try:
            return self._routes[asked]
        except KeyError:
            found = routing.route(name, routing.rules_for(models, key_id, key_name), None)
            if len(self._routes) >= MAX_ROUTES:
                self._forget_routes()
            self._routes[asked] = found
            return found

    def _forget_routes(self) -> None:
        self._routes.clear()
        self._chains.clear()

    async def _route_by_list(self, name: str, key_id: str, key_name: str) -> Routed | None:
        """What the models on offer say. A list that is out of date will do, if the name is found by it."""
        known = self.discovery.now_known()
        if known is not self._routed_on:
            self._routed_on = known
            self._listed_routes.clear()
        if known and not self.discovery.fresh:
            self.discovery.refresh()
        models = self._settings().models
        asked: Asked = (key_id, name) if models.rules else name
        found = self._listed_routes.get(asked)
        if found is not None:
            return found
        rules = routing.rules_for(models, key_id, key_name)
        found = routing.route(name, rules, known) if known else None
        if found is None or found.rule == "default":
            known = await self.discovery.models()
            found = routing.route(name, rules, known)
        if found is not None and known is self._routed_on:
            if len(self._listed_routes) >= MAX_ROUTES:
                self._listed_routes.clear()
            self._listed_routes[asked] = found
        return found

    def address(self, account_id: str, model: str, method: str) -> str:
        """Where Google is asked for a model with this account."""
        return self._calls.whereabouts(account_id, model, method)

    async def models(self, key_id: str = "", key_name: str = "") -> Sequence[ModelInfo] | Problem:
        """What a client may ask for: the models that the accounts can see, and the aliases of the settings."""
        seen = await self.discovery.models()
        if not seen and self._refused is not None:
            return tell(self._refused)
        rules = routing.rules_for(self._settings().models, key_id, key_name)
        names = [*seen, *(alias for layer in rules.layers for alias in layer.aliases if "*" not in alias)]
        offered: list[ModelInfo] = []
        for name in dict.fromkeys(names):
            routed = routing.route(name, rules, seen)
            shown = next((seen[model] for model in routed.models if model in seen), None) if routed else None
            if shown is not None:
                offered.append(shown if shown.id == name else msgspec.structs.replace(shown, id=name))
        return offered

    async def _fetch(self) -> Sequence[ModelInfo] | None:
        found = await self._list()
        self._refused = found if isinstance(found, Refusal) else None
        return None if isinstance(found, Refusal) else found

    async def _list(self) -> Sequence[ModelInfo] | Refusal:
        """The models that the accounts can see: one account of each project and upstream is asked.

        Of a project that cannot be asked now, what it last answered is taken.
        """
        sources = dict.fromkeys((one.upstream, one.project) for one in self._pool.candidates)
        asked: list[Source | None] = [*list(sources)[:MAX_SOURCES]] or [None]
        answers = await asyncio.gather(*(self._list_one(source) for source in asked))
        listed = self._listed | {
            source: models
            for source, models in zip(asked, answers, strict=True)
            if not isinstance(models, Refusal)
        }
        refused = [answer for answer in answers if isinstance(answer, Refusal)]
        if len(refused) == len(answers):
            return refused[0]
        self._listed = {source: listed[source] for source in asked if source in listed}
        return list({model.id: model for models in self._listed.values() for model in models}.values())

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
