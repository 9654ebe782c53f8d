"""Incidents watched by several processes' worth of watches on one folder: real accounts, real locks, real SQLite."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from tests.accounts.keeper_stage import NOW, Stage, eventually

from regrant.accounts.clock_skew import ClockSkew
from regrant.accounts.file_store import FileLock
from regrant.accounts.incident_watch import CATCH_UP_S, LOOK_S, IncidentWatch
from regrant.accounts.incidents import SETTLE_S, IncidentChange, IncidentView
from regrant.accounts.keeper import AccountUnusable, Keeper
from regrant.accounts.model import Disablement
from regrant.accounts.store import StoreError
from regrant.state import StateDatabase

H = 3600.0


@dataclass
class Tried:
    account_id: str
    fault: str = ""


@dataclass
class Request:
    problem: str = ""
    attempts: list[Tried] = field(default_factory=list)


class NoLocks:
    """A file system without locks."""

    def try_acquire(self) -> bool:
        raise StoreError("cannot lock")

    def release(self) -> None:
        raise AssertionError("it was never held")


@dataclass
class Process:
    """A keeper and a watch on it, as a process has them; the pool is the accounts that may serve."""

    keeper: Keeper
    watch: IncidentWatch
    state: StateDatabase
    told: list[IncidentChange] = field(default_factory=list)
    seen: list[IncidentView] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def said(self) -> list[tuple[str, str]]:
        return [(change.what, change.incident.kind) for change in self.told]

    def kinds(self) -> list[str]:
        return sorted(one.kind for one in self.watch.all() if one.until is None)

    async def end(self) -> None:
        """As a process ends that is told to."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None
            await self.watch.close()
            await asyncio.to_thread(self.state.close)


class Pool:
    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def can_serve(self) -> bool:
        return any(entry.account.in_pool for entry in self._keeper.entries())

    def reasons(self) -> dict[str, int]:
        return {"disabled": sum(not entry.account.in_pool for entry in self._keeper.entries())}


class Folder:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.processes: list[Process] = []

    async def process(self, *, lock: bool = True, follow: bool = True) -> Process:
        keeper, _ = await self.stage.keeper(follow=follow)
        state = StateDatabase(self.stage.folder / "state.sqlite3", self.stage.clock)
        watch = IncidentWatch(
            self.stage.clock,
            lambda: "123-app",
            state=state,
            lock=FileLock(self.stage.folder / "locks" / "incidents.lock") if lock else NoLocks(),
            entries=keeper.entries,
            serving=Pool(keeper),
            clock_skew=ClockSkew(self.stage.clock),
        )
        process = Process(keeper, watch, state)
        watch.listeners.append(process.told.append)
        watch.followers.append(process.seen.append)
        keeper.listen(watch)
        await watch.start()
        process.task = asyncio.ensure_future(watch.follow())
        self.processes.append(process)
        return process

    def pass_time(self, seconds: float = SETTLE_S) -> None:
        self.stage.clock.at += seconds


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    stage = Stage(tmp_path)
    folder = Folder(stage)
    yield folder
    for process in folder.processes:
        await process.end()
    await stage.close()


async def kill(process: Process, folder: Folder, name: str) -> None:
    folder.stage.google.alive.discard(f"refresh-{name}-1")
    with contextlib.suppress(AccountUnusable):
        await process.keeper.token(name)


async def test_the_first_process_tells_and_the_other_shows_the_same(folder: Folder) -> None:
    for name in ("ann", "bob"):
        folder.stage.add(name)
    one, two = await folder.process(), await folder.process()
    assert (one.watch.in_charge, two.watch.in_charge) == (True, False)
    await kill(two, folder, "ann")
    await eventually(lambda: one.kinds() == two.kinds() == ["account_died"])
    assert one.told == []  # it may turn out to be a part of something bigger
    folder.pass_time()
    await eventually(lambda: one.said() == [("opened", "account_died")])
    assert one.watch.all() == two.watch.all()
    assert two.seen
    assert two.told == []


