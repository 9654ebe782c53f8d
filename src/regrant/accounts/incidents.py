"""One incident per cause: what is wrong now, since when, whom it concerns, when it was over, and what of it is told.

Pure, and about states rather than events: it is shown each account as it is now (`Sight`), and the pool and the clock, as often as one
likes; only a difference opens or closes an incident. So it can be put down and taken up again by another process. Changes nothing about
any account. The words are `incident_words.py`; watching, sharing and telling is `incident_watch.py`.

Over 400 lines on purpose: what opens, joins and ends an incident, and which account has its part in which, is one argument.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Literal

import msgspec

from regrant.accounts.forecast import HOUR_S, foresee, stage_at
from regrant.accounts.model import Account, Attention

WINDOW_S = 120
LEAST_DEATHS = 3
NEWS_S = HOUR_S
"""A death that nobody was told of is news for so long."""
MAX_CLOSED = 100
MAX_OPEN = 10_000
CLOCK_SLACK_S = 300
SETTLE_S = 2.0
"""What belongs together comes together: only after so long is it told, as the one thing that it is by then."""
SKEW_S, SKEW_OVER_S = 60.0, 30.0
MOST_WEIGHED = 10
"""So many causes of death are looked at one by one; each later one is compared with what they share."""
MOVED_S = HOUR_S
"""A known end that moves by less is the same one, told again by Google with other seconds."""
CLOCK, MIXED, CLIENT_BROKEN, REFRESH_FAILING, DIED = (
    "clock",
    "mixed",
    "client_broken",
    "refresh_failing",
    "died",
)


class Kind(StrEnum):
    ACCOUNT_DIED = "account_died"
    MASS_FAILURE = "mass_failure"
    WILL_DIE = "will_die"
    ATTENTION = "attention"
    CLIENT_BROKEN = "client_broken"
    POOL_EMPTY = "pool_empty"
    NOT_PERSISTED = "not_persisted"
    CLOCK_SKEW = "clock_skew"


DEATHS = (Kind.ACCOUNT_DIED, Kind.MASS_FAILURE)


class IncidentView(msgspec.Struct, frozen=True):
    """One incident as people are told of it. Times are unix seconds; `until` None: it is not over. `kind`: a `Kind`."""

    id: str
    kind: str
    title: str
    """One line in plain words."""
    text: str
    """The advice, with the page (`url`) and the command that mend it; empty where there is none."""
    url: str
    command: str
    since: int
    until: int | None
    accounts: tuple[str, ...]
    emails: tuple[str, ...]
    """In the order of `accounts`."""
    client_id: str
    cause: str
    requests: int
    """How many requests failed or had to be served by another account because of it."""
    severity: Literal["warning", "critical"]

    @property
    def length_s(self) -> int:
        """How long it lasted; 0 while it is not over."""
        return 0 if self.until is None else self.until - self.since


class IncidentChange(msgspec.Struct, frozen=True):
    """What is told, once among all processes of a data folder."""

    what: Literal["opened", "updated", "closed"]
    incident: IncidentView


class Death(msgspec.Struct, frozen=True):
    at: int
    cause: str
    before_last_refresh: bool = False
    """It died before it was last refreshed, by this machine's clock: the clock has been turned."""


class Sight(msgspec.Struct, frozen=True):
    """An account as it is now, as far as incidents go. `client_id`: the OAuth client of its grant."""

    id: str
    email: str
    client_id: str
    death: Death | None = None
    proven: bool = True
    """Not merely taken for alive on somebody's word."""
    attention: Attention | None = None
    last_refresh_at: int = 0
    dies_at: int | None = None
    dies_of: str = ""
    unwritten: str = ""
    """Why it could not be stored; "" when it is."""


def see(
    account: Account, client_id: str, now: float, *, recovering: bool = False, unwritten: str = ""
) -> Sight:
    """What of the account matters here."""
    end, disabled = foresee(account, now), account.disabled
    return Sight(
        id=account.id,
        email=account.email,
        client_id=client_id,
        death=Death(disabled.at, disabled.cause, account.last_refresh_at > disabled.at + CLOCK_SLACK_S)
        if disabled
        else None,
        proven=not recovering,
        attention=account.attention,
        last_refresh_at=account.last_refresh_at,
        dies_at=end.at if end else None,
        dies_of=end.cause if end else "",
        unwritten=unwritten,
    )


