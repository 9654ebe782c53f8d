"""The data folder: where it is, and the folders in it.

What the files in it hold belongs to the packages that write them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from regrant.errors import SettingsError

FOLDERS = ("accounts", "locks", "logs", "run", "backups")


def data_dir(flag: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """The absolute path of the data folder: `--data-dir`, else REGRANT_DATA_DIR, else the platform's user data folder."""
    chosen = flag or environ.get("REGRANT_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("regrant", appauthor=False)


def ensure_layout(path: Path) -> None:
    """Make the data folder and its folders, for their owner only. Raises SettingsError saying what to do."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            _ensure_private(path / name)
    except FileExistsError as error:
        raise _problem(path, f"{error.filename} is a file where a folder must be; move it away") from error
    except PermissionError as error:
        advice = "give it to the user that runs regrant, or choose another with --data-dir"
        raise _problem(path, f"no permission for {error.filename}; {advice}") from error
    except OSError as error:
        advice = "choose another folder with --data-dir"
        raise _problem(path, f"{error.filename or path}: {error.strerror}; {advice}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise _problem(path, "cannot be written; make it writable, or choose another with --data-dir")


def _ensure_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name != "nt" and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _problem(path: Path, sentence: str) -> SettingsError:
    return SettingsError([f"data folder {path}: {sentence}"])
