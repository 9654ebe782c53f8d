"""What Google's cloud APIs tell of quotas: the limits (Cloud Quotas) and the use of the day (Cloud Monitoring).

Pure: addresses are built and answers are read here; who asks, when and with whose token is `pool/quota_cloud.py`. Both APIs speak of
projects, and only where the account has the IAM permission and the project has the API enabled. Source: docs/sources.md, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import msgspec

SERVICE = "generativelanguage.googleapis.com"
PAGE_SIZE = 500
UNLIMITED = 1 << 62  # Monitoring and Quotas write "no limit" as -1 or as the largest 64-bit number


class CloudLimit(msgspec.Struct, frozen=True):
    """One limit of a project. `model` "" is for every model without one of its own; `value` None: no limit."""

    quota_id: str
    metric: str
    model: str
    value: int | None


class CloudUsage(msgspec.Struct, frozen=True):
    quota_id: str
    model: str
    used: int


class _Details(msgspec.Struct):
    value: str | int | None = None


class _DimensionsInfo(msgspec.Struct, rename="camel"):
    dimensions: dict[str, str] = {}
    details: _Details = msgspec.field(default_factory=_Details)


class _QuotaInfo(msgspec.Struct, rename="camel"):
    quota_id: str = ""
    metric: str = ""
    dimensions_infos: list[_DimensionsInfo] = []


class _QuotaPage(msgspec.Struct, rename="camel"):
    quota_infos: list[_QuotaInfo] = []
    next_page_token: str = ""


class _Labels(msgspec.Struct):
    labels: dict[str, str] = {}


class _Value(msgspec.Struct, rename="camel"):
    int64_value: str | int | None = None
    double_value: float | None = None


class _Point(msgspec.Struct):
    value: _Value = msgspec.field(default_factory=_Value)


class _Series(msgspec.Struct):
    metric: _Labels = msgspec.field(default_factory=_Labels)
    points: list[_Point] = []


class _SeriesPage(msgspec.Struct, rename="camel"):
    time_series: list[_Series] = []
    next_page_token: str = ""


def limits_url(base: str, project: str, page_token: str = "") -> str:
    """One page of the limits of a project for the Gemini API."""
    query = {"pageSize": str(PAGE_SIZE)} | ({"pageToken": page_token} if page_token else {})
    where = f"projects/{quote(project, safe='')}/locations/global/services/{SERVICE}"
    return f"{base}/v1/{where}/quotaInfos?{urlencode(query)}"


def usage_url(base: str, project: str, metric: str, since: tuple[float, float], page_token: str = "") -> str:
    """One page of what a project has used of `metric` between two moments (unix seconds), summed up by model and quota.

    The period of summing is the whole interval: a shorter one would be laid from its end and reach over its beginning.
    """
    name = metric.rpartition("/")[2]
    starts, ends = since
    query = [
        ("filter", f'metric.type = "{SERVICE}/quota/{name}/usage"'),
        ("interval.startTime", _rfc3339(starts)),
        ("interval.endTime", _rfc3339(ends)),
        ("aggregation.alignmentPeriod", f"{max(60, int(ends) - int(starts))}s"),
        ("aggregation.perSeriesAligner", "ALIGN_SUM"),
        ("aggregation.crossSeriesReducer", "REDUCE_SUM"),
        ("aggregation.groupByFields", "metric.label.model"),
        ("aggregation.groupByFields", "metric.label.limit_name"),
        ("pageSize", str(PAGE_SIZE)),
    ]
    if page_token:
        query.append(("pageToken", page_token))
    return f"{base}/v3/projects/{quote(project, safe='')}/timeSeries?{urlencode(query)}"


def read_limits(body: bytes) -> tuple[list[CloudLimit], str]:
    """The limits of one page and the token of the next, "" at the end. Raises msgspec.MsgspecError or ValueError."""
    page = msgspec.json.decode(body, type=_QuotaPage)
    return list(_limits(page.quota_infos)), page.next_page_token


def read_usage(body: bytes) -> tuple[list[CloudUsage], str]:
    """The use that one page tells and the token of the next, "" at the end. Raises msgspec.MsgspecError or ValueError."""
    page = msgspec.json.decode(body, type=_SeriesPage)
    found = [
        CloudUsage(
            series.metric.labels.get("limit_name", ""),
            series.metric.labels.get("model", ""),
            sum(_number(point.value) for point in series.points),
        )
        for series in page.time_series
    ]
    return found, page.next_page_token


def _limits(infos: Sequence[_QuotaInfo]) -> Iterator[CloudLimit]:
    for info in infos:
        for one in info.dimensions_infos:
            if one.details.value is None:
                continue
            value = int(one.details.value)
            model = one.dimensions.get("model", "")
            if set(one.dimensions) <= {"model"}:  # a region's own limit is no limit of the project
                limit = None if value < 0 or value >= UNLIMITED else value
                yield CloudLimit(info.quota_id, info.metric, model, limit)


def _number(value: _Value) -> int:
    if value.int64_value is not None:
        return max(0, int(value.int64_value))
    return max(0, round(value.double_value or 0.0))


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
