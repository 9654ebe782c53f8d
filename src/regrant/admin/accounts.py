"""`/api/accounts`: list, add, show, change and remove accounts; verify, pause and resume one.

What each of these does to an account is `accounts/enrolment.py` and `accounts/lifecycle.py`; many at once is `batch.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from regrant.accounts.enrolment import Addition, Outcome
from regrant.accounts.events import Edited, Event, Paused, Resumed
from regrant.accounts.model import Account
from regrant.admin.cursors import cursor_of, place_of
from regrant.admin.desk import AtDesk, Desk
from regrant.admin.errors import ApiError
from regrant.admin.fields import MAX_ITEMS, Email, Label, Location, Reason, Upstream, Word
from regrant.admin.views import AccountView, show_corrupt
from regrant.oauth.google import Refused, Unavailable
from regrant.oauth.imports import parse_adc
from regrant.secret import Secret


class AccountList(msgspec.Struct, frozen=True):
    items: list[AccountView]
    next: str | None


class NewAccount(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A refresh token, or an access token with the e-mail of a known account, or the content of an ADC file."""

    refresh_token: Secret = msgspec.field(default_factory=Secret)
    access_token: Secret = msgspec.field(default_factory=Secret)
    email: Email = ""
    adc: dict[str, Any] | str | None = None
    client_id: Word = ""
    client_secret: Secret = msgspec.field(default_factory=Secret)
    project_id: Word = ""
    upstream: Upstream | None = None
    location: Location | None = None
    label: Label = ""


