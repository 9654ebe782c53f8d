"""What is asked of Google on behalf of a client: one `Ask` for the pipeline, whatever account it ends up with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from regrant.accounts.keeper import Keeper
from regrant.accounts.model import Account
from regrant.gateway.passport import Body
from regrant.gateway.pipeline import Ask
from regrant.gateway.reading import Reading, Relay
from regrant.pool.selector import Candidate
from regrant.secret import Secret
from regrant.settings import Settings
from regrant.transport.model import Headers, Request, Timeouts
from regrant.upstream import google

MAX_ADDRESSES = 1024


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one model, with the upstream's own names."""

    model: str
    method: str
    query: str = ""
    body: Body
    vertex_body: Body | None = None
    """Where Vertex wants the question in other words than the Gemini API."""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _Address(NamedTuple):
    """Where a call of one account goes and what it says of itself: all but its body and its time limits."""

    account: Account
    token: Secret
    settings: Settings
    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    mint: str


class Calls:
    """Addresses are remembered while account, token and settings stay what they are: a request costs little else."""

    def __init__(self, keeper: Keeper, settings: Callable[[], Settings]) -> None:
        self._keeper = keeper
        self._settings = settings
        self._addresses: dict[tuple[str, str, str, str, Headers], _Address] = {}

    def ask_model(self, call: ModelCall, read: Callable[[], Reading], *, key: int | None) -> Ask:
        def build(account_id: str, token: Secret, left_s: float) -> Request:
            address = self._address(account_id, token, call)
            body = _body_for(address.account.upstream, call).shown_to(address.mint)
            return Request("POST", address.url, address.headers, body, self._timeouts(left_s))

        return Ask(
            call.model,
            build,
            read,
            key,
            metered=call.method != "countTokens",
            forget_signatures=call.body.forget_signatures,
        )

    def ask_claude(
        self,
        call: ModelCall,
        read: Callable[[], Reading],
        *,
        key: int | None,
        everybody: bool,
        metered: bool = True,
    ) -> Ask:
        """A method of a Claude model on Vertex. `everybody`: of accounts whose Gemini models are not on Vertex, too."""

        def build(account_id: str, token: Secret, left_s: float) -> Request:
            way = self._way(account_id)
            return google.ask(
                "POST",
                way.claude_url(call.model, call.method),
                token,
                project_id=way.project_id,
                timeouts=self._timeouts(left_s),
                body=call.body.shown_to(""),
                headers=call.headers,
            )

        suits = None if everybody else is_on_vertex
        return Ask(call.model, build, read, key, through_vertex=True, metered=metered, suits=suits)

    def ask_models(self, page_token: str, suits: Callable[[Candidate], bool] | None = None) -> Ask:
        """One page of the list of models."""

        def build(account_id: str, token: Secret, left_s: float) -> Request:
            way = self._way(account_id)
            url = way.models_url(page_token)
            return google.ask("GET", url, token, project_id=way.project_id, timeouts=self._timeouts(left_s))

        return Ask("", build, lambda: Relay("json", generates=False), metered=False, suits=suits)

    def whereabouts(self, account_id: str, model: str, method: str) -> str:
        """The address that a call of this account goes to; `rawPredict` is Claude's on Vertex."""
        way = self._way(account_id)
        return way.claude_url(model, method) if method == "rawPredict" else way.model_url(model, method)

    def _address(self, account_id: str, token: Secret, call: ModelCall) -> _Address:
        name = (account_id, call.model, call.method, call.query, call.headers)
        known = self._addresses.get(name)
        account, settings = self._account(account_id), self._settings()
        if (
            known is not None
            and known.account is account
            and known.token is token
            and known.settings is settings
        ):
            return known
        way = self._way(account_id)
        mint = f"{way.upstream} {account_id} {way.project} {call.model}"
        url = way.model_url(call.model, call.method, call.query)
        headers = google.fields("POST", token, project_id=way.project_id, headers=call.headers)
        if len(self._addresses) >= MAX_ADDRESSES:
            self._addresses.clear()
        address = self._addresses[name] = _Address(account, token, settings, url, headers, mint)
        return address

    def _account(self, account_id: str) -> Account:
        entry = self._keeper.entry(account_id)
        assert entry is not None, "an account that has just given a token is known"
        return entry.account

    def _way(self, account_id: str) -> google.Route:
        settings = self._settings().google
        account = self._account(account_id)
        return google.Route(
            upstream=account.upstream,
            location=account.location,
            project_id=account.project_id,
            project=account.project(settings.client_id),
            gemini_base=settings.endpoints.gemini,
            vertex_base=settings.endpoints.vertex,
        )

    def _timeouts(self, left_s: float) -> Timeouts:
        limits = self._settings().pool
        return Timeouts(connect_s=min(limits.connect_s, left_s), first_byte_s=left_s, idle_s=limits.idle_s)


def is_on_vertex(account: Candidate) -> bool:
    """Its owner chose Vertex for Gemini models, so that its project is set up for Vertex."""
    return account.upstream == "vertex"


def _body_for(upstream: str, call: ModelCall) -> Body:
    return call.vertex_body if upstream == "vertex" and call.vertex_body is not None else call.body
