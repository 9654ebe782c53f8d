"""What may happen to an account, and what must follow.

Rule 1: every rule about enabling, disabling and refreshing an account is in this file.
Rule 2: this file performs nothing. It returns effects; `keeper.py` carries them out.

Theory of operation. `step` takes an account as the keeper holds it, one event (a fact in the past tense) and the time,
and returns the account after it with the effects. `Save`, `Admit` and `Evict` are computed by comparing before and
after, so that no branch can forget them. A verdict about a grant (an answer of the token endpoint) names the `Flight`
that asked for it; it counts only while the account still holds the grant of that flight: the same generation and the
same refresh token. So a late `invalid_grant` cannot hit a re-added account, and a late success cannot overwrite a newer
token. What a verdict of a dead flight may still do is nothing at all.

Durable facts are in `Kept.account`; what lives only in this process (the flight, the back-off, the access token that
Google refused) is beside it and never stored. Freshness is derived from the clock.

Over 400 lines on purpose: rule 1.
"""

from __future__ import annotations

import math
from typing import assert_never

import msgspec
from msgspec.structs import replace as changed

from regrant.accounts.diagnosis import DAY_S, diagnose, reason_text, scrub
from regrant.accounts.events import (
    AccessTokenSupplied,
    Admit,
    AttentionRaised,
    Edited,
    Effect,
    Event,
    Evict,
    Flight,
    FlightAbandoned,
    Notify,
    Observed,
    Paused,
    QuotaJudged,
    Reauthorized,
    RefreshAnswered,
    Resumed,
    Save,
    Served,
    StartRefresh,
    TokenRejected,
    TokenWanted,
)
from regrant.accounts.model import (
    REFRESH_ATTENTION,
    Account,
    Attention,
    Disablement,
    Freshness,
    Pause,
    Token,
    jitter_share,
    same_email,
)
from regrant.oauth.google import Granted, RefusalKind, Refused, Unavailable
from regrant.secret import Secret

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 300.0
LONGEST_BACKOFF_S = 1.2 * MAX_BACKOFF_S  # with jitter
FAILING_AFTER_S = 600.0  # a refresh that has failed for so long is shown to the owner
USED_RECENTLY_S = DAY_S


class Kept(msgspec.Struct, frozen=True):
    """An account with what only this process knows about it."""

    account: Account
    flight: Flight | None = None
    rejected: Secret | None = None
    """The access token that Google refused with 401 although it looked fresh."""
    failures: int = 0
    failing_since: float = 0.0
    retry_at: float = 0.0
    """No refresh before this time, after a failure that says nothing about the grant."""
    recovering: bool = False
    """`disabled` was taken back without proof; the recovery is announced when a refresh succeeds."""

    def holds_off(self, now: float) -> bool:
        """Whether no refresh may start yet. A clock that was turned back makes no back-off longer than any can be."""
        return now < self.retry_at <= now + LONGEST_BACKOFF_S

    def lasts(self, now: float) -> bool:
        """Whether the access token works still, however little is left of it."""
        token = self.account.token
        return (
            bool(token.access_token) and token.access_token != self.rejected and now < token.expiry_timestamp
        )

    def freshness(self, now: float) -> Freshness:
        if self.rejected is not None and self.rejected == self.account.token.access_token:
            return Freshness.EXPIRED
        return self.account.freshness(now)


