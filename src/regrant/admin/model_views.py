"""The answer of `POST /api/models/explain`: each rule that was looked at, the models that it leads to, and who could serve them now.

The rules are `gateway/routing.py`; whether an account can serve is judged by `pool_views.py`, for `GET /api/pool` alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from regrant.admin.errors import ApiError
from regrant.admin.parts import Parts
from regrant.admin.pool_views import ASK_S, Aim, PlaceView, judge
from regrant.dialects.anthropic import vertex
from regrant.gateway import routing
from regrant.gateway.calls import is_on_vertex
from regrant.gateway.keys import Key
from regrant.gateway.routing import Routed, Rules, Step
from regrant.messages.problem import Problem
from regrant.pool.selector import Candidate

Suits = Callable[[Candidate], bool] | None
Dialect = Literal["openai", "anthropic", "gemini"]


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """One rule in its turn. `place` is its key in the settings, "" for what is built in; `models` where it leads, empty where it does
    not match. Exactly one `decides`, the first that matches; none, where none does.
    """

    rule: str
    place: str
    matches: bool
    decides: bool
    models: list[str]
    why: str


class CallView(msgspec.Struct, frozen=True):
    """What would be sent: a POST to `url` with the token of `account`, for Google's model `model`."""

    account: str
    model: str
    url: str


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the order in which they are tried. `sent` is null where no account can serve it now; `passed_over` says why it is
    never asked by such a request, "" where it is.
    """

    model: str
    can_serve: bool
    passed_over: str
    sent: CallView | None
    accounts: list[PlaceView]


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`served_model` is Google's name for what serves `model` first, `rule` what led to it; null: nobody serves it, see `advice`.

    `serves_now` is the first of `chain` that an account can serve at this moment. `barred` may not be used by the key.
    """

    model: str
    key: str | None
    dialect: Dialect
    served_model: str | None
    serves_now: str | None
    rule: str | None
    advice: str | None
    rules: list[RuleView]
    chain: list[LinkView]
    barred: list[str]


async def explain_name(parts: Parts, name: str, key_word: str, dialect: Dialect) -> ModelAnswer:
    """The whole decision about a name, for the client key of that name or id ("": none). Raises ApiError for an unknown key."""
    key = _find_key(parts, key_word)
    key_id, key_name = (key.id, key.name) if key else ("", "")
    rules = routing.rules_for(parts.settings().models, key_id, key_name)
    routed = await _route(parts, name, key_id, key_name)
    shown = list(_rules(parts, name, rules, dialect))
    claude = dialect == "anthropic" and any(one.decides and one.rule == "claude" for one in shown)
    first = Routed((name,), "claude", "models.presets") if claude else None
    links = _links(parts, first, routed if isinstance(routed, Routed) else None, dialect, key_name)
    led = first or (routed if isinstance(routed, Routed) else None)
    asked = [link for link in links if not link.passed_over]
    return ModelAnswer(
        model=name,
        key=key_name or None,
        dialect=dialect,
        served_model=asked[0].model if asked else None,
        serves_now=next((link.model for link in asked if link.can_serve), None),
        rule=led.rule if led else None,
        advice=routed.message if isinstance(routed, Problem) and led is None else None,
        rules=shown,
        chain=links,
        barred=list(routing.barred_by(name, rules, parts.offer.discovery.now_known())),
    )


def _find_key(parts: Parts, word: str) -> Key | None:
    if not word:
        return None
    for key in parts.keys.keys:
        if word in {key.id, key.name}:
            return key
    raise ApiError(404, "key_not_found", f"there is no key {word[:100]!r}", "GET /api/keys lists them.")


async def _route(parts: Parts, name: str, key_id: str, key_name: str) -> Routed | Problem:
    """As a request would be routed, without waiting for Google for long."""
    try:
        async with asyncio.timeout(ASK_S):
            return await parts.offer.route(name, key_id, key_name)
    except TimeoutError:
        hint = "Ask again in a while; GET /api/pool says which account lacks what."
        raise ApiError(
            504, "upstream_unavailable", "Google did not say in time which models there are", hint
        ) from None


def _rules(parts: Parts, name: str, rules: Rules, dialect: Dialect) -> Iterator[RuleView]:
    decided = False
    for step in _steps(parts, name, rules, dialect):
        decides = bool(step.models) and not decided
        decided = decided or decides
        yield RuleView(
            rule=step.rule,
            place=step.place,
            matches=bool(step.models),
            decides=decides,
            models=list(step.models),
            why=step.why,
        )


def _steps(parts: Parts, name: str, rules: Rules, dialect: Dialect) -> Iterator[Step]:
    for step in routing.steps(name, rules, parts.offer.discovery.now_known()):
        if step.rule == "discovered" and dialect == "anthropic":
            yield _claude(parts, name, rules)
        yield step


def _claude(parts: Parts, name: str, rules: Rules) -> Step:
    """What only Messages requests have: a Claude name is tried on Vertex."""
    place = "models.presets"
    if not vertex.is_claude(name):
        return Step("claude", place, (), "not a Claude name")
    if not rules.presets:
        return Step("claude", place, (), "switched off")
    if not routing.may_use(name, rules):
        return Step("claude", place, (), "not one of the models that the key may use")
    if not any(map(is_on_vertex, parts.pool.candidates)):
        return Step("claude", place, (), "no account that could serve has Vertex as its upstream")
    return Step(
        "claude", place, (name,), "tried on Vertex first; where no account has it, the rules below go on"
    )


def _links(
    parts: Parts, first: Routed | None, routed: Routed | None, dialect: Dialect, key_name: str
) -> list[LinkView]:
    links = [_claude_link(parts, model, key_name, is_on_vertex) for model in (first.models if first else ())]
    models = routed.models if routed else ()
    if first is not None and routed is not None:
        models = routed.googles
    begun = False
    for model in models:
        reason = ""
        if vertex.is_claude(model) and len(models) > 1 and (dialect != "anthropic" or begun):
            reason = (
                "in a Messages request, Claude stands only at the beginning of a list"
                if dialect == "anthropic"
                else "Claude serves only Messages requests"
            )
        begun = begun or not vertex.is_claude(model)
        if vertex.is_claude(model) and dialect == "anthropic" and not reason:
            links.append(_claude_link(parts, model, key_name, None))
        else:
            links.append(_link(parts, model, Aim(model=model), key_name, passed_over=reason))
    return links


def _claude_link(parts: Parts, model: str, key_name: str, suits: Suits) -> LinkView:
    return _link(parts, model, Aim(model=vertex.vertex_name(model), suits=suits), key_name, "rawPredict")


def _link(
    parts: Parts,
    model: str,
    aim: Aim,
    key_name: str,
    method: str = "generateContent",
    *,
    passed_over: str = "",
) -> LinkView:
    places, _ = judge(parts, aim, key_name)
    serving = min((place for place in places if place.serves), key=_turn, default=None)
    sent = None
    if serving is not None and not passed_over:
        sent_as = aim.model or model
        sent = CallView(serving.email, sent_as, parts.offer.address(serving.id, sent_as, method))
    return LinkView(
        model=model, can_serve=serving is not None, passed_over=passed_over, sent=sent, accounts=places
    )


def _turn(place: PlaceView) -> tuple[float, str]:
    return (float("inf") if place.turn is None else place.turn, place.id)
