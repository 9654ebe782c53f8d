"""The one table of settings: key, kind, default and help. Parsing, `config show`, CLI help and docs are made from it.

The typed result is in `model`; precedence is in `loading`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.secret import Secret
from regrant.settings import addresses
from regrant.settings.model import ModelRule, OAuthClient, PoolChoice, PoolGroup, QuotaLimit, Webhook
from regrant.settings.values import (
    Chains,
    Choice,
    Field,
    Flag,
    Kind,
    ListOf,
    Number,
    Record,
    SecretText,
    Text,
    Whole,
)

SECRET_WORD = SecretText("text without spaces", addresses.visible_text)
WORD = Text("text without spaces", addresses.visible_text)
FILLED_WORD = Text("text without spaces that is not empty", addresses.filled_visible_text)
ENDPOINT = Text("an https:// address, or http:// to 127.0.0.0/8, ::1 or localhost", addresses.google_endpoint)
COUNT = Whole(0, 1_000_000_000_000)

OAUTH_CLIENT = Record(
    OAuthClient,
    {
        "client_id": Field(FILLED_WORD),
        "client_secret": Field(SECRET_WORD, ""),
        "name": Field(Text("text", addresses.any_text), ""),
    },
)
QUOTA_LIMIT = Record(
    QuotaLimit,
    {
        "model": Field(FILLED_WORD),
        "project_id": Field(WORD, ""),
        "requests_per_minute": Field(COUNT, 0),
        "tokens_per_minute": Field(COUNT, 0),
        "requests_per_day": Field(COUNT, 0),
    },
)
INCIDENTS = (
    "account_died",
    "mass_failure",
    "will_die",
    "attention",
    "client_broken",
    "pool_empty",
    "not_persisted",
    "clock_skew",
)
WEBHOOK_FORMATS = ("auto", "json", "slack", "discord", "ntfy")


def _make_webhook(*, url: Secret, name: str, **fields: Any) -> Webhook:
    return Webhook(url=url, name=name or addresses.host_of(url.reveal()), **fields)


WEBHOOK = Record(
    _make_webhook,
    {
        "url": Field(
            SecretText(
                "an https:// address, or http:// to this machine or a private network", addresses.webhook
            )
        ),
        "format": Field(Choice(WEBHOOK_FORMATS), "auto"),
        "secret": Field(SECRET_WORD, ""),
        "events": Field(ListOf(Choice(INCIDENTS)), []),
        "name": Field(Text("text", addresses.any_text), ""),
    },
    alone="url",
)

STRATEGIES = ("sticky", "round_robin", "least_loaded", "fill_first", "weighted", "priority")
POOL_GROUP = Record(
    PoolGroup,
    {
        "name": Field(FILLED_WORD),
        "accounts": Field(ListOf(Text("text that is not empty", addresses.filled_text))),
        "priority": Field(Whole(-1000, 1000), 0),
        "weight": Field(Number(0.001, 1000), 1.0),
    },
)
POOL_CHOICE = Record(
    PoolChoice,
    {
        "key": Field(Text("text", addresses.any_text), ""),
        "model": Field(WORD, ""),
        "group": Field(WORD, ""),
        "account": Field(Text("text", addresses.any_text), ""),
        "strategy": Field(Choice(("", *STRATEGIES)), ""),
        "fallback": Field(Flag(), False),
    },
)
MODEL_RULE = Record(
    ModelRule,
    {
        "key": Field(Text("text that is not empty", addresses.filled_text)),
        "aliases": Field(Chains(), {}),
        "fallbacks": Field(Chains(), {}),
        "default": Field(WORD, ""),
        "allowed": Field(ListOf(FILLED_WORD), ()),
    },
)


class Setting(msgspec.Struct, frozen=True):
    """One row. `default` is written as in config.toml; `restart` marks what a running process cannot change."""

    key: str
    kind: Kind
    default: Any
    help: str
    restart: bool = False

    @property
    def secret(self) -> bool:
        return self.kind.secret

    @property
    def environment(self) -> str:
        """The name of its environment variable."""
        return "REGRANT_" + self.key.upper().replace(".", "__")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "server.host",
        Text("an IP address or a host name", addresses.listen_host),
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 means every IPv4 network of the machine.",
        restart=True,
    ),
    Setting(
        "server.port", Whole(0, 65535), 8045, "TCP port to listen on; 0 takes any free one.", restart=True
    ),
    Setting("server.workers", Whole(1, 64), 1, "Number of processes that serve requests.", restart=True),
    Setting(
        "server.auth_mode",
        Choice(("off", "strict", "all_except_health", "auto")),
        "auto",
        "Which routes need a client key: none, all, all but the health checks, or (auto) none while only this machine can connect.",
    ),
    Setting(
        "server.api_key", SECRET_WORD, "", 'One more client key, beside those of keys.json; "" means none.'
    ),
    Setting(
        "server.max_body_mb", Whole(1, 2048), 100, "Largest request body that is accepted, in megabytes."
    ),
    Setting(
        "server.trusted_proxies",
        ListOf(Text("an IP address or network", addresses.network)),
        [],
        "Addresses of reverse proxies whose X-Forwarded headers are believed.",
    ),
    Setting(
        "server.allowed_hosts",
        ListOf(Text("a host name without scheme and port", addresses.host_pattern)),
        [],
        "Host names, besides those of this machine, under which the gateway may be called; *.example.org means any name below.",
    ),
    Setting(
        "server.allowed_origins",
        ListOf(Text("an origin such as https://app.example.org", addresses.origin)),
        [],
        "Web pages, by their origin, that may call the gateway from a browser.",
    ),
    Setting(
        "server.public_url",
        Text('an http:// or https:// address, or ""', addresses.optional_web_address),
        "",
        "Address under which browsers reach this server, for links and sign-in; a trailing slash is dropped.",
    ),
    Setting("google.client_id", WORD, "", "Id of your own OAuth client (type Desktop app) at Google."),
    Setting("google.client_secret", SECRET_WORD, "", "Secret of that OAuth client."),
    Setting(
        "google.project_id",
        WORD,
        "",
        'Google Cloud project for new accounts; "" means the OAuth client\'s own project.',
    ),
    Setting(
        "google.upstream",
        Choice(("gemini", "vertex")),
        "gemini",
        "API that serves Gemini models for new accounts.",
    ),
    Setting(
        "google.location",
        Text('a location such as "global" or "europe-west1"', addresses.location),
        "global",
        "Vertex AI location for new accounts.",
    ),
    Setting(
        "google.idle_check_days",
        Number(0, 170),
        7,
        "Days after which an unused account is refreshed so that Google does not let its grant die; 0 never does.",
    ),
    Setting(
        "google.scopes",
        ListOf(FILLED_WORD),
        [
            "openid",
            "email",
            "https://www.googleapis.com/auth/cloud-platform",
            "https://www.googleapis.com/auth/generative-language.retriever",
        ],
        "OAuth scopes that are asked for when an account signs in.",
    ),
    Setting(
        "google.clients",
        ListOf(OAUTH_CLIENT),
        [],
        "Further OAuth clients, one [[google.clients]] table each; accounts remember which one they signed in with.",
    ),
    Setting(
        "google.endpoints.authorize",
        ENDPOINT,
        "https://accounts.google.com/o/oauth2/v2/auth",
        "Address of Google's sign-in page; used as given, a trailing slash is dropped.",
    ),
    Setting(
        "google.endpoints.token",
        ENDPOINT,
        "https://oauth2.googleapis.com/token",
        "Address that exchanges and refreshes tokens; used as given, a trailing slash is dropped.",
    ),
    Setting(
        "google.endpoints.revoke",
        ENDPOINT,
        "https://oauth2.googleapis.com/revoke",
        "Address that revokes tokens; used as given, a trailing slash is dropped.",
    ),
    Setting(
        "google.endpoints.userinfo",
        ENDPOINT,
        "https://openidconnect.googleapis.com/v1/userinfo",
        "Address that tells whose account a token is; used as given, a trailing slash is dropped.",
    ),
    Setting(
        "google.endpoints.gemini",
        ENDPOINT,
        "https://generativelanguage.googleapis.com",
        "Base address of the Gemini API, before /v1beta/models/…; a trailing slash is dropped.",
    ),
    Setting(
        "google.endpoints.vertex",
        Text(ENDPOINT.what + ', with or without {location}, or ""', addresses.vertex_endpoint),
        "",
        'Base address of Vertex AI, {location} filled in; "" means Google\'s host for the location; a trailing slash is dropped.',
    ),
    Setting(
        "google.endpoints.cloudquotas",
        ENDPOINT,
        "https://cloudquotas.googleapis.com",
        "Base address of the Cloud Quotas API; a trailing slash is dropped.",
    ),
    Setting(
        "google.endpoints.monitoring",
        ENDPOINT,
        "https://monitoring.googleapis.com",
        "Base address of the Cloud Monitoring API; a trailing slash is dropped.",
    ),
    Setting(
        "google.endpoints.serviceusage",
        ENDPOINT,
        "https://serviceusage.googleapis.com",
        "Base address of the Service Usage API; a trailing slash is dropped.",
    ),
    Setting(
        "pool.strategy",
        Choice(STRATEGIES),
        "sticky",
        "How the account of a request is chosen: the one of the same conversation (sticky), each in its turn (round_robin), the one "
        "with the fewest requests in flight (least_loaded), the first until it cools (fill_first), by weight (weighted), or the "
        "highest group with a free account (priority).",
    ),
    Setting("pool.max_attempts", Whole(1, 100), 4, "Most calls to the model API for one request."),
    Setting(
        "pool.deadline_s", Number(1, 3600), 120, "Seconds until the first event of an answer must have come."
    ),
    Setting("pool.idle_s", Number(1, 3600), 120, "Seconds that an answer which has begun may pause."),
    Setting("pool.connect_s", Number(0.1, 300), 10, "Seconds that connecting to Google may take."),
    Setting(
        "pool.max_wait_s", Number(0, 3600), 5, "Most seconds that a request waits for a cooling account."
    ),
    Setting(
        "pool.attention_retry_s",
        Number(0, 86_400),
        300,
        "Seconds after which one real request tries an account that needs attention, in case a person has acted, and up to twelve "
        "times as many each further time; with 0 only `regrant accounts verify` brings it back.",
    ),
    Setting(
        "pool.rescue_s",
        Number(0, 3600),
        0,
        "Seconds that requests wait for someone to sign in after the last usable account died; 0 does not wait.",
    ),
    Setting(
        "pool.slow_start_s",
        Number(0, 3600),
        30,
        "Seconds over which a new or repaired account grows into its share of the requests; 0 gives it all at once.",
    ),
    Setting(
        "pool.groups",
        ListOf(POOL_GROUP),
        [],
        "Groups of accounts (by e-mail, id or label), one [[pool.groups]] table each, with their priority and weight; accounts in no "
        "group have priority 0 and weight 1, the higher number is asked first.",
    ),
    Setting(
        "pool.choices",
        ListOf(POOL_CHOICE),
        [],
        "Which group or single account serves the requests of a client key (by name) or a model (* is a wildcard), and how it is "
        "chosen, one [[pool.choices]] table each; the most specific one wins, and others serve only with fallback = true.",
    ),
    Setting(
        "quota.protection",
        Flag(),
        False,
        "Whether a part of every quota whose limit is known is held back, per minute and per day; see docs/quota.md.",
    ),
    Setting(
        "quota.reserve",
        Number(0, 0.99),
        0.10,
        "Part of a quota that is held back, from 0 to 0.99 of the whole.",
    ),
    Setting(
        "quota.timezone",
        Text("a time zone name such as America/Los_Angeles", addresses.time_zone),
        "America/Los_Angeles",
        "Time zone in whose midnight daily quotas start anew.",
    ),
    Setting(
        "quota.limits",
        ListOf(QUOTA_LIMIT),
        [],
        "Limits that you know and Google does not tell, one [[quota.limits]] table each; 0 means not known, the model * means every model.",
    ),
    Setting(
        "quota.read_cloud",
        Flag(),
        False,
        "Whether limits and use are also read from Google's Cloud Quotas and Cloud Monitoring, where accounts may do that.",
    ),
    Setting(
        "models.aliases",
        Chains(),
        {},
        "Model names of your own, each with the model that serves it, or several in the order in which they are tried; * is a wildcard.",
    ),
    Setting(
        "models.fallbacks",
        Chains(),
        {},
        "Google's names of models (* is a wildcard), each with those that stand in when it cannot serve; see docs/models.md.",
    ),
    Setting("models.default", WORD, "", 'Model for names that nothing else matches; "" answers 404.'),
    Setting(
        "models.presets",
        Flag(),
        True,
        "Whether well-known names of other vendors are served by the nearest Google model.",
    ),
    Setting(
        "models.rules",
        ListOf(MODEL_RULE),
        [],
        "Aliases, fallbacks, a default and allowed models for the requests of a client key (by name or id, * is a wildcard), one "
        "[[models.rules]] table each; the most specific one comes first, and what holds for all last.",
    ),
    Setting(
        "models.fetch_images",
        Flag(),
        True,
        "Whether pictures that a request names by their address are fetched, from public addresses only, and sent along; else Google is handed the address.",
    ),
    Setting("traffic.keep_days", Whole(1, 3650), 30, "Days that the traffic log is kept."),
    Setting("traffic.max_mb", Whole(1, 1_000_000), 512, "Largest size of the traffic log, in megabytes."),
    Setting(
        "traffic.record_bodies", Flag(), False, "Whether the traffic log keeps what was asked and answered."
    ),
    Setting(
        "log.level", Choice(("debug", "info", "warning", "error")), "info", "Least level that is logged."
    ),
    Setting(
        "log.format",
        Choice(("auto", "plain", "json")),
        "auto",
        "Form of the log on stderr; auto is plain on a terminal and JSON lines elsewhere.",
    ),
    Setting(
        "log.file", Flag(), True, "Whether the log is also written to logs/regrant.log in the data folder."
    ),
    Setting(
        "network.proxy",
        SecretText(
            'an address beginning with http://, socks5:// or socks5h://, "none", or ""',
            addresses.proxy,
            addresses.show_without_password,
        ),
        "",
        'Proxy for everything that leaves this machine; "" follows HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, '
        '"none" or "direct" ignores them; a SOCKS proxy also looks the names up, loopback is never proxied, and a '
        "proxy that is down is an error, never a direct connection.",
    ),
    Setting(
        "network.ca_file",
        Text("a path", addresses.any_text),
        "",
        "PEM file of certificate authorities to trust besides the system's own.",
    ),
    Setting(
        "store.url",
        SecretText('"file:" or a postgresql:// address', addresses.store, addresses.show_without_password),
        "file:",
        "Where accounts and state are kept: the data folder, or a PostgreSQL database for several machines.",
    ),
    Setting(
        "notify.webhooks",
        ListOf(WEBHOOK),
        [],
        "Addresses that are told, by POST, when an incident begins and when it ends, one [[notify.webhooks]] table each.",
    ),
)

BY_KEY = {setting.key: setting for setting in SETTINGS}
SECTIONS = frozenset(key.rsplit(".", depth)[0] for key in BY_KEY for depth in range(1, key.count(".") + 1))
