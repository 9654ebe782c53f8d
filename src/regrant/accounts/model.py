"""An account: one Google identity that Regrant may act as, as it is kept in `<data>/accounts/<id>.json`.

The file format (docs/lifecycle.md) is decoded and encoded here; unknown fields survive. What may happen to an account
is `lifecycle.py`; where it is kept is `file_store.py`.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from regrant.errors import RegrantError
from regrant.secret import Secret

SCHEMA = 1
HISTORY_LIMIT = 50
REASON_LIMIT = 800
DEFAULT_LIFETIME_S = 3600  # what Google's documentation shows; used where `expires_in` is missing


class Freshness(StrEnum):
    """Derived from the clock and the expiry, never stored."""

    FRESH = "fresh"
    STALE = "stale"
    """Still usable; a refresh runs in the background."""
    EXPIRED = "expired"
    """Callers wait for a refresh."""


class Cause(StrEnum):
    """Why a grant died (docs/lifecycle.md)."""

    REAUTH_REQUIRED = "reauth_required"
    ACCOUNT_GONE = "account_gone"
    TESTING_EXPIRED = "testing_expired"
    TIME_LIMITED = "time_limited"
    UNUSED = "unused"
    REVOKED = "revoked"


class Disablement(msgspec.Struct, frozen=True, kw_only=True):
    """Google refused the grant: out of the pool until it is replaced or proven alive."""

    at: int
    reason: str
    cause: str


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """The owner took the account out for a while; stored as `proxy_disabled*`."""

    at: int
    reason: str = ""


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """What a person must solve while the grant itself is fine."""

    code: str
    message: str
    url: str = ""
    since: int

    @property
    def about_refresh(self) -> bool:
        """Whether only refreshing is in trouble: the access token at hand may still serve."""
        return self.code in REFRESH_ATTENTION


CLIENT_ATTENTION = frozenset({"wrong_client", "client_broken"})
"""What the OAuth client is to blame for."""
REFRESH_ATTENTION = frozenset({"wrong_client", "client_broken", "admin_policy", "refresh_failing"})


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    at: int
    event: str
    detail: str = ""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """The grant (refresh token) and the access token last received with it."""

    refresh_token: Secret = Secret()
    access_token: Secret = Secret()
    expiry_timestamp: int = 0
    """Unix seconds at which the access token ends; 0 when there is none."""
    expires_in: int = DEFAULT_LIFETIME_S
    """The access token's whole lifetime in seconds, as Google told it."""
    token_type: str = "Bearer"
    scope: str = ""
    consented_at: int | None = None
    """When Regrant saw the consent; None for grants that came from elsewhere."""
    refresh_token_expires_at: int | None = None
    unknown: dict[str, Any] = {}


class Account(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    email: str
    sub: str = ""
    name: str = ""
    label: str = ""
    client_id: str = ""
    """The OAuth client that minted the grant; "" means the default one of the settings."""
    client_secret: Secret = Secret()
    """Only for imported ADC; the secrets of configured clients are in the settings."""
    project_id: str = ""
    upstream: str = "gemini"
    location: str = "global"
    token: Token = Token()
    generation: int = 1
    disabled: Disablement | None = None
    paused: Pause | None = None
    attention: Attention | None = None
    protected_models: tuple[str, ...] = ()
    protected_until: dict[str, int] = {}
    """When those of `protected_models` end (unix seconds) that quota protection has entered; the others are a person's or an import's."""
    verified: bool = True
    created_at: int = 0
    updated_at: int = 0
    last_used_at: int = 0
    last_refresh_at: int = 0
    history: tuple[HistoryEvent, ...] = ()
    revision: int = 0
    unknown: dict[str, Any] = {}

    @property
    def in_pool(self) -> bool:
        """Whether the account may be chosen at all; cool-downs and quota are judged per request."""
        blocked = self.attention is not None and not self.attention.about_refresh
        return self.disabled is None and self.paused is None and not blocked

    @property
    def protected_by_hand(self) -> frozenset[str]:
        """The protected models that a person or an import has set: quota protection did not."""
        return frozenset(self.protected_models).difference(self.protected_until)

    @property
    def needs_attention_only(self) -> bool:
        """Whether it would be in the pool but for its attention."""
        return self.disabled is None and self.paused is None and not self.in_pool

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.token.refresh_token, self.token.access_token, self.client_secret)

    def project(self, default_client_id: str = "") -> str:
        """The quota project: `project_id`, else the number before the first `-` of the OAuth client's id."""
        return self.project_id or (self.client_id or default_client_id).partition("-")[0]

    def freshness(self, now: float) -> Freshness:
        """How good the access token is at `now` (unix seconds); rule 6 of docs/lifecycle.md."""
        left = self.token.expiry_timestamp - now
        lifetime = self.token.expires_in
        if not self.token.access_token or left < min(60.0, lifetime / 10):
            return Freshness.EXPIRED
        ahead_s = min(600.0, lifetime / 4)
        if left < ahead_s and left < ahead_s * jitter_share(self.id, self.generation):
            return Freshness.STALE
        return Freshness.FRESH

    @property
    def fresh_until(self) -> float:
        """Up to when (unix seconds) `freshness` is FRESH, if there is a token."""
        ahead_s = min(600.0, self.token.expires_in / 4)
        return self.token.expiry_timestamp - ahead_s * jitter_share(self.id, self.generation)

    def with_event(self, at: float, event: str, detail: str = "") -> Account:
        """The account with one more line in its history; the oldest beyond 50 go."""
        line = HistoryEvent(at=int(at), event=event, detail=detail)
        return msgspec.structs.replace(self, history=(*self.history, line)[-HISTORY_LIMIT:])


