"""Why a grant died, and what its owner can do about it.

Explains only: whether an account is disabled is decided in `lifecycle.py` on evidence, never on a description.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import msgspec

from regrant.accounts.model import REASON_LIMIT, Account, Attention, Cause
from regrant.oauth.google import Refused
from regrant.secret import MASK, Secret, redact

DAY_S = 86_400
TESTING_LIFETIME_S = 7 * DAY_S
"""Consent to an app whose publishing status is Testing. Source: docs/sources.md, section 1."""
UNUSED_LIMIT_S = 180 * DAY_S
_GONE = re.compile(r"\baccount\b[^.]{0,40}\b(?:deleted|disabled)\b", re.IGNORECASE)
_TOKEN_SHAPES = re.compile(r"\bya29\.[\w.-]+|\b1//[\w-]+|\bGOCSPX-[\w-]+")

PUBLISH_URL = "https://console.cloud.google.com/auth/audience"
PERMISSIONS_URL = "https://myaccount.google.com/permissions"


class Advice(msgspec.Struct, frozen=True):
    """What a person can do, in plain words, with the page and the command that mend it ("" where there is none)."""

    text: str
    url: str = ""
    command: str = ""


def diagnose(account: Account, refused: Refused, now: float) -> Cause:
    """The cause of death: the first in the order of docs/lifecycle.md that the evidence fits."""
    token = account.token
    if refused.subtype in {"invalid_rapt", "rapt_required"}:
        return Cause.REAUTH_REQUIRED
    if _GONE.search(refused.description):
        return Cause.ACCOUNT_GONE
    if _testing_is_over(token.consented_at, token.refresh_token_expires_at, now):
        return Cause.TESTING_EXPIRED
    if token.refresh_token_expires_at is not None and token.refresh_token_expires_at <= now:
        return Cause.TIME_LIMITED
    if account.last_refresh_at and now - account.last_refresh_at >= UNUSED_LIMIT_S:
        return Cause.UNUSED
    return Cause.REVOKED


def _testing_is_over(consented_at: int | None, expires_at: int | None, now: float) -> bool:
    if consented_at is None:
        return False
    known = expires_at is not None and abs(expires_at - consented_at - TESTING_LIFETIME_S) <= 60
    if known and expires_at is not None and expires_at <= now:
        return True
    return 6.5 * DAY_S <= now - consented_at <= 8 * DAY_S


def reason_text(refused: Refused, secrets: Iterable[Secret]) -> str:
    """`disabled_reason`: what Google said, at most 800 characters, without secrets."""
    subtype = (
        f" ({refused.subtype})" if refused.subtype and refused.subtype not in refused.description else ""
    )
    said = scrub(f"{refused.description or 'no description'}{subtype}", secrets)
    text = f"{refused.error}: {said}"
    return text if len(text) <= REASON_LIMIT else text[: REASON_LIMIT - 1] + "…"


def scrub(text: str, secrets: Iterable[Secret]) -> str:
    """`text` without the given secrets and without anything shaped like one of Google's tokens."""
    return _TOKEN_SHAPES.sub(MASK, redact(text, secrets))


def advise(account: Account) -> Advice | None:
    """What to do about the first thing that keeps the account out; None when nothing does."""
    if account.disabled is not None:
        return death_advice(account.disabled.cause, account.email)
    if account.protected_models:
        return protection_advice(account.protected_models, account.protected_by_hand)
    if account.paused is not None:
        return pause_advice(account.email)
    if account.attention is not None:
        return attention_advice(account.attention, account.email)
    return None


def protection_advice(models: Iterable[str], by_hand: Collection[str]) -> Advice:
    """What to do about models that are held back; `by_hand` are those that a person or an import has set."""
    if by_hand:
        return Advice(
            f"Quota protection, set by hand or by an import, holds back: {', '.join(sorted(by_hand))}. To end it, take them out of "
            "protected_models in the account's file; where quota.protection is on, midnight of quota.timezone ends it."
        )
    return Advice(
        f"Quota protection holds back: {', '.join(models)}. It ends by itself when the quota is reset."
    )


def pause_advice(email: str) -> Advice:
    """What to do about the owner's pause."""
    return Advice("Paused by its owner.", command=f"regrant accounts resume {email}")


def attention_advice(attention: Attention, email: str) -> Advice:
    """What to do about what a person must solve."""
    return Advice(attention.message, attention.url, attention_command(attention.code, email))


def attention_command(code: str, email: str) -> str:
    """The command that helps with what needs a person; "" where none does."""
    return _ATTENTION_COMMANDS.get(code, "regrant accounts verify {email}").format(email=email)


_ATTENTION_COMMANDS = {
    "wrong_client": "regrant accounts reauth {email}",
    "scope_missing": "regrant accounts reauth {email}",
    "client_broken": "regrant config show",
    "admin_policy": "",
}

_DEATHS: dict[str, tuple[str, str, str]] = {
    Cause.REAUTH_REQUIRED: (
        (
            "The organisation's session control asks for a new sign-in (Google Workspace or Cloud session length). Sign in"
            " again. An administrator can lengthen the session or mark the OAuth app as trusted."
        ),
        "https://support.google.com/a/answer/9368756",
        "regrant accounts reauth {email}",
    ),
    Cause.ACCOUNT_GONE: (
        (
            "Google says that this account was deleted or disabled. If it was re-created, sign in again; otherwise remove"
            " it here."
        ),
        "https://support.google.com/accounts/answer/40039",
        "regrant accounts remove {email}",
    ),
    Cause.TESTING_EXPIRED: (
        (
            "The OAuth app is in Testing: its grants live 7 days. Publish the app first, then sign in again: a grant given"
            " before publishing keeps its 7 days."
        ),
        PUBLISH_URL,
        "regrant accounts reauth {email}",
    ),
    Cause.TIME_LIMITED: (
        (
            "Access was granted for a limited time, and that time is over. Sign in again, and choose a longer time if"
            " Google offers it."
        ),
        PERMISSIONS_URL,
        "regrant accounts reauth {email}",
    ),
    Cause.UNUSED: (
        "The grant was not used for six months, so Google ended it. Sign in again; Regrant then keeps it in use.",
        PERMISSIONS_URL,
        "regrant accounts reauth {email}",
    ),
    Cause.REVOKED: (
        (
            "The grant was revoked: by the user, by a password change, or because the account has more than 100 grants for"
            " this OAuth client. Google does not tell these apart. Sign in again."
        ),
        PERMISSIONS_URL,
        "regrant accounts reauth {email}",
    ),
}


def death_advice(cause: str, email: str) -> Advice:
    """What to do about a grant that died of `cause`."""
    text, url, command = _DEATHS.get(cause, _DEATHS[Cause.REVOKED])
    return Advice(text, url, command.format(email=email))
