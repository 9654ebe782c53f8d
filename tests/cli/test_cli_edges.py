"""What must never happen, whatever is asked for: a traceback, a secret on a terminal, a wrong exit code."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.command_line import CommandLine

from regrant.cli.commands import complete_adc, run
from regrant.cli.terminal import one_line

ODD = [
    (),
    ("",),
    ("-",),
    ("--",),
    ("nonsense",),
    ("--nonsense",),
    ("accounts",),
    ("accounts", "lists"),
    ("accounts", "show"),
    ("accounts", "show", "a", "b"),
    ("accounts", "list", "--json=1"),
    ("accounts", "add", "--oauth", "--wait", "nan"),
    ("accounts", "add", "--oauth", "--wait", "-1"),
    ("accounts", "pause", "--reason"),
    ("keys", "create"),
    ("config", "set", "server.port"),
    ("logs", "-n", "-1"),
    ("logs", "-n", "x"),
    ("--data-dir",),
]


@pytest.mark.parametrize("arguments", ODD, ids=" ".join)
def test_odd_arguments_are_mistakes_of_usage_told_on_stderr(
    cli: CommandLine, arguments: tuple[str, ...]
) -> None:
    done = cli.run(*arguments, code=2)
    assert done.out == ""
    assert done.err


WORDS = st.sampled_from(
    [
        *(
            "accounts",
            "list",
            "show",
            "verify",
            "pause",
            "resume",
            "remove",
            "import",
            "export",
            "keys",
            "config",
        ),
        *("check", "path", "--json", "--all", "--dry-run", "-", "--", "--help", "--yes", "--lines", "--adc"),
        *("ann@example.com", "\x00", "\udcff", "é", "x" * 300, "../../etc", "-n", "--reason", "--data-dir="),
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, max_size=6))
def test_no_arguments_lead_to_an_unexpected_error(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "odd-arguments"
    said, told = io.StringIO(), io.StringIO()
    before, stdin = os.getcwd(), sys.stdin
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    sys.stdin = io.TextIOWrapper(io.BytesIO(b""))
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            code = run(["--data-dir", str(folder / "data"), *arguments])
    finally:
        os.chdir(before)
        sys.stdin = stdin
    assert code in {0, 1, 2}
    assert "a mistake in Regrant" not in told.getvalue(), told.getvalue()
    assert code == 0 or told.getvalue()


@pytest.mark.parametrize("place", ["/dev/null/x", "/proc/regrant", "file"])
def test_a_data_folder_that_cannot_be_is_told(cli: CommandLine, place: str) -> None:
    (cli.home / "file").write_text("")
    for command in (("accounts", "list"), ("keys", "create", "x")):
        done = cli.run("--data-dir", place, *command, code=2)
        assert "data folder" in done.err
        assert "--data-dir" in done.err or "move it away" in done.err


def test_a_reader_that_leaves_early_ends_it_quietly(cli: CommandLine) -> None:
    process = cli.start("config", "show")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(30) == 1
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_terminals_that_are_not_utf_8_get_question_marks(cli: CommandLine, encoding: str) -> None:
    cli.add("ann", "--label", "Büro 事務所 ✓")
    listed = cli.run("accounts", "list", PYTHONIOENCODING=encoding)
    assert "B" in listed.out
    shown = cli.run("accounts", "show", "ann@example.com", "--json", PYTHONIOENCODING=encoding)
    assert shown.json["label"] == "Büro 事務所 ✓"
    cli.run("--help", PYTHONIOENCODING=encoding)
    cli.run("doctor", PYTHONIOENCODING=encoding)


def test_an_output_that_cannot_be_written_is_told(cli: CommandLine) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "regrant", "config", "show"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=cli.environ,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("regrant: ")
    assert b"Exception" not in done.stderr


def test_closed_streams_are_no_failure(cli: CommandLine) -> None:
    command = f"'{sys.executable}' -m regrant config path >&- 2>&- <&-"
    done = subprocess.run(["sh", "-c", command], env=cli.environ, timeout=30, check=False)
    assert done.returncode == 0


SPAWN = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def on_a_terminal(cli: CommandLine, *arguments: str, answer: str = "", after: str = "") -> tuple[int, str]:
    """Run on a terminal, and type `answer` when it shows `after`; the exit code and what it showed."""
    process = subprocess.Popen(
        [sys.executable, "-c", SPAWN, sys.executable, "-m", "regrant", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**cli.environ, "COLUMNS": "60", "TERM": "xterm"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    shown = b""
    while chunk := os.read(process.stdout.fileno(), 65_536):
        shown += chunk
        if answer and after.encode() in shown:
            os.write(process.stdin.fileno(), answer.encode())
            answer = ""
    process.stdin.close()
    process.stdout.close()
    return process.wait(30), shown.decode()


def test_removing_on_a_terminal_asks_first(cli: CommandLine) -> None:
    cli.add("ann")
    code, shown = on_a_terminal(cli, "accounts", "remove", "ann@example.com", answer="n\n", after="[y/N]")
    assert code == 1
    assert "Remove ann@example.com? [y/N]" in shown
    assert cli.account_file("ann")
    assert on_a_terminal(cli, "accounts", "remove", "ann@example.com", answer="y\n", after="[y/N]")[0] == 0
    assert list((cli.data / "accounts").glob("*.json")) == []


def test_a_token_typed_at_a_terminal_is_not_shown(cli: CommandLine) -> None:
    token = cli.sandbox.grant("ann@example.com").refresh_token
    command = ("accounts", "add", "--refresh-token-file", "-")
    code, shown = on_a_terminal(cli, *command, answer=f"{token}\n", after="not shown")
    assert code == 0, shown
    assert "ann@example.com: created" in shown
    assert token not in shown


def test_ctrl_c_at_a_question_ends_it_and_removes_nothing(cli: CommandLine) -> None:
    cli.add("ann")
    command = ("accounts", "remove", "ann@example.com")
    code, _ = on_a_terminal(cli, *command, answer="\x03", after="[y/N]")
    assert code == 130
    assert cli.account_file("ann")


def test_a_table_on_a_terminal_is_coloured_and_folded_not_cut(cli: CommandLine) -> None:
    cli.add("somebody-with-a-name-longer-than-the-terminal-is-wide-indeed")
    _, shown = on_a_terminal(cli, "accounts", "list")
    assert "\x1b[" in shown
    assert "…" not in shown


def test_adc_alone_gets_an_empty_value() -> None:
    assert complete_adc(["add", "--adc"]) == ["add", "--adc="]
    assert complete_adc(["add", "--adc", "--label", "x"]) == ["add", "--adc=", "--label", "x"]
    assert complete_adc(["add", "--adc", "file", "--adc=x"]) == ["add", "--adc", "file", "--adc=x"]
    assert complete_adc(["add", "--adc", "-"]) == ["add", "--adc", "-"]


def test_what_could_move_the_cursor_is_replaced() -> None:
    assert one_line("a\x1b[2Jb\nc\u202ed") == "a�[2Jb�c�d"
