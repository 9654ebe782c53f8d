"""`POST /api/notify/test`: sends a test to the webhooks now, and says what each made of it.

What webhooks are told otherwise is decided in `regrant/notify`; which there are is `notify.webhooks` of the settings.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import post
from litestar.params import JSONBody

from regrant.admin.desk import AtDesk
from regrant.admin.errors import ApiError
from regrant.notify.answers import Again, Delivered, Outcome, Refused
from regrant.notify.formats import format_of
from regrant.settings.model import Webhook


class TrialOrder(msgspec.Struct, forbid_unknown_fields=True):
    """`webhook` is the name of one; "" or none at all means every webhook."""

    webhook: Annotated[str, msgspec.Meta(max_length=200)] = ""


class TrialView(msgspec.Struct, frozen=True):
    """`webhook` is its name; its address is never shown. `status` is null when nothing was answered."""

    webhook: str
    format: str
    ok: bool
    status: int | None
    problem: str
    advice: str


class TrialList(msgspec.Struct, frozen=True):
    results: list[TrialView]


@post(
    "/api/notify/test",
    operation_id="test_webhooks",
    status_code=200,
    summary="Send a test to the webhooks",
    description="Waits for their answers, at most about twenty seconds; nothing is tried again.",
)
async def try_webhooks(desk: AtDesk, data: JSONBody[TrialOrder | None] = None) -> TrialList:
    name = data.webhook if data else ""
    outcomes = await desk.parts.alerts.try_out(name)
    if not outcomes:
        what = f"there is no webhook {name[:100]!r}" if name else "no webhook is configured"
        raise ApiError(404, "webhook_not_found", what, "Set notify.webhooks; docs/alerts.md says how.")
    return TrialList([_view(webhook, outcome) for webhook, outcome in outcomes])


def _view(webhook: Webhook, outcome: Outcome) -> TrialView:
    name, written = webhook.name, format_of(webhook)
    match outcome:
        case Delivered(status):
            return TrialView(name, written, ok=True, status=status, problem="", advice="")
        case Refused(status, advice):
            problem = f"it refuses with {status}"
            return TrialView(name, written, ok=False, status=status, problem=problem, advice=advice)
        case Again(why, _, status):
            advice = "See that it runs and can be reached from here; alerts are tried again for a day."
            return TrialView(name, written, ok=False, status=status, problem=why, advice=advice)


ROUTES = [try_webhooks]