class Member(msgspec.Struct):
    """An account's part in an incident. `at`: when it joined by its own record; of `will_die` the known end."""

    email: str
    at: int
    cause: str = ""
    over: bool = False
    """It is back, or was removed."""
    turned: bool = False
    """`Death.before_last_refresh`."""


class Incident(msgspec.Struct):
    """Times are unix seconds. The record that is shared between processes."""

    id: str
    kind: Kind
    key: str
    """What it is about: an account, an account and a code, an OAuth client, or "" where there can be one only."""
    since: int
    client_id: str = ""
    cause: str = ""
    message: str = ""
    url: str = ""
    members: dict[str, Member] = msgspec.field(default_factory=dict)
    until: int | None = None
    opened_at: float = 0.0
    closed_at: float = 0.0
    """When this was noticed: telling counts from it."""
    told: Literal["", "opened", "closed"] = ""
    stage: int = 0
    """Of `will_die`: the hours of the notice that is due."""
    told_stage: int = 0
    part_of: str = ""
    """The mass failure that it turned out to be a part of."""

    @property
    def open(self) -> bool:
        return self.until is None

    @property
    def newest(self) -> int:
        return max((member.at for member in self.members.values()), default=self.since)


class Telling(msgspec.Struct, frozen=True):
    what: Literal["opened", "updated", "closed"]
    incident: Incident


