from __future__ import annotations

import json
import multiprocessing
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from regrant.clock import SystemClock
from regrant.gateway.key_file import KeyFile, KeysError
from regrant.gateway.keys import ring_of
from regrant.secret import Secret


class FixedClock:
    def now(self) -> float:
        return 1000.0

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path, FixedClock())


def test_without_a_file_there_are_no_keys(file: KeyFile) -> None:
    assert file.load() == ()
    assert not file.changed()


def test_a_created_key_opens_the_gate_and_is_on_disk_as_a_hash_only(file: KeyFile) -> None:
    key, secret = file.create("laptop")
    assert re.fullmatch(r"rg-[A-Za-z0-9_-]{43}", secret.reveal())
    assert file.load() == (key,)
    assert ring_of(file.keys, Secret()).match([secret.reveal()]) == key
    text = file.path.read_text()
    assert secret.reveal() not in text
    (stored,) = json.loads(text)
    assert sorted(stored) == ["created_at", "hash", "hint", "id", "name"]
    if os.name != "nt":
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_key_is_revoked_by_its_name_or_its_id(file: KeyFile) -> None:
    one, _ = file.create("one")
    two, _ = file.create("two")
    three, _ = file.create("three")
    assert file.revoke("one") == one
    assert file.revoke(three.id) == three
    assert file.load() == (two,)
    with pytest.raises(KeysError, match="no key"):
        file.revoke("one")


@pytest.mark.parametrize("name", ["", "  ", "settings", "a\nb", "x" * 101, "taken", " taken "])
def test_a_name_that_is_empty_reserved_odd_or_taken_is_refused(file: KeyFile, name: str) -> None:
    file.create("taken")
    before = file.path.read_bytes()
    with pytest.raises(KeysError):
        file.create(name)
    assert file.path.read_bytes() == before


def test_another_process_sees_a_change_by_one_stat(tmp_path: Path, file: KeyFile) -> None:
    file.load()
    other = KeyFile(tmp_path, FixedClock())
    other.create("one")
    assert file.changed()
    file.load()
    assert not file.changed()
    other.revoke("one")
    assert file.changed()
    assert file.load() == ()
    file.path.unlink()
    assert file.changed()
    assert file.load() == ()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'[{"id": 1}]', b"\xff", b"[{]"])
def test_a_corrupt_file_is_told_keeps_the_last_good_keys_and_is_never_overwritten(
    file: KeyFile, content: bytes
) -> None:
    key, _ = file.create("one")
    file.load()
    file.path.write_bytes(content)
    with pytest.raises(KeysError, match=r"keys\.json: .*; mend it"):
        file.load()
    assert file.keys == (key,)
    assert not file.changed()
    for change in (
        lambda: file.create("two"),
        lambda: file.revoke("one"),
        lambda: file.note_used({key.id: 1.0}),
    ):
        with pytest.raises(KeysError):
            change()
    assert file.path.read_bytes() == content


def test_an_unreadable_file_keeps_the_last_good_keys(file: KeyFile) -> None:
    key, _ = file.create("one")
    file.load()
    file.path.unlink()
    file.path.mkdir()
    with pytest.raises(KeysError, match="cannot be read"):
        file.load()
    assert file.keys == (key,)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, file: KeyFile) -> None:
    (tmp_path / "locks").write_text("in the way")
    with pytest.raises(KeysError, match="cannot be written"):
        file.create("one")


def test_the_last_use_is_stored_never_goes_back_and_never_revives_a_revoked_key(file: KeyFile) -> None:
    one, _ = file.create("one")
    two, _ = file.create("two")
    file.revoke("two")
    file.note_used({one.id: 50.0, two.id: 60.0})
    file.note_used({one.id: 40.0})
    assert [(key.id, key.last_used_at) for key in file.load()] == [(one.id, 50.0)]


def test_noting_nothing_new_does_not_touch_the_file(file: KeyFile) -> None:
    one, _ = file.create("one")
    file.note_used({one.id: 50.0})
    file.load()
    file.note_used({one.id: 50.0, "gone": 70.0})
    assert not file.changed()


def test_what_a_killed_writer_left_behind_is_removed(tmp_path: Path, file: KeyFile) -> None:
    (tmp_path / f".keys.json.{'a' * 32}.tmp").write_text("half")
    file.create("one")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["keys.json", "locks"]


def _create_many(folder: Path, prefix: str) -> None:
    file = KeyFile(folder, SystemClock())
    for number in range(20):
        file.create(f"{prefix}-{number}")


def test_processes_that_create_keys_at_once_lose_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_create_many, args=(tmp_path, prefix)) for prefix in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    names = {key.name for key in KeyFile(tmp_path, SystemClock()).load()}
    assert names == {f"{prefix}-{number}" for prefix in "abc" for number in range(20)}


def test_the_token_of_a_new_key_comes_from_outside(tmp_path: Path) -> None:
    token: Callable[[], str] = lambda: "x" * 43  # noqa: E731 - the type of the parameter, spelled out
    _, secret = KeyFile(tmp_path, FixedClock(), token).create("one")
    assert secret == Secret("rg-" + "x" * 43)
