"""Why an account does or does not serve a model: every check, in the contract's order.

Pure. The standing of each known account comes from the keeper, cool-downs from the pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from regrant.pool.cooldown import Blocked, Cooldown
from regrant.upstream.faults import FaultKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One thing in the way: since and until in unix seconds (None: unknown, or no end), and what to do about it."""

    since: float | None = None
    until: float | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the keeper knows of one account, in the pool or out of it. None means: not in the way."""

    id: str
    email: str
    project: str
    disabled: Obstacle | None = None
    protected: frozenset[str] = frozenset()
    """Models that quota protection holds back."""
    protected_until: float | None = None
    paused: Obstacle | None = None
    attention: Obstacle | None = None
    client: Obstacle | None = None
    """The OAuth client that the grant needs is broken or missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`check` is one of disabled, quota, paused, attention, cooldown, client."""

    check: str
    ok: bool
    since: float | None = None
    until: float | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    id: str
    email: str
    serves: bool
    checks: tuple[Check, ...]


_COOLDOWN_ADVICE = {
    FaultKind.RATE_LIMITED: "The project's rate limit is reached; it reopens by itself.",
    FaultKind.QUOTA_PER_DAY: "The project's daily quota for this model is used up.",
    FaultKind.NO_QUOTA: "The project has no quota for this model; enable billing or choose another model.",
    FaultKind.BILLING: "The project's billing is exhausted or off; top it up, then verify the account.",
    FaultKind.OVERLOADED: "The model is overloaded at Google for everyone.",
    FaultKind.MODEL_NOT_ALLOWED: "Enable the model in the project's Model Garden.",
    FaultKind.UNUSABLE_HERE: "Google does not serve this project from where the gateway runs.",
    FaultKind.SPEND_LIMIT: "The project spends too fast for its tier; it reopens within ten minutes.",
    FaultKind.PERMISSION: "Google refuses the account or its project; the attention of the account that met it says why.",
    FaultKind.BLOCKED: "Something that is not Google's API refused the call: a firewall, a portal, or a block of this address.",
    FaultKind.TOKEN_REJECTED: "Google refuses even fresh access tokens; sign in again if it stays so.",
}


def cooldown_advice(why: FaultKind) -> str:
    """What a cool-down of that kind means for people."""
    return _COOLDOWN_ADVICE.get(why, "Left alone after a failure.")


def explain(standings: Iterable[Standing], model: str, blocked: Blocked) -> list[Explanation]:
    """Every check of every account for `model`; `blocked` is the pool's, for the same model and moment."""
    return [_explain_one(standing, model, blocked) for standing in standings]


def _explain_one(standing: Standing, model: str, blocked: Blocked) -> Explanation:
    checks = (
        _check("disabled", standing.disabled),
        _check("quota", _protection(standing, model)),
        _check("paused", standing.paused),
        _check("attention", standing.attention),
        _check("cooldown", _cooling(blocked.of(standing.project, standing.id))),
        _check("client", standing.client),
    )
    return Explanation(
        id=standing.id, email=standing.email, serves=all(check.ok for check in checks), checks=checks
    )


def _check(name: str, obstacle: Obstacle | None) -> Check:
    if obstacle is None:
        return Check(check=name, ok=True)
    return Check(check=name, ok=False, since=obstacle.since, until=obstacle.until, advice=obstacle.advice)


def _protection(standing: Standing, model: str) -> Obstacle | None:
    if model not in standing.protected:
        return None
    return Obstacle(
        until=standing.protected_until, advice="Quota protection holds the rest of the quota back."
    )


def _cooling(cooldown: Cooldown | None) -> Obstacle | None:
    if cooldown is None:
        return None
    until = None if math.isinf(cooldown.until) else cooldown.until
    return Obstacle(until=until, advice=cooldown_advice(cooldown.why))
