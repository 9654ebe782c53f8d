"""The table of metrics: names, types, labels, and what each means. Counting is `tally.py`, the answer `exposition.py`.

Every name here is in docs/metrics.md, with the same type and labels; a test compares the two.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from regrant.pool.states import State
from regrant.upstream.faults import FaultKind

Labels: TypeAlias = tuple[str, ...]

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
WAITS = ("served", "rescued", "given_up", "turned_away")


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """One metric family. `name` is without the `_total` of counters."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    """Upper ends of a histogram's buckets; the one without an end is not named."""
    seeds: tuple[Labels, ...] = ((),)
    """Label values that are shown before anything has happened; only where all of them are known."""
    shared: bool = False
    """Every process of one server sees the same value: it is not added up."""

    @property
    def published(self) -> str:
        """The name in docs and queries."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


REQUESTS = Meter(
    name="regrant_requests",
    kind="counter",
    help="Requests of clients that came to an end, by the model that served and what became of them.",
    labels=("dialect", "model", "code", "outcome"),
    seeds=(),
)
REQUEST_SECONDS = Meter(
    name="regrant_request_duration_seconds",
    kind="histogram",
    help="From the first byte of a request to the last byte of its answer.",
    labels=("dialect", "outcome"),
    bounds=FAST,
    seeds=(),
)
FIRST_TOKEN_SECONDS = Meter(
    name="regrant_time_to_first_token_seconds",
    kind="histogram",
    help="From the start of a streamed request to Google's first event.",
    labels=("dialect",),
    bounds=FAST,
    seeds=(),
)
REQUESTS_IN_FLIGHT = Meter(
    name="regrant_requests_in_flight",
    kind="gauge",
    help="Requests of clients under way, those that wait for an account included.",
)
ATTEMPTS = Meter(
    name="regrant_attempts",
    kind="counter",
    help="Accounts tried for requests, by how that ended.",
    labels=("code", "outcome"),
    seeds=(),
)
ATTEMPT_SECONDS = Meter(
    name="regrant_attempt_duration_seconds",
    kind="histogram",
    help="From choosing an account to Google's first event, or to the failure.",
    labels=("outcome",),
    bounds=FAST,
    seeds=(),
)
ATTEMPTS_IN_FLIGHT = Meter(
    name="regrant_attempts_in_flight",
    kind="gauge",
    help="Accounts in use by requests now; one that streams counts until its end.",
)
FAULTS = Meter(
    name="regrant_faults",
    kind="counter",
    help="Failed attempts and answers cut short, by kind of fault.",
    labels=("kind",),
    seeds=tuple((kind.value,) for kind in FaultKind),
)
TOKENS = Meter(
    name="regrant_tokens",
    kind="counter",
    help="Tokens as Google counted them; cached is a part of input, thoughts a part of output.",
    labels=("model", "kind"),
    seeds=(),
)
ACCOUNTS = Meter(
    name="regrant_accounts",
    kind="gauge",
    help="Accounts by state.",
    labels=("state",),
    seeds=tuple((state,) for state in get_args(State)),
    shared=True,
)
ACCOUNTS_NOT_PERSISTED = Meter(
    name="regrant_accounts_not_persisted",
    kind="gauge",
    help="Accounts whose last change could not be written yet.",
)
ACCOUNT_DEATHS = Meter(
    name="regrant_account_deaths",
    kind="counter",
    help="Accounts disabled because Google answered invalid_grant, by likely cause.",
    labels=("cause",),
    seeds=(),
)
REAUTH_SECONDS = Meter(
    name="regrant_reauth_to_first_success_seconds",
    kind="histogram",
    help="From the moment a disabled account is back to its first successful answer to a request.",
    bounds=FAST,
)
INCIDENTS_OPEN = Meter(
    name="regrant_incidents_open", kind="gauge", help="Incidents that have not ended.", shared=True
)
REFRESHES = Meter(
    name="regrant_refreshes",
    kind="counter",
    help="Refresh calls of the token endpoint, by outcome and, where it was refused or failed, why.",
    labels=("outcome", "cause"),
    seeds=(("granted", ""),),
)
REFRESH_SECONDS = Meter(
    name="regrant_refresh_duration_seconds",
    kind="histogram",
    help="How long the token endpoint took to answer a refresh.",
    bounds=FAST,
)
COOLDOWNS_ACTIVE = Meter(
    name="regrant_cooldowns_active",
    kind="gauge",
    help="Cool-downs in force, by the fault that caused them.",
    labels=("why",),
    seeds=(),
    shared=True,
)
COOLDOWNS_SET = Meter(
    name="regrant_cooldowns_set",
    kind="counter",
    help="Cool-downs set or prolonged, by the fault that caused them.",
    labels=("why",),
    seeds=(),
)
WAITING = Meter(
    name="regrant_waiting_requests", kind="gauge", help="Requests that wait for an account to come free."
)
WAITED = Meter(
    name="regrant_waits",
    kind="counter",
    help="Requests that had to wait for an account, by how the waiting ended.",
    labels=("outcome",),
    seeds=tuple((outcome,) for outcome in WAITS),
)
WAIT_SECONDS = Meter(
    name="regrant_wait_seconds", kind="counter", help="Time that requests spent waiting for an account."
)
UPSTREAM_CONNECTIONS = Meter(
    name="regrant_upstream_connections", kind="gauge", help="Connections to Google that are open."
)
LOOP_LAG_SECONDS = Meter(
    name="regrant_event_loop_lag_seconds",
    kind="histogram",
    help="How late the event loop ran a timer that is due every half second.",
    bounds=LAG,
)
TRAFFIC_QUEUE = Meter(
    name="regrant_traffic_log_queue_length",
    kind="gauge",
    help="Exchanges that wait to be written to the traffic log.",
)
TRAFFIC_DROPPED = Meter(
    name="regrant_traffic_log_dropped",
    kind="counter",
    help="Exchanges that are missing from the traffic log because its queue was full.",
)
LOG_FAILURES = Meter(
    name="regrant_log_write_failures",
    kind="counter",
    help="Log lines that could not be written to stderr or to the log file.",
)
WORKERS = Meter(name="regrant_workers", kind="gauge", help="Processes whose numbers are in this answer.")
BUILD = Meter(
    name="regrant_build_info",
    kind="gauge",
    help="Always 1; the labels say what is running.",
    labels=("version", "python"),
    seeds=(),
    shared=True,
)

METERS = (
    REQUESTS,
    REQUEST_SECONDS,
    FIRST_TOKEN_SECONDS,
    REQUESTS_IN_FLIGHT,
    ATTEMPTS,
    ATTEMPT_SECONDS,
    ATTEMPTS_IN_FLIGHT,
    FAULTS,
    TOKENS,
    ACCOUNTS,
    ACCOUNTS_NOT_PERSISTED,
    ACCOUNT_DEATHS,
    REAUTH_SECONDS,
    INCIDENTS_OPEN,
    REFRESHES,
    REFRESH_SECONDS,
    COOLDOWNS_ACTIVE,
    COOLDOWNS_SET,
    WAITING,
    WAITED,
    WAIT_SECONDS,
    UPSTREAM_CONNECTIONS,
    LOOP_LAG_SECONDS,
    TRAFFIC_QUEUE,
    TRAFFIC_DROPPED,
    LOG_FAILURES,
    WORKERS,
    BUILD,
)
