"""What the back office needs of a running gateway: the public parts of `regrant.app.App`, as a protocol.

The composition root is a layer above and is never imported from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from regrant.accounts.clock_skew import ClockSkew
from regrant.accounts.enrolment import Enrolment
from regrant.accounts.incident_watch import IncidentWatch
from regrant.accounts.keeper import Keeper
from regrant.accounts.signin import SignIns
from regrant.clock import Clock
from regrant.gateway.key_file import KeyFile
from regrant.gateway.keys import KeyRing
from regrant.gateway.offer import Offer
from regrant.notify.alerts import Alerts
from regrant.oauth.client import GoogleOAuth
from regrant.oauth.google import OAuthClient
from regrant.pool.pool import Pool
from regrant.pool.quota_cloud import CloudReader
from regrant.pool.quota_guard import QuotaGuard
from regrant.settings import Loaded, Settings
from regrant.traffic.exchange import Exchange
from regrant.traffic.log import TrafficLog


class SettingsSource(Protocol):
    """The settings in force; call it for them. `loaded` may already hold what only a restart brings into force."""

    @property
    def data_dir(self) -> Path: ...
    @property
    def loaded(self) -> Loaded: ...
    @property
    def at_start(self) -> Settings:
        """What the process started with: host, port and workers stay so until a restart."""
        ...

    def __call__(self) -> Settings: ...


class Parts(Protocol):
    @property
    def settings(self) -> SettingsSource: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def keeper(self) -> Keeper: ...
    @property
    def enrolment(self) -> Enrolment: ...
    @property
    def signins(self) -> SignIns: ...
    @property
    def oauth(self) -> GoogleOAuth: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def quota(self) -> QuotaGuard: ...
    @property
    def cloud_quotas(self) -> CloudReader: ...
    @property
    def offer(self) -> Offer: ...
    @property
    def key_file(self) -> KeyFile: ...
    @property
    def keys(self) -> KeyRing: ...
    @property
    def clock_skew(self) -> ClockSkew: ...
    @property
    def incidents(self) -> IncidentWatch: ...
    @property
    def alerts(self) -> Alerts: ...
    @property
    def traffic(self) -> TrafficLog: ...
    @property
    def address(self) -> str: ...
    @property
    def exchange_listeners(self) -> list[Callable[[Exchange], None]]:
        """Told of each finished request; must not block or raise."""
        ...

    @property
    def settings_listeners(self) -> list[Callable[[list[str]], None]]:
        """Told after changed settings were applied, with the keys that wait for a restart."""
        ...

    @property
    def closing_listeners(self) -> list[Callable[[], None]]:
        """Told when the process begins to end: whatever would go on for ever ends now."""
        ...

    def oauth_clients(self) -> Mapping[str, OAuthClient]: ...

    def load_keys(self) -> None: ...

    def reload_settings(self) -> None: ...
