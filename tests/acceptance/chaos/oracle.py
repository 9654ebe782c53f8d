"""Judges a run: what the clients saw and the sandbox's journal, against the contract.

Keeps a model of its own of who was healthy and who was out, made of the journal, the scripts that it says were met, and the diary of
what people did. Where two things happened at nearly the same time nothing is judged. The books (log, metrics, ledger) are `books.py`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tests.acceptance.chaos import faults
from tests.acceptance.chaos.clients import Result
from tests.acceptance.chaos.faults import Fault
from tests.acceptance.chaos.schedule import MODELS, NAMES, ON_VERTEX, PROJECTS
from tests.acceptance.chaos.stage import DEADLINE_S, MAX_ATTEMPTS, Deed, Diary
from tests.acceptance.harness import Json

SETTLED_S = 0.8
"""What was known for so long is known everywhere."""
MARK = re.compile(r"<chaos -?\d+ (\d+)>")


@dataclass(frozen=True)
class Breach:
    """A sentence of the contract that was broken, and by which request."""

    rule: str
    text: str
    number: int = -1
    who: str = ""
    """Whose history explains it, if anybody's; with `model` that of the whole run."""
    model: str = ""


@dataclass(frozen=True)
class Call:
    """One call of the model API, as the journal has it; `fault` is the script that it met."""

    seq: int
    at: float
    endpoint: str
    who: str
    model: str
    status: int | None
    aborted: bool
    number: int
    fault: Fault | None
    early: bool = False
    """An error in mid-stream was read before anything had gone to the client, so that it counts like one before the stream."""

    @property
    def project(self) -> str:
        return PROJECTS[self.who]

    @property
    def course(self) -> str:
        if self.fault is not None:
            return self.fault.course if self.early else self.fault.course_on(self.endpoint)
        return "refresh" if self.status == 401 else "fine"

    @property
    def clean(self) -> bool:
        return self.status == 200 and not self.aborted and self.course == "fine"

    @property
    def answered_at(self) -> float:
        return self.at + (self.fault.delay_s if self.fault is not None else 0.0)

    def __str__(self) -> str:
        met = f"{self.fault.name} ({self.course})" if self.fault is not None else "-"
        return f"#{self.seq} {self.at:.3f} {self.endpoint} {self.who} {self.model} -> {self.status} {met}"


@dataclass(frozen=True)
class Hold:
    """Something must be left alone from `since` to `until`. `who` is "" for a hold of more than one account."""

    why: str
    scope: str
    who: str
    project: str
    model: str
    since: float
    until: float
    attend: bool = False
    person: bool = False

    def covers(self, who: str, model: str) -> bool:
        match self.scope:
            case "account":
                return who == self.who
            case "project":
                return PROJECTS[who] == self.project
            case "project_model":
                return PROJECTS[who] == self.project and model == self.model
            case _:
                return model == self.model


def calls_of(journal: Iterable[Json], diary: Diary) -> list[Call]:
    """The calls of the model API, in the order of their arrival."""
    found = []
    for entry in journal:
        marked = MARK.search(entry["body"])
        if entry["endpoint"] not in {"generate", "stream", "count"} or marked is None:
            continue
        found.append(
            Call(
                entry["seq"],
                entry["at"],
                entry["endpoint"],
                entry["email"].partition("@")[0],
                entry["model"],
                entry["status"],
                entry["aborted"],
                int(marked[1]),
                diary.scripts.get(entry["script"]),
            )
        )
    return found


def _with_early_errors(calls: list[Call], answers: dict[int, Result]) -> list[Call]:
    last = {call.number: call.seq for call in calls}
    found = []
    for call in calls:
        in_stream = call.fault is not None and call.fault.kind == "error" and call.course == "cut"
        answer = answers.get(call.number)
        repaired = last[call.number] != call.seq or (answer is not None and answer.outcome == "refused")
        found.append(replace(call, early=True) if in_stream and repaired else call)
    return found


