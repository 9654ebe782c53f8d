"""What can be imported, and what an export holds: files of accounts as values. Pure; doing it is `transfer.py`.

Understood are an export of Regrant (with or without secrets), one account file, Application Default
Credentials, and a list of objects with `email` and `refresh_token`, as other gateways export it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from regrant.accounts.enrolment import Addition
from regrant.accounts.model import Account, AccountFileError, decode_account, public_fields, to_document
from regrant.errors import RegrantError
from regrant.oauth.imports import FileRefused, parse_adc
from regrant.oauth.wire import usable_token
from regrant.secret import Secret

EXPORT_VERSION = 1
_NO_TOKEN = "holds no refresh token; sign in to it here: regrant accounts add --oauth"


class BundleRefused(RegrantError):
    """The whole file is nothing that can be imported."""


class Line(msgspec.Struct, frozen=True):
    """One account of a file. `problem` says why it cannot be imported; `account` is there if its record was given."""

    name: str
    addition: Addition | None = None
    account: Account | None = None
    problem: str = ""


def export_document(accounts: Iterable[Account], *, with_secrets: bool, at: int) -> dict[str, Any]:
    """All accounts in one JSON object; `at` is in unix seconds."""
    encode = to_document if with_secrets else public_fields
    return {
        "regrant_export": EXPORT_VERSION,
        "exported_at": at,
        "with_secrets": with_secrets,
        "accounts": [encode(account) for account in accounts],
    }


def read_bundle(content: bytes) -> list[Line]:
    """The accounts in a file, each on its own right or wrong. Raises BundleRefused."""
    document = _decode(content)
    match document:
        case {"regrant_export": int(version), "accounts": list(accounts)}:
            if version > EXPORT_VERSION:
                raise BundleRefused(
                    f"the export has version {version}; this version of Regrant reads {EXPORT_VERSION}"
                )
            return [_record(one, number) for number, one in enumerate(accounts, 1)]
        case list(items) if items:
            return [_record(one, number) for number, one in enumerate(items, 1)]
        case {"type": str()} | {"installed": _} | {"web": _}:
            return [_adc(content)]
        case {"email": _} | {"token": _} | {"refresh_token": _}:
            return [_record(document, 1)]
        case _:
            raise BundleRefused("the file holds no accounts")


def _decode(content: bytes) -> Any:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return json.loads(content.decode(encoding))
    except (ValueError, RecursionError):
        raise BundleRefused("the file is not JSON") from None


def _adc(content: bytes) -> Line:
    try:
        credential = parse_adc(content)
    except FileRefused as refused:
        return Line("Application Default Credentials", problem=str(refused))
    addition = Addition(
        refresh_token=credential.refresh_token,
        client_id=credential.client_id,
        client_secret=credential.client_secret,
        project_id=credential.quota_project_id,
    )
    return Line("Application Default Credentials", addition)


def _record(item: Any, number: int) -> Line:
    """One account file, or an object with `email` and `refresh_token`."""
    if not isinstance(item, dict):
        return Line(f"entry {number}", problem="is not an account")
    email = item.get("email")
    name = email if isinstance(email, str) and email.strip() else f"entry {number}"
    if not isinstance(item.get("token"), dict) and "refresh_token" in item:
        return _pair(name, item)
    try:
        raw = json.dumps({**item, "id": None}).encode()
        account = decode_account(raw, stem=f"entry-{number}")
    except (AccountFileError, ValueError, RecursionError) as error:
        return Line(name, problem=str(error))
    return _of_account(name, account)


def _of_account(name: str, account: Account) -> Line:
    token = usable_token(account.token.refresh_token.reveal())
    if token is None:
        return Line(name, account=account, problem=_NO_TOKEN)
    addition = Addition(
        refresh_token=token,
        client_id=account.client_id,
        client_secret=account.client_secret,
        project_id=account.project_id,
        upstream=account.upstream,
        location=account.location,
        label=account.label,
    )
    return Line(name, addition, account)


def _pair(name: str, item: Mapping[str, Any]) -> Line:
    token = usable_token(item["refresh_token"])
    if token is None:
        return Line(name, problem=_NO_TOKEN)
    given = {key: item[key] for key in ("client_id", "project_id", "label") if isinstance(item.get(key), str)}
    secret = item.get("client_secret")
    return Line(
        name,
        Addition(
            refresh_token=token, client_secret=Secret(secret if isinstance(secret, str) else ""), **given
        ),
    )
