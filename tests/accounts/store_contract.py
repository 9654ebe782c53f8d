"""What every AccountStore must do, as tests to inherit: subclass StoreContract and give it the fixtures `store` and `rival`.

`store` and `rival` are two AccountStores on the same records, as two processes would have them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from regrant.accounts.model import Account, Disablement, Token
from regrant.accounts.store import AccountStore, Corrupt, Decide, StoreError
from regrant.secret import Secret

CHANGE_DEADLINE_S = 5.0
"""The contract is one second; a loaded machine is given more before a test fails."""


def ann(**fields: object) -> Account:
    base = Account(
        id="ann",
        email="ann@example.com",
        token=Token(refresh_token=Secret("refresh-ann-1"), access_token=Secret("access-ann-1")),
    )
    return msgspec.structs.replace(base, **fields)


def with_email(account_id: str) -> Account:
    return ann(id=account_id, email=f"{account_id}@example.com")


def making(account: Account) -> Decide:
    return lambda _: account


def labelled(label: str) -> Decide:
    return lambda current: current and msgspec.structs.replace(current, label=label)


async def next_change(changes: AsyncIterator[frozenset[str]], account_id: str) -> None:
    """Wait until a change of the account is reported; says how long it took if it is not."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(CHANGE_DEADLINE_S):
            async for ids in changes:
                if account_id in ids:
                    return
    except TimeoutError:
        pytest.fail(f"no change of {account_id} was reported within {time.monotonic() - started:.2f} s")


@contextlib.asynccontextmanager
async def watching(store: AccountStore) -> AsyncIterator[AsyncIterator[frozenset[str]]]:
    """The store's changes from the moment at which none is missed, followed all the time as the keeper does it."""
    changes = store.changes()
    reported: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    async def follow() -> None:
        async for ids in changes:
            reported.put_nowait(ids)

    async def queued() -> AsyncIterator[frozenset[str]]:
        while True:
            yield await reported.get()

    assert await anext(changes) == frozenset()
    following = asyncio.create_task(follow())
    yield queued()
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