def step(kept: Kept, event: Event, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    """The account after the event, and what must be done. `now` is in unix seconds."""
    after, effects = _apply(kept, event, now)
    # Of an observed record only what was decided here is to be stored: when it was last used is no decision, and two
    # processes that wrote that back to each other would never end.
    known = _used(event.account, after.account) if isinstance(event, Observed) else kept.account
    effects = (*_durable(known, after.account), *effects)
    return after, (*_membership(kept.account, after.account), *effects)


def _durable(before: Account, after: Account) -> tuple[Effect, ...]:
    return () if before == after else (Save(),)


def _used(account: Account, as_well: Account) -> Account:
    return changed(account, last_used_at=max(account.last_used_at, as_well.last_used_at))


def _membership(before: Account, after: Account) -> tuple[Effect, ...]:
    if before.in_pool == after.in_pool:
        return ()
    return (Admit(),) if after.in_pool else (Evict(),)


def _apply(kept: Kept, event: Event, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    match event:
        case TokenWanted():
            return _want(kept, event, now)
        case RefreshAnswered():
            return _answered(kept, event, now)
        case FlightAbandoned():
            return _landed(kept, event.flight), ()
        case TokenRejected():
            held = event.access_token == kept.account.token.access_token
            return (msgspec.structs.replace(kept, rejected=event.access_token) if held else kept), ()
        case Reauthorized():
            return _reauthorized(kept, event, now)
        case AccessTokenSupplied():
            return _supplied(kept, event, now)
        case Observed():
            return _observed(kept, event.account, now)
        case AttentionRaised():
            return _attention(kept, event.code, event.message, event.url, now)
        case Served():
            return _served(kept, now)
        case QuotaJudged():
            return msgspec.structs.replace(kept, account=_judged(kept.account, event)), ()
        case Paused() | Resumed() | Edited():
            return msgspec.structs.replace(kept, account=_by_owner(kept.account, event, now)), ()
        case _:
            assert_never(event)


def _want(kept: Kept, event: TokenWanted, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    if kept.flight is not None or not kept.account.token.refresh_token:
        return kept, ()
    if not event.explicit:
        wanted = kept.account.disabled is None and kept.freshness(now) is not Freshness.FRESH
        if not wanted or kept.holds_off(now):
            return kept, ()
    return _start(kept, now, explicit=event.explicit)


def _start(kept: Kept, now: float, *, explicit: bool) -> tuple[Kept, tuple[Effect, ...]]:
    account = kept.account
    token = account.token
    flight = Flight(
        account.generation, token.refresh_token, now, explicit, token.access_token, account.disabled
    )
    return msgspec.structs.replace(kept, flight=flight), (StartRefresh(flight),)


def _landed(kept: Kept, flight: Flight) -> Kept:
    return msgspec.structs.replace(kept, flight=None) if kept.flight == flight else kept


def current(account: Account, flight: Flight) -> bool:
    """Whether a verdict of that flight is about the grant that the account holds (compare and set)."""
    return account.generation == flight.generation and account.token.refresh_token == flight.refresh_token


def overtaken(flight: Flight, stored: Account) -> bool:
    """Whether the stored account already answers the flight, so that Google need not be asked.

    Judged once the flight holds the refresh lock: another process may have refreshed, replaced or buried the grant.
    Measured against what the flight took off with, for the account in memory may have been told already.
    """
    if not current(stored, flight) or stored.token.access_token != flight.access_token:
        return True
    return stored.disabled is not None and stored.disabled != flight.disabled


def _answered(kept: Kept, event: RefreshAnswered, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    landed = _landed(kept, event.flight)
    if not current(kept.account, event.flight):
        return landed, ()
    match event.answer:
        case Granted() as granted:
            return _refreshed(landed, event.flight, granted, now)
        case Refused(kind=RefusalKind.invalid_grant) as refused:
            return _died(landed, refused, now)
        case Refused() as refused:
            return _refused(landed, refused, event.jitter, now)
        case Unavailable() as unavailable:
            return _unavailable(landed, unavailable, event.jitter, now)
        case _:
            assert_never(event.answer)


def _refreshed(kept: Kept, flight: Flight, granted: Granted, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    account = kept.account
    newer = account.token.access_token != flight.access_token
    if newer and granted.refresh_token is None:  # a rotated refresh token is never thrown away
        return kept, ()
    # Disabled meanwhile, by another process's verdict or by its owner: this answer is from before.
    disabled = None if account.disabled == flight.disabled else account.disabled
    recovered = disabled is None and (account.disabled is not None or kept.recovering)
    account = changed(
        account,
        token=merge_token(account.token, granted, now),
        disabled=disabled,
        attention=None if _solved(account.attention, flight) else account.attention,
        verified=True,
        last_refresh_at=int(now),
    )
    # A second flight, begun when the owner gave an access token, may be under way with the token just rotated out.
    other = kept.flight if kept.flight is not None and current(account, kept.flight) else None
    kept = Kept(account=account, flight=other)
    if recovered:
        return msgspec.structs.replace(
            kept, account=account.with_event(now, "recovered", "the grant is alive")
        ), (Notify("recovered"),)
    return kept, ()


def _solved(attention: Attention | None, flight: Flight) -> bool:
    """Whether a successful refresh ends it. A person who asks says that the rest is solved too; else it is raised again."""
    return attention is not None and (
        flight.explicit or attention.about_refresh or attention.code == "scope_missing"
    )


def merge_token(token: Token, granted: Granted, now: float) -> Token:
    """The token after a successful answer; what the answer leaves out stays."""
    lifetime = granted.refresh_token_lifetime_s
    return changed(
        token,
        refresh_token=granted.refresh_token or token.refresh_token,
        access_token=granted.access_token,
        expiry_timestamp=math.ceil(
            now + granted.lifetime_s
        ),  # rounded down, a token of one second would be born expired
        expires_in=max(1, int(granted.lifetime_s)),
        token_type=granted.token_type,
        scope=granted.scope or token.scope,
        refresh_token_expires_at=token.refresh_token_expires_at if lifetime is None else int(now + lifetime),
    )


def _died(kept: Kept, refused: Refused, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    account = kept.account
    reason = reason_text(refused, account.secrets)
    told = (Notify("refresh_failed", reason),)
    if account.disabled is not None:
        return kept, told  # asked on a person's word, and still dead: the first date and reason stand
    cause = diagnose(account, refused, now)
    dead = changed(account, disabled=Disablement(at=int(now), reason=reason, cause=cause))
    dead = dead.with_event(now, "disabled", f"{cause}: {reason}"[:300])
    return msgspec.structs.replace(kept, account=dead, rejected=None, retry_at=0.0, recovering=False), (
        *told,
        Notify("disabled", cause),
    )


_REFUSALS = {
    RefusalKind.client_broken: (
        "client_broken",
        "Google refuses the OAuth client: {error}. Check its id and secret.",
    ),
    RefusalKind.wrong_client: (
        "wrong_client",
        "The grant was given to another OAuth client than {client}. Sign in again with this one, or configure that one.",
    ),
    RefusalKind.admin_policy: (
        "admin_policy",
        "An administrator's policy refuses access: {error}. Ask the administrator to allow the OAuth app.",
    ),
    RefusalKind.scope: (
        "scope_missing",
        "The grant lacks a scope: {error}. Sign in again and tick every box.",
    ),
    RefusalKind.bad_request: ("refresh_failing", "Google does not accept the refresh request: {error}."),
}


def _refused(kept: Kept, refused: Refused, jitter: float, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    error = scrub(": ".join(filter(None, (refused.error, refused.description))), kept.account.secrets)
    code, sentence = _REFUSALS[refused.kind]
    kept = _backed_off(kept, None, jitter, now)
    kept, told = _attention(
        kept, code, sentence.format(error=error, client=kept.account.client_id or "the default"), "", now
    )
    return kept, (Notify("refresh_failed", error), *told)


def _unavailable(
    kept: Kept, answer: Unavailable, jitter: float, now: float
) -> tuple[Kept, tuple[Effect, ...]]:
    kept = _backed_off(kept, answer.retry_after_s, jitter, now)
    reason = scrub(answer.reason, kept.account.secrets)
    told: tuple[Effect, ...] = (Notify("refresh_failed", reason),)
    if now - kept.failing_since >= FAILING_AFTER_S and kept.account.attention is None:
        kept, raised = _attention(
            kept, "refresh_failing", f"Refreshing has failed for a while: {reason}", "", now
        )
        told += raised
    return kept, told


def _backed_off(kept: Kept, told_s: float | None, jitter: float, now: float) -> Kept:
    wait_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**kept.failures) * (0.8 + 0.4 * jitter)
    return msgspec.structs.replace(
        kept,
        failures=min(kept.failures + 1, 20),
        failing_since=kept.failing_since or now,
        retry_at=now + max(wait_s, min(told_s or 0.0, MAX_BACKOFF_S)),
    )


def _attention(kept: Kept, code: str, message: str, url: str, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    old = kept.account.attention
    if old is not None and (old.code, old.message, old.url) == (code, message, url):
        return kept, ()
    if old is not None and not old.about_refresh and code in REFRESH_ATTENTION:
        return kept, ()  # it would let an account back in that must not serve
    since = old.since if old is not None and old.code == code else int(now)
    account = changed(kept.account, attention=Attention(code=code, message=message, url=url, since=since))
    if old is not None and old.code == code:
        return msgspec.structs.replace(kept, account=account), ()
    return msgspec.structs.replace(kept, account=account.with_event(now, "attention", code)), (
        Notify("attention", code),
    )


def _served(kept: Kept, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    account = changed(kept.account, last_used_at=int(now))
    if account.attention is None or account.attention.about_refresh:
        return msgspec.structs.replace(kept, account=account), ()
    code = account.attention.code
    account = changed(account, attention=None).with_event(now, "attention_ended", code)
    return msgspec.structs.replace(kept, account=account), (Notify("attention_ended", code),)


def _reauthorized(kept: Kept, event: Reauthorized, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    before = kept.account
    account = changed(
        before,
        token=changed(event.token, unknown=before.token.unknown),
        generation=before.generation + 1,
        client_id=event.client_id,
        client_secret=event.client_secret,
        disabled=None,
        attention=None,
        verified=True,
        last_refresh_at=int(now),
        email=event.identity.email,
        sub=event.identity.sub or before.sub,
        name=event.identity.name or before.name,
    )
    if (
        event.identity.sub
        and before.sub
        and event.identity.sub != before.sub
        and same_email(event.identity.email, before.email)
    ):
        account = account.with_event(
            now, "recreated", "the same e-mail belongs to another Google account now"
        )
    if not same_email(event.identity.email, before.email):
        account = account.with_event(now, "email_changed", f"was {before.email}")
    if before.disabled is not None or kept.recovering:
        account = account.with_event(now, "recovered", "a new grant")
        return Kept(account=account), (Notify("recovered"),)
    return Kept(account=account.with_event(now, "reauthorized")), (Notify("reauthorized"),)


def _supplied(kept: Kept, event: AccessTokenSupplied, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    before = kept.account
    given = event.token
    token = changed(
        before.token,
        access_token=given.access_token,
        expiry_timestamp=given.expiry_timestamp,
        expires_in=given.expires_in,
        token_type=given.token_type,
    )
    account = changed(before, token=token, disabled=None, verified=False)
    account = account.with_event(
        now, "access_token_supplied", "not verified: the refresh token is still the old one"
    )
    kept = Kept(account=account, recovering=kept.recovering or before.disabled is not None)
    return _start(kept, now, explicit=True) if token.refresh_token else (kept, ())


def _judged(account: Account, event: QuotaJudged) -> Account:
    """No line of history: a quota comes and goes every minute, and the grant is none the worse for it."""
    by_hand = [
        model for model in account.protected_models if model in account.protected_by_hand - event.released
    ]
    until = {model: end for model, end in account.protected_until.items() if model not in event.released}
    until |= {model: end for model, end in event.held.items() if model not in by_hand}
    return changed(account, protected_models=(*by_hand, *sorted(until)), protected_until=until)


def _by_owner(account: Account, event: Paused | Resumed | Edited, now: float) -> Account:
    match event:
        case Paused():
            if account.paused is not None and account.paused.reason == event.reason:
                return account
            return changed(account, paused=Pause(at=int(now), reason=event.reason)).with_event(
                now, "paused", event.reason
            )
        case Resumed():
            return (
                account
                if account.paused is None
                else changed(account, paused=None).with_event(now, "resumed")
            )
        case Edited():
            new = {key: value for key, value in event.changes.items() if getattr(account, key) != value}
            return (
                changed(account, **new).with_event(now, "edited", ", ".join(sorted(new))) if new else account
            )
        case _:
            assert_never(event)


def _observed(kept: Kept, stored: Account, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    before = kept.account
    if stored == before:
        return kept, ()
    stored = _used(stored, before)
    if _grant_edited_by_hand(before, stored):
        return _edited_grant(before, stored, now)
    same_grant = (
        stored.generation == before.generation and stored.token.refresh_token == before.token.refresh_token
    )
    token_moved = not same_grant or stored.token.access_token != before.token.access_token
    kept = (
        msgspec.structs.replace(kept, account=stored)
        if not token_moved
        else Kept(account=stored, flight=kept.flight if same_grant else None, recovering=kept.recovering)
    )
    return _noticed_recovery(
        kept, before, now, proven=token_moved or stored.last_refresh_at != before.last_refresh_at
    )


def _noticed_recovery(
    kept: Kept, before: Account, now: float, *, proven: bool
) -> tuple[Kept, tuple[Effect, ...]]:
    account = kept.account
    if account.disabled is not None:
        return msgspec.structs.replace(kept, recovering=False), ()
    if before.disabled is not None and not proven:
        # The owner removed `disabled` by hand: taken at his word, and Google is asked once.
        kept = msgspec.structs.replace(kept, recovering=True)
        return (kept, ()) if kept.flight is not None else _start(kept, now, explicit=True)
    recovering = before.disabled is not None or kept.recovering
    if recovering and account.verified and proven:
        return msgspec.structs.replace(kept, recovering=False), (Notify("recovered"),)
    return msgspec.structs.replace(kept, recovering=recovering), ()


def _grant_edited_by_hand(before: Account, stored: Account) -> bool:
    """Regrant itself moves `revision` on whenever it stores a refresh token, and `generation` with a new grant."""
    replaced = (
        stored.token.refresh_token != before.token.refresh_token and stored.generation <= before.generation
    )
    not_by_regrant = stored.revision <= before.revision  # or less: an older file was put back
    still_dead = before.disabled is not None and stored.disabled is not None
    return replaced and bool(stored.token.refresh_token) and (not_by_regrant or still_dead)


def _edited_grant(before: Account, stored: Account, now: float) -> tuple[Kept, tuple[Effect, ...]]:
    account = changed(
        stored,
        token=_without_remains(before.token, stored.token),
        generation=max(before.generation, stored.generation) + 1,
        disabled=None,
        verified=False,
    )
    account = account.with_event(now, "edited", "a new refresh token in the file")
    return _start(Kept(account=account, recovering=True), now, explicit=True)


def _without_remains(old: Token, token: Token) -> Token:
    """The edited token less what was left standing of the old grant: it would be used, and dated, as the new one's."""
    if token.access_token == old.access_token:
        token = changed(token, access_token=Secret(), expiry_timestamp=0)
    if token.consented_at == old.consented_at:
        token = changed(token, consented_at=None)
    if token.refresh_token_expires_at == old.refresh_token_expires_at:
        token = changed(token, refresh_token_expires_at=None)
    return token


def rebased(outcome: Kept, before: Kept, latest: Kept) -> Kept:
    """`outcome`, with what has happened in memory (`latest`) while the record was being written.

    A write takes its time, and meanwhile callers want tokens, use the account and have tokens refused: the flight that
    was started is not forgotten, nor the refusal, nor the use.
    """
    flight, rejected = outcome.flight, outcome.rejected
    started = latest.flight
    if flight == before.flight and started is not None and current(outcome.account, started):
        flight = started
    if latest.rejected is not None and latest.rejected == outcome.account.token.access_token:
        rejected = latest.rejected
    return msgspec.structs.replace(
        outcome, account=_used(outcome.account, latest.account), flight=flight, rejected=rejected
    )


def next_refresh_at(kept: Kept, now: float, *, idle_check_s: float, since: float) -> float | None:
    """The unix second at which a refresh nobody asked for is due; None while one runs or none may.

    Accounts used in the last 24 hours are refreshed ahead of expiry. The others are asked once in `idle_check_s`, so
    that no grant dies of six months without use; `since` stands in where a record does not say when it was last asked.
    """
    account = kept.account
    if account.disabled is not None or kept.flight is not None or not account.token.refresh_token:
        return None
    held_until = kept.retry_at if kept.holds_off(now) else 0.0
    used_recently = account.in_pool and now - account.last_used_at < USED_RECENTLY_S
    if used_recently and kept.freshness(now) is not Freshness.FRESH:
        return max(now, held_until)
    known_at = max(account.last_refresh_at, account.created_at)
    # One that is yet to come tells that the clock was turned back: the check would not come for as long.
    asked_at = known_at if 0 < known_at <= now else since
    from_idle = asked_at + idle_check_s * jitter_share(account.id, account.generation)
    return max(from_idle, held_until)
