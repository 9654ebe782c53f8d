"""What is asked of Google on behalf of a client: one `Ask` for the pipeline, whatever account it ends up with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from regrant.accounts.keeper import Keeper
from regrant.gateway.passport import Body
from regrant.gateway.pipeline import Ask
from regrant.gateway.reading import Reading, Relay
from regrant.pool.selector import Candidate
from regrant.secret import Secret
from regrant.settings import Settings
from regrant.transport.model import Request, Timeouts
from regrant.upstream import google


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One method of one model, with the upstream's own names."""

    model: str
    method: str
    query: str = ""
    body: Body
    vertex_body: Body | None = None
    """Where Vertex wants the question in other words than the Gemini API."""
    headers: Sequence[tuple[bytes, bytes]] = ()


class Calls:
    def __init__(self, keeper: Keeper, settings: Callable[[], Settings]) -> None:
        self._keeper = keeper
        self._settings = settings

    def ask_model(self, call: ModelCall, read: Callable[[], Reading], *, key: int | None) -> Ask:
        def build(account_id: str, token: Secret, left_s: float) -> Request:
            way = self._way(account_id)
            mint = f"{way.upstream} {account_id} {way.project} {call.model}"
            return google.ask(
                "POST",
                way.model_url(call.model, call.method, call.query),
                token,
                project_id=way.project_id,
                timeouts=self._timeouts(left_s),
                body=_body_for(way.upstream, call).shown_to(mint),
                headers=call.headers,
            )

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

    def _way(self, account_id: str) -> google.Route:
        settings = self._settings().google
        entry = self._keeper.entry(account_id)
        assert entry is not None, "an account that has just given a token is known"
        account = entry.account
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
