"""Sign-ins in the browser that are under way: each begins with an address to open and ends with an account.

One attempt as a value is `oauth/login.py`; what becomes of the grant is `enrolment.py`. Kept in memory: whoever restarts
the gateway in the middle of a sign-in starts it again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from regrant.accounts.enrolment import Addition, AdditionRefused, Enrolment, Outcome
from regrant.accounts.model import Account
from regrant.accounts.refresher import Clients
from regrant.clock import Clock
from regrant.oauth.client import GoogleOAuth
from regrant.oauth.google import Granted, OAuthClient, Refused, Unavailable
from regrant.oauth.login import ENTROPY_BYTES, CallbackRefused, Code, Login, begin, read_callback
from regrant.secret import Secret

MAX_FLOWS = 200
KEEP_S = 3600.0  # how long the result of a finished sign-in can be asked for

Status = Literal["pending", "done", "failed"]


class Flow(msgspec.Struct):
    """One sign-in. `error` is (code, message, hint) once it has failed."""

    id: str
    login: Login
    client: OAuthClient
    addition: Addition
    authorize_url: str
    status: Status = "pending"
    outcome: Outcome | None = None
    account_id: str = ""
    error: tuple[str, str, str] | None = None


class SignIns:
    def __init__(
        self,
        enrolment: Enrolment,
        oauth: GoogleOAuth,
        *,
        clients: Clients,
        authorize_endpoint: Callable[[], str],
        scopes: Callable[[], Sequence[str]],
        clock: Clock,
    ) -> None:
        self._enrolment = enrolment
        self._oauth = oauth
        self._clients = clients
        self._authorize_endpoint = authorize_endpoint
        self._scopes = scopes
        self._clock = clock
        self._flows: dict[str, Flow] = {}

    def start(self, addition: Addition, *, redirect_uri: str, login_hint: str = "") -> Flow:
        """Begin a sign-in; the user opens `authorize_url`. Raises AdditionRefused when no OAuth client is configured."""
        self._prune()
        client = self._client(addition)
        login = begin(
            client_id=client.client_id,
            redirect_uri=redirect_uri,
            scopes=self._scopes(),
            login_hint=login_hint,
            account_id=addition.account_id,
            entropy=secrets.token_bytes(ENTROPY_BYTES),
            now=self._clock.now(),
        )
        url = login.authorize_url(self._authorize_endpoint())
        flow = Flow(secrets.token_urlsafe(16), login, client, addition, url)
        self._flows[flow.id] = flow
        return flow

    def find(self, flow_id: str) -> Flow | None:
        self._prune()
        return self._flows.get(flow_id)

    def by_state(self, url: str) -> Flow | None:
        """The pending sign-in that the address at which the browser landed belongs to."""
        now = self._clock.now()
        for flow in self._flows.values():
            if flow.status == "pending":
                read = read_callback(flow.login, url, now)
                if not (isinstance(read, CallbackRefused) and read.foreign):
                    return flow
        return None

    async def complete(self, flow: Flow, url: str) -> tuple[Account, Outcome]:
        """Finish with the address at which the browser landed. Raises AdditionRefused, StoreError.

        An address of another sign-in leaves this one pending; anything else counts once.
        """
        return await self.finish(flow, read_callback(flow.login, url, self._clock.now()))

    async def finish(self, flow: Flow, read: Code | CallbackRefused) -> tuple[Account, Outcome]:
        """Finish with what was read from that address. Raises as `complete`."""
        if flow.status != "pending":
            raise AdditionRefused("flow_finished", "this sign-in is over", "Start a new one.", status=409)
        if isinstance(read, CallbackRefused):
            refused = AdditionRefused(read.reason, f"the sign-in failed: {read.reason}", read.advice)
            if not read.foreign:
                self._fail(flow, refused)
            raise refused
        flow.status = "failed"  # a second callback with the same code must not be exchanged again
        try:
            account, outcome = await self._exchange(flow, read.code)
        except AdditionRefused as refused:
            self._fail(flow, refused)
            raise
        except BaseException:
            self._fail(
                flow, AdditionRefused("interrupted", "the sign-in was interrupted", "Start a new one.")
            )
            raise
        flow.status, flow.outcome, flow.account_id, flow.error = "done", outcome, account.id, None
        return account, outcome

    async def _exchange(self, flow: Flow, code: Secret) -> tuple[Account, Outcome]:
        answer = await self._oauth.exchange(flow.client, code, flow.login.redirect_uri, flow.login.verifier)
        match answer:
            case Granted():
                return await self._enrolment.add_consent(flow.addition, flow.client, answer)
            case Refused():
                raise AdditionRefused(
                    answer.error,
                    f"Google refuses the code: {answer.description or answer.error}",
                    "Start the sign-in again; a code works once and for ten minutes.",
                )
            case Unavailable():
                raise AdditionRefused(
                    "upstream_unavailable",
                    f"Google gave no answer: {answer.reason}",
                    "Nothing was stored. Start the sign-in again.",
                    status=503,
                )

    def _fail(self, flow: Flow, refused: AdditionRefused) -> None:
        flow.status = "failed"
        flow.error = (refused.code, str(refused), refused.hint)

    def _client(self, addition: Addition) -> OAuthClient:
        if addition.client_id and addition.client_secret:
            return OAuthClient(addition.client_id, addition.client_secret)
        clients = self._clients()
        client = clients.get(addition.client_id) if addition.client_id else next(iter(clients.values()), None)
        if client is None:
            raise AdditionRefused(
                "client_not_configured",
                "no OAuth client is configured to sign in with",
                "Make one of type Desktop app in the Google Cloud console, then set google.client_id and"
                " google.client_secret, or pass --client-file client_secret.json.",
            )
        return client

    def _prune(self) -> None:
        now = self._clock.now()
        over = [key for key, flow in self._flows.items() if now > flow.login.expires_at + KEEP_S]
        for key in (*over, *list(self._flows)[: max(0, len(self._flows) - MAX_FLOWS)]):
            self._flows.pop(key, None)
        for flow in self._flows.values():
            if flow.status == "pending" and now > flow.login.expires_at:
                self._fail(
                    flow, AdditionRefused("expired", "nobody signed in in time", "Start a new sign-in.")
                )