async def test_the_process_that_takes_over_tells_the_rest_and_nothing_twice(folder: Folder) -> None:
    for name in ("ann", "bob", "cid"):
        folder.stage.add(name)
    one, two = await folder.process(), await folder.process()
    await kill(one, folder, "ann")
    folder.pass_time()
    await eventually(lambda: one.told)
    await kill(one, folder, "bob")
    await one.end()
    await eventually(lambda: two.watch.in_charge)
    folder.pass_time()
    await eventually(lambda: two.told)
    assert two.said() == [("opened", "account_died")]
    assert two.told[0].incident.accounts == ("bob",)


async def test_the_process_that_takes_over_calls_nothing_over_before_its_accounts_have_caught_up(
    folder: Folder,
) -> None:
    """Breaks when: CATCH_UP_S of incident_watch.py is 0."""
    folder.stage.add("ann")
    folder.stage.add("bob")
    one, late = await folder.process(), await folder.process(follow=False)
    await kill(one, folder, "ann")
    folder.pass_time()
    await eventually(lambda: one.told)
    await one.end()
    await eventually(lambda: late.watch.in_charge)
    await asyncio.sleep(3 * LOOK_S)
    assert late.keeper.entries()[0].account.disabled is None  # it does not know yet
    assert late.kinds() == ["account_died"]
    await late.keeper.reload("ann")
    folder.pass_time(2 * CATCH_UP_S)
    await asyncio.sleep(3 * LOOK_S)
    assert late.kinds() == ["account_died"]
    assert late.told == []


async def test_many_deaths_at_once_are_not_written_anew_with_each(folder: Folder) -> None:
    names = [f"account-{number}" for number in range(300)]
    for name in names:
        folder.stage.add(name)
    process = await folder.process()
    for name in names:
        entry = process.keeper.entry(name)
        assert entry is not None
        died = Disablement(at=int(NOW), reason="invalid_grant: gone", cause="revoked")
        entry.kept = msgspec.structs.replace(
            entry.kept, account=msgspec.structs.replace(entry.kept.account, disabled=died)
        )
        process.watch.account_changed(name, entry)
    await eventually(lambda: process.kinds() == ["mass_failure", "pool_empty"])
    await eventually(lambda: process.seen)
    assert len(process.seen) < len(names) / 10


async def test_what_was_seen_just_before_the_end_is_known_to_the_next_process(folder: Folder) -> None:
    folder.stage.add("ann")
    folder.stage.add("bob")
    one = await folder.process()
    assert one.task is not None
    one.task.cancel()
    await asyncio.gather(one.task, return_exceptions=True)  # its next look never comes
    await kill(one, folder, "ann")
    await one.end()
    state = StateDatabase(folder.stage.folder / "state.sqlite3", folder.stage.clock)
    assert [value["kind"] for value, _ in state.load("incident").values()] == ["account_died"]
    state.close()


async def test_nothing_counts_as_told_before_it_was_told(folder: Folder) -> None:
    folder.stage.add("ann")
    folder.stage.add("bob")
    process = await folder.process()
    stored: list[str] = []

    def look_at_the_disk(_: IncidentChange) -> None:
        assert process.state.flush(5)
        stored.extend(value["told"] for value, _ in process.state.load("incident").values())

    process.watch.listeners.insert(0, look_at_the_disk)
    await kill(process, folder, "ann")
    await eventually(lambda: process.state.load("incident"))
    folder.pass_time()
    await eventually(lambda: process.told)
    assert stored == [""]  # killed now, the next process tells it
    await eventually(
        lambda: [one["told"] for one, _ in process.state.load("incident").values()] == ["opened"]
    )


