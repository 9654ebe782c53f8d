"""The limits of projects for models: who says so, how old the word is, and which word counts.

Pure. Counting against the limits is `quota.py`; what a person configures is `settings/model.py`, what Google's cloud APIs tell is
read in `upstream/quota_reading.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from regrant.settings.model import QuotaLimit
from regrant.upstream.error_body import Violation

ANY_MODEL = "*"
LEARNED_MINUTE_S = 86_400.0  # a refusal of yesterday says nothing about the rate of today's tier
LEARNED_DAY_S = 7 * 86_400.0
CLOUD_S = 3_600.0  # read every quarter of an hour: four readings in a row have failed then


class Measure(StrEnum):
    """What a quota limits. Tokens are those of the prompt, as Google counts them."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    REQUESTS_PER_DAY = "requests_per_day"
    TOKENS_PER_DAY = "tokens_per_day"

    @property
    def unit(self) -> str:
        return self.value.partition("_")[0]

    @property
    def window(self) -> str:
        return self.value.rpartition("_")[2]

    @property
    def daily(self) -> bool:
        return self.value.endswith("day")


MEASURES: tuple[Measure, ...] = tuple(Measure)


class Source(StrEnum):
    """Where a number comes from: the settings, a 429 of Google's, Google's cloud APIs, or our own count."""

    SETTINGS = "settings"
    LEARNED = "learned"
    CLOUD = "cloud"
    COUNTED = "counted"


class Limit(msgspec.Struct, frozen=True):
    """`value` None: there is no limit. `as_of` is unix seconds: when the source said so."""

    value: int | None
    source: Source
    as_of: float

    def stale(self, measure: Measure, now: float) -> bool:
        """Whether the word is too old to hold anybody back."""
        return now - self.as_of > life_s(self.source, measure)


def life_s(source: Source, measure: Measure) -> float:
    """Seconds for which the word of a source about a limit counts. What the settings say counts while they say it."""
    match source:
        case Source.LEARNED:
            return LEARNED_DAY_S if measure.daily else LEARNED_MINUTE_S
        case Source.CLOUD:
            return CLOUD_S
        case _:
            return float("inf")


class Limits:
    """Every limit that is known. The settings count before all; then what a 429 taught, which is what Google enforced; then the cloud APIs."""

    def __init__(self) -> None:
        self._configured: tuple[QuotaLimit, ...] = ()
        self._configured_at = 0.0
        self._observed: dict[tuple[str, str, Measure], dict[Source, Limit]] = {}

    def configure(self, limits: Iterable[QuotaLimit], now: float) -> None:
        """What the settings say from now on; a table that names its project, then one that names its model, goes first."""
        self._configured = tuple(sorted(limits, key=lambda one: (not one.project_id, one.model == ANY_MODEL)))
        self._configured_at = now

    def observe(self, project: str, model: str, measure: Measure, limit: Limit) -> bool:
        """Take over a source's word unless a newer one of the same source is known; `model` ANY_MODEL is for those without their own.

        Whether anything changed.
        """
        known = self._observed.setdefault((project, model, measure), {})
        before = known.get(limit.source)
        if before is not None and before.as_of >= limit.as_of:
            return False
        known[limit.source] = limit
        return True

    def best(self, project: str, model: str, measure: Measure, now: float) -> Limit | None:
        """The word that counts; a stale one only where there is no other. None: unknown."""
        if (configured := self._of_settings(project, model, measure)) is not None:
            return configured
        known = self._observed.get((project, model, measure)) or self._observed.get(
            (project, ANY_MODEL, measure), {}
        )
        said = [known[source] for source in (Source.LEARNED, Source.CLOUD) if source in known]
        fresh = [limit for limit in said if not limit.stale(measure, now)]
        return fresh[0] if fresh else max(said, key=lambda limit: limit.as_of, default=None)

    def models(self) -> Iterator[tuple[str, str]]:
        """The (project, model) pairs of which some source has spoken."""
        return ((project, model) for project, model, _ in self._observed if model != ANY_MODEL)

    def configured_models(self, project: str) -> Iterator[str]:
        """The models for which the settings give this project a limit by name."""
        return (
            one.model
            for one in self._configured
            if one.model != ANY_MODEL and one.project_id in {"", project}
        )

    def _of_settings(self, project: str, model: str, measure: Measure) -> Limit | None:
        for one in self._configured:
            if one.project_id not in {"", project} or one.model not in {ANY_MODEL, model}:
                continue
            value = 0 if measure is Measure.TOKENS_PER_DAY else int(getattr(one, measure.value))
            if value:
                return Limit(value, Source.SETTINGS, self._configured_at)
        return None


_TOKENS = re.compile(r"Token|token")
_DAY = re.compile(r"PerDay|Daily|_per_day")
_MINUTE = re.compile(r"PerMinute|_per_minute")
_OTHERS = re.compile(r"PerUser|per_user")


def measure_of(quota_id: str, metric: str) -> Measure | None:
    """What a quota of Google's limits, by its names; None for one that is not the project's or of another window.

    Source: docs/sources.md, sections 3 and 7.
    """
    names = f"{quota_id} {metric}"
    if _OTHERS.search(names):
        return None
    tokens = _TOKENS.search(names) is not None
    # The id tells the window; metrics of daily quotas often do not.
    if _DAY.search(names):
        return Measure.TOKENS_PER_DAY if tokens else Measure.REQUESTS_PER_DAY
    if _MINUTE.search(names):
        return Measure.TOKENS_PER_MINUTE if tokens else Measure.REQUESTS_PER_MINUTE
    return None


def limits_told(violations: Iterable[Violation]) -> dict[Measure, int]:
    """The limits that a 429 names; the smallest where it names several of a kind."""
    told: dict[Measure, int] = {}
    for violation in violations:
        measure = measure_of(violation.quota_id, violation.metric)
        value = violation.value or ""
        if measure is None or not (value.isascii() and value.isdigit()) or len(value) > 18:
            continue
        told[measure] = min(int(value), told.get(measure, int(value)))
    return told
