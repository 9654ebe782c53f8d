"""The settings, the data folder with its owners and permissions, and the disk that it is on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from regrant.app import App
from regrant.cli.doctor.finding import Finding
from regrant.settings import check, load

PRIVATE = (
    "accounts",
    "backups",
    "config.toml",
    "keys.json",
    "admin.token",
    "state.sqlite3",
    "traffic.sqlite3",
)
"""What holds secrets, or what was asked and answered."""
SHOWN = 5


def check_settings(path: Path) -> Iterator[Finding]:
    problems = check(path, {}, os.environ)
    for problem in problems:
        yield Finding("settings", "FAIL", problem, f"Edit {path / 'config.toml'}, or run: regrant config set")
    if not problems:
        loaded = load(path, {}, os.environ)
        given = sum(origin != "default" for origin in loaded.origins.values())
        yield Finding("settings", "ok", f"{path / 'config.toml'}; {given} of them are not the defaults")


def check_folder(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("data folder", "note", f"{path} does not exist yet; it is made when it is needed")
        return
    present = [one for one in (path / name for name in PRIVATE) if one.exists()]
    loose = [one for one in present if _readable_by_others(one)]
    for one in loose:
        yield Finding(
            "permissions", "FAIL", f"{one} can be read by other users", f"Run: chmod go-rwx '{one}'"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        advice = "Give it to the user that runs regrant, or choose another with --data-dir."
        yield Finding("data folder", "FAIL", f"{path} cannot be read and written by this user", advice)
        return
    closed = [one for one in (*present, *_account_files(path)) if not _usable(one)]
    yield from _tell_closed(closed)
    if not loose and not closed:
        yield Finding("data folder", "ok", f"{path}, private and writable")


def check_disk(app: App) -> Iterator[Finding]:
    """Whether an account could be written: proven by writing, for a full disk looks fine until then."""
    probe = app.settings.data_dir / "locks" / f".doctor-{os.getpid()}"
    try:
        with open(probe, "xb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding("disk", "FAIL", f"{probe.parent} cannot be written: {error.strerror}", "Free space.")
    else:
        yield Finding("disk", "ok", "an account could be stored")
    finally:
        probe.unlink(missing_ok=True)


def _tell_closed(closed: list[Path]) -> Iterator[Finding]:
    advice = "Give it to the user that runs regrant: chown, or run the command as that user."
    for one in closed[:SHOWN]:
        yield Finding("permissions", "FAIL", f"{one} cannot be read and written by this user", advice)
    if len(closed) > SHOWN:
        yield Finding("permissions", "FAIL", f"{len(closed) - SHOWN} more files are the same", advice)


def _account_files(path: Path) -> list[Path]:
    try:
        return sorted((path / "accounts").glob("*.json"))
    except OSError:
        return []  # the folder itself is told already


def _usable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0))


def _readable_by_others(path: Path) -> bool:
    try:
        return os.name != "nt" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False
