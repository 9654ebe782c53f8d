"""The settings as the program reads them: typed, immutable, complete.

Keys, defaults, ranges and help are in `table`; where a value comes from is decided in `loading`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from regrant.secret import Secret


class Server(msgspec.Struct, frozen=True):
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


class OAuthClient(msgspec.Struct, frozen=True):
    client_id: str
    client_secret: Secret
    name: str


class Endpoints(msgspec.Struct, frozen=True):
    authorize: str
    token: str
    revoke: str
    userinfo: str
    gemini: str
    vertex: str
    cloudquotas: str
    monitoring: str
    serviceusage: str


class Google(msgspec.Struct, frozen=True):
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


class PoolGroup(msgspec.Struct, frozen=True):
    """Accounts that belong together, by e-mail, id or label."""

    name: str
    accounts: tuple[str, ...]
    priority: int
    weight: float


class PoolChoice(msgspec.Struct, frozen=True):
    """A rule for the requests of one client key (by name), one model (* is a wildcard), or both; "" means any."""

    key: str
    model: str
    group: str
    account: str
    strategy: str
    fallback: bool


class Pool(msgspec.Struct, frozen=True):
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


class QuotaLimit(msgspec.Struct, frozen=True):
    """A limit that the owner knows; 0 means not known. `project_id` "" means every project."""

    model: str
    project_id: str
    requests_per_minute: int
    tokens_per_minute: int
    requests_per_day: int


class Quota(msgspec.Struct, frozen=True):
    protection: bool
    reserve: float
    timezone: str
    limits: tuple[QuotaLimit, ...]
    read_cloud: bool


Chains = Mapping[str, tuple[str, ...]]
"""Names (* is a wildcard), each with the models that serve it in the order in which they are tried."""


class ModelRule(msgspec.Struct, frozen=True):
    """What holds for the requests of some client keys, before what holds for all. `key` is a name or an id; * is a wildcard.

    `allowed` are the models that may serve them (* is a wildcard); none means every one.
    """

    key: str
    aliases: Chains
    fallbacks: Chains
    default: str
    allowed: tuple[str, ...]


class Models(msgspec.Struct, frozen=True):
    aliases: Chains
    fallbacks: Chains
    default: str
    presets: bool
    rules: tuple[ModelRule, ...]
    fetch_images: bool


class Traffic(msgspec.Struct, frozen=True):
    keep_days: int
    max_mb: int
    record_bodies: bool


class Log(msgspec.Struct, frozen=True):
    level: str
    format: str
    file: bool


class Network(msgspec.Struct, frozen=True):
    proxy: Secret
    ca_file: str


class Store(msgspec.Struct, frozen=True):
    url: Secret


class Webhook(msgspec.Struct, frozen=True):
    """An address that is told of incidents. The whole of `url` is secret: for most receivers its path is the password.

    `name` is what logs and answers call it. No `events` means all of them; no `secret` means unsigned.
    """

    url: Secret
    format: str
    secret: Secret
    events: tuple[str, ...]
    name: str


class Notify(msgspec.Struct, frozen=True):
    webhooks: tuple[Webhook, ...]


class Settings(msgspec.Struct, frozen=True):
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
