"""What can go wrong, and what the contract makes of it: one table, written from `docs/faults.md` and without the gateway's code.

The driver plays these through the sandbox's scripts; the oracle reads here what must follow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Scope = Literal["", "account", "project", "project_model", "model"]
Course = Literal["fine", "final", "outage", "other", "refresh", "cut"]
"""What becomes of the request: nothing; told to the client; once more in all; another account; a new token; broken off."""

REFUSED_S = 2.5
"""`pool.attention_retry_s` of the chaos: how soon what is refused is looked at again."""
LONG_S = 3600.0
"""Longer than any run of this test."""


@dataclass(frozen=True)
class Fault:
    """`least_s` is for how long the scope must be left alone at least, `attend` whether its owner is told.

    `streamed` is what becomes of a streamed request where that differs.
    """

    name: str
    kind: str
    course: Course
    scope: Scope = ""
    least_s: float = 0.0
    attend: bool = False
    person: bool = False
    streamed: Course | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    vertex_s: float | None = None
    """`least_s` on an account whose upstream is Vertex, where that differs."""

    @property
    def label(self) -> str:
        """What tells it from others in a list."""
        return " ".join(map(str, (self.name, *self.fields.values())))

    def course_on(self, endpoint: str) -> Course:
        return self.streamed if self.streamed is not None and endpoint == "stream" else self.course

    @property
    def delay_s(self) -> float:
        """The answer comes so long after the call."""
        before_answer = not self.fields.get("after_chunks")
        return float(self.fields.get("seconds", 0.0)) if self.kind == "slow" and before_answer else 0.0


def error(name: str, course: Course, **rules: Any) -> Fault:
    """An error of Google's that the sandbox knows by name."""
    return Fault(name, "error", course, fields={"name": name, **rules.pop("fields", {})}, **rules)


_REFUSED: dict[str, Any] = {"scope": "account", "least_s": 0.8 * REFUSED_S, "attend": True}
_PAID: dict[str, Any] = {"scope": "project", "least_s": 0.8 * REFUSED_S, "attend": True, "person": True}

CLIENTS = (
    error("400_invalid_argument", "final"),
    error("400_too_long", "final"),
    error("400_thought_signature", "final"),
    error("404_model", "final"),
)
LIMITS = (
    error("429_per_minute", "other", scope="project_model", least_s=2.0, fields={"retry_delay": "2s"}),
    error("429_per_minute", "other", scope="project_model", least_s=3.5, fields={"retry_delay": "3.500s"}),
    error(
        "429_per_minute",
        "other",
        scope="project_model",
        least_s=1.5,
        fields={"retry_delay": "1.5s", "after_chunks": 0},
    ),
    error("429_vertex", "other", scope="project_model", least_s=24.0, vertex_s=0.8),
)
LONG_LIMITS = (
    error("429_per_day", "other", scope="project_model", least_s=LONG_S),
    error("429_limit_zero", "other", scope="project_model", least_s=LONG_S),
    error("429_no_details", "other", scope="project_model", least_s=24.0, vertex_s=0.8),
    error("429_spend", "other", scope="project", least_s=48.0),
    error("403_html", "outage", scope="account", least_s=24.0),
)
REFUSALS = (
    error("400_location", "other", scope="project_model", least_s=0.8 * REFUSED_S),
    *(
        error(name, "other", **_REFUSED)
        for name in (
            "403_service_disabled",
            "403_scope",
            "403_user_project",
            "403_consumer_invalid",
            "403_consumer_suspended",
            "403_permission",
            "403_iam",
            "403_validation_required",
            "403_admin",
        )
    ),
)
BILLS = tuple(error(name, "other", **_PAID) for name in ("402", "403_billing_disabled", "429_depleted"))
TOKENS_REFUSED = (error("401", "refresh"), error("401_account_state", "refresh"))
OUTAGES = (
    *(error(name, "outage") for name in ("499", "500", "502", "504")),
    error("500", "outage", fields={"after_chunks": 0}),
    Fault("reset", "reset", "outage"),
    Fault("html_200", "raw", "outage", fields={"body": "<html>Sign in to the network</html>"}),
    Fault("moved", "raw", "outage", fields={"status": 302, "headers": {"location": "/portal"}}),
)
OVERLOADS = (
    error("503_overloaded", "outage", scope="model", least_s=1.6),
    error("503_overloaded", "outage", scope="model", least_s=1.6, fields={"after_chunks": 0}),
)
BREAKS = (
    Fault("cut", "cut", "final", streamed="cut", fields={"after_chunks": 1}),
    Fault("cut_in_chunk", "cut", "final", streamed="cut", fields={"after_chunks": 1, "mid_chunk": True}),
    Fault("end", "end", "fine", streamed="cut", fields={"after_chunks": 1}),
    Fault("hang_in_body", "hang", "final", streamed="cut", fields={"after_chunks": 1}),
    Fault("hang", "hang", "final"),
    error("500", "outage", streamed="cut", fields={"after_chunks": 1}),
    error("503_overloaded", "outage", scope="model", least_s=1.6, streamed="cut", fields={"after_chunks": 1}),
)
SLOW = (
    Fault("slow", "slow", "fine", fields={"seconds": 0.4}),
    Fault("slow_in_body", "slow", "fine", fields={"seconds": 0.3, "after_chunks": 1}),
    Fault("slow_chunks", "delay_stream", "fine", fields={"seconds": 0.05}),
)
KINDS: tuple[tuple[tuple[Fault, ...], int], ...] = (
    (CLIENTS, 1),
    (LIMITS, 2),
    (REFUSALS, 1),
    (BILLS, 1),
    (TOKENS_REFUSED, 2),
    (OUTAGES, 1),
    (OVERLOADS, 1),
    (BREAKS, 2),
    (SLOW, 1),
)
"""Groups of faults of the model API with how often each is played in a round; LONG_LIMITS have their own turns."""

DEADLY = ("invalid_grant", "invalid_grant_bad_request", "invalid_rapt", "rapt_required", "account_deleted")
TOKEN_TROUBLES: tuple[dict[str, Any], ...] = (
    {"kind": "error", "name": "internal_failure"},
    {"kind": "error", "name": "temporarily_unavailable"},
    {"kind": "error", "name": "rate_limit_exceeded"},
    {"kind": "error", "name": "error_object"},
    {"kind": "error", "name": "html_sorry"},
    {"kind": "error", "name": "captive_portal"},
    {"kind": "error", "name": "invalid_client"},
    {"kind": "error", "name": "invalid_client_secret"},
    {"kind": "error", "name": "deleted_client"},
    {"kind": "error", "name": "disabled_client"},
    {"kind": "error", "name": "unauthorized_client"},
    {"kind": "error", "name": "invalid_scope"},
    {"kind": "error", "name": "admin_policy_enforced"},
    {"kind": "error", "name": "access_denied"},
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "cut", "after_chunks": 1},
    {"kind": "slow", "seconds": 1.0},
    {"kind": "rotate"},
)
TOKEN_HANG = {"kind": "hang"}
"""Lasts until the gateway gives the refresh up, which is longer than a request lives here: rare."""
ALL = tuple(fault for group, _ in KINDS for fault in group) + LONG_LIMITS