def jitter_share(account_id: str, generation: int) -> float:
    """A share from 0.8 to 1.0 that is steady for one grant, so that accounts added together do not refresh together."""
    digest = hashlib.blake2b(f"{account_id}:{generation}".encode(), digest_size=2).digest()
    return 0.8 + 0.2 * int.from_bytes(digest, "big") / 0xFFFF


def same_email(left: str, right: str) -> bool:
    return left.strip().casefold() == right.strip().casefold()


class AccountFileError(RegrantError):
    """An account file cannot be read as one; the message says where and why, without its content."""


class _TokenFields(msgspec.Struct, kw_only=True, omit_defaults=True):
    refresh_token: str = ""
    access_token: str = ""
    expiry_timestamp: float = 0
    expires_in: float | None = None
    token_type: str = "Bearer"
    scope: str = ""
    consented_at: float | None = None
    refresh_token_expires_at: float | None = None


class _AttentionFields(msgspec.Struct, kw_only=True):
    code: str
    message: str = ""
    url: str | None = ""
    since: float = 0


class _HistoryFields(msgspec.Struct, kw_only=True):
    at: float = 0
    event: str = ""
    detail: str | None = ""


class _Fields(msgspec.Struct, kw_only=True):
    """The known fields as a file may hold them: numbers loose, because people edit these files."""

    schema: int = SCHEMA
    revision: int = 0
    id: str | None = None
    email: str = ""
    sub: str | None = ""
    name: str | None = ""
    label: str | None = ""
    client_id: str | None = ""
    client_secret: str | None = ""
    project_id: str | None = ""
    upstream: str | None = "gemini"
    location: str | None = "global"
    token: dict[str, Any] = msgspec.field(default_factory=dict)
    generation: int = 1
    disabled: bool | None = False
    disabled_at: float | None = None
    disabled_reason: str | None = None
    disabled_cause: str | None = None
    proxy_disabled: bool | None = False
    proxy_disabled_at: float | None = None
    proxy_disabled_reason: str | None = None
    protected_models: list[str] | None = None
    protected_until: dict[str, float] | None = None
    attention: _AttentionFields | None = None
    verified: bool | None = True
    created_at: float = 0
    updated_at: float = 0
    last_used_at: float | None = 0
    last_refresh_at: float | None = 0
    history: list[_HistoryFields] = []


_KNOWN = frozenset(_Fields.__struct_fields__)
_KNOWN_TOKEN = frozenset(_TokenFields.__struct_fields__)


def decode_account(raw: bytes, *, stem: str) -> Account:
    """The account in a file named `<stem>.json`.

    Tolerates a byte order mark, a missing `id` and missing optional fields. Raises AccountFileError.
    """
    try:
        document = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
        if not isinstance(document, dict):
            raise AccountFileError("the file does not hold a JSON object")
        fields = msgspec.convert(document, _Fields)
        token = msgspec.convert(fields.token, _TokenFields)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AccountFileError(f"not a valid account: {error}") from error
    if fields.id is not None and fields.id != stem:
        raise AccountFileError(f"the id in the file, {fields.id!r}, is not its file name")
    if fields.schema > SCHEMA:
        raise AccountFileError(
            f"schema {fields.schema} is newer than this version of Regrant understands ({SCHEMA})"
        )
    if not fields.email.strip():
        raise AccountFileError("the field `email` is missing")
    return _account(fields, token, document, stem)


