"""The ledger: what was used of which quota, which limit counts, and when a reserve is reached and released."""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.pool.quota import TOLERATED_STEP_S, Figure, Hold, Ledger, Reported, Row, Rules, day_at
from regrant.pool.quota_limits import (
    ANY_MODEL,
    CLOUD_S,
    LEARNED_DAY_S,
    LEARNED_MINUTE_S,
    Limit,
    Limits,
    Measure,
    Source,
    limits_told,
    measure_of,
)
from regrant.settings.model import QuotaLimit
from regrant.upstream.error_body import Violation

PACIFIC = zoneinfo.ZoneInfo("America/Los_Angeles")
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=PACIFIC).timestamp()
RPM, TPM = Measure.REQUESTS_PER_MINUTE, Measure.TOKENS_PER_MINUTE
RPD, TPD = Measure.REQUESTS_PER_DAY, Measure.TOKENS_PER_DAY


def limit_of(*, model: str = "m", project: str = "", rpm: int = 0, tpm: int = 0, rpd: int = 0) -> QuotaLimit:
    return QuotaLimit(model, project, rpm, tpm, rpd)


class Stage:
    """A ledger and the holds that it told of, by (project, model)."""

    def __init__(self, *limits: QuotaLimit, protection: bool = True, reserve: float = 0.2) -> None:
        self.held: dict[tuple[str, str], Hold] = {}
        self.told = 0
        self.ledger = Ledger(self._tell)
        self.rules = Rules(protection=protection, reserve=reserve, zone=PACIFIC, limits=limits)
        self.ledger.use(self.rules, NOON)

    def _tell(self, project: str, model: str, hold: Hold | None) -> None:
        self.told += 1
        if hold is None:
            self.held.pop((project, model), None)
        else:
            self.held[project, model] = hold

    def call(self, times: int = 1, *, now: float = NOON, project: str = "p", model: str = "m") -> None:
        for _ in range(times):
            self.ledger.count_request(project, model, now)

    def figure(self, measure: Measure, now: float = NOON, project: str = "p", model: str = "m") -> Figure:
        [found] = [
            one for one in self.ledger.figures(now, [project]) if (one.model, one.measure) == (model, measure)
        ]
        return found


# -- protection --------------------------------------------------------------------------------------------------------


def test_a_day_is_held_back_at_the_reserve_until_midnight() -> None:
    stage = Stage(limit_of(rpd=10))
    stage.call(7)
    assert not stage.held
    stage.call()
    midnight = datetime(2026, 11, 23, tzinfo=PACIFIC).timestamp()
    assert stage.held == {("p", "m"): Hold(midnight, RPD)}


def test_a_minute_is_held_back_until_it_ends_and_is_released_by_itself() -> None:
    stage = Stage(limit_of(rpm=5))
    stage.call(4, now=NOON + 10)
    assert stage.held == {("p", "m"): Hold(NOON + 60, RPM)}
    stage.ledger.review(NOON + 59.9)
    assert stage.held
    stage.ledger.review(NOON + 60)
    assert not stage.held


def test_the_day_is_held_longer_than_the_minute_when_both_are_reached() -> None:
    stage = Stage(limit_of(rpm=5, rpd=5))
    stage.call(4)
    assert stage.held["p", "m"].measure is RPD


def test_tokens_reach_the_reserve_at_the_end_of_an_answer() -> None:
    stage = Stage(limit_of(tpm=1000))
    stage.call(100)
    assert not stage.held
    stage.ledger.count_tokens("p", "m", 799, NOON)
    assert not stage.held
    stage.ledger.count_tokens("p", "m", 1, NOON)
    assert stage.held["p", "m"] == Hold(NOON + 60, TPM)


def test_exactly_the_project_and_model_is_held_back() -> None:
    stage = Stage(limit_of(model=ANY_MODEL, rpd=5))
    stage.call(4)
    stage.call(3, project="q")
    stage.call(3, model="n")
    assert set(stage.held) == {("p", "m")}


def test_protection_that_is_off_counts_and_holds_nothing_back() -> None:
    stage = Stage(limit_of(rpm=1, rpd=1), protection=False)
    stage.call(5)
    assert (stage.held, stage.told) == ({}, 0)
    assert stage.figure(RPD).used == 5


@pytest.mark.parametrize(
    ("limit", "reserve", "let_through"),
    [(10, 0.2, 8), (10, 0.1, 9), (10, 0.0, 10), (3, 0.1, 3), (1, 0.5, 1), (100, 0.99, 1), (1000, 0.3, 700)],
)
def test_the_reserve_begins_where_the_limit_less_its_part_is_used(
    limit: int, reserve: float, let_through: int
) -> None:
    stage = Stage(limit_of(rpd=limit), reserve=reserve)
    stage.call(let_through - 1)
    assert not stage.held
    stage.call()
    assert stage.held


