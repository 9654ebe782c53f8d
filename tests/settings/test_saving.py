from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from regrant.errors import SettingsError
from regrant.secret import MASK, Secret
from regrant.settings import BY_KEY, load, make, save, value_at
from regrant.settings.saving import edit

COMMENTED = """\
# my gateway
[server]  # the front door
port = 1    # chosen by me
future_key = "kept"

# accounts
[google.endpoints]
token = "https://a.example/t"

[models.aliases]
# fast ones
fast = "flash"  # cheap

[future.section]
x = [1,
     2]  # odd layout
"""


def write(folder: Path, text: str) -> Path:
    (folder / "config.toml").write_bytes(text.encode())
    return folder / "config.toml"


def test_saving_keeps_comments_order_and_unknown_keys_and_changes_only_what_was_asked(tmp_path: Path) -> None:
    path = write(tmp_path, COMMENTED)
    save(tmp_path, {"server.port": 2, "server.workers": 3, "models.aliases": {"fast": "flash", "big": "pro"}})
    assert path.read_text() == COMMENTED.replace("port = 1 ", "port = 2 ").replace(
        'future_key = "kept"\n', 'future_key = "kept"\nworkers = 3\n'
    ).replace('fast = "flash"  # cheap\n', 'fast = "flash"  # cheap\nbig = "pro"\n')


def test_saving_nothing_new_leaves_the_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path, COMMENTED)
    before = path.stat()
    save(tmp_path, {"server.port": 1, "server.host": None})
    assert (path.read_text(), path.stat().st_ino) == (COMMENTED, before.st_ino)


def test_crlf_and_a_byte_order_mark_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + COMMENTED.replace("\n", "\r\n"))
    save(tmp_path, {"server.workers": 3, "pool.strategy": "round_robin"})
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf# my gateway\r\n")
    assert data.count(b"\n") == data.count(b"\r\n")
    assert load(tmp_path, {}, {}).settings.pool.strategy == "round_robin"


def test_a_removed_key_is_back_at_its_default(tmp_path: Path) -> None:
    path = write(tmp_path, COMMENTED)
    save(tmp_path, {"server.port": None, "server.api_key": None, "log.level": None})
    loaded = load(tmp_path, {}, {})
    assert (loaded.settings.server.port, loaded.origins["server.port"]) == (8045, "default")
    assert "future_key" in path.read_text()


def test_a_new_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    save(tmp_path, {"server.api_key": Secret("pretend-1")})
    assert load(tmp_path, {}, {}).settings.server.api_key == Secret("pretend-1")
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "config.toml").stat().st_mode) == 0o600


def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere, COMMENTED)
    (tmp_path / "config.toml").symlink_to(elsewhere / "config.toml")
    save(tmp_path, {"server.port": 9})
    assert (tmp_path / "config.toml").is_symlink()
    assert "port = 9" in (elsewhere / "config.toml").read_text()


def test_values_of_the_environment_are_never_written_back(tmp_path: Path) -> None:
    write(tmp_path, "")
    loaded = load(tmp_path, {}, {"REGRANT_SERVER__API_KEY": "pretend-1"})
    assert loaded.settings.server.api_key
    save(tmp_path, {"server.port": 5})
    assert (tmp_path / "config.toml").read_text() == "[server]\nport = 5\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"server.port": 70000},
        {"server.prot": 1},
        {"google.endpoints.token": "http://example.org"},
        {"server.api_key": MASK},
        {"google.clients": [{"client_id": "a", "client_secret": MASK}]},
        {"google.clients": [{"client_id": "a"}, {"client_id": "a"}]},
        {"server.port": 80, "log.level": "loud"},
    ],
)
def test_a_change_that_is_not_allowed_writes_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write(tmp_path, COMMENTED)
    with pytest.raises(SettingsError):
        save(tmp_path, changes)
    assert path.read_text() == COMMENTED


