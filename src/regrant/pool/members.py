"""Who is in the pool: follows the keeper, and says of every account how it stands.

The keeper decides (`accounts/keeper.py`), the pool obeys (`pool.py`); this is the seam between them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from regrant.accounts.diagnosis import advise
from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.model import Account
from regrant.pool.arrangement import Grouping
from regrant.pool.cooldown import Cooldown
from regrant.pool.lease import Absence
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.standing import Obstacle, Standing

EVERY_MODEL = "*"
NO_RESERVES: Mapping[str, Cooldown] = {}


class Members:
    """A listener of the keeper. `default_client_id` names the OAuth client of accounts that name none."""

    def __init__(
        self,
        pool: Pool,
        default_client_id: Callable[[], str],
        on_change: Callable[[], None] = lambda: None,
        grouping: Callable[[], Grouping] = Grouping,
    ) -> None:
        """`on_change` is told when somebody came, went or changed in what choosing depends on; `grouping` is asked at each `fill`."""
        self._make_grouping = grouping
        self._grouping = grouping()
        self._pool = pool
        self._on_change = on_change
        self._default_client_id = default_client_id
        self._known: dict[str, Candidate | Absence] = {}

    def fill(self, entries: Collection[Entry]) -> None:
        """Swap the whole pool for these accounts."""
        self._grouping = self._make_grouping()
        self._known = {entry.account.id: self._place(entry.account) for entry in entries}
        absent = {key: place for key, place in self._known.items() if isinstance(place, Absence)}
        patients = [self._candidate(entry.account) for entry in entries if _is_patient(absent, entry)]
        self._pool.replace(
            [place for place in self._known.values() if isinstance(place, Candidate)], absent, patients
        )

    def account_changed(self, account_id: str, entry: Entry | None) -> None:
        if entry is None:
            self._known.pop(account_id, None)
            self._pool.forget(account_id)
            self._on_change()
            return
        place = self._place(entry.account)
        if self._known.get(account_id) == place and place is not Absence.ATTENTION:
            return
        self._known[account_id] = place
        if isinstance(place, Candidate):
            self._pool.admit(place)
        else:
            patient = self._candidate(entry.account) if place is Absence.ATTENTION else None
            self._pool.evict(account_id, place, patient)
        self._on_change()

    def account_notice(self, account: Account, notice: Notify) -> None:
        """Membership follows from the account itself."""

    def _place(self, account: Account) -> Candidate | Absence:
        if account.disabled is not None:
            return Absence.DISABLED
        # What quota protection itself has entered into the file is for readers: the pool hears of it from the guard.
        if EVERY_MODEL in account.protected_by_hand:
            return Absence.QUOTA
        if account.paused is not None:
            return Absence.PAUSED
        if not account.in_pool:
            return Absence.ATTENTION
        return self._candidate(account)

    def _candidate(self, account: Account) -> Candidate:
        place = self._grouping.place(account.id, account.email, account.label)
        return Candidate(
            id=account.id,
            email=account.email,
            project=account.project(self._default_client_id()) or account.id,
            upstream=account.upstream,
            location=account.location,
            protected=account.protected_by_hand,
            groups=place.groups,
            priority=place.priority,
            weight=place.weight,
        )


def _is_patient(absent: Mapping[str, Absence], entry: Entry) -> bool:
    return absent.get(entry.account.id) is Absence.ATTENTION


def standing_of(
    entry: Entry, default_client_id: str, model: str = "", reserves: Mapping[str, Cooldown] = NO_RESERVES
) -> Standing:
    """How the account stands, for `standing.explain`; advice in plain words. `reserves` are the pool's for that model."""
    account = entry.account
    project = account.project(default_client_id) or account.id
    reserve = reserves.get(project)
    advice = advise(account)
    text = advice.text if advice else ""
    protected = account.protected_by_hand
    attention = account.attention
    blocking = attention is not None and not attention.about_refresh
    client = attention is not None and attention.code in {"client_broken", "wrong_client"}
    return Standing(
        id=account.id,
        email=account.email,
        project=project,
        disabled=_obstacle(account.disabled.at, text) if account.disabled else None,
        protected=protected | {model} if EVERY_MODEL in protected or reserve else protected,
        protected_until=reserve.until if reserve else None,
        paused=_obstacle(account.paused.at, "Paused by its owner: regrant accounts resume")
        if account.paused
        else None,
        attention=_obstacle(attention.since, attention.message) if attention and blocking else None,
        client=_obstacle(attention.since, attention.message) if attention and client else None,
    )


def _obstacle(since: int, advice: str) -> Obstacle:
    return Obstacle(since=float(since) if since else None, advice=advice)
