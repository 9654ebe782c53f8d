"""The settings of a running process: as they are now, and followed when they change on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from regrant.settings.loading import Loaded, load, restart_needed
from regrant.settings.model import Settings


class LiveSettings:
    """The settings in force, followed while the process runs. What is wrong on disk leaves them as they are."""

    def __init__(self, data_dir: Path, flags: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self._flags = dict(flags)
        self.environ = dict(environ)
        self.loaded: Loaded = load(data_dir, self._flags, self.environ)
        self.at_start = self.loaded.settings
        """What host, port and workers stay as until a restart."""
        self._in_force = self.loaded.settings
        self._seen = self._signature()

    def __call__(self) -> Settings:
        return self._in_force

    def changed(self) -> bool:
        return self._signature() != self._seen

    def reload(self) -> list[str]:
        """Read again; the keys that changed and need a restart. Raises SettingsError and keeps the old settings."""
        self._seen = self._signature()
        old = self.loaded.settings
        self.loaded = load(self.data_dir, self._flags, self.environ)
        new, bound = self.loaded.settings, self.at_start.server
        # auth_mode auto goes by the address that is listened on, not by one that a restart will bring.
        server = msgspec.structs.replace(new.server, host=bound.host, port=bound.port, workers=bound.workers)
        self._in_force = msgspec.structs.replace(new, server=server)
        return restart_needed(old, new)

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            stat = os.stat(self.data_dir / "config.toml")
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


class OAuthEndpoints:
    """Google's OAuth addresses, read at each call so that changed settings apply at once."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings

    @property
    def authorize(self) -> str:
        return self._settings().google.endpoints.authorize

    @property
    def token(self) -> str:
        return self._settings().google.endpoints.token

    @property
    def revoke(self) -> str:
        return self._settings().google.endpoints.revoke

    @property
    def userinfo(self) -> str:
        return self._settings().google.endpoints.userinfo
