"""Races of the keeper, over real files and with a token endpoint that answers when the test wants it to.

Each test says which line to break to see it fail.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace as changed
from tests.accounts.keeper_stage import AWAY, DEAD, NOW, FailingStore, Stage, eventually, granted

from regrant.accounts.entry import Entry
from regrant.accounts.events import (
    AccessTokenSupplied,
    Edited,
    Flight,
    Identity,
    Paused,
    Reauthorized,
    RefreshAnswered,
)
from regrant.accounts.keeper import AccountUnusable, Keeper
from regrant.accounts.model import Token
from regrant.accounts.store import StoreError
from regrant.secret import Secret


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


def entry_of(keeper: Keeper, name: str = "ann") -> Entry:
    entry = keeper.entry(name)
    assert entry is not None
    return entry


def new_grant(stage: Stage, number: int = 2) -> Reauthorized:
    stage.google.alive.add(f"refresh-ann-{number}")
    token = Token(
        refresh_token=Secret(f"refresh-ann-{number}"),
        access_token=Secret(f"access-ann-{number}"),
        expiry_timestamp=int(stage.clock.at) + 3600,
    )
    return Reauthorized(token, Identity("ann@example.com"), "123-app")


async def refused(waiter: asyncio.Task[Secret]) -> str:
    with pytest.raises(AccountUnusable) as caught:
        await waiter
    return caught.value.why


class TestManyCallers:
    async def test_fifty_callers_on_an_expired_token_make_one_refresh(self, stage: Stage) -> None:
        """Breaks when: `_want` of lifecycle.py no longer looks at `kept.flight`."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.hold()
        callers = [asyncio.ensure_future(keeper.token("ann")) for _ in range(50)]
        await stage.google.arrived.wait()
        assert keeper._flights.count == 1
        stage.google.open.set()
        tokens = await asyncio.gather(*callers)
        assert set(tokens) == {Secret("access-of-refresh-ann-1-1")}
        assert stage.google.asked == ["refresh-ann-1"]

    async def test_fifty_callers_of_a_dead_grant_learn_it_from_one_refresh(self, stage: Stage) -> None:
        """Breaks when: `_died` of lifecycle.py leaves `disabled` out, so that the next caller asks again."""
        stage.add()
        stage.google.alive.clear()
        keeper, _ = await stage.keeper()
        outcomes = await asyncio.gather(*(keeper.token("ann") for _ in range(50)), return_exceptions=True)
        assert {getattr(outcome, "why", outcome) for outcome in outcomes} == {"disabled"}
        assert stage.google.asked == ["refresh-ann-1"]

    async def test_a_cancelled_caller_does_not_cancel_the_refresh(self, stage: Stage) -> None:
        """G9. Breaks when: `token` of keeper.py awaits the landing without `asyncio.shield`."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.hold()
        first, second = (asyncio.ensure_future(keeper.token("ann")) for _ in range(2))
        await stage.google.arrived.wait()
        first.cancel()
        await asyncio.wait([first])
        stage.google.open.set()
        assert await second == Secret("access-of-refresh-ann-1-1")
        assert first.cancelled()
        assert stage.google.asked == ["refresh-ann-1"]

    async def test_a_refresh_whose_only_caller_left_is_stored(self, stage: Stage) -> None:
        """G9. Breaks when: `launch` of flights.py does not run the flight as a task of its own."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.script = [granted("access-ann-2", refresh="refresh-ann-2")]
        stage.google.hold()
        only = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        only.cancel()
        await asyncio.wait([only])
        stage.google.open.set()
        await eventually(lambda: stage.on_disk()["token"]["refresh_token"] == "refresh-ann-2")

    async def test_a_caller_whose_account_is_removed_is_told_that_it_is_gone(self, stage: Stage) -> None:
        """G31. Breaks when: `token` of keeper.py returns the landed answer without asking `_usable`."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        assert await keeper.remove("ann")
        stage.google.open.set()
        assert await refused(waiter) == "gone"
        assert not stage.file().exists()

    async def test_a_caller_whose_account_is_paused_is_told_so(self, stage: Stage) -> None:
        """Breaks when: `token` of keeper.py returns the landed answer without asking `_usable`."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        await keeper.change("ann", Paused("holiday"))
        stage.google.open.set()
        assert await refused(waiter) == "paused"
        await eventually(lambda: stage.on_disk()["token"]["access_token"] == "access-of-refresh-ann-1-1")
        assert stage.on_disk()["proxy_disabled"] is True


