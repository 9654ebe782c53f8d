from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from regrant.errors import SettingsError
from regrant.settings import data_dir, ensure_layout


def test_the_flag_wins_over_the_variable_over_the_platforms_folder(tmp_path: Path) -> None:
    environ = {"REGRANT_DATA_DIR": str(tmp_path / "variable")}
    assert data_dir(tmp_path / "flag", environ) == tmp_path / "flag"
    assert data_dir(None, environ) == tmp_path / "variable"
    assert data_dir("", {"REGRANT_DATA_DIR": ""}).name == "regrant"


def test_the_data_folder_is_absolute_and_knows_the_home_folder() -> None:
    assert data_dir("here", {}) == Path.cwd() / "here"
    assert data_dir("~/regrant", {}) == Path.home() / "regrant"


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_all_folders_are_made_for_the_owner_only_and_open_ones_are_closed(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    ensure_layout(data)
    (data / "accounts").chmod(0o755)
    ensure_layout(data)
    modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in data.iterdir()}
    assert modes == dict.fromkeys(["accounts", "locks", "logs", "run", "backups"], 0o700)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_file_in_the_way_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")
    with pytest.raises(SettingsError, match="locks is a file where a folder must be; move it away"):
        ensure_layout(tmp_path)


def test_a_data_folder_below_a_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="--data-dir"):
        ensure_layout(tmp_path / "file" / "data")


AS_NOBODY = """
import os, pathlib, sys
from regrant.errors import SettingsError
from regrant.settings import ensure_layout
if os.geteuid() == 0:
    os.setuid(65534)
try:
    ensure_layout(pathlib.Path(sys.argv[1]))
except SettingsError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_folder_without_permission_is_told_with_what_to_do() -> None:
    # In a process of its own, as somebody who is not root: root may write everywhere.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        run = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, f"{name}/data"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        Path(name).chmod(0o700)
    assert "no permission" in run.stdout
