"""In which order the accounts would serve, for people who ask: a strategy is tried out on a copy of itself.

Pure. Choosing for requests is `pool.py`; why an account would not serve at all is `standing.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import msgspec

from regrant.pool.field import Field
from regrant.pool.plans import Plan
from regrant.pool.selector import Allowed, Candidate
from regrant.pool.strategies import STRATEGIES

MAX_TURNS = 100  # whoever comes later is as good as last


class Prospect(msgspec.Struct, frozen=True):
    """`order` are the ids of the accounts that a new request without a conversation would try one after another, MAX_TURNS at the most.

    `limit` is the group that the request is confined to, "" for none; `members` are those that it may use at all.
    """

    strategy: str
    limit: str
    members: frozenset[str]
    order: tuple[str, ...]


def look_ahead(plan: Plan, fields: Iterable[Field], suits: Allowed | None) -> Prospect:
    """`fields` are those of the parts of `plan`, in their order."""
    strategy = copy.deepcopy(plan.strategy)
    order: list[str] = []
    members: set[str] = set()

    def untried(candidate: Candidate) -> bool:
        return candidate.id not in tried and (suits is None or suits(candidate))

    tried: set[str] = set()
    for field in fields:
        members |= {id_ for id_, one in field.ring.by_id.items() if field.name[1].has(one)}
        while len(order) < MAX_TURNS and (picked := strategy.pick(field, None, untried)) is not None:
            tried.add(picked.id)
            order.append(picked.id)
    return Prospect(_name_of(plan), plan.limit, frozenset(members), tuple(order))


def _name_of(plan: Plan) -> str:
    return next((name for name, make in STRATEGIES.items() if type(plan.strategy) is make), "")
