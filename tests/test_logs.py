from __future__ import annotations

import dataclasses
import io
import json
import logging
import multiprocessing
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant import logs
from regrant.secret import MASK, Secret
from regrant.settings import Log, Settings, make


class FixedClock:
    def now(self) -> float:
        return 1_700_000_000.1239

    def monotonic(self) -> float:
        return 0.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Start = Callable[..., io.StringIO]


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logs.configure(Log(level="info", format="plain", file=False), Path())
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def begin(stream: io.StringIO | None = None, **changes: Any) -> io.StringIO:
        target = stream or io.StringIO()
        settings: Settings = make({f"log.{name}": value for name, value in changes.items()})
        logs.configure(settings.log, tmp_path, target, FixedClock())
        return target

    return begin


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_has_the_contracts_keys_in_order_and_the_message_to_the_letter(
    start: Start, tmp_path: Path
) -> None:
    stream = start()
    message = "Disabling account due to invalid_grant (ann@example.org): refresh_token likely revoked/expired"
    logs.get("keeper").error(
        "account_disabled", message, cause="revoked", email="ann@example.org", account="a-1"
    )
    line = stream.getvalue()
    assert list(json.loads(line).items()) == [
        ("at", 1700000000.124),
        ("level", "error"),
        ("event", "account_disabled"),
        ("message", message),
        ("account", "a-1"),
        ("email", "ann@example.org"),
        ("cause", "revoked"),
        ("logger", "keeper"),
    ]
    assert (tmp_path / "logs" / "regrant.log").read_text() == line


def test_plain_is_for_terminals_and_json_for_everything_else(start: Start) -> None:
    message = "account recovered (ann@example.org)"
    for stream, form, wanted in (
        (
            Terminal(),
            "auto",
            r"\d\d:\d\d:\d\d \x1b\[32minfo   \x1b\[0m account recovered \(ann@example.org\)  account=a-1\n",
        ),
        (
            io.StringIO(),
            "plain",
            r"\d\d:\d\d:\d\d info    account recovered \(ann@example.org\)  account=a-1\n",
        ),
    ):
        start(stream, format=form)
        logs.get("x").info("account_recovered", message, account="a-1")
        assert re.fullmatch(wanted, stream.getvalue())
    for stream, form in ((io.StringIO(), "auto"), (Terminal(), "json")):
        start(stream, format=form)
        logs.get("x").info("account_recovered", message)
        assert json.loads(stream.getvalue())["message"] == message


def test_levels_below_the_one_that_is_set_are_not_written(start: Start) -> None:
    for level, count in (("debug", 4), ("info", 3), ("warning", 2), ("error", 1)):
        stream = start(level=level, file=False)
        log = logs.get("x")
        for say in (log.debug, log.info, log.warning, log.error):
            say("event", "message")
        assert len(stream.getvalue().splitlines()) == count


@dataclasses.dataclass
class Holder:
    token: Secret


class Wire(msgspec.Struct):
    token: Secret


def test_a_secret_is_masked_by_its_type_however_deep_it_is(start: Start, tmp_path: Path) -> None:
    secret = Secret("refresh-ann-1")
    fields: dict[str, Any] = {
        "bare": secret,
        "nested": {"list": [secret, (secret, {secret})], secret: 1},
        "holder": Holder(secret),
        "wire": [Wire(secret)],
        "error": ValueError(f"with {secret}"),
        "raw": b"refresh-ann-1",
    }
    for form in ("json", "plain"):
        stream = start(format=form)
        logs.get("x").info("event", f"message {secret}", **fields)
        assert "ann-1" not in stream.getvalue()
        assert stream.getvalue().count(MASK) == 9
    assert "ann-1" not in (tmp_path / "logs" / "regrant.log").read_text()


def test_fields_never_replace_the_contracts_keys(start: Start) -> None:
    stream = start()
    logs.get("x").info("event", "message", level="fatal", at=0, message="other", event="else")
    record = json.loads(stream.getvalue())
    assert (record["level"], record["event"], record["message"]) == ("info", "event", "message")


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_field_that_cannot_be_shown_never_breaks_the_caller(start: Start) -> None:
    stream = start()
    circle: list[Any] = []
    circle.append(circle)
    logs.get("x").info("event", "message", circle=circle, surrogate="\udc80", huge=float("inf"))
    logs.get("x").info("event", "message", broken=Broken())
    logs.get("x").info("event", "message", number=10**5000)
    first, *others = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first["huge"] == "inf"
    assert [record.get("unprintable") for record in others] == [["broken"], ["number"]]


