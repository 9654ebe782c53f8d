"""`regrant why-not`, and the checks of `regrant accounts show`: whether an account would serve, and what is in its way.

What a running gateway says counts; where none runs, the same is judged from what is on disk. Judging is `pool/standing.py`, the object is
`admin/pool_views.py`; the story of a past request is `traffic.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import typer

from regrant.accounts.entry import Entry
from regrant.admin.pool_views import CheckView, PlaceView, PoolView, view_pool
from regrant.app import App
from regrant.cli.running import ask_any
from regrant.cli.session import pick, run_on
from regrant.cli.shown import advise_in_words
from regrant.cli.terminal import Failure, moment, one_line, remark, say, show_json
from regrant.gateway.telling import duration
from regrant.pool.reasons import name_reason


class Outlook(msgspec.Struct, frozen=True):
    """One account's place in the pool. `live`: a running gateway said so."""

    pool: PoolView
    place: PlaceView
    now: float
    live: bool

    @property
    def in_the_way(self) -> list[CheckView]:
        return [check for check in self.place.checks if not check.ok]

    @property
    def what(self) -> str:
        """What would be served, as the words that follow "serve"."""
        if self.pool.model is None:
            return "requests"
        served = self.pool.served_model
        return self.pool.model if served in {None, self.pool.model} else f"{self.pool.model} (by {served})"


async def look_ahead(app: App, entry: Entry, model: str, key: str = "") -> Outlook:
    """How the account would fare with requests for a model ("": any) with a client key ("": none in particular)."""
    path = f"/api/pool?{urlencode({'model': model, 'key': key})}"
    pool = await ask_any(app, path, PoolView)
    place = None if pool is None else _place_of(pool, entry)
    live = place is not None
    if pool is None or place is None:  # one that runs has not noticed a new account yet
        app.members.fill(app.keeper.entries())
        app.quota.ledger.review(app.clock.now())
        pool = await view_pool(app, model, key, ask=False)
        place = _place_of(pool, entry)
    assert place is not None
    return Outlook(pool, place, app.clock.now(), live)


def _place_of(pool: PoolView, entry: Entry) -> PlaceView | None:
    return next((one for one in pool.accounts if one.id == entry.account.id), None)


def why_not(folder: Path | None, who: str, model: str, key: str, *, as_json: bool) -> None:
    """Say whether the account would serve, and if not, why not and what helps. Raises typer.Exit(1) if it would not."""

    async def work(app: App) -> Outlook:
        entry = pick(app, who)
        _check_key(app, key)
        return await look_ahead(app, entry, model, key)

    outlook = run_on(folder, work)
    if as_json:
        show_json(document_of(outlook))
    else:
        _tell(outlook)
    if not outlook.place.serves:
        raise typer.Exit(1)


def _check_key(app: App, key: str) -> None:
    app.load_keys()
    names = [one.name for one in app.keys.keys]
    if key and key not in names:
        raise Failure(f"there is no client key named {key}", f"Known keys: {', '.join(names) or 'none'}.")


def document_of(outlook: Outlook) -> dict[str, Any]:
    """The account's item of `GET /api/pool`, with what that says of the whole."""
    pool: dict[str, Any] = msgspec.to_builtins(outlook.pool)
    item: dict[str, Any] = msgspec.to_builtins(outlook.place)
    kept = ("model", "served_model", "note", "stand_ins", "strategy")
    return {**{name: pool[name] for name in kept}, **item}


def tell_checks(outlook: Outlook) -> None:
    """Each check in a line, in the order in which absence is judged."""
    verdict = "yes" if outlook.place.serves else f"no, it is {_reason(outlook)}"
    say(f"serves {one_line(outlook.what)}: {one_line(verdict)}")
    for check in outlook.place.checks:
        state = "ok" if check.ok else f"in the way{_span(check, outlook.now)}"
        say(f"  {check.check + ':':<12}{state}")


def _tell(outlook: Outlook) -> None:
    email, what = one_line(outlook.place.email), one_line(outlook.what)
    if outlook.place.serves:
        say(f"{email} would serve {what}{_turn(outlook)}.")
    elif outlook.pool.model is not None and outlook.pool.served_model is None and not outlook.in_the_way:
        say(f"{email} would not serve {what}: nobody does.")
    else:
        say(f"{email} would not serve {what}: it is {one_line(_reason(outlook))}.")
    if outlook.pool.note:
        say(f"  {one_line(outlook.pool.note)}")
    for number, check in enumerate(outlook.in_the_way):
        if number == 1:
            say("Also in the way:")
        _tell_check(check, outlook.now, headed=number > 0)
    if outlook.place.left_out and outlook.in_the_way:
        say(f"Besides, it would not be asked: {one_line(outlook.place.left_out)}.")
    if outlook.pool.stand_ins:
        say(f"Where {what} cannot be served: {one_line(', '.join(outlook.pool.stand_ins))}.")
    if not outlook.live:
        remark("No gateway runs on this data folder; this is what is on disk.")


def _reason(outlook: Outlook) -> str:
    if outlook.in_the_way:
        return name_reason(outlook.in_the_way[0].check)
    return f"not asked, for {outlook.place.left_out}" if outlook.place.left_out else "not asked"


def _turn(outlook: Outlook) -> str:
    if outlook.place.turn is None:
        return ""
    serving = sum(place.serves for place in outlook.pool.accounts)
    return f", as number {outlook.place.turn} of {serving} by strategy {outlook.pool.strategy}"


def _tell_check(check: CheckView, now: float, *, headed: bool) -> None:
    span = _span(check, now)
    if headed:
        say(f"  {name_reason(check.check)}{span}")
    elif span:
        say(f"  {span.strip()}")
    if check.advice is not None:
        advise_in_words({"advice": msgspec.to_builtins(check.advice)}, indent="    " if headed else "  ")


def _span(check: CheckView, now: float) -> str:
    """` since …, until …`, as far as it is known."""
    parts = []
    if check.since is not None:
        parts.append(f"since {moment(check.since)} ({duration(max(1.0, now - check.since))} ago)")
    if check.until is not None:
        parts.append(f"until {moment(check.until)} (in {duration(check.until - now)})")
    return f" {', '.join(parts)}" if parts else ""