async def test_without_locks_each_process_tells(folder: Folder) -> None:
    folder.stage.add("ann")
    folder.stage.add("bob")
    one, two = await folder.process(lock=False), await folder.process(lock=False)
    await kill(one, folder, "ann")
    await eventually(two.kinds)
    folder.pass_time()
    for process in (one, two):
        await eventually(lambda p=process: p.said() == [("opened", "account_died")])  # type: ignore[misc]


async def test_requests_are_counted_by_what_touched_them_in_all_processes(folder: Folder) -> None:
    for name in ("ann", "bob"):
        folder.stage.add(name)
    one, two = await folder.process(), await folder.process()
    died = [Tried("ann", "account_died")]
    one.watch.exchange_finished(Request("", [*died, Tried("bob")]))  # it ends before the verdict is known
    folder.pass_time(0.5)
    await kill(one, folder, "ann")
    await eventually(lambda: two.kinds() == ["account_died"])
    one.watch.exchange_finished(Request("", [Tried("bob")]))
    one.watch.exchange_finished(Request("upstream_unavailable", [Tried("bob", "server_error")]))
    two.watch.exchange_finished(Request("", [*died, Tried("ann", "account_died"), Tried("bob")]))
    for process in (one, two):
        await eventually(lambda p=process: [one.requests for one in p.watch.all()] == [2])  # type: ignore[misc]
    await kill(two, folder, "bob")
    two.watch.exchange_finished(Request("no_accounts"))
    one.watch.exchange_finished(Request("invalid_request"))
    for process in (one, two):
        await eventually(
            lambda p=process: {v.kind: v.requests for v in p.watch.all()}.get("pool_empty") == 1  # type: ignore[misc]
        )


async def test_a_sleeping_laptop_is_told_late_but_once(folder: Folder) -> None:
    folder.stage.add("ann", token={"refresh_token_expires_at": int(NOW + 60 * H)})
    one = await folder.process()
    folder.pass_time(57 * H)  # through both notices
    await eventually(lambda: one.kinds() == ["will_die"])
    folder.pass_time()
    await eventually(lambda: one.told)
    assert one.said() == [("opened", "will_die")]
    assert "within 6 hours" in one.told[0].incident.title


async def test_both_notices_are_told_at_their_time_and_survive_a_restart_between(folder: Folder) -> None:
    folder.stage.add("ann", token={"refresh_token_expires_at": int(NOW + 60 * H)})
    one = await folder.process()
    for hours, said in ((12, [("opened", "will_die")]), (41, [("opened", "will_die")])):
        folder.pass_time(hours * H)
        await eventually(lambda: one.kinds() == ["will_die"])
        folder.pass_time()
        await eventually(lambda said=said: one.said() == said)  # type: ignore[misc]
    await one.end()
    two = await folder.process()
    folder.pass_time(1 * H)
    await eventually(lambda: two.told)
    assert two.said() == [("updated", "will_die")]
    assert two.told[0].incident.id == one.told[0].incident.id


async def test_a_removed_account_ends_its_incidents_even_if_nobody_watched(folder: Folder) -> None:
    folder.stage.add("ann")
    folder.stage.add("bob")
    one = await folder.process()
    await kill(one, folder, "ann")
    folder.pass_time()
    await eventually(lambda: one.told)
    await one.end()
    folder.stage.files.delete("ann")
    two = await folder.process()
    await eventually(lambda: two.kinds() == [])
    folder.pass_time()
    await eventually(lambda: two.said() == [("closed", "account_died")])


async def test_a_record_of_an_unknown_version_is_passed_over(folder: Folder) -> None:
    state = StateDatabase(folder.stage.folder / "state.sqlite3", folder.stage.clock)
    state.put("incident", "x", {"id": "x", "kind": "of tomorrow"}, NOW + 1000)
    state.put("incident_requests", "x", "many", NOW + 1000)
    assert await asyncio.to_thread(state.flush, 5.0)
    await asyncio.to_thread(state.close)
    one = await folder.process()
    assert one.watch.all() == []
