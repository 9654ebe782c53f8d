"""The settings as the program reads them: typed, immutable, complete.

Keys, defaults, ranges and help are in `table`; where a value comes from is decided in `loading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regrant.secret import Secret


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int
    workers: int
    auth_mode: str
    api_key: Secret
    max_body_mb: int
    trusted_proxies: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    public_url: str


@dataclass(frozen=True, slots=True)
class OAuthClient:
    client_id: str
    client_secret: Secret
    name: str


@dataclass(frozen=True, slots=True)
class Endpoints:
    authorize: str
    token: str
    revoke: str
    userinfo: str
    gemini: str
    vertex: str
    cloudquotas: str
    monitoring: str
    serviceusage: str


@dataclass(frozen=True, slots=True)
class Google:
    client_id: str
    client_secret: Secret
    project_id: str
    upstream: str
    location: str
    idle_check_days: float
    scopes: tuple[str, ...]
    clients: tuple[OAuthClient, ...]
    endpoints: Endpoints

    def oauth_clients(self) -> dict[str, OAuthClient]:
        """Every configured OAuth client by its id, the default one first; empty when none is configured."""
        default = OAuthClient(self.client_id, self.client_secret, "default")
        configured = (default, *self.clients) if self.client_id else self.clients
        return {client.client_id: client for client in configured}


@dataclass(frozen=True, slots=True)
class PoolGroup:
    """Accounts that belong together, by e-mail, id or label."""

    name: str
    accounts: tuple[str, ...]
    priority: int
    weight: float


@dataclass(frozen=True, slots=True)
class PoolChoice:
    """A rule for the requests of one client key (by name), one model (* is a wildcard), or both; "" means any."""

    key: str
    model: str
    group: str
    account: str
    strategy: str
    fallback: bool


@dataclass(frozen=True, slots=True)
class Pool:
    strategy: str
    max_attempts: int
    deadline_s: float
    idle_s: float
    connect_s: float
    max_wait_s: float
    attention_retry_s: float
    rescue_s: float
    slow_start_s: float
    groups: tuple[PoolGroup, ...]
    choices: tuple[PoolChoice, ...]


@dataclass(frozen=True, slots=True)
class QuotaLimit:
    """A limit that the owner knows; 0 means not known. `project_id` "" means every project."""

    model: str
    project_id: str
    requests_per_minute: int
    tokens_per_minute: int
    requests_per_day: int


@dataclass(frozen=True, slots=True)
class Quota:
    protection: bool
    reserve: float
    timezone: str
    limits: tuple[QuotaLimit, ...]
    read_cloud: bool


Chains = Mapping[str, tuple[str, ...]]
"""Names (* is a wildcard), each with the models that serve it in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class ModelRule:
    """What holds for the requests of some client keys, before what holds for all. `key` is a name or an id; * is a wildcard.

    `allowed` are the models that may serve them (* is a wildcard); none means every one.
    """

    key: str
    aliases: Chains
    fallbacks: Chains
    default: str
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Models:
    aliases: Chains
    fallbacks: Chains
    default: str
    presets: bool
    rules: tuple[ModelRule, ...]
    fetch_images: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    keep_days: int
    max_mb: int
    record_bodies: bool


@dataclass(frozen=True, slots=True)
class Log:
    level: str
    format: str
    file: bool


@dataclass(frozen=True, slots=True)
class Network:
    proxy: Secret
    ca_file: str


@dataclass(frozen=True, slots=True)
class Store:
    url: Secret


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of incidents. The whole of `url` is secret: for most receivers its path is the password.

    `name` is what logs and answers call it. No `events` means all of them; no `secret` means unsigned.
    """

    url: Secret
    format: str
    secret: Secret
    events: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Notify:
    webhooks: tuple[Webhook, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    server: Server
    google: Google
    pool: Pool
    quota: Quota
    models: Models
    traffic: Traffic
    log: Log
    network: Network
    store: Store
    notify: Notify