def test_a_broken_file_can_be_mended_one_key_at_a_time_but_not_made_worse(tmp_path: Path) -> None:
    write(tmp_path, '[server]\nport = "x"\nworkers = "y"\n')
    with pytest.raises(SettingsError):
        save(tmp_path, {"log.level": "debug"})
    save(tmp_path, {"server.port": 1})
    save(tmp_path, {"server.workers": 1, "log.level": "debug"})
    assert load(tmp_path, {}, {}).settings.log.level == "debug"


ODD_LAYOUTS = [
    "server.port = 1\n",
    "server = {port = 1}\n",
    'google.endpoints.token = "https://a.org"\ngoogle.project_id = "p"\n',
    'google = {endpoints = {token = "https://a.org"}}\n',
    'google = {clients = [{client_id = "x"}]}\n',
    '[google]\nclients = [{client_id = "x"}]\nendpoints.token = "https://b.org"\n',
    'models.aliases.a = "b"\n',
    "[a.b]\n[server]\n[a.c]\n[google]\n[a]\nx = 1\n[google.endpoints]\n",
]
ODD_CHANGES: list[dict[str, Any]] = [
    {"server.port": 2, "server.host": "::1"},
    {"server.port": None, "google.endpoints.token": None, "models.aliases": None},
    {"google.client_id": "z", "google.endpoints.revoke": "https://n.org"},
    {"google.clients": [{"client_id": "q"}, {"client_id": "x"}]},
    {"google.clients": None, "models.aliases": {"k": "v"}},
]


@pytest.mark.parametrize("text", ODD_LAYOUTS)
@pytest.mark.parametrize("changes", ODD_CHANGES)
def test_a_change_to_an_oddly_written_file_is_made_where_it_belongs(
    tmp_path: Path, text: str, changes: dict[str, Any]
) -> None:
    write(tmp_path, text)
    before = load(tmp_path, {}, {})
    save(tmp_path, changes)
    after = load(tmp_path, {}, {})
    for key in BY_KEY:
        expected = value_at(make({key: changes[key]} if key in changes else {}), key)
        assert value_at(after.settings, key) == (
            expected if key in changes else value_at(before.settings, key)
        ), key
    assert after.unknown == before.unknown


def test_a_section_that_is_no_table_cannot_be_saved_into(tmp_path: Path) -> None:
    path = write(tmp_path, "server = 3\n")
    with pytest.raises(SettingsError, match=r"server \(config.toml\)"):
        save(tmp_path, {"server.port": 1})
    assert path.read_text() == "server = 3\n"


def test_a_file_that_is_not_toml_is_never_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path, "[server\n")
    with pytest.raises(SettingsError, match="line 1"):
        save(tmp_path, {"server.port": 1})
    assert path.read_text() == "[server\n"


def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("in the way")
    with pytest.raises(SettingsError, match="make the folder"):
        save(tmp_path, {"server.port": 1})


VALUES: dict[str, Any] = {
    "server.port": st.integers(0, 65535),
    "server.api_key": st.sampled_from(["a", 'q"uo\\te', "#x"]),
    "server.allowed_hosts": st.lists(st.sampled_from(["a.org", "b.org"]), max_size=3),
    "google.client_id": st.sampled_from(["client-a", "client-b"]),
    "google.endpoints.token": st.sampled_from(["https://a.org/t", "http://localhost:1"]),
    "google.clients": st.lists(
        st.fixed_dictionaries(
            {"client_id": st.sampled_from(["x", "y", "z"])}, optional={"name": st.text("ab\n'\"", max_size=3)}
        ),
        unique_by=lambda item: item["client_id"],
        max_size=3,
    ),
    "models.aliases": st.dictionaries(
        st.sampled_from(["gpt-*", "a.b", "ü", 'q"']), st.sampled_from(["pro", "flash"])
    ),
    "quota.limits": st.lists(st.fixed_dictionaries({"model": st.sampled_from(["m", "n"])}), max_size=2),
    "pool.rescue_s": st.floats(0, 3600),
    "log.file": st.booleans(),
}
change_sets = st.fixed_dictionaries({}, optional={key: st.none() | values for key, values in VALUES.items()})
layouts = st.permutations(
    [
        "[server]\nport = 1 # note one\n\n",
        "[google.endpoints]\n# note two\nrevoke = 'https://r.org'\n\n",
        "[google]\nunknown = {a = 1, b = [1, 2]} # note three\n",
        "[[google.clients]]\nclient_id = 'x' # note four\n\n# note five\n",
        "[models]\naliases = {a = 'b'} # note six\n",
        "[pool]\nrescue_s = 1\n[extra]\ny = 1979-05-27T07:32:00Z\n[[extra.list]]\nz=1\n",
        "[log] # note seven\n",
    ]
)


