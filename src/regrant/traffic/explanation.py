"""Why a request went as it did, in words: which accounts were tried, what each answered, what that means, what helps.

Pure. What a fault is was decided in `upstream/faults.py`; how accounts stand now is told by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from regrant.messages.problem import ProblemKind
from regrant.traffic.record import CLIENT_LEFT, AttemptRecord, Record
from regrant.upstream.faults import FaultKind

NOTABLE_WAIT_MS: Final = 250.0  # less than this between the attempts is not worth a word


class Words(NamedTuple):
    """`happened` follows the account's name, `meaning` is a sentence, `advice` what a person can do, "" for nothing."""

    happened: str
    meaning: str
    advice: str = ""


class Person(NamedTuple):
    """An account as it stands now."""

    email: str
    state: str
    advice: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. `email` is "" for an account that is gone; `state` is how it stands now; `said` are Google's words."""

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


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`waited_ms` went by outside of the attempts: waiting for an account, and the gateway's own work."""

    outcome: str
    steps: list[Step]
    waited_ms: float
    advice: list[str]


FAULTS: dict[str, Words] = {
    FaultKind.TOKEN_REJECTED: Words(
        "refused the access token",
        "Google did not accept the token, though it was not over; it is refreshed and the account asked once more.",
        "If it comes again and again: regrant accounts verify EMAIL",
    ),
    FaultKind.RATE_LIMITED: Words(
        "was over its limit",
        "The project's rate limit for this model was reached. It reopens by itself; until then the project rests.",
        "If it happens often: spread the load over more projects, or ask Google for a higher quota.",
    ),
    FaultKind.SPEND_LIMIT: Words(
        "was over its spending limit",
        "The project has spent what it may for now, so Google holds it back.",
        "Raise the spending limit or the usage tier of the project, or wait until it reopens.",
    ),
    FaultKind.QUOTA_PER_DAY: Words(
        "had used up its day",
        "The project's daily quota for this model is used up until midnight Pacific time.",
        "Use another model or project until then, or enable billing.",
    ),
    FaultKind.NO_QUOTA: Words(
        "has no quota for this model",
        "Google gives this project a limit of 0 for the model: waiting does not help.",
        "Choose another model, or enable billing for the project.",
    ),
    FaultKind.BILLING: Words(
        "is out of credit",
        "The billing of the project is exhausted or switched off; the project rests until somebody acts.",
        "Top up or enable billing, then: regrant accounts verify EMAIL",
    ),
    FaultKind.PERMISSION: Words(
        "was not permitted",
        "Google refuses this account or its project the model API. The grant itself is fine.",
        "Read Google's words; regrant accounts show EMAIL names the link that mends it.",
    ),
    FaultKind.BLOCKED: Words(
        "was blocked on the way",
        "Something that is not Google's API answered: a firewall, a portal, a proxy, or a block of this address.",
        "Look at the network between here and Google; regrant doctor does.",
    ),
    FaultKind.UNUSABLE_HERE: Words(
        "cannot be used from here",
        "Google does not serve this project from the place where the gateway runs.",
        "Enable billing for the project, or use Vertex.",
    ),
    FaultKind.MODEL_NOT_ALLOWED: Words(
        "may not use this model",
        "The model is not enabled in the project.",
        "Enable it in the Model Garden of the project.",
    ),
    FaultKind.OVERLOADED: Words(
        "met an overloaded model", "The model was overloaded at Google, for everyone; it passes by itself."
    ),
    FaultKind.SERVER_ERROR: Words(
        "met a failure of Google's", "Google failed; it usually passes in a minute."
    ),
    FaultKind.CLIENT_ERROR: Words(
        "was told that the request is wrong",
        "Google refuses what the client asked for; no account could have answered it.",
        "Change the request; Google's words say what is wrong.",
    ),
    FaultKind.SIGNATURE_REFUSED: Words(
        "met a thought signature that it does not know",
        "Google refused a thought signature in the conversation; it is asked once more without it.",
    ),
    FaultKind.MODEL_NOT_FOUND: Words(
        "does not know the model",
        "The model is unknown to this API, version or location.",
        "GET /v1/models lists those there are; on Vertex try the location `global`.",
    ),
    FaultKind.CONNECT_FAILED: Words(
        "could not be reached",
        "No connection to Google came about.",
        "Check network, DNS and proxy; regrant doctor does.",
    ),
    FaultKind.RESET: Words(
        "lost its connection", "The connection broke before Google answered; another account was asked."
    ),
    FaultKind.ANSWER_TIMEOUT: Words(
        "did not answer in time",
        "Google took the request and did not answer before the deadline. It was not repeated: it may be billed.",
        "If long answers are expected: raise pool.deadline_s, or stream them.",
    ),
    FaultKind.CUT: Words("broke its answer off", "Google's answer ended before it was complete."),
    FaultKind.IDLE: Words(
        "fell silent",
        "Google's answer stalled for longer than pool.idle_s. It was not repeated: it may be billed.",
    ),
    FaultKind.BAD_ANSWER: Words(
        "answered with something unreadable",
        "What came back is no answer of Google's: is a portal or proxy in the way?",
        "Look at the network between here and Google; regrant doctor does.",
    ),
    FaultKind.ACCOUNT_DIED: Words(
        "turned out to be dead",
        "Google answered its token refresh with invalid_grant: the grant is dead. The account left the pool, and"
        " the request went on without it.",
        "Sign in again: regrant accounts reauth EMAIL",
    ),
    FaultKind.TOKEN_UNAVAILABLE: Words(
        "got no access token",
        "Google's token endpoint gave no token and no verdict; the account is kept and asked again.",
        "If it lasts: regrant doctor",
    ),
    FaultKind.TOKEN_REFUSED: Words(
        "cannot be used until somebody acts",
        "Google refuses its OAuth client, or its owner took it out.",
        "regrant accounts show EMAIL says why.",
    ),
}