class Oracle:
    """`attempts` are those of the traffic log by request number: only how long each took is believed."""

    def __init__(
        self,
        journal: Sequence[Json],
        results: Sequence[Result],
        diary: Diary,
        attempts: dict[int, list[Json]],
        *,
        limited: frozenset[tuple[str, str]],
    ) -> None:
        answers = {result.wanted.number: result for result in results}
        self.calls = _with_early_errors(calls_of(journal, diary), answers)
        self.by_request: dict[int, list[Call]] = defaultdict(list)
        for call in self.calls:
            self.by_request[call.number].append(call)
        self._results = results
        self._attempts = attempts
        self._limited = limited
        self._cleared = diary.cleared
        self._deeds: dict[str, list[Deed]] = defaultdict(list)
        for deed in sorted(diary.deeds, key=lambda one: one.begun):
            self._deeds[deed.who].append(deed)
        self._tokens = [entry for entry in journal if entry["endpoint"] == "token"]
        self._token_scripts = diary.token_scripts
        self._clean: dict[tuple[str, str], list[float]] = defaultdict(list)
        for call in self.calls:
            if call.clean:
                self._clean[call.who, call.model].append(call.answered_at)
        for served in self._clean.values():
            served.sort()
        self.holds = [*self._holds_of_calls(), *self._holds_of_people()]
        self._doubts = self._find_doubts()
        self.judged = 0
        """How many failures had to be excused by there being nobody healthy."""

    def breaches(self) -> list[Breach]:
        found: list[Breach] = []
        for result in self._results:
            found += self._judge_result(result)
        for number, calls in self.by_request.items():
            found += self._judge_attempts(number, calls)
        found += self._judge_absences()
        found += self._judge_tokens()
        return found

    # -- who must be left alone --

    def _holds_of_calls(self) -> Iterator[Hold]:
        refused_before: dict[int, Call] = {}
        for call in self.calls:
            before = refused_before.pop(call.number, None)
            if call.course == "refresh":
                refused_before[call.number] = call
                if before is not None and before.who == call.who:
                    until = call.at + 0.8 * faults.REFUSED_S
                    yield Hold("401 twice", "account", call.who, "", "", call.at, until, attend=True)
            fault = call.fault
            if fault is None or not fault.scope or call.course == "fine":
                continue
            least_s = fault.least_s
            if fault.vertex_s is not None and call.who in ON_VERTEX:
                least_s = fault.vertex_s
            since = call.answered_at
            yield Hold(
                fault.name,
                fault.scope,
                call.who,
                call.project,
                call.model,
                since,
                # Nobody may have read the answer of a call that was given up.
                since if call.aborted or call.status is None or call.course == "cut" else since + least_s,
                fault.attend,
                fault.person,
            )

    def _holds_of_people(self) -> Iterator[Hold]:
        for who, deeds in self._deeds.items():
            for deed in deeds:
                if deed.kind == "out":
                    yield Hold(deed.what, "account", who, "", "", deed.done, deed.done + faults.LONG_S)
        for entry in self._tokens:
            if entry["status"] is not None and self._killed(entry):
                who = entry["email"].partition("@")[0]
                yield Hold("dead", "account", who, "", "", entry["at"], entry["at"] + faults.LONG_S)

    def _killed(self, entry: Json) -> bool:
        """Whether this answer of the token endpoint said `invalid_grant`."""
        behaviour = self._token_scripts.get(entry["script"] or -1)
        if behaviour is None or behaviour["kind"] in {"slow", "rotate"}:
            return bool(entry["status"] == 400)
        return behaviour.get("name") in faults.DEADLY

    def _find_doubts(self) -> dict[tuple[str, str], list[tuple[float, float]]]:
        """By account and model: when something happened to it, and until when its success proves nothing."""
        doubts: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for hold in self.holds:
            for who in NAMES:
                for model in MODELS:
                    if hold.covers(who, model):
                        until = hold.until if hold.until - hold.since < faults.LONG_S / 2 else hold.since
                        doubts[who, model].append((hold.since, max(until, hold.since + SETTLED_S)))
        shaken = [(deed.who, deed.begun, deed.done) for deeds in self._deeds.values() for deed in deeds]
        shaken += [
            (entry["email"].partition("@")[0], entry["at"], entry["at"] + SETTLED_S)
            for entry in self._tokens
            if entry["status"] != 200 or entry["script"] is not None
        ]
        shaken += [(call.who, call.at, call.at) for call in self.calls if call.course == "refresh"]
        for who, begun, done in shaken:
            for model in MODELS:
                doubts[who, model].append((begun, done + SETTLED_S))
        return {place: sorted(found) for place, found in doubts.items()}

    def healthy(self, who: str, model: str, begun: float, ended: float) -> bool:
        """Whether the account could surely have served the model all that time: it had just done so, and nothing had happened since."""
        if (PROJECTS[who], model) in self._limited:
            return False
        served = self._clean[who, model]
        index = bisect_left(served, begun - 0.05)
        if not index:
            return False
        doubts = self._doubts.get((who, model), [])
        past = doubts[: bisect_right(doubts, (ended + 0.05, float("inf")))]
        return all(until < served[index - 1] for _, until in past)

    # -- no request fails while a healthy eligible account exists --

    def _judge_result(self, result: Result) -> Iterator[Breach]:
        calls = self.by_request.get(result.wanted.number, [])
        number = result.wanted.number
        last = calls[-1] if calls else None
        match result.outcome:
            case "left":
                return
            case "ok":
                if last is None or not last.clean:
                    yield Breach(
                        "a broken answer never looks finished", f"{last} was taken for whole", number
                    )
                elif result.by and result.by != last.who:
                    yield Breach("who answered", f"{result.by} spoke, {last.who} was asked last", number)
            case "cut":
                if last is None or last.course != "cut":
                    text = f"broken off without a reason: {last}: {result.detail}"
                    yield Breach("no request fails while a healthy account exists", text, number)
            case "refused":
                yield from self._judge_refusal(result, calls)

    def _judge_refusal(self, result: Result, calls: list[Call]) -> Iterator[Breach]:
        number = result.wanted.number
        if calls and calls[-1].clean:
            yield Breach("no request fails while a healthy account exists", "it had an answer", number)
        if _had_its_chance(result, calls):
            return
        tried = {call.who for call in calls} | {one["account_id"] for one in self._attempts.get(number, [])}
        self.judged += 1
        free = [
            who
            for who in NAMES
            if who not in tried and self.healthy(who, result.wanted.model, result.begun, result.ended)
        ]
        if free:
            text = f"{result.status} although {', '.join(free)} could have served: {result.detail[:200]}"
            yield Breach("no request fails while a healthy account exists", text, number, free[0])

    # -- attempts are bounded, nobody is asked twice --

    def _judge_attempts(self, number: int, calls: list[Call]) -> Iterator[Breach]:
        rule = "attempts per request are bounded"
        attempts = self._attempts.get(number, [])
        free = sum(
            after["fault"] == "account_died" and after["account_id"] == before["account_id"]
            for before, after in pairwise(attempts)
        )
        if calls[0].fault is not None and (calls[0].fault.attend or calls[0].course == "refresh"):
            free += 1  # it may have been lent to find out whether somebody has been mended
        if len(calls) - free > MAX_ATTEMPTS:
            yield Breach(rule, f"{len(calls)} calls", number)
        outages = [call for call in calls if call.course == "outage"]
        if len(outages) > 2:
            yield Breach(rule, f"{len(outages)} calls met an outage", number)
        ended = [call for call in calls[:-1] if call.course in {"final", "cut", "fine"} and not _mended(call)]
        if ended:
            yield Breach(rule, f"repeated after {ended[0]}", number)
        for index, call in enumerate(calls):
            before = calls[:index]
            again = [one for one in before if one.who == call.who]
            repairs = {one.course if one.course == "refresh" else "mend" for one in again}
            repairable = all(one.course == "refresh" or _mended(one) for one in again)
            replay = again == before[-len(again) :] and repairable and len(repairs) == len(again)
            if again and not replay:
                yield Breach("nobody is asked twice", f"{call} after {again[-1]}", number)

    # -- nobody who is known to be out is asked --

    def _judge_absences(self) -> Iterator[Breach]:
        holds = sorted(
            (hold for hold in self.holds if hold.until > hold.since + SETTLED_S), key=lambda hold: hold.since
        )
        for call, leased_at in self._leases():
            for hold in holds:
                if hold.since + SETTLED_S > leased_at:
                    break
                covered = call.at < hold.until - 0.1 and hold.covers(call.who, call.model)
                if covered and not self._ended_early(hold, call):
                    text = f"{call}: out because of {hold.why} from {hold.since:.3f} to {hold.until:.3f}"
                    yield Breach("nobody who is known to be out is asked", text, call.number, call.who)

    def _leases(self) -> Iterator[tuple[Call, float]]:
        """Calls with the moment at which their account was chosen at the earliest; replays are left out."""
        for number, calls in self.by_request.items():
            attempts = [one for one in self._attempts.get(number, []) if called(one)]
            for index, call in enumerate(calls):
                if index and calls[index - 1].who == call.who:
                    continue
                took_s = attempts[index]["ms"] / 1000 if index < len(attempts) else DEADLINE_S
                yield call, call.at - took_s

    def _ended_early(self, hold: Hold, call: Call) -> bool:
        """Whether a person, or a success where that ends it, may have ended the hold before the call."""
        if any(hold.since < cleared < call.at for cleared in self._cleared):
            return True
        if hold.scope not in {"account", "project"}:
            return False
        for who in NAMES:
            if not hold.covers(who, hold.model):
                continue
            if any(hold.since < deed.done and deed.begun < call.at for deed in self._deeds[who]):
                return True
            if not (hold.attend or hold.person):
                continue
            for model in MODELS:
                served = self._clean[who, model]
                index = bisect_left(served, hold.since - 0.5)
                if index < len(served) and served[index] < call.at:
                    return True
        return False

    def around(self, who: str, model: str, begun: float, ended: float) -> list[str]:
        """What concerned the account and the model in that time, for whoever has to understand a breach."""
        lines = [
            (call.at, f"call {call} of request {call.number}")
            for call in self.calls
            if begun < call.at < ended
            and (call.project, call.model) == (PROJECTS[who], model)
            and not (call.clean and call.who != who)
        ]
        lines += [
            (hold.since, f"hold {hold}")
            for hold in self.holds
            if hold.since < ended and hold.until > begun and hold.covers(who, model)
        ]
        lines += [(deed.begun, str(deed)) for deed in self._deeds[who] if begun < deed.begun < ended]
        return [text for _, text in sorted(lines)]

    # -- the token endpoint --

    def _judge_tokens(self) -> Iterator[Breach]:
        """A grant that is known to be dead is not asked for again, and troubles are not hammered on."""
        last: dict[str, tuple[Json, str]] = {}
        for entry in self._tokens:
            who = entry["email"].partition("@")[0]
            before, verdict = last.get(entry["grant"], (None, ""))
            if before is not None and not self._deed_between(who, before["at"], entry["at"]):
                gap_s = entry["at"] - before["at"]
                if verdict == "dead":
                    yield Breach(
                        "a dead grant is asked for once", f"{entry['grant']} again after {gap_s:.2f} s"
                    )
                elif verdict == "trouble" and gap_s < 0.7:
                    yield Breach(
                        "no storm", f"the token endpoint, {entry['grant']} again after {gap_s:.2f} s"
                    )
            last[entry["grant"]] = (entry, self._verdict(entry))

    def _verdict(self, entry: Json) -> str:
        if entry["status"] is not None and self._killed(entry):
            return "dead"
        return "fine" if entry["status"] == 200 and entry["script"] is None else "trouble"

    def _deed_between(self, who: str, begun: float, ended: float) -> bool:
        return any(
            deed.begun < ended and begun - SETTLED_S < deed.done + SETTLED_S
            for deed in self._deeds[who]
            if deed.what not in {"expire", "revoke", "deny"}
        )


def called(attempt: Json) -> bool:
    """Whether an attempt of the traffic log came as far as a call of the model API."""
    return attempt["fault"] not in {"account_died", "token_unavailable", "token_refused"}


def _mended(call: Call) -> bool:
    return call.fault is not None and call.fault.name == "400_thought_signature"


def _had_its_chance(result: Result, calls: list[Call]) -> bool:
    """Whether the contract lets this request fail, whoever else was there."""
    if calls and calls[-1].course == "final":
        return True
    if sum(call.course == "outage" for call in calls) >= 2 or len(calls) >= MAX_ATTEMPTS:
        return True
    return result.ended - result.begun > DEADLINE_S - 0.2
