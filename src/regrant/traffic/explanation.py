"""Why a request went as it did, in words: which accounts were tried, what each answered, what that means, what helps.

Pure. What a fault means is in `upstream/fault_words.py`; how accounts stand now is told by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from regrant.messages.problem import ProblemKind
from regrant.pool.reasons import count_reasons
from regrant.traffic.record import CLIENT_LEFT, AttemptRecord, Record
from regrant.upstream.fault_words import FaultWords, words_of
from regrant.upstream.faults import FaultKind

NOTABLE_WAIT_MS: Final = 250.0  # less than this between the attempts is not worth a word


class Words(NamedTuple):
    """`happened` is the end of a sentence, `meaning` a sentence, `advice` what a person can do; "" for nothing."""

    happened: str
    meaning: str
    advice: str = ""


class Person(NamedTuple):
    """An account as it stands now."""

    email: str
    state: str
    advice: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. `email` is "" for an account that is gone; `state` is how it stands now; `said` are Google's words; `then` is
    what was done next, "" where the request ended with it; `model` is told where several were to be tried.
    """

    account_id: str
    email: str
    state: str
    status: int
    fault: str
    ms: float
    happened: str
    meaning: str
    advice: str
    said: str
    then: str
    model: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`waited_ms` went by outside of the attempts: waiting for an account, and the gateway's own work. `untried` says why the accounts
    that were not tried were out, "" where somebody served.
    """

    outcome: str
    steps: list[Step]
    untried: str
    waited_ms: float
    advice: list[str]


GONE = Person("", "removed")
_SERVED = FaultWords("answered", "It served the request.")

_PROBLEMS: dict[str, Words] = {
    ProblemKind.INVALID_REQUEST: Words(
        "the request could not be understood", "It was refused before any account was asked for an answer."
    ),
    ProblemKind.UNAUTHORIZED: Words(
        "it came without a valid client key",
        "No account was asked.",
        "regrant keys create NAME makes a key; regrant doctor --key KEY tests one.",
    ),
    ProblemKind.ORIGIN_NOT_ALLOWED: Words(
        "it came from a page or under a name that is not allowed",
        "No account was asked.",
        "See server.allowed_origins and server.allowed_hosts.",
    ),
    ProblemKind.NOT_FOUND: Words("what it asked for does not exist", ""),
    ProblemKind.MODEL_NOT_FOUND: Words(
        "nobody knows the model",
        "",
        "Ask for one of GET /v1/models, give it an alias in models.aliases, or set models.default.",
    ),
    ProblemKind.METHOD_NOT_ALLOWED: Words("its method is not allowed there", ""),
    ProblemKind.TOO_LARGE: Words("its body was too big", "", "The limit is server.max_body_mb."),
    ProblemKind.NO_ACCOUNTS: Words(
        "no account could serve it",
        "Every account was out: dead, paused, refused, or none has been added.",
        "regrant accounts list says why each is out, and what mends it.",
    ),
    ProblemKind.RATE_LIMITED: Words(
        "every account was cooling down for the model",
        "The limits reopen by themselves; the answer said when.",
        "If it happens often: add accounts with projects of their own.",
    ),
    ProblemKind.QUOTA_EXHAUSTED: Words(
        "the quotas for the model were used up",
        "They are given out anew at midnight Pacific time.",
        "Use another model until then, enable billing, or add an account with a project of its own.",
    ),
    ProblemKind.UPSTREAM_UNAVAILABLE: Words(
        "Google could not be reached or failed", "No account is to blame.", "If it lasts: regrant doctor"
    ),
    ProblemKind.UPSTREAM_TIMEOUT: Words(
        "Google did not answer in time",
        "It was not repeated, as it may be billed.",
        "If long answers are expected: raise pool.deadline_s, or stream them.",
    ),
    ProblemKind.UPSTREAM_REJECTED: Words(
        "Google refused what the client asked for",
        "Another account would have been told the same.",
        "Change the request; Google's words say what is wrong.",
    ),
    ProblemKind.INTERNAL: Words(
        "the gateway failed", "This is a mistake in Regrant.", "regrant logs shows what happened."
    ),
    "cut": Words(
        "the answer broke off in the middle",
        "The client was told by an error event: part of the answer had gone out, so nobody else could be asked.",
    ),
    CLIENT_LEFT: Words("the client left before the end", "Nothing failed here."),
}


def explain(record: Record, people: Mapping[str, Person]) -> Explanation:
    """The request in words. `people` are the accounts as they stand now, by id; those that are gone are left out."""
    following: list[AttemptRecord | None] = [*record.attempts[1:], None]
    steps = [
        _step(attempt, after, people) for attempt, after in zip(record.attempts, following, strict=False)
    ]
    spent = sum(attempt.ms for attempt in record.attempts)
    until_answer = record.ms if record.first_ms is None else record.first_ms
    return Explanation(
        outcome=_outcome(record, steps),
        steps=steps,
        untried=_untried(record),
        waited_ms=round(max(0.0, until_answer - spent), 3),
        advice=_advice(record, steps),
    )


def in_words(record: Record, told: Explanation) -> list[str]:
    """The whole story as lines of text; one line for a request that the first account served at once."""
    asked = f"asked for {record.model}" if record.model else "asked for no model"
    sent = f", sent to {record.served_model}" if record.served_model not in {"", record.model} else ""
    key = f", with the key {record.key}" if record.key else ""
    begin = f"{record.id} ({record.dialect}{key}) {asked}{sent}"
    at_once = len(told.steps) == 1 and not told.steps[0].fault and told.waited_ms < NOTABLE_WAIT_MS
    if at_once and not record.problem:
        return [f"{begin}: {told.outcome}"]
    lines = [f"{begin}.", told.outcome]
    for number, step in enumerate(told.steps, 1):
        status = f"Google answered {step.status}" if step.status else "Google gave no answer"
        who = f"{step.email or step.account_id}{f', asked for {step.model},' if step.model else ''}"
        lines.append(f"{number}. {who} {step.happened} after {in_seconds(step.ms)}; {status}.")
        lines.append(f"   {step.meaning}")
        if step.said:
            lines.append(f'   Google said: "{step.said}"')
        if step.then:
            lines.append(f"   {step.then}")
        if step.fault and step.state not in {"active", ""}:
            lines.append(f"   The account is {step.state} now.")
    if told.untried:
        lines.append(told.untried)
    if told.waited_ms >= NOTABLE_WAIT_MS:
        lines.append(
            f"{in_seconds(told.waited_ms)} went by waiting for an account, or in the gateway itself."
        )
    if told.advice:
        lines += ["What helps:", *(f"  - {advice}" for advice in told.advice)]
    return lines


def in_seconds(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def _step(attempt: AttemptRecord, after: AttemptRecord | None, people: Mapping[str, Person]) -> Step:
    person = people.get(attempt.account_id, GONE)
    words = words_of(attempt.fault) if attempt.fault else _SERVED
    return Step(
        account_id=attempt.account_id,
        email=person.email,
        state=person.state,
        status=attempt.status,
        fault=attempt.fault,
        ms=attempt.ms,
        happened=words.happened,
        meaning=words.meaning,
        advice=_advise(words, person.email or attempt.account_id),
        said=attempt.said,
        then=_then(attempt, after, people) if after is not None else "",
        model=attempt.model,
    )


def _advise(words: FaultWords, who: str) -> str:
    command = words.command_for(who)
    return f"{words.advice.rstrip('.')}: {command}" if command else words.advice


def _then(attempt: AttemptRecord, after: AttemptRecord, people: Mapping[str, Person]) -> str:
    who = people.get(after.account_id, GONE).email or after.account_id
    if after.model != attempt.model:
        return f"{after.model} stood in for {attempt.model or 'it'}; {who} was asked for it."
    if after.account_id != attempt.account_id:
        return f"{who} was asked next."
    return _AGAIN.get(attempt.fault, "It was asked once more.")


_AGAIN: dict[str, str] = {
    FaultKind.TOKEN_REJECTED: "It got a fresh token and was asked once more.",
    FaultKind.SIGNATURE_REFUSED: "It was asked once more, without the signature.",
}


def _untried(record: Record) -> str:
    counted = count_reasons(record.reasons)
    if not counted:
        return ""
    nobody = "Nobody else was free then" if record.attempts else "Nobody was free then"
    return f"{nobody}: {counted}."


def _outcome(record: Record, steps: list[Step]) -> str:
    took = f"after {in_seconds(record.ms)}"
    if record.problem:
        words = _PROBLEMS.get(record.problem, Words(record.problem, ""))
        status = f"It ended with {record.status} {took}" if record.status else f"It ended {took}"
        return f"{status}: {words.happened}. {words.meaning}".rstrip()
    first = f", the first of it after {in_seconds(record.first_ms)}" if record.first_ms is not None else ""
    if not steps:
        return f"It was answered with {record.status} {took}{first}."
    last = steps[-1]
    saved = f" {len(steps) - 1} attempt(s) had failed before." if len(steps) > 1 else ""
    return f"{last.email or last.account_id} served it with {record.status} {took}{first}.{saved}"


def _advice(record: Record, steps: list[Step]) -> list[str]:
    """Each once, what concerns the whole request last."""
    whole = _PROBLEMS.get(record.problem, Words("", "")).advice
    return list(dict.fromkeys(one for one in (*(step.advice for step in steps), whole) if one))
