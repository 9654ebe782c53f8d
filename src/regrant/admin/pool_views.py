"""The answer of `GET /api/pool`: every account, whether it would serve a model, and all that is in the way.

Used by the API and by `regrant why-not` and `regrant accounts show`. What is in the way is judged in `pool/standing.py`, in which order
accounts serve in `pool/prospect.py`, which model a name leads to in `gateway/routing.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Literal

import msgspec

from regrant.admin.parts import Parts
from regrant.admin.views import AdviceView
from regrant.dialects.anthropic import vertex
from regrant.gateway import routing
from regrant.gateway.calls import is_on_vertex
from regrant.gateway.routing import Routed
from regrant.messages.problem import Problem
from regrant.pool.members import standing_of
from regrant.pool.prospect import Prospect
from regrant.pool.selector import Candidate
from regrant.pool.standing import EVERY_MODEL, Check, Explanation, explain

ASK_S = 5.0
"""How long Google may take to say which models there are, where the name alone does not tell."""


class CheckView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that could be in the way, and whether it is not. Unix seconds; left out where not known."""

    check: Literal["disabled", "quota", "paused", "attention", "cooldown", "client"]
    ok: bool
    since: float | None = None
    until: float | None = None
    advice: AdviceView | None = None


class PlaceView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One account. `turn` 1 would serve next; `left_out` says why it would not be asked though nothing is wrong with it."""

    id: str
    email: str
    serves: bool
    checks: list[CheckView]
    turn: int | None = None
    left_out: str = ""


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """`model` is the one that was asked for; null: what holds for every model. `served_model` is Google's name for it, null where
    nobody knows one; `note` then says why. `stand_ins` are tried when it cannot serve; they are not judged here.

    `strategy` chooses among those that serve. `waiting` is how many requests wait for an account in this process, `waiting_for_you` how
    many of them for somebody to sign in.
    """

    model: str | None
    served_model: str | None
    note: str
    stand_ins: list[str]
    can_serve: bool
    strategy: str
    waiting: int
    waiting_for_you: int
    accounts: list[PlaceView]


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """Where a name leads: to `model` (`*`: no model in particular), on accounts that suit; or, with a `note` only, nowhere."""

    model: str | None
    note: str = ""
    stand_ins: tuple[str, ...] = ()
    suits: Callable[[Candidate], bool] | None = None


async def view_pool(parts: Parts, name: str, key: str = "", *, ask: bool = True) -> PoolView:
    """The pool as requests for the model `name` ("": any) with the client key of that name ("": none in particular) meet it.

    `ask`: where the settings do not tell where a name leads, ask Google which models there are, as a request would.
    """
    aim = await _aim(parts, name, key, ask=ask)
    pool = parts.pool
    places, strategy = judge(parts, aim, key)
    return PoolView(
        model=name or None,
        served_model=aim.model if name else None,
        note=aim.note,
        stand_ins=list(aim.stand_ins),
        can_serve=any(place.serves for place in places),
        strategy=strategy,
        waiting=pool.waiting,
        waiting_for_you=pool.appeal.count,
        accounts=places,
    )


def judge(parts: Parts, aim: Aim, key: str) -> tuple[list[PlaceView], str]:
    """Each account, as requests with the client key of that name find it; and the strategy that chooses among them."""
    model, pool = aim.model or EVERY_MODEL, parts.pool
    prospect = pool.prospect(model, key, aim.suits)
    reserves = pool.reserves(model)
    clients, now = parts.oauth_clients(), parts.clock.now()
    default_client_id = parts.settings().google.client_id
    standings = [
        standing_of(entry, clients, default_client_id, now, reserves) for entry in parts.keeper.entries()
    ]
    by_id = {candidate.id: candidate for candidate in pool.candidates}
    places = [
        _place(one, by_id.get(one.id), aim, prospect)
        for one in explain(standings, model, pool.blocked(model))
    ]
    return places, prospect.strategy


def _place(one: Explanation, candidate: Candidate | None, aim: Aim, prospect: Prospect) -> PlaceView:
    left_out = ""
    if candidate is not None and candidate.id not in prospect.members:
        left_out = f"the settings confine such requests to the {_group(prospect.limit)}"
    elif candidate is not None and aim.suits is not None and not aim.suits(candidate):
        left_out = "its upstream is not vertex, and Claude is asked of accounts of Vertex"
    serves = one.serves and not left_out and aim.model is not None
    turns = prospect.order if serves else ()
    return PlaceView(
        id=one.id,
        email=one.email,
        serves=serves,
        checks=[_show_check(check) for check in one.checks],
        turn=turns.index(one.id) + 1 if one.id in turns else None,
        left_out=left_out,
    )


def _group(limit: str) -> str:
    return limit if limit.startswith("account ") else f"group {limit}"


def _show_check(check: Check) -> CheckView:
    return msgspec.convert(check, CheckView, from_attributes=True)


async def _aim(parts: Parts, name: str, key: str, *, ask: bool) -> Aim:
    if not name:
        return Aim(model=EVERY_MODEL)
    key_id = next((one.id for one in parts.keys.keys if one.name == key), "")
    routed = parts.offer.settled(name, key_id, key)
    if routed is not None:
        return _aim_by(routed, parts.offer.discovery.now_known())
    if parts.offer.tries_claude(name, key_id, key) and any(map(is_on_vertex, parts.pool.candidates)):
        return Aim(model=vertex.vertex_name(name), suits=is_on_vertex)
    if not ask or not parts.pool.candidates:
        rules = routing.rules_for(parts.settings().models, key_id, key)
        by_list = routing.route(name, rules, parts.offer.discovery.now_known())
        note = "the settings lead from this name to no model, and Google was not asked which models there are"
        return Aim(model=None, note=note) if by_list is None else _aim_by(by_list, {})
    try:
        async with asyncio.timeout(ASK_S):
            found = await parts.offer.route(name, key_id, key)
    except TimeoutError:
        return Aim(model=None, note="Google did not say in time which models there are")
    return Aim(model=None, note=found.message) if isinstance(found, Problem) else _aim_by(found, {})


def _aim_by(routed: Routed, seen: Collection[str]) -> Aim:
    """`seen` are the models that the accounts were last told of; empty where they were not asked."""
    if not routed.models:
        return Aim(model=None, note=f"the client key may not use {', '.join(routed.barred)} (models.rules)")
    first, *others = routed.models
    if vertex.is_claude(first):
        return Aim(model=vertex.vertex_name(first), stand_ins=tuple(others))
    note = (
        "the accounts did not see this model when Google was last asked" if seen and first not in seen else ""
    )
    return Aim(model=first, note=note, stand_ins=tuple(others))
