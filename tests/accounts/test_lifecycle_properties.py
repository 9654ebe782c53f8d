"""Random histories of one account, judged by a model of the world that knows none of the rules of `lifecycle.py`.

The model knows what is true: which grants live at Google, which grant the record holds, and what the owner wishes. The
account is held by one process (`kept`); the disk, Google, the owner's editor and other processes are played here.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace as changed

from regrant.accounts.events import (
    AccessTokenSupplied,
    Admit,
    AttentionRaised,
    Edited,
    Event,
    Evict,
    Flight,
    FlightAbandoned,
    Identity,
    Notify,
    Observed,
    Paused,
    Reauthorized,
    RefreshAnswered,
    Resumed,
    Save,
    Served,
    StartRefresh,
    TokenRejected,
    TokenWanted,
)
from regrant.accounts.lifecycle import Kept, step
from regrant.accounts.model import HISTORY_LIMIT, Account, Disablement, Token
from regrant.oauth.google import Granted, RefusalKind, Refused, Unavailable
from regrant.secret import Secret

START = 1_800_000_000.0
JITTER = st.floats(0.0, 1.0)


@dataclass
class Question:
    """A refresh on its way: Google decides when it arrives, the answer may land at any later time."""

    flight: Flight
    answer: Granted | Refused | Unavailable | None = None
    rotated_to: str = ""


class World(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.now = START
        self.serial = 1
        self.alive = {"grant-1"}
        self.family = {"grant-1": 1}  # the consent that each refresh token comes from; a rotation stays in it
        self.access_of: dict[
            str, str
        ] = {}  # access token -> the refresh token that it came with, "" if by hand
        token = Token(refresh_token=Secret("grant-1"))
        self.kept = Kept(Account(id="ann", email="ann@example.com", token=token, revision=1))
        self.disk = self.kept.account
        self.dead_told = False  # the record says that the grant is dead
        self.paused = False
        self.blocked = False
        self.in_pool = True
        self.under_way: list[Question] = []

    # -- playing the keeper ----------------------------------------------------------------------------------------

    def happen(self, event: Event) -> tuple[str, ...]:
        before = self.kept
        after, effects = step(before, event, self.now)
        for effect in effects:
            match effect:
                case Admit():
                    assert not self.in_pool
                    self.in_pool = True
                case Evict():
                    assert self.in_pool
                    self.in_pool = False
                case StartRefresh(flight):
                    assert after.flight == flight
                    self.under_way.append(Question(flight))
                case Save() | Notify():
                    pass
        if after.account != before.account and not isinstance(event, Observed):
            assert Save() in effects, "a durable change must be stored"
        self.kept = after
        if Save() in effects:
            self.disk = changed(after.account, revision=self.disk.revision + 1)
            self.kept = msgspec.structs.replace(after, account=self.disk)
        elif isinstance(event, Observed):
            assert changed(after.account, last_used_at=0) == changed(event.account, last_used_at=0)
        return tuple(effect.event for effect in effects if isinstance(effect, Notify))

    def new_grant(self) -> str:
        self.serial += 1
        name = f"grant-{self.serial}"
        self.alive.add(name)
        self.family[name] = self.serial
        return name

    def new_access(self, grant: str) -> Secret:
        self.serial += 1
        self.access_of[f"access-{self.serial}"] = grant
        return Secret(f"access-{self.serial}")

    def grant(self) -> str:
        return self.kept.account.token.refresh_token.reveal()

    # -- Google ----------------------------------------------------------------------------------------------------

    @rule()
    def the_user_revokes(self) -> None:
        self.alive.discard(self.grant())

    @precondition(lambda self: any(q.answer is None for q in self.under_way))
    @rule(data=st.data(), kind=st.sampled_from(["verdict", "verdict", "rotate", "away", "client"]))
    def google_decides(self, data: st.DataObject, kind: str) -> None:
        question = data.draw(st.sampled_from([q for q in self.under_way if q.answer is None]))
        grant = question.flight.refresh_token.reveal()
        if kind == "away":
            question.answer = Unavailable("no route")
        elif kind == "client":
            question.answer = Refused(RefusalKind.client_broken, 401, "invalid_client", "", "")
        elif grant not in self.alive:
            question.answer = Refused(RefusalKind.invalid_grant, 400, "invalid_grant", "", "revoked")
        else:
            rotated = ""
            if kind == "rotate":
                rotated = self.new_grant()
                self.family[rotated] = self.family[grant]
                self.alive.discard(grant)
            question.rotated_to = rotated
            question.answer = Granted(
                self.new_access(rotated or grant),
                3600.0,
                "Bearer",
                "",
                Secret(rotated) if rotated else None,
                None,
                None,
            )

    @precondition(lambda self: any(q.answer is not None for q in self.under_way))
    @rule(data=st.data(), jitter=JITTER)
    def an_answer_lands(self, data: st.DataObject, jitter: float) -> None:
        question = data.draw(st.sampled_from([q for q in self.under_way if q.answer is not None]))
        self.land(question, jitter)

    def land(self, question: Question, jitter: float = 0.5) -> None:
        answer, flight = question.answer, question.flight
        assert answer is not None
        self.under_way.remove(question)
        before = self.kept.account
        mine = flight.generation == before.generation and flight.refresh_token == before.token.refresh_token
        told = self.happen(RefreshAnswered(flight, answer, jitter))
        after = self.kept.account
        assert self.kept.flight != flight
        if not mine:
            assert after == before, "an answer for a grant that is no longer held changes nothing"
            assert told == ()
        elif isinstance(answer, Refused) and answer.kind is RefusalKind.invalid_grant:
            self.dead_told = True
            assert after.disabled is not None, "a held grant that Google refused is disabled"
            if before.disabled is not None:
                assert after == before, "the first date and reason of a death stand"
            else:
                assert after.disabled.reason.startswith("invalid_grant: ")
        elif isinstance(answer, Granted):
            if question.rotated_to:
                assert after.token.refresh_token == Secret(question.rotated_to), "no rotation is lost"
            counts = before.token.access_token == flight.access_token or bool(question.rotated_to)
            if flight.explicit and counts:
                self.blocked = False
                assert after.verified
                if before.disabled == flight.disabled:
                    self.dead_told = False
        else:
            assert after.disabled == before.disabled, "trouble disables nobody"
            assert after.token == before.token

    @rule(data=st.data())
    def a_flight_is_abandoned(self, data: st.DataObject) -> None:
        if self.under_way:
            question = data.draw(st.sampled_from(self.under_way))
            if question.rotated_to:
                return  # the keeper never drops an answer that it has
            self.under_way.remove(question)
            self.happen(FlightAbandoned(question.flight))

    # -- the gateway -----------------------------------------------------------------------------------------------

    @rule(explicit=st.booleans())
    def a_token_is_wanted(self, explicit: bool) -> None:
        flying, dead = self.kept.flight, self.kept.account.disabled
        count = len(self.under_way)
        self.happen(TokenWanted(explicit))
        if flying is not None:
            assert self.kept.flight == flying, "one flight at most"
        if len(self.under_way) > count and dead is not None:
            assert explicit, "nobody but a person asks for a dead account"

    @rule()
    def the_model_api_answers_401(self) -> None:
        self.happen(TokenRejected(self.kept.account.token.access_token))

    @rule(code=st.sampled_from(["SERVICE_DISABLED", "BILLING_DISABLED"]))
    def the_model_api_answers_403(self, code: str) -> None:
        self.happen(AttentionRaised(code, "a person must act"))
        self.blocked = True

    @rule()
    def a_request_is_served(self) -> None:
        self.happen(Served())
        self.blocked = False

    @rule(seconds=st.sampled_from([1, 30, 700, 3000, 4000, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    # -- the owner -------------------------------------------------------------------------------------------------

    @rule(reason=st.sampled_from(["", "holiday"]))
    def the_owner_pauses(self, reason: str) -> None:
        disabled = self.kept.account.disabled
        self.happen(Paused(reason))
        self.paused = True
        assert self.kept.account.disabled == disabled

    @rule()
    def the_owner_resumes(self) -> None:
        disabled = self.kept.account.disabled
        self.happen(Resumed())
        self.paused = False
        assert self.kept.account.disabled == disabled

    @rule()
    def the_owner_signs_in_again(self) -> None:
        self.re_add()

    def re_add(self) -> None:
        before = self.kept.account
        name = self.new_grant()
        token = Token(
            refresh_token=Secret(name),
            access_token=self.new_access(name),
            expiry_timestamp=int(self.now) + 3600,
        )
        self.happen(Reauthorized(token, Identity("ann@example.com"), "123-app"))
        self.dead_told = self.blocked = False
        assert self.kept.account.label == before.label
        assert self.kept.account.generation == before.generation + 1

    @rule()
    def the_owner_gives_an_access_token_alone(self) -> None:
        access = self.new_access("")
        self.happen(AccessTokenSupplied(Token(access_token=access, expiry_timestamp=int(self.now) + 3600)))
        self.dead_told = False
        assert self.kept.flight is not None, "the grant behind it is asked at once"
        assert not self.kept.account.verified

    @rule(label=st.sampled_from(["work", "home"]))
    def the_owner_relabels(self, label: str) -> None:
        self.happen(Edited({"label": label}))
        assert self.kept.account.label == label

    # -- the file, by hand -----------------------------------------------------------------------------------------

    def seen(self, record: Account) -> tuple[str, ...]:
        self.disk = record
        return self.happen(Observed(record))

    @rule(lives=st.booleans())
    def a_new_refresh_token_is_written_by_hand(self, lives: bool) -> None:
        name = self.new_grant()
        if not lives:
            self.alive.discard(name)
        generation = self.disk.generation
        self.seen(changed(self.disk, token=changed(self.disk.token, refresh_token=Secret(name))))
        self.dead_told = False
        assert self.kept.account.generation == generation + 1
        assert self.kept.flight is not None
        assert self.kept.flight.refresh_token == Secret(name)

    @precondition(lambda self: self.disk.disabled is not None)
    @rule()
    def disabled_is_removed_by_hand(self) -> None:
        self.seen(changed(self.disk, disabled=None))
        self.dead_told = False
        assert self.kept.flight is not None, "the owner's word is followed by one verification"

    @rule()
    def disabled_is_set_by_hand(self) -> None:
        if self.disk.disabled is None:
            self.seen(changed(self.disk, disabled=Disablement(at=int(self.now), reason="", cause="revoked")))
            self.dead_told = True

    # -- another process -------------------------------------------------------------------------------------------

    def written_by_another(self, **fields: object) -> None:
        self.seen(changed(self.disk, revision=self.disk.revision + 1, **fields))

    @rule()
    def another_process_re_adds(self) -> None:
        name = self.new_grant()
        token = Token(
            refresh_token=Secret(name),
            access_token=self.new_access(name),
            expiry_timestamp=int(self.now) + 3600,
        )
        generation = self.disk.generation + 1
        self.written_by_another(
            token=token,
            generation=generation,
            disabled=None,
            attention=None,
            verified=True,
            last_refresh_at=int(self.now),
        )
        self.dead_told = self.blocked = False
        assert self.kept.account.generation == generation

    @precondition(lambda self: self.grant() in self.alive and self.disk.disabled is None)
    @rule()
    def another_process_refreshes(self) -> None:
        token = changed(
            self.disk.token, access_token=self.new_access(self.grant()), expiry_timestamp=int(self.now) + 3600
        )
        self.written_by_another(token=token, verified=True, last_refresh_at=int(self.now))

    @precondition(lambda self: self.grant() not in self.alive and self.disk.disabled is None)
    @rule()
    def another_process_finds_it_dead(self) -> None:
        dead = Disablement(at=int(self.now), reason="invalid_grant: revoked", cause="revoked")
        self.written_by_another(disabled=dead)
        self.dead_told = True

    @rule()
    def another_process_pauses_or_resumes(self) -> None:
        self.paused = not self.paused
        other = step(Kept(self.disk), Paused("elsewhere") if self.paused else Resumed(), self.now)[0].account
        self.written_by_another(paused=other.paused)

    # -- the named races -------------------------------------------------------------------------------------------

    def fly(self) -> Question | None:
        """A question that Google has decided as things are now, and whose answer has not landed."""
        self.happen(TokenWanted(explicit=True))
        flights = [q for q in self.under_way if q.flight == self.kept.flight]
        return flights[0] if flights else None

    @rule(revoked=st.booleans(), by=st.sampled_from(["owner", "other process", "hand"]))
    def race_a_late_answer_after_a_replacement(self, revoked: bool, by: str) -> None:
        """G1, G2"""
        if revoked:
            self.the_user_revokes()
        question = self.fly()
        if question is None:
            return
        if question.answer is None:
            self.decide(question)
        if by == "owner":
            self.re_add()
        elif by == "hand":
            self.a_new_refresh_token_is_written_by_hand(lives=True)
        else:
            self.another_process_re_adds()
        before = self.kept
        self.land(question)
        assert self.kept == before
        assert self.grant() in self.alive
        assert self.kept.account.disabled is None

    def decide(self, question: Question) -> None:
        grant = question.flight.refresh_token.reveal()
        question.answer = (
            Granted(self.new_access(grant), 3600.0, "Bearer", "", None, None, None)
            if grant in self.alive
            else Refused(RefusalKind.invalid_grant, 400, "invalid_grant", "", "revoked")
        )

    @rule()
    def race_an_access_token_alone_on_a_dead_grant(self) -> None:
        self.the_user_revokes()
        self.the_owner_gives_an_access_token_alone()
        question = next(q for q in self.under_way if q.flight == self.kept.flight)
        self.decide(question)
        self.land(question)
        assert self.kept.account.disabled is not None, "disabled again within seconds"

    @rule()
    def race_disabled_by_its_owner_while_a_refresh_lands(self) -> None:
        question = self.fly()
        if question is None or question.flight.disabled is not None or self.disk.disabled is not None:
            return
        if question.answer is None:
            self.decide(question)
        self.disabled_is_set_by_hand()
        self.land(question)
        assert self.kept.account.disabled is not None

    @rule()
    def race_a_rotation_after_another_process_has_refreshed(self) -> None:
        question = self.fly()
        if question is None or question.answer is not None or self.disk.disabled is not None:
            return
        grant = question.flight.refresh_token.reveal()
        if grant not in self.alive:
            return
        self.another_process_refreshes()
        question.rotated_to = self.new_grant()
        self.family[question.rotated_to] = self.family[grant]
        self.alive.discard(grant)
        access = self.new_access(question.rotated_to)
        question.answer = Granted(access, 3600.0, "Bearer", "", Secret(question.rotated_to), None, None)
        self.land(question)
        assert self.grant() in self.alive

    # -- what is always so -----------------------------------------------------------------------------------------

    @invariant()
    def the_pool_is_what_the_effects_said(self) -> None:
        assert self.in_pool == self.kept.account.in_pool

    @invariant()
    def the_record_and_the_model_agree_on_death_and_pause(self) -> None:
        assert (self.kept.account.disabled is not None) == self.dead_told
        assert (self.kept.account.paused is not None) == self.paused
        if self.dead_told or self.paused or self.blocked:
            assert not self.in_pool
        else:
            attention = self.kept.account.attention
            assert self.in_pool or (attention is not None and not attention.about_refresh)

    @invariant()
    def the_disk_has_what_memory_has(self) -> None:
        assert changed(self.disk, last_used_at=0) == changed(self.kept.account, last_used_at=0)

    @invariant()
    def the_access_token_came_with_the_held_grant(self) -> None:
        access = self.kept.account.token.access_token.reveal()
        if access:
            source = self.access_of[access]
            assert not source or self.family[source] == self.family[self.grant()]

    @invariant()
    def a_flight_is_about_the_held_grant(self) -> None:
        flight = self.kept.flight
        if flight is not None:
            assert flight.generation == self.kept.account.generation
            assert flight.refresh_token == self.kept.account.token.refresh_token

    @invariant()
    def the_history_is_bounded(self) -> None:
        assert len(self.kept.account.history) <= HISTORY_LIMIT

    @invariant()
    def every_state_is_recoverable_by_adding_again(self) -> None:
        token = Token(refresh_token=Secret("grant-rescue"))
        rescued, _ = step(self.kept, Reauthorized(token, Identity("ann@example.com"), "123-app"), self.now)
        rescued, _ = step(rescued, Resumed(), self.now)
        assert rescued.account.in_pool


World.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestAnyHistory = World.TestCase