class TestLateAnswers:
    async def test_late_invalid_grant_for_a_replaced_grant_is_ignored(self, stage: Stage) -> None:
        """G1. Breaks when: `_answered` of lifecycle.py no longer asks `current` (and `_finish` not `_replaced`)."""
        stage.add()
        keeper, diary = await stage.keeper()
        stage.google.alive.clear()
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        await keeper.change("ann", new_grant(stage))
        stage.google.open.set()
        assert await waiter == Secret("access-ann-2")
        await keeper.close()
        assert "disabled" not in stage.on_disk()
        assert stage.on_disk()["token"]["refresh_token"] == "refresh-ann-2"
        assert ("ann", False) not in diary.seen
        assert stage.google.asked == ["refresh-ann-1"]

    async def test_a_verdict_for_an_older_grant_is_discarded_under_the_lock_too(self, stage: Stage) -> None:
        """G1. Breaks when: `_answered` of lifecycle.py no longer asks `current`."""
        stage.add()
        keeper, _ = await stage.keeper()
        await keeper.change("ann", new_grant(stage))
        old = Flight(1, Secret("refresh-ann-1"), NOW - 1)
        await keeper.settle(entry_of(keeper), RefreshAnswered(old, DEAD))
        await keeper.settle(entry_of(keeper), RefreshAnswered(old, granted("access-of-the-past")))
        assert entry_of(keeper).account.token.access_token == Secret("access-ann-2")
        assert "disabled" not in stage.on_disk()

    async def test_late_success_for_a_replaced_grant_is_ignored(self, stage: Stage) -> None:
        """G2. Breaks when: `token` of keeper.py hands out the landed token without comparing it with the held one."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.script = [granted("access-of-the-past", refresh="refresh-of-the-past")]
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        await keeper.change("ann", new_grant(stage))
        stage.google.open.set()
        assert await waiter == Secret("access-ann-2")
        await keeper.close()
        assert stage.on_disk()["token"]["refresh_token"] == "refresh-ann-2"
        assert stage.on_disk()["token"]["access_token"] == "access-ann-2"

    async def test_late_invalid_grant_meets_a_grant_that_another_process_stored(self, stage: Stage) -> None:
        """Rule 1. Breaks when: `_finish` of flights.py does not ask `_replaced`: the death is told, then taken back."""
        stage.add()
        keeper, diary = await stage.keeper(follow=False)
        other, _ = await stage.keeper(follow=False)
        stage.google.alive.clear()
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        await other.change("ann", new_grant(stage))
        stage.google.open.set()
        assert await waiter == Secret("access-ann-2")
        assert diary.notices == []
        assert stage.buried == []
        assert "disabled" not in stage.on_disk()

    async def test_a_verdict_meets_the_record_that_is_stored_when_it_is_written(self, stage: Stage) -> None:
        """Breaks when: `decide` in `_transact` of keeper.py does not take in `Observed(current)` first."""
        stage.add()
        store = FailingStore(stage.files)
        keeper, _ = await stage.keeper(store, follow=False)
        other, _ = await stage.keeper(follow=False)
        stage.google.alive.clear()
        fresh = new_grant(stage)
        loop = asyncio.get_running_loop()

        def another_process_is_faster() -> None:
            store.before_write = lambda: None
            asyncio.run_coroutine_threadsafe(other.change("ann", fresh), loop).result(10)

        store.before_write = another_process_is_faster
        with pytest.raises(AccountUnusable):
            await keeper.token("ann")
        await eventually(lambda: entry_of(keeper).account.generation == 2)
        await eventually(lambda: entry_of(keeper).account.in_pool)
        assert "disabled" not in stage.on_disk()
        assert await keeper.token("ann") == Secret("access-ann-2")

    async def test_a_late_answer_does_not_recreate_a_removed_account(self, stage: Stage) -> None:
        """Rule 5. Breaks when: `decide` in `_transact` of keeper.py returns an account for a record that is gone."""
        stage.add()
        keeper, diary = await stage.keeper()
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        stage.file().unlink()
        await eventually(lambda: keeper.entry("ann") is None)
        stage.google.open.set()
        assert await refused(waiter) == "gone"
        await keeper.close()
        assert not stage.file().exists()
        assert diary.pool == {"ann": False}

    async def test_a_success_does_not_undo_what_the_owner_did_meanwhile(self, stage: Stage) -> None:
        """Breaks when: `_refreshed` of lifecycle.py clears `disabled` for a flight that nobody asked for."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        stage.edit(disabled=True)
        await eventually(lambda: not entry_of(keeper).account.in_pool)
        stage.google.open.set()
        assert await refused(waiter) == "disabled"
        await eventually(lambda: stage.on_disk()["token"]["access_token"] == "access-of-refresh-ann-1-1")
        assert stage.on_disk()["disabled"] is True

    async def test_a_401_for_an_older_token_does_not_throw_the_newer_away(self, stage: Stage) -> None:
        """Breaks when: `_apply` of lifecycle.py keeps any rejected token, `held` or not, and `freshness` compares nothing."""
        stage.add()
        keeper, _ = await stage.keeper()
        newer = await keeper.token("ann")
        keeper.reject("ann", Secret("access-ann-1"))
        assert keeper.ready_token("ann") == newer
        assert len(stage.google.asked) == 1

    async def test_a_401_makes_exactly_one_refresh_however_many_saw_it(self, stage: Stage) -> None:
        """Breaks when: `Kept.freshness` of lifecycle.py does not look at `rejected`."""
        stage.add()
        keeper, _ = await stage.keeper()
        first = await keeper.token("ann")

        async def replay() -> Secret:
            keeper.reject("ann", first)
            return await keeper.token("ann")

        tokens = await asyncio.gather(*(replay() for _ in range(20)))
        assert set(tokens) == {Secret("access-of-refresh-ann-1-2")}
        assert len(stage.google.asked) == 2


