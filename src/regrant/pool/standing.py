"""Why an account does or does not serve a model: every check, in the contract's order.

Pure. The standing of each known account comes from the keeper, cool-downs from the pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from regrant.accounts.diagnosis import Advice, protection_advice
from regrant.pool.cooldown import Blocked, Cooldown
from regrant.upstream.fault_words import words_of
from regrant.upstream.faults import Scope

EVERY_MODEL = "*"


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in the way: since and until in unix seconds (None: unknown, or no end), and what to do about it."""

    since: float | None = None
    until: float | None = None
    advice: Advice | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the keeper knows of one account, in the pool or out of it. None means: not in the way."""

    id: str
    email: str
    project: str
    disabled: Obstacle | None = None
    protected: frozenset[str] = frozenset()
    """Models that a person or an import holds back; `*` is every one."""
    reserve: Cooldown | None = None
    """Quota protection holds back what is left for the model that is asked about."""
    paused: Obstacle | None = None
    attention: Obstacle | None = None
    client: Obstacle | None = None
    """The OAuth client that the grant needs is broken or missing, and the access token does not serve any more."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """`check` is one of disabled, quota, paused, attention, cooldown, client."""

    check: str
    ok: bool
    since: float | None = None
    until: float | None = None
    advice: Advice | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    email: str
    serves: bool
    checks: tuple[Check, ...]

    @property
    def reason(self) -> str:
        """The first check that fails; "" when none does."""
        return next((check.check for check in self.checks if not check.ok), "")


_SCOPES = {
    Scope.MODEL: "It concerns this model on every account.",
    Scope.PROJECT_MODEL: "It concerns this model on every account of project {project}.",
    Scope.PROJECT: "It concerns every account of project {project}.",
    Scope.ACCOUNT: "It concerns this account alone.",
}


def cooldown_advice(cooldown: Cooldown, email: str) -> Advice:
    """What a cool-down means for people, and what they can do about it."""
    words = words_of(cooldown.why)
    trial = "One request is trying it now." if cooldown.probing else ""
    text = " ".join(filter(None, (words.meaning, trial, words.advice)))
    return Advice(text, command=words.command_for(email))


def explain(standings: Iterable[Standing], model: str, blocked: Blocked) -> list[Explanation]:
    """Every check of every account for `model`; `blocked` is the pool's, for the same model and moment."""
    return [_explain_one(standing, model, blocked) for standing in standings]


def _explain_one(standing: Standing, model: str, blocked: Blocked) -> Explanation:
    checks = (
        _check("disabled", standing.disabled),
        _check("quota", _protection(standing, model)),
        _check("paused", standing.paused),
        _check("attention", standing.attention),
        _check("cooldown", _cooling(standing, blocked)),
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
    if model in standing.protected or EVERY_MODEL in standing.protected:
        held = standing.protected & {model, EVERY_MODEL}
        return Obstacle(advice=protection_advice(held, held))
    if standing.reserve is None:
        return None
    return Obstacle(until=standing.reserve.until, advice=protection_advice([model], ()))


def _cooling(standing: Standing, blocked: Blocked) -> Obstacle | None:
    """The cool-down that ends last, and whom it concerns."""
    held = [
        (scope, cooldown)
        for scope, cooldown in (
            (Scope.MODEL, blocked.model),
            (Scope.PROJECT_MODEL, blocked.project_models.get(standing.project)),
            (Scope.PROJECT, blocked.projects.get(standing.project)),
            (Scope.ACCOUNT, blocked.accounts.get(standing.id)),
        )
        if cooldown is not None
    ]
    if not held:
        return None
    scope, cooldown = max(held, key=lambda pair: pair[1].until)
    advice = cooldown_advice(cooldown, standing.email)
    whom = _SCOPES[scope].format(project=standing.project)
    return Obstacle(
        since=cooldown.since,
        until=None if math.isinf(cooldown.until) else cooldown.until,
        advice=msgspec.structs.replace(advice, text=f"{advice.text} {whom}"),
    )
