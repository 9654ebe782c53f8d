"""`lifecycle.step`: what each event makes of an account, and what must follow."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace as changed

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
    Identity,
    Notify,
    Observed,
    Paused,
    Reauthorized,
    RefreshAnswered,
    Resumed,
    Save,
    Served,
    StartRefresh,
    TokenRejected,
    TokenWanted,
)
from regrant.accounts.lifecycle import (
    FAILING_AFTER_S,
    MAX_BACKOFF_S,
    Kept,
    next_refresh_at,
    overtaken,
    rebased,
    step,
)
from regrant.accounts.model import (
    HISTORY_LIMIT,
    REFRESH_ATTENTION,
    Account,
    Attention,
    Cause,
    Disablement,
    Freshness,
    HistoryEvent,
    Pause,
    Token,
    jitter_share,
)
from regrant.oauth.google import Granted, RefusalKind, Refused, Unavailable
from regrant.secret import Secret

NOW = 1_800_000_000.0
OLD = Secret("refresh-ann-1")
NEW = Secret("refresh-ann-2")

HEALTHY = Account(
    id="ann",
    email="ann@example.com",
    sub="sub-ann",
    client_id="123-app",
    token=Token(refresh_token=OLD, access_token=Secret("access-ann-1"), expiry_timestamp=int(NOW) + 3600),
    created_at=int(NOW) - 5000,
    last_refresh_at=int(NOW) - 4000,
    last_used_at=int(NOW) - 100,
)
DEAD = Disablement(at=int(NOW) - 50, reason="invalid_grant: gone", cause="revoked")
FORBIDDEN = Attention(code="SERVICE_DISABLED", message="Enable the API", since=int(NOW) - 50)
CLIENT = Attention(code="client_broken", message="The client is refused", since=int(NOW) - 50)
UNUSABLE = Attention(code="scope_missing", message="The grant lacks a scope", since=int(NOW) - 50)


def account(**fields: Any) -> Account:
    return changed(HEALTHY, **fields)


def with_token(**fields: Any) -> Account:
    return account(token=changed(HEALTHY.token, **fields))


EXPIRED = with_token(expiry_timestamp=int(NOW) - 1)
STALE = with_token(expiry_timestamp=int(NOW) + 300)
DISABLED = account(disabled=DEAD)
PAUSED = account(paused=Pause(at=int(NOW) - 9, reason="holiday"))

FLIGHT = Flight(1, OLD, NOW - 2, access_token=Secret("access-ann-1"))
VERIFY = msgspec.structs.replace(FLIGHT, explicit=True)
VERIFY_DEAD = msgspec.structs.replace(VERIFY, disabled=DEAD)
REPLACED = Flight(0, Secret("refresh-ann-0"), NOW - 2)


def granted(access: str = "access-ann-2", **fields: Any) -> Granted:
    base = Granted(Secret(access), 3600.0, "Bearer", "", None, None, None)
    return msgspec.structs.replace(base, **fields)


def refused(kind: str = "invalid_grant", error: str = "", **fields: Any) -> Refused:
    base = Refused(RefusalKind(kind), 400, error or kind, "", "Token has been expired or revoked.")
    return msgspec.structs.replace(base, **fields)


AWAY = Unavailable("connection refused")
REVOKED = "invalid_grant: Token has been expired or revoked."


def names(effects: tuple[Effect, ...]) -> list[str]:
    return [
        effect.event if isinstance(effect, Notify) else type(effect).__name__.lower() for effect in effects
    ]


@dataclass(frozen=True)
class Case:
    id: str
    kept: Kept
    event: Event
    effects: list[str]
    after: dict[str, Any]
    """Attributes of the account, or of what is kept beside it, after the event."""


CASES = [
    # -- a token is wanted
    Case("fresh token wanted", Kept(HEALTHY), TokenWanted(), [], {"flight": None}),
    Case("stale token wanted", Kept(STALE), TokenWanted(), ["startrefresh"], {"flight.explicit": False}),
    Case("expired token wanted", Kept(EXPIRED), TokenWanted(), ["startrefresh"], {"flight.generation": 1}),
    Case(
        "no access token wanted", Kept(with_token(access_token=Secret())), TokenWanted(), ["startrefresh"], {}
    ),
    Case(
        "rejected token wanted",
        Kept(HEALTHY, rejected=Secret("access-ann-1")),
        TokenWanted(),
        ["startrefresh"],
        {},
    ),
    Case("another token was rejected", Kept(HEALTHY, rejected=Secret("access-ann-0")), TokenWanted(), [], {}),
    Case(
        "wanted while in flight",
        Kept(EXPIRED, flight=FLIGHT),
        TokenWanted(),
        [],
        {"flight.started_at": NOW - 2},
    ),
    Case(
        "asked by a person while in flight",
        Kept(EXPIRED, flight=FLIGHT),
        TokenWanted(explicit=True),
        [],
        {"flight.explicit": False},
    ),
    Case("wanted while backing off", Kept(EXPIRED, retry_at=NOW + 1), TokenWanted(), [], {"flight": None}),
    Case("wanted when backing off is over", Kept(EXPIRED, retry_at=NOW), TokenWanted(), ["startrefresh"], {}),
    Case(
        "asked by a person while backing off",
        Kept(EXPIRED, retry_at=NOW + 1),
        TokenWanted(explicit=True),
        ["startrefresh"],
        {"flight.explicit": True},
    ),
    Case(
        "dead account wanted",
        Kept(changed(EXPIRED, disabled=DEAD)),
        TokenWanted(),
        [],
        {"flight": None},
    ),
    Case("dead account asked by a person", Kept(DISABLED), TokenWanted(explicit=True), ["startrefresh"], {}),
    Case("no refresh token", Kept(with_token(refresh_token=Secret())), TokenWanted(explicit=True), [], {}),
    # -- the answer is yes
    Case(
        "refreshed",
        Kept(STALE, flight=FLIGHT, failures=3, failing_since=NOW - 9, retry_at=NOW - 1),
        RefreshAnswered(FLIGHT, granted()),
        ["save"],
        {
            "token.access_token": Secret("access-ann-2"),
            "token.refresh_token": OLD,
            "token.expiry_timestamp": int(NOW) + 3600,
            "last_refresh_at": int(NOW),
            "generation": 1,
            "flight": None,
            "failures": 0,
            "failing_since": 0.0,
            "retry_at": 0.0,
        },
    ),
    Case(
        "refreshed and rotated",
        Kept(STALE, flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted(refresh_token=NEW, scope="openid", refresh_token_lifetime_s=100.0)),
        ["save"],
        {
            "token.refresh_token": NEW,
            "generation": 1,
            "token.scope": "openid",
            "token.refresh_token_expires_at": int(NOW) + 100,
        },
    ),
    Case(
        "verified and alive",
        Kept(DISABLED, flight=VERIFY_DEAD),
        RefreshAnswered(VERIFY_DEAD, granted()),
        ["admit", "save", "recovered"],
        {"disabled": None, "verified": True, "history[-1].event": "recovered"},
    ),
    Case(
        "paused account verified and alive",
        Kept(changed(PAUSED, disabled=DEAD), flight=VERIFY_DEAD),
        RefreshAnswered(VERIFY_DEAD, granted()),
        ["save", "recovered"],
        {"disabled": None, "paused": PAUSED.paused},
    ),
    Case(
        "disabled while its own refresh was under way",
        Kept(DISABLED, flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted(refresh_token=NEW)),
        ["save"],
        {"disabled": DEAD, "token.refresh_token": NEW},
    ),
    Case(
        "unverified and alive",
        Kept(account(verified=False), flight=VERIFY, recovering=True),
        RefreshAnswered(VERIFY, granted()),
        ["save", "recovered"],
        {"verified": True, "recovering": False},
    ),
    Case(
        "refreshed and the client works again",
        Kept(account(attention=CLIENT), flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted()),
        ["save"],
        {"attention": None},
    ),
    Case(
        "refreshed with the scope at last",
        Kept(account(attention=UNUSABLE), flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted()),
        ["admit", "save"],
        {"attention": None},
    ),
    Case(
        "refreshed and still forbidden",
        Kept(account(attention=FORBIDDEN), flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted()),
        ["save"],
        {"attention": FORBIDDEN},
    ),
    Case(
        "verified by a person who has solved what was forbidden",
        Kept(account(attention=FORBIDDEN), flight=VERIFY),
        RefreshAnswered(VERIFY, granted()),
        ["admit", "save"],
        {"attention": None},
    ),
    Case(
        "late yes for a replaced grant",
        Kept(HEALTHY),
        RefreshAnswered(REPLACED, granted("access-ann-0")),
        [],
        {"token": HEALTHY.token},
    ),
    Case(
        "late yes for a replaced grant leaves the new flight alone",
        Kept(HEALTHY, flight=VERIFY),
        RefreshAnswered(REPLACED, granted("access-ann-0")),
        [],
        {"flight": VERIFY},
    ),
    Case(
        "yes that another process has overtaken",
        Kept(with_token(access_token=Secret("access-ann-3")), flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted()),
        [],
        {"token.access_token": Secret("access-ann-3"), "flight": None},
    ),
    Case(
        "overtaken but rotated",
        Kept(with_token(access_token=Secret("access-ann-3")), flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted(refresh_token=NEW)),
        ["save"],
        {"token.refresh_token": NEW},
    ),
    Case(
        "last refreshed in the future by a wrong clock",
        Kept(account(last_refresh_at=int(NOW) + 9_999_999), flight=FLIGHT),
        RefreshAnswered(FLIGHT, granted()),
        ["save"],
        {"token.access_token": Secret("access-ann-2"), "last_refresh_at": int(NOW)},
    ),
    # -- the answer is no
    Case(
        "dead",
        Kept(EXPIRED, flight=FLIGHT),
        RefreshAnswered(FLIGHT, refused()),
        ["evict", "save", "refresh_failed", "disabled"],
        {
            "disabled": Disablement(at=int(NOW), reason=REVOKED, cause="revoked"),
            "flight": None,
            "history[-1]": HistoryEvent(at=int(NOW), event="disabled", detail=f"revoked: {REVOKED}"),
        },
    ),
    Case(
        "paused and dead",
        Kept(PAUSED, flight=FLIGHT),
        RefreshAnswered(FLIGHT, refused()),
        ["save", "refresh_failed", "disabled"],
        {"paused": PAUSED.paused, "disabled.cause": "revoked"},
    ),
    Case(
        "verified and still dead",
        Kept(DISABLED, flight=VERIFY_DEAD),
        RefreshAnswered(VERIFY_DEAD, refused()),
        ["refresh_failed"],
        {"disabled": DEAD, "flight": None},
    ),
    Case(
        "unverified and dead",
        Kept(account(verified=False), flight=VERIFY, recovering=True),
        RefreshAnswered(VERIFY, refused()),
        ["evict", "save", "refresh_failed", "disabled"],
        {"recovering": False, "verified": False},
    ),
    Case(
        "late no for a replaced grant",
        Kept(HEALTHY),
        RefreshAnswered(REPLACED, refused()),
        [],
        {"disabled": None},
    ),
    Case(
        "late no for a token that was rotated away",
        Kept(HEALTHY),
        RefreshAnswered(Flight(1, Secret("refresh-ann-0"), NOW), refused()),
        [],
        {"disabled": None},
    ),
    Case(
        "late no for the same token in an older generation",
        Kept(account(generation=2)),
        RefreshAnswered(FLIGHT, refused()),
        [],
        {"disabled": None},
    ),
    *(
        Case(
            f"refused: {kind}",
            Kept(HEALTHY, flight=FLIGHT),
            RefreshAnswered(FLIGHT, refused(kind), jitter=0.5),
            effects,
            {
                "disabled": None,
                "attention.code": code,
                "failures": 1,
                "retry_at": NOW + 1,
                "token": HEALTHY.token,
            },
        )
        for kind, code, effects in [
            ("client_broken", "client_broken", ["save", "refresh_failed", "attention"]),
            ("wrong_client", "wrong_client", ["save", "refresh_failed", "attention"]),
            ("admin_policy", "admin_policy", ["save", "refresh_failed", "attention"]),
            ("bad_request", "refresh_failing", ["save", "refresh_failed", "attention"]),
            ("scope", "scope_missing", ["evict", "save", "refresh_failed", "attention"]),
        ]
    ),
    Case(
        "refused again for the same reason",
        Kept(
            account(
                attention=changed(
                    CLIENT,
                    message="Google refuses the OAuth client: client_broken: Token has been expired or revoked.. "
                    "Check its id and secret.",
                )
            ),
            flight=FLIGHT,
        ),
        RefreshAnswered(FLIGHT, refused("client_broken")),
        ["refresh_failed"],
        {"attention.since": int(NOW) - 50},
    ),
    Case(
        "a broken client does not let a forbidden account back in",
        Kept(account(attention=FORBIDDEN), flight=FLIGHT),
        RefreshAnswered(FLIGHT, refused("client_broken")),
        ["refresh_failed"],
        {"attention": FORBIDDEN},
    ),
    # -- there is no answer
    Case(
        "away",
        Kept(STALE, flight=FLIGHT),
        RefreshAnswered(FLIGHT, AWAY, jitter=0.0),
        ["refresh_failed"],
        {"failures": 1, "failing_since": NOW, "retry_at": NOW + 0.8, "token": STALE.token, "attention": None},
    ),
    Case(
        "away again",
        Kept(STALE, flight=FLIGHT, failures=3, failing_since=NOW - 7),
        RefreshAnswered(FLIGHT, AWAY, jitter=1.0),
        ["refresh_failed"],
        {"failures": 4, "failing_since": NOW - 7, "retry_at": NOW + 8 * 1.2},
    ),
    Case(
        "away for ever",
        Kept(STALE, flight=FLIGHT, failures=20, failing_since=NOW - 1),
        RefreshAnswered(FLIGHT, AWAY, jitter=0.5),
        ["refresh_failed"],
        {"failures": 20, "retry_at": NOW + MAX_BACKOFF_S},
    ),
    Case(
        "away and told how long",
        Kept(STALE, flight=FLIGHT),
        RefreshAnswered(FLIGHT, msgspec.structs.replace(AWAY, retry_after_s=60.0)),
        ["refresh_failed"],
        {"retry_at": NOW + 60},
    ),
    Case(
        "away just below ten minutes",
        Kept(STALE, flight=FLIGHT, failures=9, failing_since=NOW - FAILING_AFTER_S + 1),
        RefreshAnswered(FLIGHT, AWAY),
        ["refresh_failed"],
        {"attention": None},
    ),
    Case(
        "away for ten minutes",
        Kept(STALE, flight=FLIGHT, failures=9, failing_since=NOW - FAILING_AFTER_S),
        RefreshAnswered(FLIGHT, AWAY),
        ["save", "refresh_failed", "attention"],
        {"attention.code": "refresh_failing", "disabled": None},
    ),
    Case("flight abandoned", Kept(STALE, flight=FLIGHT), FlightAbandoned(FLIGHT), [], {"flight": None}),
    Case(
        "other flight abandoned", Kept(STALE, flight=VERIFY), FlightAbandoned(FLIGHT), [], {"flight": VERIFY}
    ),
    # -- the model API speaks
    Case(
        "held token rejected",
        Kept(HEALTHY),
        TokenRejected(Secret("access-ann-1")),
        [],
        {"rejected": Secret("access-ann-1"), "token": HEALTHY.token},
    ),
    Case(
        "older token rejected", Kept(HEALTHY), TokenRejected(Secret("access-ann-0")), [], {"rejected": None}
    ),
    Case(
        "forbidden",
        Kept(HEALTHY),
        AttentionRaised("SERVICE_DISABLED", "Enable the API", "https://example.com/enable"),
        ["evict", "save", "attention"],
        {"attention.url": "https://example.com/enable", "attention.since": int(NOW)},
    ),
    Case(
        "forbidden again",
        Kept(account(attention=FORBIDDEN)),
        AttentionRaised("SERVICE_DISABLED", "Enable the API"),
        [],
        {"attention": FORBIDDEN},
    ),
    Case(
        "forbidden in other words",
        Kept(account(attention=FORBIDDEN)),
        AttentionRaised("SERVICE_DISABLED", "Enable the API, please"),
        ["save"],
        {"attention.since": int(NOW) - 50, "attention.message": "Enable the API, please"},
    ),
    Case(
        "forbidden for another reason",
        Kept(account(attention=FORBIDDEN)),
        AttentionRaised("BILLING_DISABLED", "Pay"),
        ["save", "attention"],
        {"attention.code": "BILLING_DISABLED", "attention.since": int(NOW)},
    ),
    Case("served", Kept(HEALTHY), Served(), ["save"], {"last_used_at": int(NOW)}),
    Case(
        "served again after attention",
        Kept(account(attention=FORBIDDEN)),
        Served(),
        ["admit", "save", "attention_ended"],
        {"attention": None},
    ),
    Case(
        "served while the client is broken",
        Kept(account(attention=CLIENT)),
        Served(),
        ["save"],
        {"attention": CLIENT},
    ),
    # -- the owner acts
    Case(
        "signed in again",
        Kept(
            account(disabled=DEAD, paused=PAUSED.paused, label="work", project_id="p-1", attention=FORBIDDEN),
            flight=VERIFY,
            failures=4,
            retry_at=NOW + 99,
        ),
        Reauthorized(Token(refresh_token=NEW), Identity("ann@example.com", "sub-ann"), "456-app"),
        ["save", "recovered"],
        {
            "disabled": None,
            "paused": PAUSED.paused,
            "label": "work",
            "project_id": "p-1",
            "attention": None,
            "generation": 2,
            "client_id": "456-app",
            "token.refresh_token": NEW,
            "flight": None,
            "failures": 0,
            "retry_at": 0.0,
            "created_at": HEALTHY.created_at,
        },
    ),
    Case(
        "signed in again while alive",
        Kept(HEALTHY),
        Reauthorized(Token(refresh_token=NEW), Identity("ann@example.com", "sub-ann"), "123-app"),
        ["save", "reauthorized"],
        {"generation": 2, "history[-1].event": "reauthorized"},
    ),
    Case(
        "signed in again before the hand edit was proven",
        Kept(HEALTHY, recovering=True),
        Reauthorized(Token(refresh_token=NEW), Identity("ann@example.com"), "123-app"),
        ["save", "recovered"],
        {"sub": "sub-ann", "recovering": False},
    ),
    Case(
        "the account was recreated",
        Kept(DISABLED),
        Reauthorized(Token(refresh_token=NEW), Identity("Ann@Example.com", "sub-other"), "123-app"),
        ["admit", "save", "recovered"],
        {"sub": "sub-other", "history[-2].event": "recreated"},
    ),
    Case(
        "the e-mail changed",
        Kept(DISABLED),
        Reauthorized(Token(refresh_token=NEW), Identity("anna@example.com", "sub-ann"), "123-app"),
        ["admit", "save", "recovered"],
        {"email": "anna@example.com", "history[-2].detail": "was ann@example.com"},
    ),
    Case(
        "an access token alone",
        Kept(DISABLED, flight=None, retry_at=NOW + 50),
        AccessTokenSupplied(Token(access_token=Secret("access-ann-9"), expiry_timestamp=int(NOW) + 3600)),
        ["admit", "save", "startrefresh"],
        {
            "disabled": None,
            "verified": False,
            "generation": 1,
            "token.refresh_token": OLD,
            "token.access_token": Secret("access-ann-9"),
            "recovering": True,
            "flight.explicit": True,
            "retry_at": 0.0,
        },
    ),
    Case(
        "an access token alone and nothing to refresh with",
        Kept(with_token(refresh_token=Secret())),
        AccessTokenSupplied(Token(access_token=Secret("access-ann-9"))),
        ["save"],
        {"flight": None, "verified": False},
    ),
    Case(
        "paused",
        Kept(HEALTHY),
        Paused("holiday"),
        ["evict", "save"],
        {"paused": Pause(at=int(NOW), reason="holiday"), "disabled": None},
    ),
    Case("paused again", Kept(PAUSED), Paused("holiday"), [], {"paused": PAUSED.paused}),
    Case("paused for another reason", Kept(PAUSED), Paused("move"), ["save"], {"paused.reason": "move"}),
    Case("dead and paused", Kept(DISABLED), Paused(), ["save"], {"disabled": DEAD, "paused.at": int(NOW)}),
    Case("resumed", Kept(PAUSED), Resumed(), ["admit", "save"], {"paused": None}),
    Case("resumed without a pause", Kept(HEALTHY), Resumed(), [], {}),
    Case(
        "dead and resumed",
        Kept(changed(PAUSED, disabled=DEAD)),
        Resumed(),
        ["save"],
        {"paused": None, "disabled": DEAD},
    ),
    Case(
        "relabelled",
        Kept(HEALTHY),
        Edited({"label": "work", "location": "global"}),
        ["save"],
        {"label": "work", "history[-1].detail": "label"},
    ),
    Case("relabelled the same", Kept(HEALTHY), Edited({"label": ""}), [], {}),
    # -- the record was written by somebody else
    Case("nothing new", Kept(HEALTHY), Observed(HEALTHY), [], {}),
    Case(
        "another process relabelled",
        Kept(STALE, flight=FLIGHT, failures=2),
        Observed(changed(STALE, label="work", revision=1)),
        [],
        {"label": "work", "flight": FLIGHT, "failures": 2},
    ),
    Case(
        "another process used it earlier",
        Kept(HEALTHY),
        Observed(account(last_used_at=5, label="work")),
        [],
        {"last_used_at": HEALTHY.last_used_at},
    ),
    Case(
        "another process used it later",
        Kept(HEALTHY),
        Observed(account(last_used_at=int(NOW))),
        [],
        {"last_used_at": int(NOW)},
    ),
    Case(
        "another process refreshed",
        Kept(EXPIRED, flight=FLIGHT, failures=2, retry_at=NOW + 9),
        Observed(changed(with_token(access_token=Secret("access-ann-2")), revision=1)),
        [],
        {"failures": 0, "retry_at": 0.0, "flight": FLIGHT},
    ),
    Case(
        "another process rotated",
        Kept(EXPIRED, flight=FLIGHT),
        Observed(changed(with_token(refresh_token=NEW, access_token=Secret("access-ann-2")), revision=1)),
        [],
        {"generation": 1, "flight": None},
    ),
    Case(
        "another process found it dead",
        Kept(HEALTHY, recovering=True),
        Observed(changed(DISABLED, revision=1)),
        ["evict"],
        {"disabled": DEAD, "recovering": False},
    ),
    Case(
        "another process re-added it",
        Kept(DISABLED, flight=VERIFY),
        Observed(changed(with_token(refresh_token=NEW), generation=2, revision=1)),
        ["admit", "recovered"],
        {"generation": 2, "flight": None},
    ),
    Case(
        "another process took an access token alone",
        Kept(DISABLED),
        Observed(changed(with_token(access_token=Secret("access-ann-9")), verified=False, revision=1)),
        ["admit"],
        {"recovering": True, "flight": None},
    ),
    Case(
        "another process has proven it",
        Kept(account(verified=False), recovering=True),
        Observed(changed(HEALTHY, last_refresh_at=int(NOW), revision=1)),
        ["recovered"],
        {"recovering": False},
    ),
    Case("another process paused", Kept(HEALTHY), Observed(changed(PAUSED, revision=1)), ["evict"], {}),
    # -- by hand
    Case(
        "a new refresh token by hand",
        Kept(DISABLED),
        Observed(
            changed(
                DISABLED,
                token=changed(HEALTHY.token, refresh_token=NEW, consented_at=None),
            )
        ),
        ["admit", "save", "startrefresh"],
        {
            "generation": 2,
            "disabled": None,
            "verified": False,
            "recovering": True,
            "flight.refresh_token": NEW,
            "token.access_token": Secret(),
            "history[-1].event": "edited",
        },
    ),
    Case(
        "a new refresh token by hand in a living account",
        Kept(HEALTHY),
        Observed(with_token(refresh_token=NEW)),
        ["save", "startrefresh"],
        {"generation": 2, "token.access_token": Secret()},
    ),
    Case(
        "an older file put back",
        Kept(changed(HEALTHY, revision=9, generation=4)),
        Observed(changed(with_token(refresh_token=NEW), revision=3, generation=2)),
        ["save", "startrefresh"],
        {"generation": 5},
    ),
    Case(
        "both tokens by hand",
        Kept(HEALTHY),
        Observed(with_token(refresh_token=NEW, access_token=Secret("access-ann-2"))),
        ["save", "startrefresh"],
        {"token.access_token": Secret("access-ann-2")},
    ),
    Case(
        "`disabled` removed by hand",
        Kept(DISABLED),
        Observed(HEALTHY),
        ["admit", "startrefresh"],
        {"disabled": None, "recovering": True, "flight.explicit": True, "generation": 1},
    ),
    Case(
        "disabled by hand",
        Kept(HEALTHY),
        Observed(account(disabled=Disablement(at=0, reason="", cause="revoked"))),
        ["evict"],
        {"disabled.at": 0},
    ),
    Case(
        "relabelled by hand",
        Kept(DISABLED),
        Observed(changed(DISABLED, label="work")),
        [],
        {"label": "work", "disabled": DEAD},
    ),
]


def value(kept: Kept, path: str) -> Any:
    root = path.partition(".")[0].partition("[")[0]
    at: Any = kept if root in Kept.__struct_fields__ and root != "account" else kept.account
    for part in path.replace("[", ".[").split("."):
        at = at[int(part[1:-1])] if part.startswith("[") else getattr(at, part)
    return at


@pytest.mark.parametrize("case", CASES, ids=[case.id.replace(" ", "_") for case in CASES])
def test_each_event_has_exactly_these_effects(case: Case) -> None:
    after, effects = step(case.kept, case.event, NOW)
    assert names(effects) == case.effects
    assert {path: value(after, path) for path in case.after} == case.after


@pytest.mark.parametrize("case", CASES, ids=[case.id.replace(" ", "_") for case in CASES])
def test_membership_and_storing_follow_from_before_and_after(case: Case) -> None:
    after, effects = step(case.kept, case.event, NOW)
    was, is_now = case.kept.account.in_pool, after.account.in_pool
    assert (Admit() in effects) == (is_now and not was)
    assert (Evict() in effects) == (was and not is_now)
    if not isinstance(case.event, Observed):
        assert (Save() in effects) == (after.account != case.kept.account)
    started = [effect.flight for effect in effects if isinstance(effect, StartRefresh)]
    assert started == ([after.flight] if after.flight not in (None, case.kept.flight) else [])


class TestTheHistory:
    def test_the_oldest_lines_beyond_fifty_go(self) -> None:
        kept = Kept(HEALTHY)
        for turn in range(60):
            kept, _ = step(kept, Paused() if turn % 2 == 0 else Resumed(), NOW + turn)
        assert len(kept.account.history) == HISTORY_LIMIT == 50
        assert kept.account.history[0].at == int(NOW) + 10
        assert kept.account.history[-1] == HistoryEvent(at=int(NOW) + 59, event="resumed")

    def test_no_line_holds_a_secret(self) -> None:
        answer = refused(description="the token refresh-ann-1 of access-ann-1 is dead")
        after, effects = step(Kept(HEALTHY, flight=FLIGHT), RefreshAnswered(FLIGHT, answer), NOW)
        told = " ".join(effect.detail for effect in effects if isinstance(effect, Notify))
        assert after.account.disabled is not None
        for text in (after.account.history[-1].detail, after.account.disabled.reason, told):
            assert "refresh-ann-1" not in text
            assert "access-ann-1" not in text
        assert "[secret]" in after.account.disabled.reason

    @pytest.mark.parametrize("kind", ["client_broken", "wrong_client", "scope", "bad_request"])
    def test_no_attention_holds_a_secret(self, kind: str) -> None:
        answer = refused(kind, description="what about refresh-ann-1 {client}")
        after, _ = step(Kept(HEALTHY, flight=FLIGHT), RefreshAnswered(FLIGHT, answer), NOW)
        assert after.account.attention is not None
        assert "refresh-ann-1" not in after.account.attention.message


class TestFreshness:
    """Rule 6: expired below min(60 s, a tenth of the lifetime), stale below min(600 s, a quarter), jittered."""

    @pytest.mark.parametrize(
        ("lifetime", "left", "expected"),
        [
            (3600, 61, Freshness.STALE),
            (3600, 60, Freshness.STALE),
            (3600, 59.9, Freshness.EXPIRED),
            (3600, 59, Freshness.EXPIRED),
            (3600, 600, Freshness.FRESH),
            (3600, 479, Freshness.STALE),
            (300, 31, Freshness.STALE),
            (300, 30, Freshness.STALE),
            (300, 29, Freshness.EXPIRED),
            (300, 75, Freshness.FRESH),
            (300, 59, Freshness.STALE),
            (3600, -5, Freshness.EXPIRED),
        ],
    )
    def test_the_boundaries(self, lifetime: int, left: float, expected: Freshness) -> None:
        one = with_token(expires_in=lifetime, expiry_timestamp=int(NOW) + lifetime)
        assert one.freshness(NOW + lifetime - left) is expected

    @pytest.mark.parametrize("lifetime", [1.0, 2.0, 3.0, 5.0, 10.0, 59.0, 300.0, 3599.0, 3600.0, 43200.0])
    def test_a_token_just_received_is_never_stale(self, lifetime: float) -> None:
        after, _ = step(
            Kept(EXPIRED, flight=FLIGHT), RefreshAnswered(FLIGHT, granted(lifetime_s=lifetime)), NOW
        )
        assert after.freshness(NOW) is Freshness.FRESH

    def test_accounts_added_together_do_not_become_stale_together(self) -> None:
        shares = {jitter_share(f"account-{n}", 1) for n in range(100)}
        assert len(shares) > 90
        assert min(shares) >= 0.8
        assert max(shares) <= 1.0

    def test_a_rejected_token_does_not_last(self) -> None:
        assert Kept(HEALTHY).lasts(NOW)
        assert not Kept(HEALTHY, rejected=HEALTHY.token.access_token).lasts(NOW)
        assert not Kept(HEALTHY).lasts(NOW + 3600)


class TestAFlightThatHoldsTheLock:
    @pytest.mark.parametrize(
        ("stored", "flight", "expected"),
        [
            (HEALTHY, FLIGHT, False),
            (account(label="work"), FLIGHT, False),
            (with_token(access_token=Secret("access-ann-2")), FLIGHT, True),
            (with_token(refresh_token=NEW), FLIGHT, True),
            (account(generation=2), FLIGHT, True),
            (DISABLED, FLIGHT, True),
            (DISABLED, VERIFY, True),
        ],
        ids=["same", "label", "refreshed", "rotated", "re-added", "dead", "dead meanwhile"],
    )
    def test_google_is_not_asked_when_the_store_knows(
        self, stored: Account, flight: Flight, expected: bool
    ) -> None:
        assert overtaken(flight, stored) is expected

    def test_a_person_may_ask_for_an_account_known_to_be_dead(self) -> None:
        assert not overtaken(VERIFY_DEAD, DISABLED)
        again = changed(DEAD, at=int(NOW))
        assert overtaken(VERIFY_DEAD, account(disabled=again))


class TestWhatHappenedWhileTheRecordWasWritten:
    OUTCOME = Kept(account(label="work", last_used_at=3))

    def test_a_flight_that_was_started_is_not_forgotten(self) -> None:
        after = rebased(self.OUTCOME, Kept(STALE), Kept(STALE, flight=FLIGHT))
        assert after.flight == FLIGHT
        assert after.account.label == "work"

    def test_a_flight_that_has_landed_stays_landed(self) -> None:
        assert rebased(self.OUTCOME, Kept(STALE, flight=FLIGHT), Kept(STALE, flight=FLIGHT)).flight is None

    def test_a_flight_of_a_grant_that_was_replaced_is_forgotten(self) -> None:
        outcome = Kept(changed(HEALTHY, generation=2))
        assert rebased(outcome, Kept(STALE), Kept(STALE, flight=FLIGHT)).flight is None

    def test_the_flight_that_the_outcome_started_wins(self) -> None:
        outcome = Kept(HEALTHY, flight=VERIFY)
        assert rebased(outcome, Kept(STALE), Kept(STALE, flight=FLIGHT)).flight == VERIFY

    def test_a_refusal_of_the_token_that_is_still_held_is_not_forgotten(self) -> None:
        latest = Kept(HEALTHY, rejected=HEALTHY.token.access_token)
        assert rebased(self.OUTCOME, Kept(HEALTHY), latest).rejected == HEALTHY.token.access_token
        newer = Kept(with_token(access_token=Secret("access-ann-2")))
        assert rebased(newer, Kept(HEALTHY), latest).rejected is None

    def test_the_latest_use_is_not_forgotten(self) -> None:
        latest = Kept(account(last_used_at=int(NOW)))
        assert rebased(self.OUTCOME, Kept(HEALTHY), latest).account.last_used_at == int(NOW)


class TestRefreshingAheadOfTime:
    WEEK = 7 * 86_400.0

    def due(self, kept: Kept) -> float | None:
        return next_refresh_at(kept, NOW, idle_check_s=self.WEEK, since=NOW - 10)

    def test_an_account_in_use_is_refreshed_as_soon_as_it_is_stale(self) -> None:
        assert self.due(Kept(STALE)) == NOW
        assert self.due(Kept(STALE, retry_at=NOW + 7)) == NOW + 7

    def test_an_account_not_used_for_a_day_waits_for_the_idle_check(self) -> None:
        day_ago = changed(STALE, last_used_at=int(NOW) - 86_400)
        due = self.due(Kept(day_ago))
        assert due == HEALTHY.last_refresh_at + self.WEEK * jitter_share("ann", 1)
        just_used = changed(STALE, last_used_at=int(NOW) - 86_399)
        assert self.due(Kept(just_used)) == NOW

    def test_a_paused_account_is_kept_alive_too(self) -> None:
        due = self.due(Kept(changed(PAUSED, token=EXPIRED.token)))
        assert due is not None
        assert due > NOW

    def test_an_account_that_was_never_asked_counts_from_the_start(self) -> None:
        unknown = changed(EXPIRED, last_refresh_at=0, created_at=0, last_used_at=0)
        assert self.due(Kept(unknown)) == NOW - 10 + self.WEEK * jitter_share("ann", 1)

    def test_ten_thousand_idle_accounts_added_together_are_asked_apart(self) -> None:
        """Breaks when: `next_refresh_at` leaves out `jitter_share`."""
        idle = changed(EXPIRED, last_refresh_at=int(NOW) - 100, last_used_at=0)
        due = [self.due(Kept(changed(idle, id=f"account-{number}"))) for number in range(10_000)]
        hours = Counter(int((at - NOW) // 3600) for at in due if at is not None)
        assert sum(hours.values()) == 10_000
        assert max(hours.values()) < 450  # 33.6 hours share them
        assert all(0.79 * self.WEEK < at - NOW <= self.WEEK for at in due if at is not None)

    def test_a_clock_turned_back_delays_neither_a_refresh_nor_the_idle_check(self) -> None:
        """Breaks when: `holds_off` is `now < self.retry_at`, or `next_refresh_at` counts from a refresh yet to come."""
        year = 365 * 86_400
        assert self.due(Kept(STALE, retry_at=NOW + year)) == NOW
        _, effects = step(Kept(EXPIRED, retry_at=NOW + year), TokenWanted(), NOW)
        assert [type(effect) for effect in effects] == [StartRefresh]
        from_the_future = changed(EXPIRED, last_refresh_at=int(NOW) + year, last_used_at=0)
        assert self.due(Kept(from_the_future)) == NOW - 10 + self.WEEK * jitter_share("ann", 1)

    @pytest.mark.parametrize(
        "kept",
        [Kept(DISABLED), Kept(STALE, flight=FLIGHT), Kept(with_token(refresh_token=Secret()))],
        ids=["disabled", "in flight", "no refresh token"],
    )
    def test_nothing_is_due_where_nobody_may_ask(self, kept: Kept) -> None:
        assert self.due(kept) is None


class TestTheDocumentation:
    ROOT = Path(__file__).resolve().parents[2]

    def test_the_state_diagram_is_up_to_date(self) -> None:
        """Mended with: python scripts/lifecycle_diagram.py"""
        done = subprocess.run(
            [sys.executable, "scripts/lifecycle_diagram.py", "--check"],
            cwd=self.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def test_every_cause_and_every_code_of_a_refusal_is_explained(self) -> None:
        page = (self.ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
        for word in (*Cause, *REFRESH_ATTENTION, "scope_missing"):
            assert f"`{word}`" in page


def test_a_rotation_that_lands_late_ends_the_flight_that_was_begun_meanwhile_with_the_old_token() -> None:
    """Breaks when: `_refreshed` keeps `kept.flight` whatever grant it asks about."""
    kept, _ = step(Kept(EXPIRED), TokenWanted(), NOW)
    first = kept.flight
    assert first is not None
    supplied = Token(access_token=Secret("access-ann-9"), expiry_timestamp=int(NOW) + 3600)
    kept, _ = step(kept, AccessTokenSupplied(supplied), NOW)
    second = kept.flight
    assert second is not None
    assert second != first
    kept, _ = step(kept, RefreshAnswered(first, granted(refresh_token=NEW)), NOW)
    assert kept.account.token.refresh_token == NEW
    assert kept.flight is None
    after, effects = step(kept, RefreshAnswered(second, refused()), NOW)
    assert (after, effects) == (kept, ())


def test_a_flight_about_the_held_grant_outlives_the_answer_of_another() -> None:
    kept, _ = step(Kept(EXPIRED), TokenWanted(), NOW)
    first = kept.flight
    assert first is not None
    supplied = Token(access_token=Secret("access-ann-9"), expiry_timestamp=int(NOW) + 3600)
    kept, _ = step(kept, AccessTokenSupplied(supplied), NOW)
    kept, _ = step(kept, RefreshAnswered(first, granted()), NOW)
    assert kept.flight is not None
    assert kept.account.token.access_token == Secret("access-ann-9")