def test_a_limit_raised_in_the_settings_releases_at_once_and_turning_protection_off_too() -> None:
    stage = Stage(limit_of(rpd=5))
    stage.call(4)
    assert stage.held
    stage.ledger.use(Rules(protection=True, reserve=0.2, zone=PACIFIC, limits=(limit_of(rpd=50),)), NOON)
    assert not stage.held
    stage.ledger.use(stage.rules, NOON)
    assert stage.held
    stage.ledger.use(Rules(zone=PACIFIC, limits=stage.rules.limits), NOON)
    assert not stage.held


def test_midnight_begins_every_count_anew() -> None:
    stage = Stage(limit_of(rpd=5))
    stage.call(4)
    midnight = stage.held["p", "m"].until
    stage.ledger.review(midnight)
    assert not stage.held
    assert stage.figure(RPD, midnight).used == 0
    assert stage.figure(RPD, midnight).resets_at == datetime(2026, 11, 24, tzinfo=PACIFIC).timestamp()


def test_a_clock_that_is_set_back_a_little_does_not_begin_an_old_minute_anew() -> None:
    stage = Stage(limit_of(rpd=100))
    stage.call(3)
    stage.call(1, now=NOON - TOLERATED_STEP_S / 2)
    assert stage.figure(RPD).used == stage.figure(RPM).used == 4


# -- where limits come from --------------------------------------------------------------------------------------------


def learned(value: int | None, as_of: float = NOON) -> Limit:
    return Limit(value, Source.LEARNED, as_of)


def cloud(value: int | None, as_of: float = NOON) -> Limit:
    return Limit(value, Source.CLOUD, as_of)


def test_the_settings_count_before_what_was_learned_and_that_before_the_cloud() -> None:
    limits = Limits()
    assert limits.best("p", "m", RPD, NOON) is None
    limits.observe("p", "m", RPD, cloud(300))
    assert limits.best("p", "m", RPD, NOON) == cloud(300)
    limits.observe("p", "m", RPD, learned(250, NOON - 60))
    assert limits.best("p", "m", RPD, NOON) == learned(250, NOON - 60)
    limits.configure([limit_of(rpd=100)], NOON)
    assert limits.best("p", "m", RPD, NOON) == Limit(100, Source.SETTINGS, NOON)
    assert limits.best("p", "m", RPM, NOON) is None, "0 in the settings means not known"


def test_the_table_that_names_the_project_goes_before_that_which_names_the_model_before_the_rest() -> None:
    limits = Limits()
    tables = [
        limit_of(model=ANY_MODEL, rpd=1),
        limit_of(rpd=2),
        limit_of(model=ANY_MODEL, project="p", rpd=3),
    ]
    limits.configure(tables, NOON)
    found = [
        limits.best(project, model, RPD, NOON) for project, model in (("q", "n"), ("q", "m"), ("p", "m"))
    ]
    assert [one.value for one in found if one] == [1, 2, 3]


def test_the_default_row_of_the_cloud_counts_for_models_without_their_own() -> None:
    limits = Limits()
    limits.observe("p", ANY_MODEL, RPD, cloud(20))
    limits.observe("p", "m", RPD, cloud(250))
    values = [limits.best("p", model, RPD, NOON) for model in ("m", "n")]
    assert [one.value for one in values if one] == [250, 20]


def test_an_older_word_of_the_same_source_changes_nothing() -> None:
    limits = Limits()
    assert limits.observe("p", "m", RPD, learned(250))
    assert not limits.observe("p", "m", RPD, learned(100, NOON - 1))
    assert limits.best("p", "m", RPD, NOON) == learned(250)


@pytest.mark.parametrize(
    ("measure", "source", "life"),
    [
        (RPM, Source.LEARNED, LEARNED_MINUTE_S),
        (RPD, Source.LEARNED, LEARNED_DAY_S),
        (RPD, Source.CLOUD, CLOUD_S),
        (RPM, Source.CLOUD, CLOUD_S),
    ],
)
def test_a_stale_limit_is_shown_as_stale_and_holds_nobody_back(
    measure: Measure, source: Source, life: float
) -> None:
    for age, state in ((life, "known"), (life + 1, "stale")):
        stage = Stage()
        stage.ledger.observe_limit("p", "m", measure, Limit(5, source, NOON - age), NOON)
        stage.call(4)
        assert bool(stage.held) == (state == "known")
        assert (stage.figure(measure).state, stage.figure(measure).limit is not None) == (state, True)


def test_a_hold_ends_when_the_limit_that_it_goes_by_becomes_stale() -> None:
    stage = Stage()
    stage.ledger.observe_limit("p", "m", RPD, cloud(5), NOON)
    stage.call(4)
    assert stage.held
    stage.ledger.review(NOON + CLOUD_S + 1)
    assert not stage.held