class Incidents:
    """What is known of incidents; bounded. `take_changed` names those that differ since it was last asked."""

    def __init__(self) -> None:
        self._all: dict[str, Incident] = {}
        self._open: dict[tuple[Kind, str], Incident] = {}
        """The newest open one of its kind and key."""
        self._held: dict[str, dict[str, Incident]] = {}
        """By account: the open incidents in which it has its part."""
        self._untold: dict[str, Incident] = {}
        """Those of which something is to be told, now or soon."""
        self._retired: dict[str, None] = {}
        """Those that are over and told, the oldest first."""
        self._changed: dict[str, Incident | None] = {}

    def all(self) -> list[Incident]:
        """The open ones first, the newest first."""
        newest = sorted(self._all.values(), key=lambda one: (one.opened_at, one.id), reverse=True)
        return sorted(newest, key=lambda one: not one.open)

    @property
    def open_count(self) -> int:
        return sum(one.open for one in self._all.values())

    def get(self, incident_id: str) -> Incident | None:
        return self._all.get(incident_id)

    def open_of(self, kind: Kind, key: str = "") -> Incident | None:
        return self._open.get((kind, key))

    def touching(self, account_id: str) -> list[Incident]:
        """The open incidents because of which a request may fail on this account."""
        held = self._held.get(account_id)
        if not held:
            return []
        return [one for one in held.values() if one.kind not in {Kind.WILL_DIE, Kind.NOT_PERSISTED}]

    def take_changed(self) -> dict[str, Incident | None]:
        """By id what has changed; None: there is no such incident any more."""
        changed, self._changed = self._changed, {}
        return changed

    def put(self, incident: Incident) -> None:
        """Know an incident as another process, or this one before it ended, has left it."""
        self.drop(incident.id)
        self._all[incident.id] = incident
        if incident.open:
            self._index(incident)
        if incident.told == "closed":
            self._retire(incident)
        else:
            self._untold[incident.id] = incident

    def drop(self, incident_id: str) -> None:
        incident = self._all.pop(incident_id, None)
        if incident is not None:
            self._unindex(incident)
            self._untold.pop(incident_id, None)
            self._retired.pop(incident_id, None)

    def observe(self, seen: Sight, now: float) -> None:
        """The account is this now."""
        self._see_death(seen, now)
        self._see_attention(seen, now)
        self._see_end(seen, now)
        self._see_disk(seen, now)

    def gone(self, account_id: str, now: float) -> None:
        """The account was removed."""
        for incident in list(self._held.get(account_id, {}).values()):
            self._over(incident, account_id, now)

    def see_pool(self, now: float, *, can_serve: bool, reasons: Mapping[str, int]) -> None:
        """Whether any account can serve; `reasons`: how many known accounts are out, by reason."""
        incident = self.open_of(Kind.POOL_EMPTY)
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()) if count)
        if can_serve:
            if incident is not None:
                self._close(incident, now)
        elif incident is None:
            if counts:  # where there is no account at all, nothing has happened
                self._begin(Kind.POOL_EMPTY, "", int(now), now, cause="no_accounts", message=counts)
        elif incident.message != counts:
            incident.message = counts
            self._mark(incident)

    def see_clock(self, skew_s: float | None, now: float) -> None:
        """How far this clock is ahead of Google's; None: not known, which changes nothing."""
        incident = self.open_of(Kind.CLOCK_SKEW)
        if skew_s is None:
            return
        if incident is not None and abs(skew_s) <= SKEW_OVER_S:
            self._close(incident, now)
        elif incident is None and abs(skew_s) > SKEW_S:
            self._begin(Kind.CLOCK_SKEW, "", int(now), now, cause=CLOCK, message=f"{skew_s:.0f}")

    def due(self, now: float) -> list[Telling]:
        """What is to be told now, each once: it counts as told from here on."""
        tellings: list[Telling] = []
        for incident in list(self._untold.values()):
            if not incident.told and _settled(incident.opened_at, now):
                incident.told, incident.told_stage = "opened", incident.stage
                tellings.append(Telling("opened", incident))
            if incident.told == "opened" and incident.open and incident.stage != incident.told_stage:
                incident.told_stage = incident.stage
                tellings.append(Telling("updated", incident))
            if incident.told == "opened" and not incident.open and _settled(incident.closed_at, now):
                incident.told = "closed"
                tellings.append(Telling("closed", incident))
                self._retire(incident)
            if incident.told == "closed" or (incident.told and incident.open):
                del self._untold[incident.id]
        for telling in tellings:
            self._mark(telling.incident)
        return tellings

    # -- deaths --

    def _see_death(self, seen: Sight, now: float) -> None:
        incident = self._held.get(seen.id, {}).get("death")
        if seen.death is None:
            if incident is not None and seen.proven:
                self._over(incident, seen.id, now)
        elif incident is None and abs(now - seen.death.at) <= NEWS_S:
            self._died(seen, seen.death, now)

    def _died(self, seen: Sight, death: Death, now: float) -> None:
        member = Member(seen.email, death.at, death.cause, turned=death.before_last_refresh)
        mass = self.open_of(Kind.MASS_FAILURE, seen.client_id)
        if mass is not None and _goes_on(mass, death.at):
            self._join(mass, seen.id, member)
            return
        single = [
            one
            for (kind, _), one in self._open.items()
            if kind is Kind.ACCOUNT_DIED
            and one.client_id == seen.client_id
            and abs(death.at - one.since) <= WINDOW_S
        ]
        if len(single) + 1 >= LEAST_DEATHS:
            self._unite(seen, member, single, now)
        else:
            begun = self._begin(Kind.ACCOUNT_DIED, seen.id, death.at, now, client_id=seen.client_id)
            self._join(begun, seen.id, member)

    def _unite(self, seen: Sight, member: Member, single: list[Incident], now: float) -> None:
        """They are one incident: those that nobody was told of are forgotten, the others end as parts of it."""
        members = {account_id: one for part in single for account_id, one in part.members.items()}
        members[seen.id] = member
        since = min(one.at for one in members.values())
        mass = self._begin(Kind.MASS_FAILURE, seen.client_id, since, now, client_id=seen.client_id)
        for part in single:
            part.part_of = mass.id
            self._close(part, now)
            if not part.told:
                self._forget(part.id)
        for account_id, one in sorted(members.items(), key=lambda pair: pair[1].at):
            self._join(mass, account_id, msgspec.structs.replace(one, over=False))

    # -- what needs a person --

    def _see_attention(self, seen: Sight, now: float) -> None:
        code = seen.attention.code if seen.attention is not None and seen.death is None else ""
        for group, incident in list(self._held.get(seen.id, {}).items()):
            if group == "attention" and incident.cause != code:
                if incident.kind is Kind.CLIENT_BROKEN and seen.death is None:
                    self._close(incident, now)  # the first success: the client works
                else:
                    self._over(incident, seen.id, now)
        self._see_client(seen, now, broken=code == CLIENT_BROKEN)
        if seen.attention is None or not code or "attention" in self._held.get(seen.id, {}):
            return
        member = Member(seen.email, seen.attention.since, code)
        if code == CLIENT_BROKEN:
            if not self._outdated(seen, seen.attention):
                self._attend(Kind.CLIENT_BROKEN, seen.client_id, seen, member, now)
        else:
            key = REFRESH_FAILING if code == REFRESH_FAILING else f"{seen.id} {code}"
            self._attend(Kind.ATTENTION, key, seen, member, now)

    def _see_client(self, seen: Sight, now: float, *, broken: bool) -> None:
        incident = self.open_of(Kind.CLIENT_BROKEN, seen.client_id)
        if incident is not None and not broken and seen.last_refresh_at > incident.newest:
            self._close(incident, now)

    def _outdated(self, seen: Sight, attention: Attention) -> bool:
        """Whether the account merely has not been refreshed since the client was mended."""
        for one in self._all.values():
            if one.kind is Kind.CLIENT_BROKEN and one.key == seen.client_id and one.until is not None:
                part = one.members.get(seen.id)
                if attention.since < one.until or (part is not None and part.at == attention.since):
                    return True
        return False

    def _attend(self, kind: Kind, key: str, seen: Sight, member: Member, now: float) -> None:
        attention = seen.attention
        assert attention is not None
        incident = self.open_of(kind, key) or self._begin(
            kind,
            key,
            attention.since,
            now,
            client_id=seen.client_id if key != REFRESH_FAILING else "",
            cause=attention.code,
            message=attention.message,
            url=attention.url,
        )
        self._join(incident, seen.id, member)

    # -- known ends, and the disk --

    def _see_end(self, seen: Sight, now: float) -> None:
        incident = self._held.get(seen.id, {}).get(Kind.WILL_DIE)
        if incident is not None:
            member = incident.members[seen.id]
            if seen.dies_at is None or seen.dies_at > member.at + MOVED_S:
                incident.message = DIED if seen.death is not None else ""
                self._over(incident, seen.id, now)
            else:
                self._count_down(incident, member, seen.dies_at, now)
                return
        stage = stage_at(seen.dies_at, now) if seen.dies_at is not None and seen.proven else None
        if stage is not None and seen.dies_at is not None:
            begun = self._begin(
                Kind.WILL_DIE, seen.id, int(now), now, client_id=seen.client_id, cause=seen.dies_of
            )
            begun.stage = stage
            self._join(begun, seen.id, Member(seen.email, seen.dies_at, seen.dies_of))

    def _count_down(self, incident: Incident, member: Member, dies_at: int, now: float) -> None:
        stage = min(incident.stage, stage_at(dies_at, now) or incident.stage)
        if (member.at, incident.stage) != (dies_at, stage):
            member.at, incident.stage = dies_at, stage
            self._untold[incident.id] = incident
            self._mark(incident)

    def _see_disk(self, seen: Sight, now: float) -> None:
        held = self._held.get(seen.id, {}).get(Kind.NOT_PERSISTED)
        if not seen.unwritten:
            if held is not None:
                self._over(held, seen.id, now)
        elif held is None:
            incident = self.open_of(Kind.NOT_PERSISTED) or self._begin(
                Kind.NOT_PERSISTED, "", int(now), now, message=seen.unwritten, cause="not_persisted"
            )
            self._join(incident, seen.id, Member(seen.email, int(now)))

    # -- bookkeeping --

    def _begin(
        self,
        kind: Kind,
        key: str,
        since: int,
        now: float,
        *,
        client_id: str = "",
        cause: str = "",
        message: str = "",
        url: str = "",
    ) -> Incident:
        name = f"{kind.replace('_', '-')}-{since}-{blake2b(key.encode(), digest_size=4).hexdigest()}"
        names = itertools.chain((name,), (f"{name}-{number}" for number in itertools.count(2)))
        unused = next(one for one in names if one not in self._all)
        incident = Incident(unused, kind, key, since, client_id, cause, message, url, opened_at=now)
        self._all[incident.id] = self._untold[incident.id] = incident
        self._open[kind, key] = incident
        self._mark(incident)
        if len(self._all) - len(self._retired) > MAX_OPEN:
            self._forget(next(one.id for one in self._all.values() if one.id not in self._retired))
        return incident

    def _join(self, incident: Incident, account_id: str, member: Member) -> None:
        again = account_id in incident.members
        incident.members[account_id] = member
        if incident.kind in DEATHS:
            # Looking at every member each time would take minutes when ten thousand die together.
            known = len(incident.members) > MOST_WEIGHED and not again
            incident.cause = (
                _joined_cause(incident.cause, member) if known else _shared_cause(incident.members.values())
            )
        self._held.setdefault(account_id, {})[_group(incident)] = incident
        self._mark(incident)

    def _over(self, incident: Incident, account_id: str, now: float) -> None:
        incident.members[account_id].over = True
        self._release(incident, account_id)
        self._mark(incident)
        if all(member.over for member in incident.members.values()):
            self._close(incident, now)

    def _close(self, incident: Incident, now: float) -> None:
        incident.until, incident.closed_at = max(int(now), incident.since), now
        for member in incident.members.values():
            member.over = True
        self._unindex(incident)
        self._untold[incident.id] = incident
        self._mark(incident)

    def _index(self, incident: Incident) -> None:
        self._open[incident.kind, incident.key] = incident
        for account_id, member in incident.members.items():
            if not member.over:
                self._held.setdefault(account_id, {})[_group(incident)] = incident

    def _unindex(self, incident: Incident) -> None:
        if self._open.get((incident.kind, incident.key)) is incident:
            del self._open[incident.kind, incident.key]
        for account_id in incident.members:
            self._release(incident, account_id)

    def _release(self, incident: Incident, account_id: str) -> None:
        held = self._held.get(account_id, {})
        if held.get(_group(incident)) is incident:
            del held[_group(incident)]
            if not held:
                del self._held[account_id]

    def _mark(self, incident: Incident) -> None:
        self._changed[incident.id] = incident

    def _retire(self, incident: Incident) -> None:
        self._retired[incident.id] = None
        if len(self._retired) > MAX_CLOSED:
            self._forget(next(iter(self._retired)))

    def _forget(self, incident_id: str) -> None:
        self.drop(incident_id)
        self._changed[incident_id] = None


def _settled(noticed_at: float, now: float) -> bool:
    """Also where the clock was turned back meanwhile."""
    return not 0 <= now - noticed_at < SETTLE_S


def _group(incident: Incident) -> str:
    """What an account can have only one part in at a time."""
    if incident.kind in DEATHS:
        return "death"
    return "attention" if incident.kind in {Kind.ATTENTION, Kind.CLIENT_BROKEN} else incident.kind


def _goes_on(mass: Incident, at: int) -> bool:
    """Whether a death at that moment comes soon enough after another. The last to join are the likeliest."""
    return any(at - member.at <= WINDOW_S for member in reversed(mass.members.values()))


def _joined_cause(shared: str, member: Member) -> str:
    """The likely shared cause when one more joins several."""
    if shared == CLOCK or member.turned:
        return CLOCK
    return shared if shared == member.cause else MIXED


def _shared_cause(members: Iterable[Member]) -> str:
    """The likely shared cause: `clock`, one of the causes of death when all have it, else `mixed`."""
    known = list(members)
    if len(known) > 1 and any(member.turned for member in known):
        return CLOCK
    causes = {member.cause for member in known}
    return causes.pop() if len(causes) == 1 else MIXED
