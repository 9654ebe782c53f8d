"""Where thought signatures are kept: bounds, ends, restarts, other processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.pool.fakes import HandClock

from regrant.clock import SystemClock
from regrant.gateway.signatures import KEEP_S, KIND, Kept, SignatureStore
from regrant.state import StateDatabase

MINT = "gemini ann project gemini-3.5-flash"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def state(path: Path) -> Iterator[StateDatabase]:
    database = StateDatabase(path, SystemClock())
    yield database
    database.close()


def fill(store: SignatureStore, *call_ids: str, signature: str = "c2ln") -> None:
    for call_id in call_ids:
        store.keep("key-1", call_id, signature, MINT)


def known(store: SignatureStore, *call_ids: str) -> list[str]:
    return [call_id for call_id in call_ids if store.find("key-1", call_id) is not None]


def test_a_signature_is_found_by_its_call_and_by_its_clients_key_only(state: StateDatabase) -> None:
    store = SignatureStore(state, HandClock())
    fill(store, "c1")
    assert store.find("key-1", "c1") == Kept("c2ln", MINT, HandClock().now() + KEEP_S)
    assert store.find("key-2", "c1") is None
    assert store.find("", "c1") is None


def test_the_least_recently_used_goes_when_there_are_too_many_and_leaves_the_database_too(
    state: StateDatabase,
) -> None:
    store = SignatureStore(state, SystemClock(), max_kept=3)
    fill(store, "c1", "c2", "c3")
    assert known(store, "c1") == ["c1"]
    fill(store, "c4")
    assert known(store, "c1", "c2", "c3", "c4") == ["c1", "c3", "c4"]
    assert len(store) == 3
    assert state.flush(10)
    assert set(state.load(KIND)) == {"key-1 c1", "key-1 c3", "key-1 c4"}


def test_long_signatures_are_bounded_by_their_length(state: StateDatabase) -> None:
    store = SignatureStore(state, SystemClock(), max_characters=100)
    fill(store, "c1", "c2", signature="x" * 40)
    fill(store, "c2", "c2", signature="y" * 60)
    assert known(store, "c1", "c2") == ["c1", "c2"]
    fill(store, "c3", signature="z" * 41)
    assert known(store, "c1", "c2", "c3") == ["c3"]
    fill(store, "c4", signature="w" * 101)
    assert len(store) == 0
    assert state.flush(10)
    assert state.load(KIND) == {}


def test_a_signature_ends_after_a_day(state: StateDatabase) -> None:
    clock = HandClock()
    store = SignatureStore(state, clock, max_characters=8)
    fill(store, "c1")
    clock.time += KEEP_S - 1
    assert known(store, "c1") == ["c1"]
    clock.time += 1
    assert known(store, "c1") == []
    fill(store, "c2", "c3")
    assert known(store, "c2", "c3") == ["c2", "c3"]


async def test_a_restart_loses_none(state: StateDatabase, path: Path) -> None:
    fill(SignatureStore(state, SystemClock()), "c1", "c2")
    state.close()
    reopened = StateDatabase(path, SystemClock())
    store = SignatureStore(reopened, SystemClock())
    await store.take_in()
    assert known(store, "c1", "c2", "c3") == ["c1", "c2"]
    reopened.close()


async def test_what_another_process_keeps_or_drops_is_known_here(state: StateDatabase, path: Path) -> None:
    elsewhere = StateDatabase(path, SystemClock())
    store = SignatureStore(state, SystemClock())
    following = asyncio.create_task(store.follow())
    try:
        fill(SignatureStore(elsewhere, SystemClock()), "c1", "c2")
        await until(lambda: known(store, "c1", "c2") == ["c1", "c2"])
        elsewhere.delete(KIND, "key-1 c1")
        await until(lambda: known(store, "c1", "c2") == ["c2"])
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        elsewhere.close()


async def test_what_a_later_version_wrote_is_passed_over(state: StateDatabase) -> None:
    state.put(KIND, "key-1 c1", {"another": "form"}, time.time() + 60)
    assert state.flush(10)
    store = SignatureStore(state, SystemClock())
    await store.take_in()
    assert len(store) == 0


async def until(condition: object, deadline_s: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)