def test_a_fresh_word_of_the_cloud_counts_before_a_stale_one_of_a_refusal() -> None:
    limits = Limits()
    limits.observe("p", "m", RPM, learned(10, NOON - LEARNED_MINUTE_S - 1))
    limits.observe("p", "m", RPM, cloud(1000))
    assert limits.best("p", "m", RPM, NOON) == cloud(1000)


def test_no_limit_at_all_is_known_and_without_end_and_a_limit_of_nothing_holds_nothing_back() -> None:
    stage = Stage()
    stage.ledger.observe_limit("p", "m", RPD, cloud(None), NOON)
    stage.ledger.observe_limit("p", "m", RPM, learned(0), NOON)
    stage.call(3)
    assert not stage.held
    figure = stage.figure(RPD)
    assert (figure.state, figure.remaining) == ("known", None)
    assert stage.figure(RPM).remaining == 0
    assert (stage.figure(TPD).state, stage.figure(TPD).remaining) == ("unknown", None)


FREE_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"


@pytest.mark.parametrize(
    ("quota_id", "metric", "measure"),
    [
        (FREE_DAY, "generate_content_free_tier_requests", RPD),
        ("GenerateRequestsPerMinutePerProjectPerModel", "generate_requests_per_model", RPM),
        ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "x_free_tier_input_token_count", TPM),
        ("GenerateContentInputTokensPerModelPerDay", "generate_content_paid_tier_input_token_count", TPD),
        ("GenerateContentPaidTierInputTokensPerModelPerMinutePerUser", "", None),
        ("EmbedContentRequestsPerMinutePerProjectPerModel", "embed_content_free_tier_requests", RPM),
        ("", "generate_requests_per_model_per_day", RPD),
        ("", "generate_content_free_tier_requests", None),
        ("SpendPerTenMinutes", "spend", None),
    ],
)
def test_the_names_of_a_quota_tell_what_it_limits(
    quota_id: str, metric: str, measure: Measure | None
) -> None:
    assert measure_of(quota_id, metric) == measure


def test_a_refusal_teaches_the_smallest_limit_of_each_kind() -> None:
    minute = "GenerateRequestsPerMinutePerProjectPerModel"
    violations = [
        Violation(quota_id=FREE_DAY, value="250"),
        Violation(quota_id=FREE_DAY, value="200"),
        Violation(quota_id=minute, value="-1"),
        Violation(quota_id=minute, value=None),
        Violation(quota_id=minute, value="9" * 30),
        Violation(quota_id="Other", value="3"),
    ]
    assert limits_told(violations) == {RPD: 200}


# -- several who count -------------------------------------------------------------------------------------------------