def _account(fields: _Fields, token: _TokenFields, document: dict[str, Any], stem: str) -> Account:
    pause, protected = _pause(fields)
    return Account(
        id=stem,
        email=fields.email,
        sub=fields.sub or "",
        name=fields.name or "",
        label=fields.label or "",
        client_id=fields.client_id or "",
        client_secret=Secret(fields.client_secret or ""),
        project_id=fields.project_id or "",
        upstream=fields.upstream or "gemini",
        location=fields.location or "global",
        token=_token(token, fields.token),
        generation=fields.generation,
        disabled=_disablement(fields),
        paused=pause,
        attention=_attention(fields.attention),
        protected_models=protected,
        protected_until={
            model: int(until) for model, until in (fields.protected_until or {}).items() if model in protected
        },
        verified=fields.verified is not False,
        created_at=int(fields.created_at),
        updated_at=int(fields.updated_at),
        last_used_at=int(fields.last_used_at or 0),
        last_refresh_at=int(fields.last_refresh_at or 0),
        history=tuple(
            HistoryEvent(at=int(line.at), event=line.event, detail=line.detail or "")
            for line in fields.history[-HISTORY_LIMIT:]
        ),
        revision=fields.revision,
        unknown={key: value for key, value in document.items() if key not in _KNOWN},
    )


def _token(token: _TokenFields, document: dict[str, Any]) -> Token:
    lifetime = token.expires_in if token.expires_in and token.expires_in > 0 else DEFAULT_LIFETIME_S
    return Token(
        refresh_token=Secret(token.refresh_token.strip()),
        access_token=Secret(token.access_token.strip()),
        expiry_timestamp=int(token.expiry_timestamp),
        expires_in=int(lifetime) or 1,
        token_type=token.token_type,
        scope=token.scope,
        consented_at=_seconds(token.consented_at),
        refresh_token_expires_at=_seconds(token.refresh_token_expires_at),
        unknown={key: value for key, value in document.items() if key not in _KNOWN_TOKEN},
    )


def _disablement(fields: _Fields) -> Disablement | None:
    if not fields.disabled:
        return None
    return Disablement(
        at=int(fields.disabled_at or 0),
        reason=fields.disabled_reason or "",
        cause=fields.disabled_cause or Cause.REVOKED,
    )


def _pause(fields: _Fields) -> tuple[Pause | None, tuple[str, ...]]:
    protected = tuple(fields.protected_models or ())
    if not fields.proxy_disabled:
        return None, protected
    if fields.proxy_disabled_reason == "quota_protection":
        # The predecessor's account-wide form of quota protection is not a pause by the owner.
        return None, protected or ("*",)
    return Pause(at=int(fields.proxy_disabled_at or 0), reason=fields.proxy_disabled_reason or ""), protected


def _attention(fields: _AttentionFields | None) -> Attention | None:
    if fields is None:
        return None
    return Attention(code=fields.code, message=fields.message, url=fields.url or "", since=int(fields.since))


def _seconds(value: float | None) -> int | None:
    return None if value is None else int(value)


def encode_account(account: Account) -> bytes:
    """The file's content: indented UTF-8 with a final newline. The only place that writes tokens out."""
    return msgspec.json.format(msgspec.json.encode(to_document(account)), indent=2) + b"\n"


def to_document(account: Account) -> dict[str, Any]:
    """The account as the JSON object of its file, secrets included."""
    return {
        **public_fields(account),
        **({"client_secret": account.client_secret.reveal()} if account.client_secret else {}),
        "token": _token_document(account.token),
        **account.unknown,
    }


def public_fields(account: Account) -> dict[str, Any]:
    """The fields of the file less `token` and `client_secret`; no secret in it."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "revision": account.revision,
        "id": account.id,
        "email": account.email,
        "sub": account.sub,
        "name": account.name,
        "label": account.label,
        "client_id": account.client_id,
        "project_id": account.project_id,
        "upstream": account.upstream,
        "location": account.location,
        "generation": account.generation,
    }
    if account.disabled is not None:
        document |= {
            "disabled": True,
            "disabled_at": account.disabled.at,
            "disabled_reason": account.disabled.reason,
            "disabled_cause": account.disabled.cause,
        }
    if account.paused is not None:
        document |= {
            "proxy_disabled": True,
            "proxy_disabled_at": account.paused.at,
            "proxy_disabled_reason": account.paused.reason,
        }
    document["protected_models"] = list(account.protected_models)
    if account.protected_until:
        document["protected_until"] = account.protected_until
    if account.attention is not None:
        document["attention"] = msgspec.to_builtins(account.attention)
    return document | {
        "verified": account.verified,
        "created_at": account.created_at,
        "updated_at": account.updated_at,
        "last_used_at": account.last_used_at,
        "last_refresh_at": account.last_refresh_at,
        "history": [msgspec.to_builtins(line) for line in account.history],
    }


def _token_document(token: Token) -> dict[str, Any]:
    document: dict[str, Any] = {
        "refresh_token": token.refresh_token.reveal(),
        "access_token": token.access_token.reveal(),
        "expiry_timestamp": token.expiry_timestamp,
        "expires_in": token.expires_in,
        "token_type": token.token_type,
        "scope": token.scope,
        "consented_at": token.consented_at,
    }
    if token.refresh_token_expires_at is not None:
        document["refresh_token_expires_at"] = token.refresh_token_expires_at
    return document | token.unknown
