"""One incident per cause: the pure rules, told by accounts as they are seen and by the words that people are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrant.accounts.incident_words import view
from regrant.accounts.incidents import (
    CLOCK,
    MAX_CLOSED,
    MIXED,
    NEWS_S,
    SETTLE_S,
    WINDOW_S,
    Death,
    Incident,
    Incidents,
    Kind,
    Sight,
    see,
)
from regrant.accounts.model import Account, Attention, Disablement, Token

CLIENT = "1-one.apps"
H = 3600


def attention(code: str, since: int) -> Attention:
    return Attention(code=code, message=f"about {code}", since=since)


@dataclass
class Story:
    incidents: Incidents = field(default_factory=Incidents)
    told: list[tuple[str, str]] = field(default_factory=list)

    def see(self, name: str, at: float, client: str = CLIENT, **fields: object) -> None:
        sight = Sight(name, f"{name}@example.com", client, **fields)  # type: ignore[arg-type]
        self.incidents.observe(sight, at)

    def dies(self, name: str, at: int, cause: str = "revoked", client: str = CLIENT) -> None:
        self.see(name, at, client, death=Death(at, cause))

    def tell(self, at: float) -> list[tuple[str, str]]:
        """What is told at that time: what happened and the kind."""
        told: list[tuple[str, str]] = [(one.what, one.incident.kind.value) for one in self.incidents.due(at)]
        self.told += told
        return told

    def open(self) -> list[Incident]:
        return [one for one in self.incidents.all() if one.open]

    def kinds(self) -> list[str]:
        return sorted(one.kind.value for one in self.open())

    def only(self) -> Incident:
        [incident] = self.open()
        return incident


# -- deaths ------------------------------------------------------------------------------------------------------------


def test_a_death_is_an_incident_that_the_first_success_ends() -> None:
    story = Story()
    story.dies("a", 1000)
    assert story.tell(1000) == []
    assert story.tell(1000 + SETTLE_S) == [("opened", "account_died")]
    assert story.tell(1100) == []
    story.see("a", 1200)
    assert story.open() == []
    assert story.tell(1200 + SETTLE_S) == [("closed", "account_died")]
    assert story.tell(2000) == []
    [over] = story.incidents.all()
    assert view(over).length_s == 200


def test_third_death_within_two_minutes_makes_them_one_incident() -> None:
    story = Story()
    for name, at in (("a", 1000), ("b", 1060)):
        story.dies(name, at)
        assert story.kinds() == ["account_died"] * len(story.open())
    story.dies("c", 1120)
    mass = story.only()
    assert (mass.kind, list(mass.members)) == (Kind.MASS_FAILURE, ["a", "b", "c"])
    assert (mass.since, mass.until, mass.client_id) == (1000, None, CLIENT)
    assert not any(member.over for member in mass.members.values())


def test_deaths_at_once_are_one_alarm() -> None:
    story = Story()
    for number, name in enumerate("abcdef"):
        story.dies(name, 1000)
        story.tell(1000 + number * 0.2)
    assert story.tell(1010) == [("opened", "mass_failure")]
    assert story.told == [("opened", "mass_failure")]
    assert len(story.incidents.all()) == 1


def test_a_death_that_was_told_already_ends_as_part_of_the_mass_failure() -> None:
    story = Story()
    story.dies("a", 1000)
    story.tell(1010)
    story.dies("b", 1050)
    story.dies("c", 1050)
    assert sorted(story.tell(1060)) == [("closed", "account_died"), ("opened", "mass_failure")]
    [part] = [one for one in story.incidents.all() if not one.open]
    assert part.part_of == story.only().id
    assert "part of a mass failure" in view(part).title
    story.see("a", 1100)
    assert story.only().members["a"].over


def test_deaths_further_apart_than_two_minutes_stay_apart() -> None:
    story = Story()
    for name, at in (("a", 1000), ("b", 1060), ("c", 1000 + WINDOW_S + 1)):
        story.dies(name, at)
    assert story.kinds() == ["account_died"] * 3
    story.dies("d", 1170)  # b, c and d are within two minutes
    assert story.kinds() == ["account_died", "mass_failure"]


def test_deaths_of_different_oauth_clients_do_not_add_up() -> None:
    story = Story()
    for name in "abcd":
        story.dies(name, 1000, client=name)
    assert story.kinds() == ["account_died"] * 4


def test_one_account_seen_dead_again_and_again_is_one_death() -> None:
    story = Story()
    for _ in range(5):
        story.dies("a", 1000)
    assert story.kinds() == ["account_died"]


def test_later_death_of_the_client_joins_the_open_incident() -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000)
    story.dies("d", 1100)
    assert list(story.only().members) == ["a", "b", "c", "d"]
    story.dies("e", 1100 + WINDOW_S + 1)  # too late: a matter of its own
    assert story.kinds() == ["account_died", "mass_failure"]


def test_last_account_that_is_back_closes_the_incident() -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000)
    story.see("a", 1200)
    story.see("a", 1210)
    story.incidents.gone("b", 1220)
    assert story.only().open
    story.see("c", 1230)
    assert story.open() == []
    assert [one.until for one in story.incidents.all()] == [1230]


def test_somebody_s_word_is_no_success() -> None:
    story = Story()
    story.dies("a", 1000)
    story.see("a", 1100, proven=False)
    assert story.only().open


@pytest.mark.parametrize("again_at", [1000, 1050])
def test_account_that_dies_again_keeps_the_incident_open_even_within_the_same_second(again_at: int) -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000)
    story.see("a", 1000)
    story.dies("a", again_at)
    story.see("b", 1060)
    story.see("c", 1060)
    assert not story.only().members["a"].over
    story.see("a", 1070)
    assert story.open() == []


def test_an_account_that_dies_twice_within_a_second_has_died_twice() -> None:
    story = Story()
    story.dies("a", 1000)
    story.see("a", 1000)
    story.dies("a", 1000)
    assert story.only().kind is Kind.ACCOUNT_DIED
    assert len({one.id for one in story.incidents.all()}) == 2


def test_recovered_account_no_longer_counts_towards_a_mass_failure() -> None:
    story = Story()
    story.dies("a", 1000)
    story.dies("b", 1000)
    story.see("b", 1010)
    story.dies("c", 1020)
    assert story.kinds() == ["account_died"] * 2


def test_old_death_seen_now_is_no_news() -> None:
    story = Story()
    story.see("a", 1000 + NEWS_S + 1, death=Death(1000, "revoked"))
    assert story.incidents.all() == []


def test_shared_cause_is_named_and_different_ones_are_mixed() -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000, cause="testing_expired")
    shown = view(story.only())
    assert shown.cause == "testing_expired"
    assert "Publish" in shown.text
    story.dies("d", 1001, cause="revoked")
    shown = view(story.only())
    assert shown.cause == MIXED
    assert CLIENT in shown.text


@pytest.mark.parametrize("cause", ["testing_expired", "revoked"])
def test_shared_cause_of_very_many_deaths_is_that_of_all_of_them(cause: str) -> None:
    story = Story()
    for number in range(50):
        story.dies(f"account-{number}", 1000 + number, cause="testing_expired")
    story.dies("late", 1051, cause=cause)
    story.dies("last", 1052, cause="testing_expired")
    assert story.only().cause == ("testing_expired" if cause == "testing_expired" else MIXED)
    turned = Death(1053, "revoked", before_last_refresh=True)
    story.see("turned", 1053, death=turned)
    story.dies("after", 1054, cause="testing_expired")
    assert story.only().cause == CLOCK


def test_refresh_after_the_death_by_this_clock_means_that_the_clock_was_turned() -> None:
    incidents = Incidents()
    for name in "abc":
        account = Account(
            id=name,
            email=f"{name}@example.com",
            disabled=Disablement(at=1000, reason="invalid_grant: x", cause="revoked"),
            last_refresh_at=90_000,
        )
        incidents.observe(see(account, CLIENT, 1000), 1000)
    assert [one.cause for one in incidents.all()] == [CLOCK]


# -- what needs a person -----------------------------------------------------------------------------------------------


def test_attention_is_an_incident_per_account_and_code() -> None:
    story = Story()
    story.see("a", 1000, attention=attention("permission", 1000))
    story.see("a", 1001, attention=attention("permission", 1000))
    story.see("b", 1000, attention=attention("permission", 1000))
    assert story.kinds() == ["attention", "attention"]
    story.see("a", 1010, attention=attention("billing", 1010))
    assert sorted(one.cause for one in story.open()) == ["billing", "permission"]
    story.see("a", 1020)
    story.see("b", 1020)
    assert story.open() == []


def test_a_broken_client_is_one_incident_that_the_first_success_ends() -> None:
    story = Story()
    for name in "abc":
        story.see(name, 1000, attention=attention("client_broken", 1000), last_refresh_at=500)
    assert (story.only().kind, list(story.only().members)) == (Kind.CLIENT_BROKEN, ["a", "b", "c"])
    story.see("d", 1010, last_refresh_at=900)
    assert story.only().open
    story.see("b", 1100, last_refresh_at=1100)
    assert story.open() == []
    story.see(
        "a", 1101, attention=attention("client_broken", 1000), last_refresh_at=500
    )  # not asked again yet
    story.see("e", 1102, attention=attention("client_broken", 1050), last_refresh_at=500)  # news from before
    assert story.open() == []
    story.see("b", 1200, attention=attention("client_broken", 1200), last_refresh_at=1100)
    assert story.only().since == 1200


def test_success_of_an_account_that_never_failed_mends_the_client_too() -> None:
    story = Story()
    story.see("a", 1000, attention=attention("client_broken", 1000))
    story.see("d", 1060, last_refresh_at=1060, client="2-other.apps")
    assert story.only().open
    story.see("d", 1060, last_refresh_at=1060)
    assert story.open() == []


def test_a_network_that_is_away_is_one_incident_for_all_accounts() -> None:
    story = Story()
    for name in "abc":
        story.see(name, 1000, attention=attention("refresh_failing", 1000))
    assert len(story.only().members) == 3
    for name in "abc":
        story.see(name, 1100)
    assert story.open() == []


def test_a_dead_account_needs_no_attention_besides() -> None:
    story = Story()
    story.see("a", 1000, attention=attention("permission", 1000))
    story.see("a", 1001, attention=attention("permission", 1000), death=Death(1001, "revoked"))
    assert story.kinds() == ["account_died"]


# -- known ends --------------------------------------------------------------------------------------------------------


def test_a_known_end_is_told_at_48_and_at_6_hours_as_one_incident() -> None:
    story = Story()
    end = 100 * H
    for hour in range(101):
        story.see("a", hour * H, dies_at=end, dies_of="testing_expired")
        story.see("a", hour * H, dies_at=end + 1, dies_of="testing_expired")
        story.see("a", hour * H, dies_at=end - 1, dies_of="testing_expired")
        told = story.tell(hour * H + 10)
        assert told == {52: [("opened", "will_die")], 94: [("updated", "will_die")]}.get(hour, [])
    assert "within 6 hours" in view(story.only()).title


def test_a_start_with_five_hours_left_tells_the_last_notice_alone() -> None:
    story = Story()
    story.see("a", 0, dies_at=5 * H)
    assert story.tell(10) == [("opened", "will_die")]
    assert "within 6 hours" in view(story.only()).title
    assert story.tell(4 * H) == []


def test_a_new_grant_ends_the_countdown() -> None:
    story = Story()
    story.see("a", 0, dies_at=5 * H)
    story.see("a", 100, dies_at=7 * 24 * H)
    assert story.open() == []
    assert "no longer" in view(story.incidents.all()[0]).title


def test_death_ends_the_countdown_as_foretold() -> None:
    story = Story()
    story.see("a", 0, dies_at=5 * H)
    story.dies("a", 5 * H)
    assert story.kinds() == ["account_died"]
    [over] = [one for one in story.incidents.all() if not one.open]
    assert "as foretold" in view(over).title


# -- the pool, the disk, the clock -------------------------------------------------------------------------------------


def test_an_empty_pool_says_why_and_is_back_with_the_first_account() -> None:
    story = Story()
    story.incidents.see_pool(1000, can_serve=False, reasons={"disabled": 2, "paused": 1})
    assert "2 disabled, 1 paused" in view(story.only()).title
    story.incidents.see_pool(1010, can_serve=False, reasons={"disabled": 3})
    assert "3 disabled" in view(story.only()).text
    story.incidents.see_pool(1020, can_serve=True, reasons={"disabled": 2})
    assert story.open() == []
    assert story.tell(1030) == [("opened", "pool_empty"), ("closed", "pool_empty")]


def test_a_gateway_without_any_account_has_no_incident() -> None:
    story = Story()
    story.incidents.see_pool(1000, can_serve=False, reasons={})
    assert story.incidents.all() == []


def test_a_disk_that_cannot_be_written_is_one_incident() -> None:
    story = Story()
    for name in "ab":
        story.see(name, 1000, unwritten="no space left")
    assert (story.only().kind, len(story.only().members)) == (Kind.NOT_PERSISTED, 2)
    story.see("a", 1010)
    assert story.only().open
    story.see("b", 1010)
    assert story.open() == []


@pytest.mark.parametrize(
    ("skew_s", "wrong"), [(61, True), (-61, True), (60, False), (0, False), (None, False)]
)
def test_a_clock_that_is_off_by_more_than_a_minute_is_an_incident(skew_s: float | None, wrong: bool) -> None:
    story = Story()
    story.incidents.see_clock(skew_s, 1000)
    assert bool(story.open()) is wrong


def test_the_clock_s_incident_ends_when_it_is_clearly_right_again() -> None:
    story = Story()
    story.incidents.see_clock(-3600, 1000)
    assert "3600 s behind" in view(story.only()).title
    for skew_s in (59, None):
        story.incidents.see_clock(skew_s, 1010)
        assert story.only().open
    story.incidents.see_clock(2, 1020)
    assert story.open() == []


# -- what is kept ------------------------------------------------------------------------------------------------------


def taken_up(known: Iterable[Incident]) -> Incidents:
    """What another process makes of the stored records."""
    other = Incidents()
    for incident in known:
        other.put(msgspec.convert(msgspec.json.decode(msgspec.json.encode(incident)), Incident))
    return other


def test_what_was_told_is_not_told_again_by_the_process_that_takes_over() -> None:
    story = Story()
    story.dies("a", 1000)
    story.see("b", 1000, attention=attention("permission", 1000), dies_at=1000 + 40 * H)
    story.tell(1010)
    later = Story(taken_up(story.incidents.all()))
    later.dies("a", 1000)
    later.see("b", 1100, attention=attention("permission", 1000), dies_at=1000 + 40 * H)
    assert later.tell(1110) == []
    later.see("a", 1200)
    later.see("b", 1000 + 35 * H, dies_at=1000 + 40 * H)
    assert sorted(later.tell(1000 + 36 * H)) == [
        ("closed", "account_died"),
        ("closed", "attention"),
        ("updated", "will_die"),
    ]


def test_what_was_not_told_yet_is_told_by_the_process_that_takes_over() -> None:
    story = Story()
    story.dies("a", 1000)
    later = Story(taken_up(story.incidents.all()))
    assert later.tell(1010) == [("opened", "account_died")]


def test_memory_of_what_is_over_is_bounded_and_the_open_ones_come_first() -> None:
    story = Story()
    story.dies("z", 0, client="another")
    for number in range(MAX_CLOSED + 5):
        story.dies("a", 1000 * number)
        story.see("a", 1000 * number + 5)
        story.tell(1000 * number + 10)
    found = story.incidents.all()
    assert len(found) == MAX_CLOSED + 1
    assert found[0].open
    assert found[1].since == 1000 * (MAX_CLOSED + 4)


NAMES = st.sampled_from("abcde")
STEPS = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from(["dies", "lives", "word", "403", "client", "ends", "disk", "gone"]),
        st.integers(0, 90),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.booleans())
def test_whatever_happens_each_incident_is_told_once_and_once_when_it_ends(
    steps: list[tuple[str, str, int]],
    restarted: bool,
) -> None:
    story, now, told = Story(), 10_000, []
    for name, what, pause in steps:
        now += pause
        match what:
            case "dies":
                story.dies(name, now)
            case "lives":
                story.see(name, now, last_refresh_at=now)
            case "word":
                story.see(name, now, proven=False)
            case "403":
                story.see(name, now, attention=attention("permission", now))
            case "client":
                story.see(name, now, attention=attention("client_broken", now))
            case "ends":
                story.see(name, now, dies_at=now + 40 * H)
            case "disk":
                story.see(name, now, unwritten="full")
            case _:
                story.incidents.gone(name, now)
        told += [(one.what, one.incident.id) for one in story.incidents.due(now)]
        if restarted:
            story = Story(taken_up(story.incidents.all()))
    for name in "abcde":
        story.see(name, now + 1, last_refresh_at=now + 1)
    assert story.open() == []
    told += [(one.what, one.incident.id) for one in story.incidents.due(now + 10)]
    assert len(told) == len(set(told))
    opened = [key for what, key in told if what == "opened"]
    closed = [key for what, key in told if what == "closed"]
    assert sorted(opened) == sorted(closed)
    for incident in story.incidents.all():
        shown = view(incident)
        assert shown.title
        assert shown.length_s >= 0


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_an_account_has_at_most_one_part_of_each_sort(steps: list[tuple[str, str, int]]) -> None:
    story, now = Story(), 10_000
    for name, what, pause in steps:
        now += pause
        if what == "gone":
            story.incidents.gone(name, now)
        else:
            story.see(name, now, death=Death(now, "revoked") if what in {"dies", "403"} else None)
        for one in "abcde":
            parts = [i for i in story.open() if one in i.members and not i.members[one].over]
            assert len(parts) <= 1


def test_words_name_what_mends_it() -> None:
    account = Account(
        id="a", email="a@example.com", token=Token(consented_at=0, refresh_token_expires_at=604_800)
    )
    incidents = Incidents()
    incidents.observe(see(account, CLIENT, 604_800 - 40 * H), 604_800 - 40 * H)
    [incident] = incidents.all()
    shown = view(incident, 7)
    assert (shown.kind, shown.cause, shown.requests) == ("will_die", "testing_expired", 7)
    assert shown.url == "https://console.cloud.google.com/auth/audience"
    assert shown.command == "regrant accounts reauth a@example.com"
    assert (shown.accounts, shown.emails, shown.severity) == (("a",), ("a@example.com",), "warning")
