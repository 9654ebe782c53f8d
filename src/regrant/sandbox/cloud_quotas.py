"""Cloud Quotas and Cloud Monitoring, as far as they speak of the Gemini API: the limits of a project, and what it has used.

The limits are what the control API says, else those of a free tier; they are told and not enforced. The use is counted from the journal.
Source: docs/sources.md, section 7.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from regrant.sandbox import faults
from regrant.sandbox.google import FREE_TIER, Quotas
from regrant.sandbox.journal import Entry
from regrant.sandbox.models import MODELS
from regrant.sandbox.routes import Target
from regrant.sandbox.wire import Answer, Call, JsonObject, json_answer

_SERVICE = "generativelanguage.googleapis.com"
_METRIC = "generate_content_free_tier_requests"
_LIMIT_IDS = {
    "minute": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    "day": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
}
_FILTER = re.compile(rf'metric\.type\s*=\s*"{re.escape(_SERVICE)}/quota/(\w+)/usage"')


def answer(call: Call, target: Target, quotas: Quotas, entries: Iterable[Entry]) -> Answer:
    """The answer to an admitted call."""
    if target.endpoint == "quotas":
        return _quota_infos(call, target.project, quotas)
    return _time_series(call, target.project, quotas, entries)


def _quota_infos(call: Call, project: str, quotas: Quotas) -> Answer:
    infos = [_quota_info(project, window, quotas) for window in _LIMIT_IDS]
    page = call.query.get("pageToken", "0")
    if not page.isdigit():
        return faults.api_error(400, "Invalid page token.")
    # One kind of limit to a page, so that whoever reads has to turn pages.
    body: JsonObject = {"quotaInfos": infos[int(page) : int(page) + 1]}
    if int(page) + 1 < len(infos):
        body["nextPageToken"] = str(int(page) + 1)
    return json_answer(body)


def _quota_info(project: str, window: str, quotas: Quotas) -> JsonObject:
    limit_id = _LIMIT_IDS[window]
    rows = [
        {
            "dimensions": {"model": model},
            "details": {"value": str(quotas.limit(project, model, window))},
            "applicableLocations": ["global"],
        }
        for model in MODELS
    ]
    rest = {"details": {"value": str(FREE_TIER[window])}, "applicableLocations": ["global"]}
    return {
        "name": f"projects/{project}/locations/global/services/{_SERVICE}/quotaInfos/{limit_id}",
        "quotaId": limit_id,
        "metric": f"{_SERVICE}/{_METRIC}",
        "service": _SERVICE,
        "isPrecise": True,
        "refreshInterval": window,
        "containerType": "PROJECT",
        "dimensions": ["model"],
        "dimensionsInfos": [*rows, rest],
        "isFixed": False,
    }


def _time_series(call: Call, project: str, quotas: Quotas, entries: Iterable[Entry]) -> Answer:
    wanted = _FILTER.fullmatch(call.query.get("filter", "").strip())
    starts, ends = (_moment(call.query.get(f"interval.{edge}", "")) for edge in ("startTime", "endTime"))
    if wanted is None or starts is None or ends is None or starts > ends:
        return faults.api_error(400, "The filter or the interval is invalid.")
    if wanted[1] != _METRIC:
        return json_answer({"unit": "1"})
    used = Counter(
        entry.model
        for entry in entries
        if entry.project == project
        and entry.endpoint in {"generate", "stream"}
        and starts <= entry.at <= ends + 1
    )
    for (owner, model), number in quotas.used_elsewhere.items():
        if owner == project:
            used[model] += number
    series = [
        _series(project, model, limit_id, number, call)
        for model, number in sorted(used.items())
        for limit_id in _LIMIT_IDS.values()
    ]
    return json_answer({"timeSeries": series, "unit": "1"})


def _series(project: str, model: str, limit_id: str, number: int, call: Call) -> JsonObject:
    interval = {edge: call.query[f"interval.{edge}"] for edge in ("startTime", "endTime")}
    labels = {"model": model, "limit_name": limit_id}
    return {
        "metric": {"type": f"{_SERVICE}/quota/{_METRIC}/usage", "labels": labels},
        "resource": {"type": f"{_SERVICE}/Location", "labels": {"resource_container": f"projects/{project}"}},
        "metricKind": "DELTA",
        "valueType": "INT64",
        "points": [{"interval": interval, "value": {"int64Value": str(number)}}],
    }


def _moment(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