class TestTheStoreIsSlow:
    """A write takes its time, and the world goes on meanwhile."""

    async def test_a_refresh_started_while_the_record_is_written_is_not_forgotten(self, stage: Stage) -> None:
        """Breaks when: `_transact` of keeper.py adopts its outcome without `rebased`."""
        stage.add()
        store = FailingStore(stage.files)
        keeper, _ = await stage.keeper(store, follow=False)
        writing, go_on = threading.Event(), threading.Event()

        def slowly() -> None:
            writing.set()
            assert go_on.wait(10)

        store.before_write = slowly
        stage.google.hold()
        change = asyncio.ensure_future(keeper.change("ann", Edited({"label": "work"})))
        await asyncio.to_thread(writing.wait, 10)
        first = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        flight = entry_of(keeper).kept.flight
        store.before_write = lambda: None
        go_on.set()
        await change
        assert entry_of(keeper).kept.flight == flight is not None
        second = asyncio.ensure_future(keeper.token("ann"))
        stage.google.open.set()
        assert await first == await second
        assert stage.google.asked == ["refresh-ann-1"]
        assert stage.on_disk()["label"] == "work"

    async def test_a_401_while_the_record_is_written_is_not_forgotten(self, stage: Stage) -> None:
        """Breaks when: `rebased` of lifecycle.py drops `latest.rejected`."""
        stage.add(token={"expiry_timestamp": int(NOW) + 3600})
        store = FailingStore(stage.files)
        keeper, _ = await stage.keeper(store, follow=False)
        writing, go_on = threading.Event(), threading.Event()

        def slowly() -> None:
            writing.set()
            assert go_on.wait(10)

        store.before_write = slowly
        change = asyncio.ensure_future(keeper.change("ann", Edited({"label": "work"})))
        await asyncio.to_thread(writing.wait, 10)
        keeper.reject("ann", Secret("access-ann-1"))
        store.before_write = lambda: None
        go_on.set()
        await change
        assert keeper.ready_token("ann") is None

    async def test_a_rotated_token_is_stored_before_anybody_gets_the_access_token(self, stage: Stage) -> None:
        """G3. Breaks when: `_finish` of flights.py lands a Granted before it is settled."""
        stage.add()
        stage.google.script = [granted("access-ann-2", refresh="refresh-ann-2")]
        stage.google.alive.add("refresh-ann-2")
        keeper, _ = await stage.keeper()
        seen: list[str] = []

        async def look() -> None:
            await keeper.token("ann")
            seen.append(stage.on_disk()["token"]["refresh_token"])

        await asyncio.gather(*(look() for _ in range(10)))
        assert seen == ["refresh-ann-2"] * 10
        keeper.reject("ann", Secret("access-ann-2"))
        await keeper.token("ann")
        assert stage.google.asked == ["refresh-ann-1", "refresh-ann-2"]

    async def test_callers_do_not_wait_until_a_death_is_stored(self, stage: Stage) -> None:
        """Rule 3. Breaks when: `settle` of keeper.py calls `meanwhile` after `_transact`."""
        stage.add()
        stage.google.alive.clear()
        store = FailingStore(stage.files)
        keeper, diary = await stage.keeper(store, follow=False)
        go_on = threading.Event()
        store.before_write = lambda: assert_true(go_on.wait(10))
        waiter = asyncio.ensure_future(keeper.token("ann"))
        assert await asyncio.wait_for(refused(waiter), 5) == "disabled"
        assert diary.pool == {"ann": False}
        assert "disabled" not in stage.on_disk()
        go_on.set()
        await eventually(lambda: "disabled" in stage.on_disk())


