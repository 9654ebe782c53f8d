"""What Cloud Quotas and Cloud Monitoring are asked, and what their answers say."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from regrant.upstream.quota_reading import (
    CloudLimit,
    CloudUsage,
    limits_url,
    read_limits,
    read_usage,
    usage_url,
)

METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"

QUOTA_INFOS = """{"quotaInfos": [
  {"name": "projects/1234/locations/global/services/generativelanguage.googleapis.com/quotaInfos/GenerateRequestsPerDayPerProjectPerModel-FreeTier",
   "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
   "metric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
   "service": "generativelanguage.googleapis.com", "isPrecise": true, "refreshInterval": "day", "containerType": "PROJECT",
   "dimensions": ["model"],
   "dimensionsInfos": [
     {"dimensions": {"model": "gemini-3.8-flash"}, "details": {"value": "250"}, "applicableLocations": ["global"]},
     {"dimensions": {}, "details": {"value": "20"}, "applicableLocations": ["global"]},
     {"dimensions": {"model": "gemini-3.8-flash", "region": "us-central1"}, "details": {"value": "7"}},
     {"dimensions": {"model": "no-details"}}]},
  {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "metric": "generativelanguage.googleapis.com/generate_requests_per_model",
   "refreshInterval": "minute", "isFixed": false, "quotaIncreaseEligibility": {"isEligible": true},
   "dimensionsInfos": [{"dimensions": {"model": "a"}, "details": {"value": "-1"}},
                       {"dimensions": {"model": "b"}, "details": {"value": "9223372036854775807"}}]},
  {"quotaId": "NothingSaid", "metric": "m"}],
 "nextPageToken": "more"}"""

TIME_SERIES = """{"timeSeries": [
  {"metric": {"type": "generativelanguage.googleapis.com/quota/generate_content_free_tier_requests/usage",
              "labels": {"model": "gemini-3.8-flash", "limit_name": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}},
   "resource": {"type": "generativelanguage.googleapis.com/Location", "labels": {"resource_container": "projects/1234", "location": "global"}},
   "metricKind": "DELTA", "valueType": "INT64",
   "points": [{"interval": {"startTime": "2026-11-22T08:00:00Z", "endTime": "2026-11-22T09:00:00Z"}, "value": {"int64Value": "17"}},
              {"interval": {}, "value": {"int64Value": "4"}}]},
  {"metric": {"labels": {"model": "other"}}, "points": [{"value": {"doubleValue": 3.0}}, {"value": {}}]},
  {"metric": {"labels": {}}, "points": []}], "unit": "1"}"""


def test_the_limits_of_each_model_and_those_for_the_rest_are_read() -> None:
    limits, following = read_limits(QUOTA_INFOS.encode())
    minute = (
        "GenerateRequestsPerMinutePerProjectPerModel",
        METRIC.rpartition("/")[0] + "/generate_requests_per_model",
    )
    assert limits == [
        CloudLimit(PER_DAY, METRIC, "gemini-3.8-flash", 250),
        CloudLimit(PER_DAY, METRIC, "", 20),
        CloudLimit(*minute, "a", None),
        CloudLimit(*minute, "b", None),
    ]
    assert following == "more"


def test_the_use_of_each_model_is_the_sum_of_its_points() -> None:
    used, following = read_usage(TIME_SERIES.encode())
    assert used == [
        CloudUsage(PER_DAY, "gemini-3.8-flash", 21),
        CloudUsage("", "other", 3),
        CloudUsage("", "", 0),
    ]
    assert following == ""


@pytest.mark.parametrize("read", [read_limits, read_usage])
def test_an_answer_without_anything_says_nothing(read: object) -> None:
    assert callable(read)
    assert read(b"{}") == ([], "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"quotaInfos": 3, "timeSeries": 3}',
        (
            b'{"quotaInfos":[{"dimensionsInfos":[{"details":{"value":"many"}}]}],'
            b'"timeSeries":[{"points":[{"value":{"int64Value":"many"}}]}]}'
        ),
    ],
)
def test_what_is_no_answer_of_theirs_raises(body: bytes) -> None:
    for read in (read_limits, read_usage):
        with pytest.raises((msgspec.MsgspecError, ValueError)):
            read(body)


def test_limits_are_asked_of_the_project_and_the_gemini_api() -> None:
    url = urlsplit(limits_url("https://quotas.test", "p/1", "a&b"))
    assert (
        url.path
        == "/v1/projects/p%2F1/locations/global/services/generativelanguage.googleapis.com/quotaInfos"
    )
    assert dict(parse_qsl(url.query)) == {"pageSize": "500", "pageToken": "a&b"}


def test_use_is_asked_for_the_whole_day_as_one_sum() -> None:
    url = urlsplit(usage_url("https://monitoring.test", "p1", METRIC, (1_795_334_400.0, 1_795_370_400.9)))
    query = parse_qsl(url.query)
    assert url.path == "/v3/projects/p1/timeSeries"
    assert (
        "filter",
        'metric.type = "generativelanguage.googleapis.com/quota/generate_content_free_tier_requests/usage"',
    ) in query
    assert ("interval.startTime", "2026-11-22T08:00:00Z") in query
    assert ("interval.endTime", "2026-11-22T18:00:00Z") in query
    assert ("aggregation.alignmentPeriod", "36000s") in query
    assert [value for name, value in query if name == "aggregation.groupByFields"] == [
        "metric.label.model",
        "metric.label.limit_name",
    ]