_SERVED = Words("answered", "It served the request.")
_STRANGE = Words("failed", "This version of Regrant has no words for this fault.")

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
    steps = [_step(attempt, people) for attempt in record.attempts]
    spent = sum(attempt.ms for attempt in record.attempts)
    until_answer = record.ms if record.first_ms is None else record.first_ms
    return Explanation(
        outcome=_outcome(record, steps),
        steps=steps,
        waited_ms=round(max(0.0, until_answer - spent), 3),
        advice=_advice(record, steps),
    )


def in_words(record: Record, told: Explanation) -> list[str]:
    """The whole story as lines of text."""
    asked = f"asked for {record.model}" if record.model else "asked for no model"
    sent = f", sent to {record.served_model}" if record.served_model not in {"", record.model} else ""
    key = f", with the key {record.key}" if record.key else ""
    lines = [f"{record.id} ({record.dialect}{key}) {asked}{sent}.", told.outcome]
    for number, step in enumerate(told.steps, 1):
        status = f"Google answered {step.status}" if step.status else "Google gave no answer"
        lines.append(
            f"{number}. {step.email or step.account_id} {step.happened} after {in_seconds(step.ms)}; {status}."
        )
        lines.append(f"   {step.meaning}")
        if step.said:
            lines.append(f'   Google said: "{step.said}"')
        if step.fault and step.state not in {"active", ""}:
            lines.append(f"   The account is {step.state} now.")
    if told.waited_ms >= NOTABLE_WAIT_MS:
        lines.append(
            f"{in_seconds(told.waited_ms)} went by waiting for an account, or in the gateway itself."
        )
    if told.advice:
        lines += ["What helps:", *(f"  - {advice}" for advice in told.advice)]
    return lines


def in_seconds(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def _step(attempt: AttemptRecord, people: Mapping[str, Person]) -> Step:
    person = people.get(attempt.account_id, Person("", "removed"))
    words = FAULTS.get(attempt.fault, _STRANGE) if attempt.fault else _SERVED
    who = person.email or attempt.account_id
    return Step(
        account_id=attempt.account_id,
        email=person.email,
        state=person.state,
        status=attempt.status,
        fault=attempt.fault,
        ms=attempt.ms,
        happened=words.happened,
        meaning=words.meaning,
        advice=words.advice.replace("EMAIL", who),
        said=attempt.said,
    )


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