class AccountChanges(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays as it is."""

    label: Label | msgspec.UnsetType = msgspec.UNSET
    project_id: Word | msgspec.UnsetType = msgspec.UNSET
    upstream: Upstream | msgspec.UnsetType = msgspec.UNSET
    location: Location | msgspec.UnsetType = msgspec.UNSET


class PauseOrder(msgspec.Struct, forbid_unknown_fields=True):
    reason: Reason = ""


class Enrolled(msgspec.Struct, frozen=True):
    account: AccountView
    outcome: Literal["created", "recovered", "updated", "unchanged", "unverified"]


KNOWN = ResponseSpec(Enrolled, description="A known account, brought up to date", generate_examples=False)


class Verified(msgspec.Struct, frozen=True):
    account: AccountView
    outcome: Literal["alive", "recovered", "dead", "unknown"]


class Changed(msgspec.Struct, frozen=True):
    account: AccountView


@get(
    "/api/accounts",
    operation_id="list_accounts",
    summary="List the accounts, in the order in which they were added",
)
async def list_accounts(
    desk: AtDesk,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ITEMS)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=200)] = "",
) -> AccountList:
    keeper = desk.parts.keeper
    in_service = {entry.account.id: entry for entry in keeper.entries()}
    unreadable = {one.id: one for one in keeper.corrupt() if one.id not in in_service}
    places = [(entry.account.created_at, key) for key, entry in in_service.items()]
    places = sorted([*places, *((0, key) for key in unreadable)])
    start = place_of(cursor, tuple[int, str])
    chosen = [place for place in places if start is None or place > start][: limit + 1]
    cooldowns = desk.cooldowns()
    items = [
        desk.show(in_service[key], cooldowns) if key in in_service else show_corrupt(unreadable[key])
        for _, key in chosen[:limit]
    ]
    return AccountList(items, cursor_of(chosen[limit - 1]) if len(chosen) > limit else None)


@post(
    "/api/accounts",
    operation_id="add_account",
    summary="Add an account, or bring one back",
    responses={200: KNOWN},
)
async def add_account(desk: AtDesk, data: JSONBody[NewAccount]) -> Response[Enrolled]:
    account, outcome = await desk.parts.enrolment.add(_addition(data))
    return enrolled(desk, account, outcome)


def enrolled(desk: Desk, account: Account, outcome: Outcome) -> Response[Enrolled]:
    """201 for a new account, 200 for one that was known."""
    told = Enrolled(desk.show_id(account.id), outcome.value)
    return Response(told, status_code=201 if outcome is Outcome.CREATED else 200)


def _addition(new: NewAccount) -> Addition:
    addition = Addition(
        refresh_token=new.refresh_token,
        access_token=new.access_token,
        email=new.email.strip(),
        client_id=new.client_id,
        client_secret=new.client_secret,
        project_id=new.project_id,
        upstream=new.upstream or "",
        location=new.location or "",
        label=new.label.strip(),
    )
    if new.adc is None:
        return addition
    credential = parse_adc(new.adc if isinstance(new.adc, str) else msgspec.json.encode(new.adc))
    return msgspec.structs.replace(
        addition,
        refresh_token=credential.refresh_token,
        client_id=credential.client_id,
        client_secret=credential.client_secret,
        project_id=new.project_id or credential.quota_project_id,
    )


@get("/api/accounts/{account_id:str}", operation_id="show_account", summary="Show one account")
async def show_account(desk: AtDesk, account_id: FromPath[str]) -> AccountView:
    return desk.show_id(account_id)


@patch("/api/accounts/{account_id:str}", operation_id="change_account", summary="Change what the owner chose")
async def change_account(
    desk: AtDesk, account_id: FromPath[str], data: JSONBody[AccountChanges]
) -> AccountView:
    changes = {
        key: value.strip()
        for key, value in msgspec.structs.asdict(data).items()
        if value is not msgspec.UNSET
    }
    entry = desk.entry(account_id)
    if changes:
        await desk.parts.keeper.change(entry.account.id, Edited(changes))
    return desk.show_id(account_id)


@delete(
    "/api/accounts/{account_id:str}",
    operation_id="remove_account",
    summary="Remove an account here",
    description=(
        "With `revoke=true` the grant is first revoked at Google. Google then ends every grant that this person has given"
        " to the whole Cloud project of the OAuth client, other gateways' included. Nothing is removed if that fails."
    ),
)
async def remove_account(desk: AtDesk, account_id: FromPath[str], revoke: FromQuery[bool] = False) -> None:
    await remove(desk, account_id, revoke=revoke)


async def remove(desk: Desk, account_id: str, *, revoke: bool = False) -> None:
    """Raises ApiError, StoreError. A file that cannot be read is never deleted: it may hold the only grant."""
    entry = desk.entry(account_id)
    if entry.corrupt is not None:
        raise ApiError(
            409,
            "corrupt",
            "the account's file cannot be read",
            "Mend or remove the file that its advice names.",
        )
    if revoke and entry.account.token.refresh_token:
        await _revoke(desk, entry.account.token.refresh_token)
    await desk.parts.keeper.remove(account_id)


async def _revoke(desk: Desk, token: Secret) -> None:
    answer = await desk.parts.oauth.revoke(token)
    hint = "The account is still here. Try again, or remove it without revoking."
    match answer:
        case Unavailable():
            raise ApiError(503, "upstream_unavailable", f"Google gave no answer: {answer.reason}", hint)
        case Refused():
            raise ApiError(422, answer.error or "revoke_refused", "Google refuses to revoke the grant.", hint)


@post(
    "/api/accounts/{account_id:str}/verify",
    operation_id="verify_account",
    status_code=200,
    summary="Ask Google once whether the grant lives",
)
async def verify_account(desk: AtDesk, account_id: FromPath[str]) -> Verified:
    outcome = await desk.parts.enrolment.verify(desk.entry(account_id))
    return Verified(desk.show_id(account_id), verified_outcome(outcome))


def verified_outcome(outcome: str) -> Literal["alive", "recovered", "dead", "unknown"]:
    match outcome:
        case "alive" | "recovered" | "dead":
            return outcome
        case _:
            return "unknown"


@post(
    "/api/accounts/{account_id:str}/pause",
    operation_id="pause_account",
    status_code=200,
    summary="Take an account out for a while",
)
async def pause_account(
    desk: AtDesk, account_id: FromPath[str], data: JSONBody[PauseOrder | None] = None
) -> Changed:
    return await _change(desk, account_id, Paused(data.reason.strip() if data else ""))


@post(
    "/api/accounts/{account_id:str}/resume",
    operation_id="resume_account",
    status_code=200,
    summary="Let a paused account serve again",
)
async def resume_account(desk: AtDesk, account_id: FromPath[str]) -> Changed:
    return await _change(desk, account_id, Resumed())


async def _change(desk: Desk, account_id: str, event: Event) -> Changed:
    await desk.parts.keeper.change(desk.entry(account_id).account.id, event)
    return Changed(desk.show_id(account_id))


ROUTES = [
    list_accounts,
    add_account,
    show_account,
    change_account,
    remove_account,
    verify_account,
    pause_account,
    resume_account,
]