@given(layouts, st.lists(change_sets, min_size=1, max_size=3), st.sampled_from(["\n", "\r\n"]))
def test_any_changes_to_any_layout_are_read_back_and_unknown_keys_and_other_comments_stay(
    layout: list[str], rounds: list[dict[str, Any]], newline: str
) -> None:
    data = "".join(layout).replace("\n", newline).encode()
    for changes in rounds:
        before, data = data, edit(data, changes)
        old, new = tomllib.loads(before.decode()), tomllib.loads(data.decode())
        for key, value in changes.items():
            found: Any = new
            for name in key.split("."):
                found = found.get(name) if found is not None else None
            assert found == value, key
        assert new["google"]["unknown"] == old["google"]["unknown"]
        assert new["extra"] == old["extra"]
        for note in ("note three", "note seven"):
            assert data.count(note.encode()) == 1
        if newline == "\r\n":
            assert data.count(b"\n") == data.count(b"\r\n")


def _save_many(folder: Path, key: str, values: list[int]) -> None:
    for value in values:
        save(folder, {key: value})


def test_two_processes_that_save_different_keys_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    keys = ["server.port", "traffic.keep_days", "traffic.max_mb"]
    writers = [context.Process(target=_save_many, args=(tmp_path, key, list(range(1, 31)))) for key in keys]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    settings = load(tmp_path, {}, {}).settings
    assert (settings.server.port, settings.traffic.keep_days, settings.traffic.max_mb) == (30, 30, 30)


SAVER = """
import itertools, sys
from pathlib import Path
from regrant.settings import save
for number in itertools.count(1):
    save(Path(sys.argv[1]), {"server.port": number % 60000, "traffic.keep_days": number % 3000 + 1})
    print(number, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("after", range(1, 9))
def test_kill_9_in_the_middle_of_saving_leaves_the_old_or_the_new_file(tmp_path: Path, after: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as saver:
        assert saver.stdout is not None
        for _ in range(after):
            assert saver.stdout.readline()
        time.sleep(after / 4000)  # a spread of moments within a save; any of them must do
        saver.send_signal(signal.SIGKILL)
        rest = saver.stdout.read().split()
    last = int(rest[-1]) if rest else after
    settings = load(tmp_path, {}, {}).settings
    assert (settings.server.port, settings.traffic.keep_days) in {(last, last + 1), (last + 1, last + 2)}
    save(tmp_path, {"server.port": 1})
    assert load(tmp_path, {}, {}).settings.server.port == 1
    assert sorted(item.name for item in tmp_path.iterdir()) == ["config.toml", "locks"]


def test_saving_waits_for_the_lock_of_another_writer(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "config.lock"):
        writer = context.Process(target=_save_many, args=(tmp_path, "server.port", [5]))
        writer.start()
        writer.join(1.5)
        assert writer.exitcode is None
        assert not (tmp_path / "config.toml").exists()
    writer.join(30)
    assert load(tmp_path, {}, {}).settings.server.port == 5


def test_settings_made_from_what_was_saved_are_those_that_were_asked_for(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "google.client_id": "c",
        "google.clients": [{"client_id": "d", "client_secret": Secret("pretend-d"), "name": "two"}],
        "models.aliases": {"gpt-*": "pro"},
        "pool.rescue_s": 1.5,
    }
    save(tmp_path, changes)
    assert load(tmp_path, {}, {}).settings == make(changes)
    assert MASK not in (tmp_path / "config.toml").read_text()
