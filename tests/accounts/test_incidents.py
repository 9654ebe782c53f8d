"""Many deaths at once are one incident: the pure rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from regrant.accounts.incidents import CLOCK, MAX_INCIDENTS, MIXED, WINDOW_S, Closed, Grown, Incidents, Opened
from regrant.accounts.model import Account, Disablement

CLIENT = "1-one.apps"


def dead(name: str, at: int, cause: str = "revoked", last_refresh_at: int = 0) -> Account:
    return Account(
        id=name,
        email=f"{name}@example.com",
        disabled=Disablement(at=at, reason="invalid_grant: x", cause=cause),
        last_refresh_at=last_refresh_at,
    )


def alive(name: str) -> Account:
    return Account(id=name, email=f"{name}@example.com")


@dataclass
class Story:
    incidents: Incidents = field(default_factory=Incidents)

    def dies(self, name: str, at: int, cause: str = "revoked", client: str = CLIENT) -> object:
        return self.incidents.observe(dead(name, at, cause), client, at)

    def lives(self, name: str, at: int, client: str = CLIENT) -> object:
        return self.incidents.observe(alive(name), client, at)


def test_third_death_within_two_minutes_opens_one_incident_with_all_three() -> None:
    story = Story()
    assert story.dies("a", 1000) is None
    assert story.dies("b", 1060) is None
    opened = story.dies("c", 1120)
    assert isinstance(opened, Opened)
    assert opened.incident.accounts == ["a", "b", "c"]
    assert (opened.incident.since, opened.incident.until, opened.incident.client_id) == (1000, None, CLIENT)


def test_deaths_further_apart_than_two_minutes_are_no_incident() -> None:
    story = Story()
    assert story.dies("a", 1000) is None
    assert story.dies("b", 1060) is None
    assert story.dies("c", 1000 + WINDOW_S + 1) is None
    assert isinstance(story.dies("d", 1170), Opened)  # b, c and d are within two minutes


def test_deaths_of_different_oauth_clients_do_not_add_up() -> None:
    story = Story()
    assert [story.dies(name, 1000, client=name) for name in "abcd"] == [None] * 4


def test_one_account_seen_dead_again_and_again_is_one_death() -> None:
    story = Story()
    assert [story.dies("a", 1000) for _ in range(5)] == [None] * 5


def test_later_death_of_the_client_joins_the_open_incident() -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000)
    grown = story.dies("d", 1100)
    assert isinstance(grown, Grown)
    assert grown.incident.accounts == ["a", "b", "c", "d"]
    assert story.dies("d", 1100) is None
    assert story.dies("e", 1100 + WINDOW_S + 1) is None  # too late: a matter of its own
    assert len(story.incidents.all()) == 1


def test_last_account_that_is_back_closes_the_incident() -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000)
    assert story.lives("a", 1200) is None
    assert story.lives("a", 1210) is None
    assert story.incidents.recovered("b", 1220) is None  # it was removed
    closed = story.lives("c", 1230)
    assert isinstance(closed, Closed)
    assert closed.incident.until == 1230
    assert story.lives("c", 1240) is None


def test_account_that_dies_again_keeps_the_incident_open() -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000)
    story.lives("a", 1010)
    assert isinstance(story.dies("a", 1050), Grown)
    story.lives("b", 1060)
    assert story.lives("c", 1060) is None
    assert isinstance(story.lives("a", 1070), Closed)


def test_recovered_account_no_longer_counts_towards_an_incident() -> None:
    story = Story()
    story.dies("a", 1000)
    story.dies("b", 1000)
    story.lives("b", 1010)
    assert story.dies("c", 1020) is None


def test_old_death_seen_now_is_no_news() -> None:
    incidents = Incidents()
    for name in "abc":
        assert incidents.observe(dead(name, 1000), CLIENT, 1000 + WINDOW_S + 1) is None
    assert incidents.all() == []


def test_shared_cause_is_named_and_different_ones_are_mixed() -> None:
    story = Story()
    for name in "abc":
        story.dies(name, 1000, cause="testing_expired")
    incident = story.incidents.all()[0]
    assert incident.cause == "testing_expired"
    assert "Publish" in incident.advice.text
    story.dies("d", 1001, cause="revoked")
    assert incident.cause == MIXED
    assert CLIENT in incident.advice.text


def test_refresh_after_the_death_by_this_clock_means_that_the_clock_was_turned() -> None:
    incidents = Incidents()
    for name in "abc":
        incidents.observe(dead(name, 1000, last_refresh_at=90_000), CLIENT, 1000)
    assert incidents.all()[0].cause == CLOCK


def test_memory_of_incidents_is_bounded_and_the_newest_come_first() -> None:
    story = Story()
    for number in range(MAX_INCIDENTS + 5):
        for name in "abc":
            story.dies(f"{name}{number}", 1000 * number, client=f"client-{number}")
    kept = story.incidents.all()
    assert len(kept) == MAX_INCIDENTS
    assert kept[0].client_id == f"client-{MAX_INCIDENTS + 4}"
