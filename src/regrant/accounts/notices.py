"""What the log says about accounts; the four messages of docs/operating.md to the letter.

When something is said is decided in `lifecycle.py`; where it is written is `logs.py`.
"""

from __future__ import annotations

from regrant import logs
from regrant.accounts.events import Notify
from regrant.accounts.model import Account
from regrant.accounts.store import Corrupt

log = logs.get("accounts")


def tell(account: Account, notice: Notify, *, others: bool) -> None:
    """Log one notice of the lifecycle. `others`: another account is left to try."""
    email, detail = account.email, notice.detail
    fields = {"account": account.id, "email": email}
    match notice.event:
        case "refresh_failed":
            tail = ", trying next account" if others else ""
            log.error("token_refresh_failed", f"token refresh failed ({email}): {detail}{tail}", **fields)
        case "disabled":
            message = (
                f"Disabling account due to invalid_grant ({email}): refresh_token likely revoked/expired"
            )
            log.error("account_disabled", message, cause=detail, **fields)
        case "recovered":
            log.info("account_recovered", f"account recovered ({email})", **fields)
        case "reauthorized":
            log.info("account_reauthorized", f"account has a new grant ({email})", **fields)
        case "attention":
            reason = account.attention.message if account.attention else detail
            log.warning(
                "account_attention", f"account needs attention ({email}): {reason}", code=detail, **fields
            )
        case "attention_ended":
            log.info("account_attention_ended", f"account serves again ({email}), was: {detail}", **fields)
        case _:
            log.info(f"account_{notice.event}", f"{notice.event} ({email}): {detail}", **fields)


def tell_client_broken(account: Account) -> None:
    """Once for an OAuth client, whichever of its accounts found out."""
    which = account.client_id or "the default OAuth client"
    reason = account.attention.message if account.attention else ""
    message = f"the OAuth client is broken, no account is disabled ({which}): {reason}"
    log.error("client_broken", message, client_id=account.client_id)


def tell_skipped(account: Account) -> None:
    """Once per load or reload of a disabled account."""
    message = f"skipping disabled account ({account.email})"
    log.warning("account_skipped", message, account=account.id, email=account.email)


def tell_corrupt(corrupt: Corrupt) -> None:
    log.error(
        "account_corrupt", f"account file {corrupt.path} is corrupt: {corrupt.problem}", account=corrupt.id
    )


def tell_not_persisted(account: Account, problem: str) -> None:
    message = f"account not stored, trying again ({account.email}): {problem}"
    log.error("account_not_persisted", message, account=account.id, email=account.email)


def tell_persisted(account: Account) -> None:
    log.info(
        "account_persisted", f"account stored ({account.email})", account=account.id, email=account.email
    )