def assert_true(value: bool) -> None:
    assert value


class TestTheDiskFails:
    async def test_a_dead_account_leaves_at_once_and_is_stored_when_the_disk_is_back(
        self, stage: Stage
    ) -> None:
        """G5. Breaks when: `settle` of keeper.py does not `_defer` the event after a StoreError."""
        stage.add()
        stage.google.alive.clear()
        store = FailingStore(stage.files)
        keeper, diary = await stage.keeper(store)
        store.failing = True
        with pytest.raises(AccountUnusable):
            await keeper.token("ann")
        await eventually(lambda: not entry_of(keeper).persisted)
        assert diary.pool == {"ann": False}
        assert "disabled" not in stage.on_disk()
        died_at, stage.clock.at = stage.clock.at, stage.clock.at + 600
        store.failing = False
        await eventually(lambda: "disabled" in stage.on_disk())
        await eventually(lambda: entry_of(keeper).persisted)
        assert stage.on_disk()["disabled_at"] == died_at
        assert stage.on_disk()["history"][-1]["at"] == died_at
        assert stage.google.asked == ["refresh-ann-1"]

    async def test_the_old_file_does_not_bring_the_dead_account_back_meanwhile(self, stage: Stage) -> None:
        """Breaks when: `_observe` of keeper.py takes the record in although something is pending."""
        stage.add()
        stage.google.alive.clear()
        store = FailingStore(stage.files)
        keeper, diary = await stage.keeper(store)
        store.failing = True
        with pytest.raises(AccountUnusable):
            await keeper.token("ann")
        await eventually(lambda: not entry_of(keeper).persisted)
        diary.seen.clear()
        for label in ("touched", "touched again"):
            stage.edit(label=label)
            await keeper.reload("ann")
        assert not entry_of(keeper).account.in_pool
        store.failing = False
        await eventually(lambda: stage.on_disk().get("disabled"))
        await eventually(lambda: entry_of(keeper).account.label == "touched again")
        assert ("ann", True) not in diary.seen
        assert stage.google.asked == ["refresh-ann-1"]
        assert entry_of(keeper).kept.flight is None

    async def test_a_new_token_that_cannot_be_stored_serves_and_ends_when_it_ends(self, stage: Stage) -> None:
        """Breaks when: events are kept in `Entry.pending` without the time at which they happened."""
        stage.add()
        store = FailingStore(stage.files)
        keeper, _ = await stage.keeper(store)
        store.failing = True
        assert await keeper.token("ann") == Secret("access-of-refresh-ann-1-1")
        assert not entry_of(keeper).persisted
        ends_at = entry_of(keeper).account.token.expiry_timestamp
        stage.clock.at += 1800
        store.failing = False
        await eventually(lambda: stage.on_disk()["token"]["access_token"] == "access-of-refresh-ann-1-1")
        assert stage.on_disk()["token"]["expiry_timestamp"] == ends_at == NOW + 3600
        await eventually(lambda: entry_of(keeper).persisted)
        assert len(stage.google.asked) == 1

    async def test_a_persons_wish_is_done_durably_or_not_at_all(self, stage: Stage) -> None:
        """Breaks when: `change` of keeper.py adopts before the transaction has succeeded."""
        stage.add()
        store = FailingStore(stage.files)
        keeper, diary = await stage.keeper(store)
        store.failing = True
        with pytest.raises(StoreError):
            await keeper.change("ann", Paused("holiday"))
        assert entry_of(keeper).account.paused is None
        assert diary.pool == {"ann": True}
        assert entry_of(keeper).persisted

    async def test_a_hand_edit_that_cannot_be_answered_on_disk_is_taken_in_later(self, stage: Stage) -> None:
        """Breaks when: `_observe` of keeper.py keeps the record it saw as pending, and writes it over newer ones."""
        stage.add()
        stage.google.alive.add("refresh-ann-2")
        store = FailingStore(stage.files)
        keeper, _ = await stage.keeper(store)
        store.failing = True
        stage.edit(token={"refresh_token": "refresh-ann-2"})
        await eventually(lambda: not entry_of(keeper).persisted)
        stage.edit(label="newer")
        store.failing = False
        await eventually(lambda: stage.on_disk()["verified"] and stage.on_disk()["generation"] == 2)
        assert stage.on_disk()["label"] == "newer"
        assert stage.google.asked == ["refresh-ann-2"]

    async def test_what_is_pending_is_written_at_the_end(self, stage: Stage) -> None:
        """Breaks when: `close` of keeper.py does not try to store what is pending."""
        stage.add()
        stage.google.alive.clear()
        store = FailingStore(stage.files)
        keeper, _ = await stage.keeper(store)
        store.failing = True
        with pytest.raises(AccountUnusable):
            await keeper.token("ann")
        await eventually(lambda: not entry_of(keeper).persisted)
        store.failing = False
        await keeper.close()
        assert stage.on_disk()["disabled"] is True


