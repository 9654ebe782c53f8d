"""The traffic log of real processes: nothing shown is lost by kill -9, the disk may fill up, the file stays within its bounds."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.acceptance.harness import Gateway, Json, People, account_file, at_once, chat_body, wait_until
from tests.acceptance.test_disk import fill, small_disk
from tests.accounts.worker_process import required
from tests.sandbox_client import SandboxProcess

KILLS = 4
CLIENTS = 4


def database(data_dir: Path) -> Path:
    return data_dir / "traffic.sqlite3"


def listed(gateway: Gateway, **query: str) -> list[Json]:
    """All records that the API shows, page by page, the newest first."""
    found: list[Json] = []
    cursor = ""
    while True:
        wanted = {"limit": "1000", **query, **({"cursor": cursor} if cursor else {})}
        answer = gateway.admin("GET", f"/api/traffic?{urlencode(wanted)}")
        assert answer.status == 200, answer.body
        page = answer.json()
        found += page["items"]
        cursor = page["next"]
        if not cursor:
            return found


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("pragma integrity_check").fetchone() == ("ok",))


def raw(data_dir: Path) -> bytes:
    return b"".join(path.read_bytes() for path in data_dir.glob("traffic.sqlite3*"))


def ask_until_gone(gateway: Gateway) -> None:
    for number in range(100_000):
        try:
            gateway.chat(f"number {number}")
        except (OSError, HTTPException):
            return


def note_what_is_shown(gateway: Gateway, shown: set[str]) -> None:
    while True:
        try:
            answer = gateway.admin("GET", "/api/traffic?limit=1000")
            shown.update(one["id"] for one in answer.json()["items"])
        except (OSError, HTTPException, ValueError):
            return


def test_kill_9_under_load_loses_no_request_that_was_shown(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    moments = random.Random(20_261_123)
    shown: set[str] = set()
    for _ in range(KILLS):
        with Gateway(data_dir, sandbox.url) as gateway:
            before = len(shown)
            threads = [
                *(threading.Thread(target=ask_until_gone, args=(gateway,)) for _ in range(CLIENTS)),
                threading.Thread(target=note_what_is_shown, args=(gateway, shown)),
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda least=before + 20: len(shown) > least, "some are shown")  # type: ignore[misc]
            threading.Event().wait(moments.uniform(0.0, 0.6))
            gateway.kill()
            for thread in threads:
                thread.join()
        assert is_sound(database(data_dir))
    with Gateway(data_dir, sandbox.url) as gateway:
        kept = [one["id"] for one in listed(gateway)]
    assert len(shown) >= 20 * KILLS
    assert len(kept) == len(set(kept))
    assert shown <= set(kept)


def test_every_request_is_kept_after_a_stop_and_agrees_with_what_google_saw(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    sandbox.script("error", name="500", endpoint="generate", times=5)
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = at_once([partial(gateway.chat, f"number {number}") for number in range(20)])
        stream = gateway.chat("streamed", stream=True)
        gateway.stop()
    with Gateway(data_dir, sandbox.url) as gateway:
        kept = {one["id"]: one for one in listed(gateway)}
    assert set(kept) == {answer.headers["x-request-id"] for answer in [*answers, stream]}
    for answer in answers:
        one = kept[answer.headers["x-request-id"]]
        assert one["status"] == answer.status
        assert len(one["attempts"]) == int(answer.headers["x-regrant-attempts"])
        assert one["first_ms"] is None
    assert 0 < kept[stream.headers["x-request-id"]]["first_ms"] <= kept[stream.headers["x-request-id"]]["ms"]
    attempts = [attempt for one in kept.values() for attempt in one["attempts"]]
    assert Counter(attempt["status"] for attempt in attempts)[500] == 5
    assert len(attempts) == len(
        [one for one in sandbox.journal() if one["endpoint"] in {"generate", "stream"}]
    )
    assert {attempt["fault"] for attempt in attempts} == {"", "server_error"}


def test_bodies_are_not_kept_unless_wanted_and_then_without_secrets(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        first = gateway.chat("nobody-keeps-this").headers["x-request-id"]
        wait_until(lambda: listed(gateway), "it is recorded")
        assert gateway.admin("GET", f"/api/traffic/{first}").json()["bodies"] is None
        assert gateway.admin("PATCH", "/api/settings", {"traffic.record_bodies": True}).status == 200
        body = chat_body("somebody-keeps-this, the api_key is word-one: Bearer word-two-2", user="me")
        query = gateway.call(
            "POST",
            "/v1/chat/completions?key=word-three",
            body,
            {"authorization": "Bearer word-four", "x-api-key": "word-five"},
        )
        stream = gateway.chat("streamed-and-kept", stream=True)
        wait_until(lambda: len(listed(gateway)) == 3, "they are recorded")
        pair = gateway.admin("GET", f"/api/traffic/{query.headers['x-request-id']}").json()["bodies"]
        assert "somebody-keeps-this" in pair["request"]["text"]
        assert "Bearer [secret]" in pair["request"]["text"]
        pair = gateway.admin("GET", f"/api/traffic/{stream.headers['x-request-id']}").json()["bodies"]
        assert (pair["answer"]["bytes"], pair["answer"]["cut"]) == (len(stream.body), False)
        assert pair["answer"]["text"].startswith("data: {")
        assert pair["answer"]["text"].rstrip().endswith("data: [DONE]")
        assert gateway.admin("PATCH", "/api/settings", {"traffic.record_bodies": False}).status == 200
        gateway.chat("nobody-keeps-this-either")
    everything = raw(data_dir)
    for word in (b"nobody-keeps", b"word-two", b"word-three", b"word-four", b"word-five"):
        assert word not in everything


def newest_is(gateway: Gateway, request_id: str) -> bool:
    return any(one["id"] == request_id for one in listed(gateway)[:1])


def test_the_file_stays_within_its_size_under_load_and_a_new_age_counts_at_once(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    (data_dir / "config.toml").write_text("[traffic]\nmax_mb = 1\nrecord_bodies = true\n")
    with Gateway(data_dir, sandbox.url) as gateway:
        largest = 0
        for number in range(60):
            answer = gateway.chat(f"{number} " + "long " * 10_000)
            assert answer.status == 200
            if number % 10 == 9:  # else all of it is over before the first batch is written
                wait_until(partial(newest_is, gateway, answer.headers["x-request-id"]), "it is recorded")
            largest = max(largest, sum(path.stat().st_size for path in data_dir.glob("traffic.sqlite3*")))
        newest = gateway.chat("the last").headers["x-request-id"]
        wait_until(lambda: listed(gateway)[0]["id"] == newest, "it is recorded")
        shm = 32_768  # the shared memory of SQLite, which is no data
        batch = 131_072  # written while somebody reads, it stays in the journal a moment longer
        assert 300_000 < largest <= (1 << 20) + shm + batch
        assert 2 <= len(listed(gateway)) < 61
        with closing(sqlite3.connect(database(data_dir), timeout=10)) as connection:
            connection.execute("update exchange set at = at - 10 * 86400 where id != ?", (newest,))
            connection.commit()
        assert len(listed(gateway)) >= 2
        assert gateway.admin("PATCH", "/api/settings", {"traffic.keep_days": 7}).status == 200
        wait_until(lambda: [one["id"] for one in listed(gateway)] == [newest], "the old ones go")
    assert is_sound(database(data_dir))


def test_several_processes_keep_one_log(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    people("ann", fresh=True)
    with (
        Gateway(data_dir, sandbox.url, "--workers", "2") as first,
        Gateway(data_dir, sandbox.url) as second,
    ):
        work = [partial(gateway.chat, str(number)) for gateway in (first, second) for number in range(30)]
        asked = {answer.headers["x-request-id"] for answer in at_once(work)}
        assert len(asked) == 60
        for gateway in (first, second):
            wait_until(lambda of=gateway: {one["id"] for one in listed(of)} == asked, "all see all")  # type: ignore[misc]
        assert first.log("traffic_not_recorded") == []
    assert is_sound(database(data_dir))


def test_a_damaged_log_neither_keeps_the_gateway_from_starting_nor_from_recording(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    database(data_dir).write_bytes(b"damaged " * 1000)
    with Gateway(data_dir, sandbox.url) as gateway:
        asked = gateway.chat().headers["x-request-id"]
        wait_until(lambda: gateway.log("traffic_damaged"), "it is reported")
        wait_until(lambda: [one["id"] for one in listed(gateway)] == [asked], "it is recorded")
    assert len(list(data_dir.glob("traffic.sqlite3.corrupt-*"))) == 1


@pytest.fixture
def small(sandbox: SandboxProcess) -> Iterator[Path]:
    """A data folder on a small disk of its own."""
    required(sys.platform == "linux", "Linux, to mount a small disk")
    folder = Path(tempfile.mkdtemp())
    data_dir = folder / "data"
    small_disk(data_dir, pages=1024)
    yield data_dir
    subprocess.run(["umount", "-l", str(data_dir)], check=True)
    shutil.rmtree(folder)


@pytest.mark.root
def test_a_full_disk_is_told_once_stops_nobody_and_is_made_up_for(
    sandbox: SandboxProcess, small: Path
) -> None:
    account_file(small, "ann", sandbox.grant("ann@example.com"), fresh=True)
    with Gateway(small, sandbox.url) as gateway:
        asked = [gateway.chat("before").headers["x-request-id"]]
        wait_until(lambda: len(listed(gateway)) == 1, "it is recorded")
        fill(small)
        began = time.monotonic()
        while "cannot write traffic.sqlite3" not in gateway.stderr:
            answer = gateway.chat("while the disk is full")
            assert answer.status == 200
            asked.append(answer.headers["x-request-id"])
            assert time.monotonic() - began < 30, "the trouble was not told"
        asked += [gateway.chat("and on").headers["x-request-id"] for _ in range(20)]
        assert "Free space" in gateway.stderr
        assert [one["id"] for one in listed(gateway)] == asked[:1], "what is there can be read"
        (small / "filler").unlink()
        wait_until(lambda: len(listed(gateway)) == len(asked), "all is made up for", deadline_s=30)
        assert [one["id"] for one in reversed(listed(gateway))] == asked
        assert gateway.stderr.count("cannot write traffic.sqlite3") == 1
        wait_until(lambda: "nothing was lost" in gateway.stderr, "the end is told")
    assert is_sound(database(small))