def row(counts: tuple[int, int, int, int], *, minute: float = NOON, now: float = NOON) -> Row:
    return Row(project="p", model="m", day=day_at(now, PACIFIC), minute=int(minute // 60) * 60, counts=counts)


def test_what_other_processes_count_adds_up_and_reaches_the_reserve() -> None:
    stage = Stage(limit_of(rpd=10))
    stage.call(3)
    stage.ledger.observe_counts("x", row((2, 0, 4, 0)), NOON)
    stage.ledger.observe_counts("x", row((2, 0, 2, 0)), NOON)
    stage.ledger.observe_counts("y", row((2, 0, 2, 0)), NOON)
    assert (stage.figure(RPD).used, stage.figure(RPM).used) == (7, 7)
    assert not stage.held
    stage.call()
    assert stage.held


def test_a_row_of_another_minute_counts_for_the_day_only_and_one_of_another_day_not_at_all() -> None:
    stage = Stage()
    stage.ledger.observe_counts("x", row((2, 20, 4, 40), minute=NOON - 60), NOON)
    stage.ledger.observe_counts("y", row((1, 1, 1, 1), now=NOON - 86_400), NOON)
    used = [stage.figure(measure).used for measure in Measure]
    assert used == [0, 0, 4, 40]


def test_only_what_changed_is_handed_out_to_be_written() -> None:
    stage = Stage()
    stage.call(2)
    stage.ledger.count_tokens("p", "m", 30, NOON)
    assert [one.counts for one in stage.ledger.unwritten(NOON)] == [(2, 30, 2, 30)]
    assert not list(stage.ledger.unwritten(NOON))
    stage.call()
    assert [one.counts for one in stage.ledger.unwritten(NOON)] == [(3, 30, 3, 30)]


def test_the_larger_of_our_count_and_the_clouds_is_what_was_used() -> None:
    stage = Stage(limit_of(rpd=10))
    stage.call(3)
    stage.ledger.observe_usage("p", "m", RPD, Reported(7, Source.CLOUD, NOON), NOON)
    assert (stage.figure(RPD).used, stage.figure(RPD).used_source) == (7, Source.CLOUD)
    stage.ledger.observe_usage("p", "m", RPD, Reported(2, Source.CLOUD, NOON + 1), NOON)
    assert stage.figure(RPD).used == 7, "within a day use only grows"
    assert not stage.held
    stage.ledger.observe_usage("p", "m", RPD, Reported(8, Source.CLOUD, NOON + 2), NOON)
    assert stage.held
    stage.ledger.observe_usage("p", "m", RPM, Reported(99, Source.CLOUD, NOON), NOON)
    assert stage.figure(RPM).used == 3, "a minute that somebody else reports is over"
    midnight = stage.held["p", "m"].until
    assert stage.figure(RPD, midnight).used == 0


COUNTS = st.tuples(*[st.integers(0, 50)] * 4)


@given(st.lists(st.tuples(st.sampled_from("xyz"), COUNTS), max_size=12), st.integers(0, 40))
def test_the_sum_over_processes_is_the_sum_of_their_last_words(
    told: list[tuple[str, tuple[int, int, int, int]]], own: int
) -> None:
    stage = Stage()
    stage.call(own)
    last: dict[str, tuple[int, int, int, int]] = {}
    for writer, counts in told:
        last[writer] = counts
        stage.ledger.observe_counts(writer, row(counts), NOON)
    expected = own + sum(counts[2] for counts in last.values())
    if own or told:
        assert stage.figure(RPD).used == expected


STEPS = st.one_of(
    st.tuples(st.just("call"), st.integers(1, 5)),
    st.tuples(st.just("tokens"), st.integers(0, 500)),
    st.tuples(st.just("learn"), st.integers(0, 40)),
    st.tuples(st.just("report"), st.integers(0, 60)),
    st.tuples(st.just("other"), st.integers(0, 60)),
    st.tuples(st.just("pass"), st.integers(-4000, 40_000)),
)


@given(st.lists(STEPS, max_size=30), st.floats(0.0, 0.99))
def test_no_number_is_ever_negative_and_a_hold_is_told_exactly_while_a_reserve_is_reached(
    steps: list[tuple[str, int]], reserve: float
) -> None:
    stage, now = Stage(reserve=reserve), NOON
    for what, amount in steps:
        match what:
            case "call":
                stage.call(amount, now=now)
            case "tokens":
                stage.ledger.count_tokens("p", "m", amount, now)
            case "learn":
                stage.ledger.observe_limit("p", "m", RPD, learned(amount, now), now)
            case "report":
                stage.ledger.observe_usage("p", "m", RPD, Reported(amount, Source.CLOUD, now), now)
            case "other":
                stage.ledger.observe_counts("x", row((0, 0, amount, 0), now=now), now)
            case _:
                now += amount
        stage.ledger.review(now)
        figures = stage.ledger.figures(now, ["p"])
        assert all(figure.used >= 0 and (figure.remaining or 0) >= 0 for figure in figures)
        assert all(figure.resets_at > now for figure in figures)
        reached = any(_at_reserve(figure, reserve) for figure in figures)
        assert (("p", "m") in stage.held) == reached


def _at_reserve(figure: Figure, reserve: float) -> bool:
    limit = figure.limit
    fresh = figure.state == "known" and limit is not None and bool(limit.value)
    return fresh and figure.used >= math.ceil((limit.value or 0) * (1 - reserve) - 1e-9)  # type: ignore[union-attr] # fresh says that there is one


# -- days --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "hours"), [((2026, 3, 8), 23), ((2026, 11, 1), 25), ((2026, 11, 22), 24)], ids=str
)
def test_a_pacific_day_has_23_or_25_hours_where_the_clocks_change(
    day: tuple[int, int, int], hours: int
) -> None:
    for hour in (0, 5, 23):
        starts, ends = day_at(datetime(*day, hour, 30, tzinfo=PACIFIC).timestamp(), PACIFIC)
        assert ends - starts == hours * 3600
        assert starts == datetime(*day, tzinfo=PACIFIC).timestamp()


def _zones() -> Iterable[str]:
    return sorted(name for name in zoneinfo.available_timezones() if "/" in name)


@given(st.sampled_from(list(_zones())), st.integers(1_577_836_800, 2_000_000_000))
def test_now_is_within_its_day_in_every_zone(name: str, now: int) -> None:
    starts, ends = day_at(now, zoneinfo.ZoneInfo(name))
    assert starts <= now < ends
    assert 22 * 3600 <= ends - starts <= 26 * 3600 or name == "Pacific/Apia"


def test_another_time_zone_is_another_day() -> None:
    stage = Stage(limit_of(rpd=5))
    stage.call(4)
    stage.ledger.use(Rules(protection=True, reserve=0.2, zone=UTC, limits=stage.rules.limits), NOON)
    assert not stage.held
    assert stage.figure(RPD).resets_at == datetime(2026, 11, 23, tzinfo=UTC).timestamp()
