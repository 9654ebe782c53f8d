"""The keeper over real files: failures, hand edits, what others write, the log, and refreshing ahead of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.accounts.keeper_stage import (
    AWAY,
    BROKEN,
    DAY_S,
    DEAD,
    NOW,
    Stage,
    eventually,
    granted,
    logged,
)

from regrant.accounts.entry import Entry
from regrant.accounts.events import Edited, Paused, Resumed
from regrant.accounts.keeper import BACKGROUND_FLIGHTS, AccountUnusable, Keeper
from regrant.accounts.lifecycle import FAILING_AFTER_S
from regrant.accounts.model import Disablement
from regrant.secret import Secret

REVOKED = "invalid_grant: Token has been expired or revoked."


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


def entry_of(keeper: Keeper, name: str = "ann") -> Entry:
    entry = keeper.entry(name)
    assert entry is not None
    return entry


async def why(keeper: Keeper, name: str = "ann") -> str:
    with pytest.raises(AccountUnusable) as caught:
        await keeper.token(name)
    return caught.value.why


async def die(keeper: Keeper, stage: Stage) -> None:
    """The account's grant is refused, and that is on disk."""
    assert await why(keeper) == "disabled"
    await eventually(lambda: stage.on_disk().get("disabled"))


class TestADeadGrant:
    async def test_it_is_disabled_durably_and_leaves_the_pool(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, diary = await stage.keeper()
        assert await why(keeper) == "disabled"
        await eventually(lambda: "disabled" in stage.on_disk())
        document = stage.on_disk()
        assert document["disabled"] is True
        assert document["disabled_at"] == NOW
        assert document["disabled_reason"] == "invalid_grant: Token has been expired or revoked."
        assert document["disabled_cause"] == "revoked"
        assert "proxy_disabled" not in document
        assert diary.pool == {"ann": False}
        assert stage.buried == ["refresh-ann-1"]

    async def test_it_is_never_asked_again_by_the_gateway_itself(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, _ = await stage.keeper()
        for _ in range(3):
            assert await why(keeper) == "disabled"
            stage.clock.at += 30 * DAY_S
        await asyncio.sleep(1.2)  # the keeper looks ahead once a second
        await eventually(lambda: entry_of(keeper).persisted)
        assert stage.google.asked == ["refresh-ann-1"]

    async def test_it_stays_disabled_after_a_restart(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, _ = await stage.keeper()
        assert await why(keeper) == "disabled"
        await keeper.close()
        again, diary = await stage.keeper()
        assert await why(again) == "disabled"
        assert diary.pool == {"ann": False}
        assert len(stage.google.asked) == 1

    async def test_a_person_who_asks_gets_one_question_and_an_honest_answer(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, diary = await stage.keeper()
        assert await why(keeper) == "disabled"
        landed = await keeper.ask_google(entry_of(keeper))
        assert landed.dead
        assert stage.on_disk()["disabled_at"] == NOW
        stage.google.alive.add("refresh-ann-1")
        landed = await keeper.ask_google(entry_of(keeper))
        assert not landed.dead
        assert "disabled" not in stage.on_disk()
        assert diary.pool == {"ann": True}
        assert diary.notices[-1] == ("ann", "recovered")
        assert len(stage.google.asked) == 3

    async def test_the_pause_and_the_death_do_not_touch_each_other(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, diary = await stage.keeper()
        await keeper.change("ann", Paused("holiday"))
        await keeper.ask_google(entry_of(keeper))
        document = stage.on_disk()
        assert (document["disabled"], document["proxy_disabled_reason"]) == (True, "holiday")
        await keeper.change("ann", Resumed())
        assert stage.on_disk()["disabled"] is True
        assert "proxy_disabled" not in stage.on_disk()
        await keeper.change("ann", Paused("again"))
        stage.google.alive.add("refresh-ann-1")
        await keeper.ask_google(entry_of(keeper))
        assert "disabled" not in stage.on_disk()
        assert stage.on_disk()["proxy_disabled"] is True
        assert diary.pool == {"ann": False}


class TestTroubleThatIsNotDeath:
    async def test_a_valid_token_goes_on_serving_while_google_is_away(self, stage: Stage) -> None:
        stage.add(token={"expiry_timestamp": int(NOW) + 300})
        stage.google.script = [AWAY]
        keeper, diary = await stage.keeper()
        assert await keeper.token("ann") == Secret("access-ann-1")
        await eventually(lambda: entry_of(keeper).kept.failures == 1)
        for _ in range(20):
            assert await keeper.token("ann") == Secret("access-ann-1")
        assert len(stage.google.asked) == 1
        assert diary.pool == {"ann": True}

    async def test_an_expired_token_backs_off_between_questions(self, stage: Stage) -> None:
        stage.add()
        stage.google.script = [AWAY] * 3
        keeper, _ = await stage.keeper()
        waits = []
        for asked in (1, 2, 3):
            assert await why(keeper) == "away"
            assert await why(keeper) == "away"
            assert len(stage.google.asked) == asked
            waits.append(entry_of(keeper).kept.retry_at - stage.clock.at)
            stage.clock.at = entry_of(keeper).kept.retry_at
        assert [round(wait / 2**turn) for turn, wait in enumerate(waits)] == [1, 1, 1]
        assert await keeper.token("ann") == Secret("access-of-refresh-ann-1-4")
        assert entry_of(keeper).kept.failures == 0

    async def test_what_lasts_is_shown_and_ends_with_the_first_success(self, stage: Stage) -> None:
        stage.add()
        stage.google.script = [AWAY, AWAY]
        keeper, diary = await stage.keeper()
        assert await why(keeper) == "away"
        assert entry_of(keeper).account.attention is None
        stage.clock.at += FAILING_AFTER_S
        assert await why(keeper) == "away"
        await eventually(lambda: stage.on_disk().get("attention", {}).get("code") == "refresh_failing")
        assert diary.pool == {"ann": True}
        stage.clock.at += 60
        await keeper.token("ann")
        assert "attention" not in stage.on_disk()

    async def test_a_broken_client_disables_nobody_and_is_one_alarm(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        for name in ("ann", "ben", "cid"):
            stage.add(name)
        stage.add("dan", client_id="456-other")
        stage.google.script = [BROKEN] * 4
        with logged(tmp_path) as lines:
            keeper, diary = await stage.keeper()
            for name in ("ann", "ben", "cid", "dan"):
                assert await why(keeper, name) == "client"
            alarms = [line["client_id"] for line in lines() if line["event"] == "client_broken"]
            assert alarms == ["123-app", "456-other"]
            assert not [
                line for line in lines() if line["event"] in {"account_attention", "account_disabled"}
            ]
        assert diary.pool == dict.fromkeys(("ann", "ben", "cid", "dan"), True)
        await eventually(lambda: stage.on_disk("cid").get("attention", {}).get("code") == "client_broken")
        assert "disabled" not in stage.on_disk("cid")

    async def test_an_account_that_needs_attention_gives_its_token_to_a_trial_alone(
        self, stage: Stage
    ) -> None:
        stage.add()
        keeper, _ = await stage.keeper()
        await keeper.token("ann")
        keeper.needs_attention("ann", "service_disabled", "Enable the API.", "")
        await eventually(lambda: stage.on_disk().get("attention", {}).get("code") == "service_disabled")
        assert await why(keeper) == "attention"
        assert await keeper.token("ann", trial=True)
        await keeper.change("ann", Paused())
        with pytest.raises(AccountUnusable) as caught:
            await keeper.token("ann", trial=True)
        assert caught.value.why == "paused"

    async def test_without_a_working_lock_there_is_still_one_question_in_this_process(
        self, stage: Stage
    ) -> None:
        stage.add()
        keeper, _ = await stage.keeper()
        lock = stage.folder / "locks" / "ann.refresh.lock"
        lock.unlink(missing_ok=True)
        lock.mkdir()
        tokens = await asyncio.gather(*(keeper.token("ann") for _ in range(10)))
        assert len(set(tokens)) == 1
        assert len(stage.google.asked) == 1

    async def test_an_unknown_account_is_gone(self, stage: Stage) -> None:
        keeper, _ = await stage.keeper()
        assert await why(keeper, "nobody") == "gone"


class TestHandEdits:
    async def test_a_new_refresh_token_is_verified_exactly_once_over_two_keepers(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keepers = [await stage.keeper() for _ in range(2)]
        await die(keepers[0][0], stage)
        await eventually(lambda: not any(diary.pool["ann"] for _, diary in keepers))
        stage.google.alive.add("refresh-ann-2")
        stage.edit(token={"refresh_token": "refresh-ann-2"})
        for keeper, diary in keepers:
            await eventually(lambda diary=diary: diary.pool["ann"])  # type: ignore[misc]
            await eventually(lambda keeper=keeper: entry_of(keeper).account.verified)  # type: ignore[misc]
            assert ("ann", "recovered") in diary.notices
        document = stage.on_disk()
        assert document["generation"] == 2
        assert "disabled" not in document
        assert stage.google.asked == ["refresh-ann-1", "refresh-ann-2"]
        assert {await keeper.token("ann") for keeper, _ in keepers} == {
            Secret(document["token"]["access_token"])
        }

    async def test_a_new_refresh_token_that_is_dead_too_is_disabled_again(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, diary = await stage.keeper()
        await die(keeper, stage)
        stage.clock.at += 60
        stage.edit(token={"refresh_token": "refresh-ann-2"})
        await eventually(lambda: stage.on_disk().get("disabled_at") == NOW + 60)
        assert stage.on_disk()["generation"] == 2
        assert stage.google.asked == ["refresh-ann-1", "refresh-ann-2"]
        assert not diary.pool["ann"]

    async def test_a_new_token_pair_by_hand_does_not_serve_with_the_old_access_token(
        self, stage: Stage
    ) -> None:
        stage.add(token={"expiry_timestamp": int(NOW) + 3600})
        keeper, _ = await stage.keeper()
        stage.google.alive.add("refresh-ann-2")
        stage.google.hold()
        stage.edit(token={"refresh_token": "refresh-ann-2"})
        await stage.google.arrived.wait()
        assert keeper.ready_token("ann") is None
        stage.google.open.set()
        assert await keeper.token("ann") == Secret("access-of-refresh-ann-2-1")

    @pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead again"])
    async def test_a_removed_disabled_is_followed_by_exactly_one_verification(
        self, stage: Stage, alive: bool
    ) -> None:
        stage.add()
        stage.google.alive.clear()
        keepers = [await stage.keeper() for _ in range(2)]
        await die(keepers[0][0], stage)
        await eventually(lambda: not any(diary.pool["ann"] for _, diary in keepers))
        stage.clock.at += 60
        stage.google.alive = {"refresh-ann-1"} if alive else set()
        stage.edit(disabled=None, disabled_at=None, disabled_reason=None, disabled_cause=None)
        await eventually(lambda: len(stage.google.asked) == 2)
        if alive:
            for _, diary in keepers:
                await eventually(lambda diary=diary: ("ann", "recovered") in diary.notices)  # type: ignore[misc]
        else:
            await eventually(lambda: stage.on_disk().get("disabled_at") == NOW + 60)
            await eventually(lambda: not any(diary.pool["ann"] for _, diary in keepers))
        for keeper, _ in keepers:
            await eventually(lambda keeper=keeper: entry_of(keeper).kept.flight is None)  # type: ignore[misc]
        assert len(stage.google.asked) == 2

    async def test_a_false_disabled_counts_as_a_removed_one(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, diary = await stage.keeper()
        await die(keeper, stage)
        await eventually(lambda: "disabled" in stage.on_disk())
        stage.google.alive.add("refresh-ann-1")
        stage.edit(disabled=False)
        await eventually(lambda: diary.pool["ann"])
        await eventually(lambda: len(stage.google.asked) == 2)

    async def test_a_deleted_file_removes_the_account_and_a_new_one_adds_it(self, stage: Stage) -> None:
        stage.add()
        keeper, diary = await stage.keeper()
        stage.file().unlink()
        await eventually(lambda: keeper.entry("ann") is None)
        assert diary.pool == {"ann": False}
        stage.add("ben")
        await eventually(lambda: diary.pool == {"ann": False, "ben": True})

    async def test_a_corrupt_file_leaves_the_last_good_state_in_service(self, stage: Stage) -> None:
        stage.add(token={"expiry_timestamp": int(NOW) + 3600})
        keeper, diary = await stage.keeper()
        good = stage.file().read_bytes()
        stage.file().write_text('{"email": "ann@exam')
        await eventually(keeper.corrupt)
        assert [corrupt.path for corrupt in keeper.corrupt()] == [str(stage.file())]
        assert await keeper.token("ann") == Secret("access-ann-1")
        assert diary.pool == {"ann": True}
        stage.file().write_bytes(good)
        await eventually(lambda: not keeper.corrupt())
        assert await keeper.token("ann") == Secret("access-ann-1")

    async def test_a_death_while_the_file_is_corrupt_is_stored_when_it_is_mended(self, stage: Stage) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, diary = await stage.keeper()
        good = stage.file().read_bytes()
        stage.file().write_text("{")
        await eventually(keeper.corrupt)
        assert await why(keeper) == "disabled"
        assert stage.file().read_text() == "{"
        stage.file().write_bytes(good)
        await eventually(lambda: stage.file().read_bytes() != good and stage.on_disk().get("disabled"))
        assert not diary.pool["ann"]

    async def test_a_file_that_is_corrupt_from_the_start_is_reported_and_taken_in_when_mended(
        self, stage: Stage
    ) -> None:
        stage.add()
        good = stage.file().read_bytes()
        stage.file().write_text("[]")
        keeper, diary = await stage.keeper()
        assert [corrupt.id for corrupt in keeper.corrupt()] == ["ann"]
        assert keeper.entry("ann") is None
        assert stage.file().read_text() == "[]"
        stage.file().write_bytes(good)
        await eventually(lambda: diary.pool.get("ann"))
        assert keeper.corrupt() == []


class TestOtherProcesses:
    async def test_every_change_by_one_keeper_is_seen_by_the_other(self, stage: Stage) -> None:
        stage.add()
        first, _ = await stage.keeper()
        second, diary = await stage.keeper()
        await first.change("ann", Paused("holiday"))
        await eventually(lambda: not diary.pool["ann"])
        await first.change("ann", Resumed())
        await eventually(lambda: diary.pool["ann"])
        await first.change("ann", Edited({"label": "work"}))
        await eventually(lambda: entry_of(second).account.label == "work")
        stage.google.alive.clear()
        assert await why(first) == "disabled"
        await eventually(lambda: not diary.pool["ann"])
        await first.remove("ann")
        await eventually(lambda: second.entry("ann") is None)

    async def test_an_account_is_in_no_moment_unknown_while_others_write_it(self, stage: Stage) -> None:
        """G12: the pool is never emptied first."""
        stage.add(token={"expiry_timestamp": int(NOW) + 3600})
        first, _ = await stage.keeper()
        second, diary = await stage.keeper()
        for turn in range(10):
            await first.change("ann", Edited({"label": f"turn {turn}"}))
            assert await second.token("ann") == Secret("access-ann-1")
        await eventually(lambda: entry_of(second).account.label == "turn 9")
        assert {seen for _, seen in diary.seen} == {True}


class TestTheLog:
    def said(self, lines: list[dict[str, Any]], event: str) -> list[tuple[str, str]]:
        return [(line["level"], line["message"]) for line in lines if line["event"] == event]

    async def test_a_death_and_a_recovery_are_told_to_the_letter(self, stage: Stage, tmp_path: Path) -> None:
        stage.add()
        stage.add("ben")
        stage.google.alive = {"refresh-ben-1"}
        with logged(tmp_path) as lines:
            keeper, _ = await stage.keeper()
            assert await why(keeper) == "disabled"
            stage.google.alive.add("refresh-ann-1")
            await keeper.ask_google(entry_of(keeper))
            told = lines()
        assert self.said(told, "token_refresh_failed") == [
            (
                "error",
                f"token refresh failed (ann@example.com): {REVOKED}, trying next account",
            )
        ]
        assert self.said(told, "account_disabled") == [
            (
                "error",
                "Disabling account due to invalid_grant (ann@example.com): refresh_token likely revoked/expired",
            )
        ]
        assert self.said(told, "account_recovered") == [("info", "account recovered (ann@example.com)")]
        assert {line["email"] for line in told if line["event"].startswith("account_")} == {"ann@example.com"}
        assert "refresh-ann-1" not in (tmp_path / "logs" / "regrant.log").read_text()

    async def test_the_last_account_has_no_next_one(self, stage: Stage, tmp_path: Path) -> None:
        stage.add()
        stage.add("ben")
        stage.google.alive.clear()
        with logged(tmp_path) as lines:
            keeper, _ = await stage.keeper()
            await why(keeper)
            await why(keeper, "ben")
            told = self.said(lines(), "token_refresh_failed")
        assert [message.endswith(", trying next account") for _, message in told] == [True, False]
        assert told[1][1].endswith("expired or revoked.")

    async def test_a_disabled_account_is_skipped_once_per_load_and_reload(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        stage.add()
        stage.google.alive.clear()
        keeper, _ = await stage.keeper()
        await die(keeper, stage)
        await keeper.close()
        with logged(tmp_path) as lines:
            again, _ = await stage.keeper()
            for _ in range(5):
                assert again.ready_token("ann") is None
                await why(again)
            skipped = ("warning", "skipping disabled account (ann@example.com)")
            assert self.said(lines(), "account_skipped") == [skipped]
            stage.edit(label="work")
            await eventually(lambda: entry_of(again).account.label == "work")
            assert self.said(lines(), "account_skipped") == [skipped] * 2

    async def test_a_corrupt_file_is_told_once_with_its_path(self, stage: Stage, tmp_path: Path) -> None:
        stage.add()
        with logged(tmp_path) as lines:
            keeper, _ = await stage.keeper()
            stage.file().write_text("{")
            await eventually(keeper.corrupt)
            for _ in range(3):
                await keeper.reload("ann")
            told = self.said(lines(), "account_corrupt")
        assert len(told) == 1
        assert str(stage.file()) in told[0][1]


class TestAheadOfTime:
    async def test_an_account_in_use_is_refreshed_before_anybody_waits(self, stage: Stage) -> None:
        stage.add(token={"expiry_timestamp": int(NOW) + 3600}, last_used_at=int(NOW) - 60)
        keeper, _ = await stage.keeper()
        assert keeper.ready_token("ann") == Secret("access-ann-1")
        assert stage.google.asked == []
        stage.clock.at += 3200
        await eventually(lambda: stage.google.asked == ["refresh-ann-1"])
        await eventually(lambda: keeper.ready_token("ann") == Secret("access-of-refresh-ann-1-1"))

    async def test_an_account_not_used_for_a_day_is_left_alone(self, stage: Stage) -> None:
        stage.add("old", last_used_at=int(NOW) - 2 * int(DAY_S))
        stage.add("new", last_used_at=int(NOW) - 60)
        await stage.keeper()
        await eventually(lambda: stage.google.asked)
        assert stage.google.asked == ["refresh-new-1"]

    async def test_an_idle_account_is_asked_once_a_week_even_if_paused(self, stage: Stage) -> None:
        stage.add(last_used_at=0)
        keeper, _ = await stage.keeper()
        await keeper.change("ann", Paused("spare"))
        stage.clock.at += 5 * DAY_S
        await asyncio.sleep(1.2)  # the keeper looks ahead once a second
        assert stage.google.asked == []
        for turn in (1, 2):
            stage.clock.at += 7 * DAY_S
            await eventually(lambda turn=turn: len(stage.google.asked) == turn)  # type: ignore[misc]
            await eventually(lambda: entry_of(keeper).account.last_refresh_at == stage.clock.at)
        assert stage.on_disk()["proxy_disabled"] is True

    async def test_a_disabled_account_is_not_asked_by_the_idle_keeper(self, stage: Stage) -> None:
        stage.add(
            "dead", last_used_at=0, disabled=Disablement(at=1, reason="invalid_grant: x", cause="revoked")
        )
        stage.add("idle", last_used_at=0)
        await stage.keeper()
        stage.clock.at += 30 * DAY_S
        await eventually(lambda: stage.google.asked)
        await asyncio.sleep(1.2)  # the keeper looks ahead once a second
        assert stage.google.asked == ["refresh-idle-1"]

    async def test_many_overdue_accounts_are_asked_a_few_at_a_time_and_once_each(self, stage: Stage) -> None:
        """A machine that was off for months makes no storm. Breaks when: `_look_ahead` leaves out BACKGROUND_FLIGHTS."""
        names = [f"account-{number}" for number in range(3 * BACKGROUND_FLIGHTS)]
        for name in names:
            stage.add(name, last_used_at=0)
        stage.clock.at += 100 * DAY_S
        stage.google.hold()
        await stage.keeper()
        await eventually(lambda: len(stage.google.asked) == BACKGROUND_FLIGHTS)
        await asyncio.sleep(1.2)  # the keeper looks ahead once a second
        assert len(stage.google.asked) == BACKGROUND_FLIGHTS
        stage.google.open.set()
        await eventually(lambda: len(stage.google.asked) == len(names))
        await asyncio.sleep(1.2)
        assert sorted(stage.google.asked) == sorted(f"refresh-{name}-1" for name in names)

    async def test_an_idle_account_found_dead_is_disabled(self, stage: Stage) -> None:
        stage.add(last_used_at=0)
        stage.google.alive.clear()
        keeper, diary = await stage.keeper()
        stage.clock.at += 8 * DAY_S
        await eventually(lambda: not diary.pool["ann"])
        assert entry_of(keeper).account.disabled is not None

    async def test_a_stale_token_is_handed_out_while_it_is_refreshed(self, stage: Stage) -> None:
        stage.add(token={"expiry_timestamp": int(NOW) + 300})
        keeper, _ = await stage.keeper()
        stage.google.hold()
        assert await keeper.token("ann") == Secret("access-ann-1")
        await stage.google.arrived.wait()
        assert await keeper.token("ann") == Secret("access-ann-1")
        stage.google.open.set()
        await eventually(lambda: keeper.ready_token("ann") == Secret("access-of-refresh-ann-1-1"))

    async def test_storing_the_last_use_says_nothing_about_what_needs_attention(self, stage: Stage) -> None:
        """Breaks when: `_store_use` of keeper.py tells `Served`, which is the word for a success just now."""
        stage.add(token={"expiry_timestamp": int(NOW) + 3600})
        keeper, diary = await stage.keeper(follow=False)
        stage.clock.at += 30
        keeper.served("ann")
        stage.edit(attention={"code": "SERVICE_DISABLED", "message": "Enable the API", "since": int(NOW)})
        await keeper.reload("ann")
        stage.clock.at += 30
        await keeper.close()
        assert stage.on_disk()["last_used_at"] == NOW + 30
        assert stage.on_disk()["attention"]["code"] == "SERVICE_DISABLED"
        assert diary.pool == {"ann": False}

    async def test_the_last_use_is_stored_at_the_end(self, stage: Stage) -> None:
        stage.add(token={"expiry_timestamp": int(NOW) + 3600})
        keeper, _ = await stage.keeper()
        stage.clock.at += 30
        keeper.served("ann")
        assert stage.on_disk()["last_used_at"] == 0
        await keeper.close()
        assert stage.on_disk()["last_used_at"] == NOW + 30


class TestWhatNeedsAttention:
    async def test_a_forbidden_account_is_out_until_a_person_has_it_verified(self, stage: Stage) -> None:
        stage.add()
        keeper, diary = await stage.keeper()
        keeper.needs_attention("ann", "SERVICE_DISABLED", "Enable the API", "https://example.com/enable")
        await eventually(lambda: stage.on_disk().get("attention", {}).get("code") == "SERVICE_DISABLED")
        assert await why(keeper) == "attention"
        await keeper.ask_google(entry_of(keeper))
        assert "attention" not in stage.on_disk()
        assert diary.pool == {"ann": True}

    async def test_a_success_ends_it(self, stage: Stage) -> None:
        stage.add()
        keeper, diary = await stage.keeper()
        keeper.needs_attention("ann", "SERVICE_DISABLED", "Enable the API", "")
        await eventually(lambda: not diary.pool["ann"])
        keeper.served("ann")
        await eventually(lambda: diary.pool["ann"])
        assert ("ann", "attention_ended") in diary.notices


async def test_a_verdict_without_a_listener_or_a_folder_watch_needs_neither(stage: Stage) -> None:
    stage.add()
    stage.google.script = [granted("access-ann-2"), DEAD]
    keeper, _ = await stage.keeper(follow=False)
    assert await keeper.token("ann") == Secret("access-ann-2")
    keeper.reject("ann", Secret("access-ann-2"))
    assert await why(keeper) == "disabled"