def test_control_characters_cannot_forge_a_line_or_colour_a_terminal(start: Start) -> None:
    stream = start(format="plain")
    logs.get("x").info("event", "one\nERROR two\x1b[31m", name="a\r\nb")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


@given(
    st.text(), st.dictionaries(st.text(), st.text() | st.none() | st.integers() | st.floats() | st.binary())
)
def test_every_record_is_one_line_of_json(message: str, fields: dict[str, Any]) -> None:
    record = logs.make_record(0.0, "info", "event", message, fields, logger="x")
    line = logs.render_json(record).encode("utf-8", "backslashreplace")
    assert b"\n" not in line
    assert json.loads(line)["event"] == "event"
    assert len(logs.render_plain(record, coloured=False).splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_the_file_is_readable_by_its_owner_only(start: Start, tmp_path: Path) -> None:
    start()
    logs.get("x").info("event", "message")
    assert stat.S_IMODE((tmp_path / "logs" / "regrant.log").stat().st_mode) == 0o600


def test_without_the_file_setting_there_is_no_file(start: Start, tmp_path: Path) -> None:
    start(file=False)
    logs.get("x").info("event", "message")
    assert not (tmp_path / "logs").exists()


def test_a_file_that_cannot_be_written_is_told_once_and_its_recovery_too(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "logs").write_text("in the way")
    stream = start()
    for number in range(3):
        logs.get("x").info("event", "message", number=number)
    (tmp_path / "logs").unlink()
    logs.get("x").info("event", "message", number=3)
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["event", "log_file_failed", "event", "event", "event", "log_file_recovered"]
    assert logs.failures() == 3
    assert [line["number"] for line in lines_of(tmp_path / "logs" / "regrant.log")] == [3]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_never_breaks_the_caller(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "regrant.log").symlink_to("/dev/full")
    stream = start()
    logs.get("x").info("event", "message")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "event",
        "log_file_failed",
    ]


def test_a_closed_stream_never_breaks_the_caller_and_the_file_goes_on(start: Start, tmp_path: Path) -> None:
    start().close()
    logs.get("x").info("event", "message")
    assert logs.failures() == 1
    assert len(lines_of(tmp_path / "logs" / "regrant.log")) == 1


def test_a_stream_that_knows_only_ascii_gets_the_rest_escaped(tmp_path: Path) -> None:
    raw = io.BytesIO()
    logs.configure(make({"log.file": False}).log, tmp_path, io.TextIOWrapper(raw, "ascii"), FixedClock())
    logs.get("x").info("event", "Grüße")
    assert json.loads(raw.getvalue())["message"] == "Grüße"


def test_what_libraries_say_reaches_the_same_sinks_from_warning_up(start: Start, tmp_path: Path) -> None:
    stream = start()
    library = logging.getLogger("uvicorn.error")
    library.info("started")
    library.warning("slow %s", "client")
    try:
        raise ValueError("cause")
    except ValueError:
        library.exception("failed")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(item["level"], item["event"], item["message"], item["logger"]) for item in records] == [
        ("warning", "library", "slow client", "uvicorn.error"),
        ("error", "library", "failed", "uvicorn.error"),
    ]
    assert "ValueError: cause" in records[1]["traceback"]
    assert lines_of(tmp_path / "logs" / "regrant.log") == records


def test_threads_that_write_at_once_never_mix_their_lines(start: Start, tmp_path: Path) -> None:
    start()

    def write(name: str) -> None:
        for number in range(200):
            logs.get(name).info("event", "message " + "x" * 500, number=number)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(line["logger"], line["number"]) for line in lines_of(tmp_path / "logs" / "regrant.log")]
    assert sorted(found) == [(name, number) for name in "abc" for number in range(200)]


def _log_from_process(folder: Path, name: str) -> None:
    logs.configure(make().log, folder, io.StringIO())
    for number in range(200):
        logs.get(name).info("event", "message", number=number)


def test_processes_share_the_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_log_from_process, args=(tmp_path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = [(line["logger"], line["number"]) for line in lines_of(tmp_path / "logs" / "regrant.log")]
    assert sorted(found) == [(name, number) for name in "abc" for number in range(200)]
