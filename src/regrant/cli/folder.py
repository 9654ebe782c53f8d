"""The data folder of a command, made if need be. Where it is and what is in it is `settings/layout.py`."""

from __future__ import annotations

import os
from pathlib import Path

from regrant.settings import data_dir, ensure_layout


def prepared_folder(flag: Path | None) -> Path:
    """The data folder that the flag or the environment names. Raises SettingsError when it cannot be used."""
    path = data_dir(flag, os.environ)
    ensure_layout(path)
    return path