class TestTwoProcesses:
    async def test_what_another_has_refreshed_is_adopted_without_asking(self, stage: Stage) -> None:
        """Breaks when: `_answered_by_store` of flights.py does not ask `overtaken`."""
        stage.add()
        first, _ = await stage.keeper(follow=False)
        second, _ = await stage.keeper(follow=False)
        token = await first.token("ann")
        assert await second.token("ann") == token
        assert len(stage.google.asked) == 1

    async def test_what_another_has_buried_is_not_asked_again(self, stage: Stage) -> None:
        """Breaks when: `overtaken` of lifecycle.py does not look at `stored.disabled`."""
        stage.add()
        stage.google.alive.clear()
        first, _ = await stage.keeper(follow=False)
        second, diary = await stage.keeper(follow=False)
        for keeper in (first, second):
            with pytest.raises(AccountUnusable):
                await keeper.token("ann")
            await eventually(lambda: "disabled" in stage.on_disk())
        assert len(stage.google.asked) == 1
        assert diary.pool == {"ann": False}

    async def test_under_load_there_is_one_refresh_per_expiry_in_total(self, stage: Stage) -> None:
        """Breaks when: `_take` of flights.py always says that the lock is held."""
        stage.add()
        keepers = [(await stage.keeper())[0] for _ in range(2)]
        for expiry in range(1, 6):
            tokens = await asyncio.gather(*(keeper.token("ann") for keeper in keepers for _ in range(25)))
            assert len(set(tokens)) == 1
            assert len(stage.google.asked) == expiry
            stage.clock.at += 3600
        assert stage.google.most_at_once == 1

    async def test_what_the_watcher_has_told_meanwhile_is_not_asked_again(self, stage: Stage) -> None:
        """Breaks when: `overtaken` of lifecycle.py compares with the account in memory, not with the flight."""
        stage.add()
        first, _ = await stage.keeper(follow=False)
        second, _ = await stage.keeper(follow=False)
        lock = stage.files.refresh_lock("ann")
        assert lock.try_acquire()
        waiter = asyncio.ensure_future(second.token("ann"))
        await eventually(lambda: entry_of(second).kept.flight is not None)
        await first.settle(
            entry_of(first),
            RefreshAnswered(
                Flight(1, Secret("refresh-ann-1"), NOW, access_token=Secret("access-ann-1")),
                granted("access-ann-2"),
            ),
        )
        await second.reload("ann")
        lock.release()
        assert await waiter == Secret("access-ann-2")
        assert stage.google.asked == []

    async def test_a_rotation_by_one_is_seen_by_the_other(self, stage: Stage) -> None:
        """G3, G11. Breaks when: `_observed` of lifecycle.py keeps the old token."""
        stage.add()
        stage.google.script = [granted("access-ann-2", refresh="refresh-ann-2", lifetime_s=100)]
        stage.google.alive = {"refresh-ann-2"}
        first, _ = await stage.keeper()
        second, _ = await stage.keeper()
        await first.token("ann")
        await eventually(lambda: entry_of(second).account.token.refresh_token == Secret("refresh-ann-2"))
        assert entry_of(second).account.generation == 1
        stage.clock.at += 200
        await second.token("ann")
        assert stage.google.asked == ["refresh-ann-1", "refresh-ann-2"]

    async def test_use_in_both_does_not_make_them_write_for_ever(self, stage: Stage) -> None:
        """Breaks when: `step` of lifecycle.py compares an observed record with its `last_used_at`."""
        stage.add(token={"expiry_timestamp": int(NOW) + 3600})
        first, _ = await stage.keeper()
        second, _ = await stage.keeper()
        for keeper in (first, second):
            stage.clock.at += 10
            keeper.served("ann")
        await first.change("ann", Edited({"label": "work"}))
        await eventually(lambda: entry_of(second).account.label == "work")
        written = stage.on_disk()["revision"]
        assert written == 2
        assert entry_of(second).account.last_used_at == NOW + 20

    async def test_a_real_second_process_refreshes_once_with_us(self, stage: Stage, tmp_path: Path) -> None:
        """Breaks when: `_take` of flights.py always says that the lock is held."""
        stage.add()
        stage.clock.at = NOW + 5  # both clocks stand still at the same moment
        keeper, _ = await stage.keeper()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("keeper_process.py")),
            str(tmp_path),
            str(stage.clock.at),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
            process.stdin.write(b"go\n")
            mine = await asyncio.gather(*(keeper.token("ann") for _ in range(20)))
            theirs = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
            await asyncio.wait_for(process.wait(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert {token.reveal() for token in mine} == set(theirs["tokens"])
        assert len(theirs["tokens"]) == 1
        assert len(stage.google.asked) + theirs["asked"] == 1


class TestSupersededFlights:
    async def test_an_access_token_supplied_in_mid_flight_leaves_one_question_at_a_time(
        self, stage: Stage
    ) -> None:
        """Breaks when: neither `overtaken` compares the access tokens nor `_called_off` the flights; one suffices."""
        stage.add()
        keeper, _ = await stage.keeper(follow=False)
        lock = stage.files.refresh_lock("ann")
        assert lock.try_acquire()
        first = asyncio.ensure_future(keeper.token("ann"))
        await eventually(lambda: entry_of(keeper).kept.flight is not None)
        supplied = Token(access_token=Secret("access-by-hand"), expiry_timestamp=int(NOW) + 3600)
        await keeper.change("ann", AccessTokenSupplied(supplied))
        lock.release()
        assert await first in {Secret("access-by-hand"), Secret("access-of-refresh-ann-1-1")}
        await eventually(lambda: entry_of(keeper).account.verified)
        await keeper.close()
        assert stage.google.asked == ["refresh-ann-1"]
        assert stage.google.most_at_once == 1

    async def test_a_flight_that_waits_for_another_process_is_given_up_at_the_end(self, stage: Stage) -> None:
        """Breaks when: `_called_off` of flights.py does not look at `_draining`."""
        stage.add()
        keeper, _ = await stage.keeper()
        lock = stage.files.refresh_lock("ann")
        assert lock.try_acquire()
        try:
            waiter = asyncio.ensure_future(keeper.token("ann"))
            await eventually(lambda: entry_of(keeper).kept.flight is not None)
            await asyncio.wait_for(keeper.close(), 10)
            assert await refused(waiter) == "away"
        finally:
            lock.release()
        assert stage.google.asked == []

    async def test_a_question_that_was_asked_is_waited_for_at_the_end(self, stage: Stage) -> None:
        """Breaks when: `close` of keeper.py does not `drain` the flights."""
        stage.add()
        stage.google.script = [granted("access-ann-2", refresh="refresh-ann-2")]
        keeper, _ = await stage.keeper()
        stage.google.hold()
        waiter = asyncio.ensure_future(keeper.token("ann"))
        await stage.google.arrived.wait()
        closing = asyncio.ensure_future(keeper.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        stage.google.open.set()
        await closing
        assert stage.on_disk()["token"]["refresh_token"] == "refresh-ann-2"
        assert await waiter == Secret("access-ann-2")

    async def test_a_refresher_that_crashes_leaves_the_account_able_to_refresh(self, stage: Stage) -> None:
        """Breaks when: `_fly` of flights.py neither answers nor abandons the flight after an exception."""
        stage.add()
        keeper, _ = await stage.keeper()
        stage.google.script = [ZeroDivisionError("a bug")]
        waiter = asyncio.ensure_future(keeper.token("ann"))
        assert await refused(waiter) == "away"
        await eventually(lambda: entry_of(keeper).kept.flight is None)
        stage.clock.at += 10
        assert await keeper.token("ann") == Secret("access-of-refresh-ann-1-2")
        assert stage.on_disk().get("disabled") is None


class TestCreation:
    async def test_a_change_seen_while_the_account_is_created_makes_no_second_entry(
        self, stage: Stage
    ) -> None:
        """Breaks when: `reload` of keeper.py does not look again after it has read the disk."""
        account = changed(stage.add("ben"), id="ann", email="ann@example.com")
        store = FailingStore(stage.files)
        keeper, _ = await stage.keeper(store, follow=False)
        stage.files.transact("ann", lambda _: account)
        reading, go_on = threading.Event(), threading.Event()

        class SlowReading(FailingStore):
            def load(self, account_id: str):  # type: ignore[no-untyped-def]
                record = super().load(account_id)
                reading.set()
                assert go_on.wait(10)
                return record

        keeper.store = SlowReading(stage.files)
        reload = asyncio.ensure_future(keeper.reload("ann"))
        await asyncio.to_thread(reading.wait, 10)
        keeper.store = store
        entry = await keeper.create(account)
        go_on.set()
        await reload
        assert keeper.entry("ann") is entry


async def test_an_unavailable_endpoint_gives_the_waiters_the_token_that_still_lasts(stage: Stage) -> None:
    """Rule 7. Breaks when: `ready_token` of keeper.py has no case for a token that still lasts."""
    stage.add(token={"expiry_timestamp": int(NOW) + 30})
    stage.google.script = [AWAY]
    keeper, diary = await stage.keeper()
    assert await keeper.token("ann") == Secret("access-ann-1")
    assert keeper.ready_token("ann") == Secret("access-ann-1")
    assert len(stage.google.asked) == 1
    assert diary.pool == {"ann": True}
    stage.clock.at += 30
    assert await keeper.token("ann") == Secret("access-of-refresh-ann-1-2")
