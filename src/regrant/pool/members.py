"""Who is in the pool: follows the keeper, and says of every account how it stands.

The keeper decides (`accounts/keeper.py`), the pool obeys (`pool.py`); this is the seam between them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from regrant.accounts.diagnosis import Advice, attention_advice, death_advice, pause_advice
from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.model import CLIENT_ATTENTION, Account
from regrant.accounts.refresher import client_of, missing_client
from regrant.oauth.google import OAuthClient
from regrant.pool.arrangement import Grouping
from regrant.pool.cooldown import Cooldown
from regrant.pool.lease import Absence
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.standing import EVERY_MODEL, Obstacle, Standing

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
    entry: Entry,
    clients: Mapping[str, OAuthClient],
    default_client_id: str,
    now: float,
    reserves: Mapping[str, Cooldown] = NO_RESERVES,
) -> Standing:
    """How the account stands at `now`, for `standing.explain`. `reserves` are the pool's for the model that is asked about."""
    account = entry.account
    project = account.project(default_client_id) or account.id
    blocking = account.attention is not None and not account.attention.about_refresh
    # While the access token lasts, nobody needs a refresh.
    stuck = not entry.kept.lasts(now)
    return Standing(
        id=account.id,
        email=account.email,
        project=project,
        disabled=_disabled(account),
        protected=account.protected_by_hand,
        reserve=reserves.get(project),
        paused=_paused(account),
        attention=_attention(account) if blocking or (stuck and not _is_clients(account)) else None,
        client=_client(account, clients) if stuck else None,
    )


def _disabled(account: Account) -> Obstacle | None:
    disabled = account.disabled
    return _obstacle(disabled.at, death_advice(disabled.cause, account.email)) if disabled else None


def _paused(account: Account) -> Obstacle | None:
    return _obstacle(account.paused.at, pause_advice(account.email)) if account.paused else None


def _attention(account: Account) -> Obstacle | None:
    attention = account.attention
    return _obstacle(attention.since, attention_advice(attention, account.email)) if attention else None


def _is_clients(account: Account) -> bool:
    return account.attention is not None and account.attention.code in CLIENT_ATTENTION


def _client(account: Account, clients: Mapping[str, OAuthClient]) -> Obstacle | None:
    if _is_clients(account):
        return _attention(account)
    if client_of(account, clients) is None:
        sentence = missing_client(account)
        return _obstacle(0, Advice(sentence[0].upper() + sentence[1:] + ".", command="regrant config show"))
    return None


def _obstacle(since: int, advice: Advice) -> Obstacle:
    return Obstacle(since=float(since) if since else None, advice=advice)