class StoreContract:
    def test_an_empty_store_has_no_accounts(self, store: AccountStore) -> None:
        records = store.load_all()
        assert records.accounts == {}
        assert records.corrupt == {}
        assert store.load("ann") is None

    def test_what_is_stored_is_read_back_by_everybody(self, store: AccountStore, rival: AccountStore) -> None:
        stored = store.transact("ann", lambda _: ann())
        assert stored is not None
        assert rival.load("ann") == stored
        assert rival.load_all().accounts == {"ann": stored}

    def test_every_write_moves_the_revision_on_by_one(self, store: AccountStore, rival: AccountStore) -> None:
        first = store.transact("ann", lambda _: ann())
        second = rival.transact("ann", labelled("work"))
        assert first is not None
        assert second is not None
        assert (first.revision, second.revision) == (1, 2)
        assert first.updated_at > 0

    def test_decide_is_given_what_is_stored_now(self, store: AccountStore, rival: AccountStore) -> None:
        store.transact("ann", lambda _: ann())
        rival.transact("ann", labelled("seen"))
        shown: list[Account | None] = []
        store.transact("ann", shown.append)  # append returns None: no change
        assert [account and account.label for account in shown] == ["seen"]

    @pytest.mark.parametrize("decide", [lambda _: None, lambda current: current], ids=["none", "same"])
    def test_no_decision_writes_nothing(self, store: AccountStore, decide: Decide) -> None:
        stored = store.transact("ann", lambda _: ann())
        assert store.transact("ann", decide) == stored
        assert store.load("ann") == stored

    def test_an_account_that_was_removed_is_not_recreated_by_a_late_write(
        self, store: AccountStore, rival: AccountStore
    ) -> None:
        store.transact("ann", lambda _: ann())
        assert rival.delete("ann")
        assert store.transact("ann", labelled("late")) is None
        assert store.load("ann") is None

    def test_only_the_first_removal_says_that_it_removed(
        self, store: AccountStore, rival: AccountStore
    ) -> None:
        store.transact("ann", lambda _: ann())
        assert store.delete("ann")
        assert not rival.delete("ann")
        assert store.load_all().accounts == {}

    def test_an_error_in_decide_leaves_the_record_and_frees_the_lock(self, store: AccountStore) -> None:
        stored = store.transact("ann", lambda _: ann())

        def fail(_: Account | None) -> Account | None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.transact("ann", fail)
        assert store.load("ann") == stored
        assert store.transact("ann", labelled("after")) is not None

    def test_an_account_that_could_not_be_read_back_is_not_written(self, store: AccountStore) -> None:
        stored = store.transact("ann", lambda _: ann())
        with pytest.raises(StoreError):
            store.transact("ann", lambda _: ann(email=""))
        with pytest.raises(StoreError):
            store.transact("ann", lambda _: ann(id="ben"))
        assert store.load("ann") == stored

    def test_nothing_of_an_account_is_lost(self, store: AccountStore) -> None:
        account = ann(
            disabled=Disablement(at=5, reason="invalid_grant: gone", cause="revoked"),
            unknown={"theirs": {"deep": [1, "ä", None]}},
            token=Token(refresh_token=Secret("refresh-ann-1"), unknown={"vendor": True}),
        ).with_event(7, "disabled", "why")
        stored = store.transact("ann", lambda _: account)
        assert store.load("ann") == stored
        assert stored == msgspec.structs.replace(
            account, revision=1, updated_at=stored.updated_at if stored else 0
        )

    @pytest.mark.parametrize("account_id", ["", ".", "..", "../ann", "a/b", "a\\b", ".ann", "a\0b", "a\n"])
    def test_an_id_is_never_a_path(self, store: AccountStore, account_id: str) -> None:
        assert store.load(account_id) is None
        for attempt in (
            lambda: store.transact(account_id, lambda _: ann(id=account_id)),
            lambda: store.delete(account_id),
            lambda: store.refresh_lock(account_id),
        ):
            with pytest.raises(StoreError):
                attempt()

    @pytest.mark.parametrize("account_id", ["accounts", "adding", "ann.refresh", "ann.write", "ann.json"])
    def test_no_id_collides_with_a_lock(self, store: AccountStore, account_id: str) -> None:
        lock = store.refresh_lock("ann")
        assert lock.try_acquire()
        try:
            with store.adding():
                assert store.transact(account_id, lambda _: with_email(account_id)) is not None
        finally:
            lock.release()

    def test_ids_that_differ_in_one_letter_are_different_accounts(self, store: AccountStore) -> None:
        for account_id in ("ann", "anna", "ann.x", "ann@example.com"):
            store.transact(account_id, making(with_email(account_id)))
        assert set(store.load_all().accounts) == {"ann", "anna", "ann.x", "ann@example.com"}

    def test_threads_of_two_stores_lose_no_write(self, store: AccountStore, rival: AccountStore) -> None:
        store.transact("ann", lambda _: ann())

        def add_one(current: Account | None) -> Account | None:
            return current and msgspec.structs.replace(current, last_used_at=current.last_used_at + 1)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda n: (store, rival)[n % 2].transact("ann", add_one), range(80)))
        after = store.load("ann")
        assert isinstance(after, Account)
        assert (after.last_used_at, after.revision) == (80, 81)

    def test_the_refresh_lock_has_one_holder_at_a_time(
        self, store: AccountStore, rival: AccountStore
    ) -> None:
        mine, theirs = store.refresh_lock("ann"), rival.refresh_lock("ann")
        assert mine.try_acquire()
        assert not mine.try_acquire()
        assert not store.refresh_lock("ann").try_acquire()
        assert not theirs.try_acquire()
        assert rival.refresh_lock("ben").try_acquire()
        mine.release()
        assert theirs.try_acquire()
        theirs.release()

    def test_writing_goes_on_while_somebody_refreshes(self, store: AccountStore, rival: AccountStore) -> None:
        lock = store.refresh_lock("ann")
        assert lock.try_acquire()
        try:
            assert rival.transact("ann", lambda _: ann()) is not None
        finally:
            lock.release()

    def test_only_one_adds_at_a_time(self, store: AccountStore, rival: AccountStore) -> None:
        entered = threading.Event()

        def add() -> None:
            with rival.adding():
                entered.set()

        with store.adding():
            thread = threading.Thread(target=add)
            thread.start()
            assert not entered.wait(0.2)
        thread.join(5)
        assert entered.is_set()

    async def test_changes_of_both_stores_are_reported(
        self, store: AccountStore, rival: AccountStore
    ) -> None:
        async with watching(store) as changes:
            await asyncio.to_thread(rival.transact, "ann", lambda _: ann())
            await next_change(changes, "ann")
            await asyncio.to_thread(store.transact, "ann", labelled("mine"))
            await next_change(changes, "ann")
            await asyncio.to_thread(rival.delete, "ann")
            await next_change(changes, "ann")

    async def test_a_change_between_two_looks_at_the_changes_is_not_missed(
        self, store: AccountStore, rival: AccountStore
    ) -> None:
        async with watching(store) as changes:
            for account_id in ("ann", "ben", "cid"):
                await asyncio.to_thread(rival.transact, account_id, making(with_email(account_id)))
            reported: set[str] = set()
            async with asyncio.timeout(CHANGE_DEADLINE_S):
                async for ids in changes:
                    reported |= ids
                    if reported >= {"ann", "ben", "cid"}:
                        break

    def test_no_record_is_corrupt_after_ordinary_use(self, store: AccountStore) -> None:
        for account_id in ("ann", "ben"):
            store.transact(account_id, making(with_email(account_id)))
        store.delete("ben")
        assert not isinstance(store.load("ann"), Corrupt)
        assert store.load_all().corrupt == {}
