"""`/api/oauth` and `/oauth/callback`: an account signs in at Google in the owner's browser.

What a sign-in is and becomes is `accounts/signin.py`. The callback is open to anybody who lands there: the state in its
query, made for one sign-in and compared in constant time, is the credential.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody

from regrant.accounts.enrolment import Addition
from regrant.accounts.entry import Entry
from regrant.accounts.refresher import client_of
from regrant.accounts.signin import Flow
from regrant.admin import pages
from regrant.admin.accounts import KNOWN, Enrolled, enrolled
from regrant.admin.desk import AtDesk, Desk
from regrant.admin.doors import CALLBACK_PATH
from regrant.admin.errors import ApiError, ErrorBody, describe
from regrant.admin.fields import Email, Label, Word
from regrant.errors import RegrantError
from regrant.oauth.login import MAX_CALLBACK_CHARS

# A port that browsers refuse to connect to: the page fails to load, and its address is copied by hand.
PASTE_REDIRECT = f"http://127.0.0.1:1{CALLBACK_PATH}"


class SignInOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`account_id`: re-authorize that account; another one's sign-in is refused. `paste`: the address is brought by hand."""

    account_id: Word = ""
    login_hint: Email = ""
    project_id: Word = ""
    label: Label = ""
    redirect: Literal["gateway", "paste"] = "gateway"


class SignInStarted(msgspec.Struct, frozen=True):
    """Open `authorize_url` in a browser before `expires_at` (unix seconds)."""

    flow: str
    authorize_url: str
    redirect_uri: str
    expires_at: float


class SignInFinish(msgspec.Struct, forbid_unknown_fields=True):
    """`url`: the whole address of the page at which the browser ended."""

    flow: Annotated[str, msgspec.Meta(max_length=100)]
    url: Annotated[str, msgspec.Meta(max_length=MAX_CALLBACK_CHARS)]


class SignInView(msgspec.Struct, frozen=True, omit_defaults=True):
    status: Literal["pending", "done", "failed"]
    outcome: Literal["created", "recovered", "updated", "unchanged", "unverified"] | None = None
    error: ErrorBody | None = None


@post(
    "/api/oauth/start", operation_id="start_sign_in", status_code=200, summary="Begin to sign in with Google"
)
async def start(desk: AtDesk, data: JSONBody[SignInOrder]) -> SignInStarted:
    entry = desk.entry(data.account_id) if data.account_id else None
    addition = _addition(desk, data, entry)
    redirect_uri = PASTE_REDIRECT if data.redirect == "paste" else _callback_address(desk)
    hint = data.login_hint.strip() or (entry.account.email if entry is not None else "")
    flow = desk.parts.signins.start(addition, redirect_uri=redirect_uri, login_hint=hint)
    return SignInStarted(flow.id, flow.authorize_url, redirect_uri, flow.login.expires_at)


def _addition(desk: Desk, order: SignInOrder, entry: Entry | None) -> Addition:
    """A re-authorization goes to the OAuth client that the account has, where that is known."""
    addition = Addition(account_id=order.account_id, project_id=order.project_id, label=order.label.strip())
    client = client_of(entry.account, desk.parts.oauth_clients()) if entry is not None else None
    if client is None:
        return addition
    return msgspec.structs.replace(addition, client_id=client.client_id, client_secret=client.client_secret)


def _callback_address(desk: Desk) -> str:
    """Where the browser comes back to: the public address, else this machine's loopback at the port that listens."""
    public_url = desk.parts.settings().server.public_url
    port = urlsplit(desk.parts.address).port
    return f"{public_url or f'http://127.0.0.1:{port}'}{CALLBACK_PATH}"


@post(
    "/api/oauth/complete",
    operation_id="complete_sign_in",
    summary="Finish a sign-in with the address at which the browser ended",
    responses={200: KNOWN},
)
async def complete(desk: AtDesk, data: JSONBody[SignInFinish]) -> Response[Enrolled]:
    account, outcome = await desk.parts.signins.complete(_flow(desk, data.flow), data.url)
    return enrolled(desk, account, outcome)


@get("/api/oauth/{flow:str}", operation_id="show_sign_in", summary="How a sign-in stands")
async def show_flow(desk: AtDesk, flow: FromPath[str]) -> SignInView:
    found = _flow(desk, flow)
    error = (
        ErrorBody(code=found.error[0], message=found.error[1], hint=found.error[2]) if found.error else None
    )
    # While Google is being asked the flow counts as failed, so that nobody asks twice; it is still under way.
    under_way = found.status == "failed" and error is None
    return SignInView(
        "pending" if under_way else found.status, found.outcome.value if found.outcome else None, error
    )


def _flow(desk: Desk, flow_id: str) -> Flow:
    flow = desk.parts.signins.find(flow_id)
    if flow is None:
        raise ApiError(
            404,
            "flow_not_found",
            "there is no such sign-in",
            "Start one at POST /api/oauth/start; each lasts ten minutes.",
        )
    return flow


@get(CALLBACK_PATH, include_in_schema=False)
async def callback(desk: AtDesk, request: Request[Any, Any, Any]) -> Response[str]:
    """The browser lands here from Google. Nothing of its address is shown."""
    query = request.scope["query_string"].decode("latin-1")
    flow = desk.parts.signins.by_state(f"?{query}")
    if flow is None:
        return _page(
            400,
            "This sign-in is unknown or over",
            "Start it again in Regrant, and use the new address within ten minutes.",
        )
    try:
        account, outcome = await desk.parts.signins.complete(flow, f"?{query}")
    except RegrantError as error:
        told = describe(error)
        return _page(told.status, "The sign-in failed", f"{told.body.message}. {told.body.hint}")
    return _page(200, "Signed in", f"{account.email}: {outcome.value}. You can close this page.")


def _page(status: int, title: str, text: str) -> Response[str]:
    return Response(
        pages.render(title, text),
        status_code=status,
        media_type="text/html",
        headers={"content-security-policy": pages.POLICY},
    )


ROUTES = [start, complete, show_flow, callback]
