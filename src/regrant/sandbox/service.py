"""One request from arrival to answer: find the target, journal it, meet the script, answer.

The endpoints are `oauth_endpoints.py`, `consent.py`, `gemini_endpoints.py`, `claude.py`; the control API is `control.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from regrant.sandbox import claude, cloud_quotas, consent, faults, gemini_endpoints, oauth_endpoints
from regrant.sandbox.delivery import PLAIN, Manner, Then
from regrant.sandbox.faults import About
from regrant.sandbox.gemini_endpoints import Denied, Question
from regrant.sandbox.google import Google
from regrant.sandbox.journal import MAX_ENTRIES, Entry, Journal
from regrant.sandbox.routes import Target, target_of
from regrant.sandbox.script import (
    Behaviour,
    Cut,
    DelayStream,
    End,
    Error,
    Hang,
    Raw,
    Reset,
    Rotate,
    Said,
    Scripts,
    Situation,
    Slow,
    Status,
)
from regrant.sandbox.wire import Answer, Call, empty_answer, json_answer


@dataclass(slots=True)
class Service:
    """The pretend Google as a function from call to answer and manner. Signatures bind to `model` or `account`."""

    google: Google
    scripts: Scripts
    journal: Journal
    new_id: Callable[[], str]
    signatures: str = "model"

    def serve(self, call: Call, now: float) -> tuple[Entry, Answer, Manner]:
        target = target_of(call.method, call.path)
        entry = self.journal.open(now, call, target.endpoint)
        answer, manner = self._answer(call, target, entry, now)
        return entry, answer, manner

    def _answer(self, call: Call, target: Target, entry: Entry, now: float) -> tuple[Answer, Manner]:
        match target.endpoint:
            case "unknown":
                self.journal.identified(entry)
                return _not_found(call), PLAIN
            case "token":
                return self._token(call, target, entry, now)
            case "authorize" | "revoke" | "userinfo":
                return self._oauth(call, target, entry, now)
            case _:
                return self._api(call, target, entry, now)

    def _meet(self, entry: Entry) -> Behaviour | None:
        """Count the entry and take the script that it meets."""
        self.journal.identified(entry)
        situation = Situation(entry.endpoint, entry.email, entry.model, entry.project, entry.client_id)
        met = self.scripts.take(situation)
        if met is None:
            return None
        entry.script, behaviour = met
        entry.behaviour = str(behaviour.__struct_config__.tag)
        return behaviour

    def _token(self, call: Call, target: Target, entry: Entry, now: float) -> tuple[Answer, Manner]:
        request = oauth_endpoints.read_token_request(self.google, call)
        entry.email, entry.client_id, entry.grant = request.email, request.client_id, request.grant_label
        behaviour = _fitting(self._meet(entry), target)
        if forced := forced_answer(behaviour, About()):
            return forced, manner_of(behaviour)
        rotate = isinstance(behaviour, Rotate)
        return oauth_endpoints.answer_token(self.google, request, now, rotate=rotate), manner_of(behaviour)

    def _oauth(self, call: Call, target: Target, entry: Entry, now: float) -> tuple[Answer, Manner]:
        shown = oauth_endpoints.bearer(call) or oauth_endpoints.token_to_revoke(call)
        grant = self.google.grant_by_any_token(shown)
        if grant is not None:
            entry.email, entry.grant, entry.client_id = grant.person.email, grant.label, grant.client_id
        entry.client_id = call.query.get("client_id", entry.client_id)
        behaviour = _fitting(self._meet(entry), target)
        if forced := forced_answer(behaviour, About()):
            return forced, manner_of(behaviour)
        answers = {
            "authorize": consent.answer_authorize,
            "revoke": oauth_endpoints.answer_revoke,
            "userinfo": oauth_endpoints.answer_userinfo,
        }
        return answers[target.endpoint](self.google, call, now), manner_of(behaviour)

    def _api(self, call: Call, target: Target, entry: Entry, now: float) -> tuple[Answer, Manner]:
        caller = gemini_endpoints.identify(self.google, call, target, now)
        entry.project, entry.model = caller.project, target.model
        if caller.grant is not None:
            entry.email, entry.grant = caller.grant.person.email, caller.grant.label
            entry.client_id = caller.grant.client_id
        try:
            grant = gemini_endpoints.admit(call, target, caller)
        except Denied as denied:
            self.journal.identified(entry)
            return _in_form(denied.answer, call, target), PLAIN
        behaviour = _fitting(self._meet(entry), target)
        if target.surface == "cloud":
            told = forced_answer(behaviour, caller.about) or self._tell_quotas(call, target)
            return told, manner_of(behaviour)
        question = Question(
            call,
            target,
            grant,
            caller.about,
            f"sandbox-{self.new_id()}",
            self._signed_for(target, grant.person.sub),
        )
        answer = forced_answer(behaviour, caller.about) or _ask(question, behaviour)
        return _in_form(answer, call, target), manner_of(behaviour, caller.about)

    def _tell_quotas(self, call: Call, target: Target) -> Answer:
        return cloud_quotas.answer(call, target, self.google.quotas, self.journal.since(0, limit=MAX_ENTRIES))

    def _signed_for(self, target: Target, sub: str) -> str:
        return f"{target.surface}:{sub}" if self.signatures == "account" else target.surface


def _fitting(behaviour: Behaviour | None, target: Target) -> Behaviour | None:
    """An error meant for the middle of a stream is the whole answer where there is no stream."""
    if isinstance(behaviour, Error) and target.endpoint != "stream":
        return msgspec.structs.replace(behaviour, after_chunks=None)
    return behaviour


def _ask(question: Question, behaviour: Behaviour | None) -> Answer:
    said = behaviour if isinstance(behaviour, Said) else None
    try:
        if question.target.surface == "claude":
            return claude.answer(question, said)
        return gemini_endpoints.answer(question, said)
    except Denied as denied:
        return denied.answer


def _in_form(answer: Answer, call: Call, target: Target) -> Answer:
    """Google wraps the errors of a stream without `alt=sse` into an array. Source: docs/sources.md, section 3."""
    array = target.endpoint == "stream" and target.surface != "claude" and call.query.get("alt") != "sse"
    is_json = any(value.startswith("application/json") for _, value in answer.headers)
    if not (array and answer.status >= 400 and is_json):
        return answer
    return replace(answer, pieces=(b"[" + answer.body.rstrip() + b"]\n",))


def _not_found(call: Call) -> Answer:
    if call.path in {"/token", "/revoke"}:
        return empty_answer(405, (("allow", "POST"),))
    return json_answer(
        {"error": {"code": 404, "message": f"Not found: {call.method} {call.path}", "status": "NOT_FOUND"}},
        status=404,
    )


def forced_answer(behaviour: Behaviour | None, about: About) -> Answer | None:
    """The answer of behaviours that do not let the endpoint answer."""
    match behaviour:
        case Error(after_chunks=None):
            return _named(behaviour, about)
        case Status():
            return faults.api_error(behaviour.status, behaviour.message or "Scripted by the sandbox.")
        case Raw():
            return _raw(behaviour)
        case _:
            return None


def _named(behaviour: Error, about: About) -> Answer:
    about = replace(about, retry_delay=behaviour.retry_delay, message=behaviour.message)
    return faults.named_error(behaviour.name, about)


def _raw(behaviour: Raw) -> Answer:
    body = bytes(behaviour.json) or behaviour.body.encode()
    headers = {"content-type": "application/json" if behaviour.json else "text/plain", **behaviour.headers}
    pairs = tuple((name.lower(), value) for name, value in headers.items())
    return Answer(behaviour.status, pairs, (body.ljust(behaviour.size),))


def manner_of(behaviour: Behaviour | None, about: About | None = None) -> Manner:
    """How the answer goes out under that behaviour."""
    delay = behaviour.delay if behaviour is not None else 0.0
    match behaviour:
        case Slow():
            return Manner(delay, after=behaviour.after_chunks, pause=behaviour.seconds)
        case DelayStream():
            return Manner(delay, each=behaviour.seconds)
        case Hang():
            return Manner(delay, after=behaviour.after_chunks, then=Then.HANG)
        case Reset():
            return Manner(delay, reset=True)
        case Cut():
            return Manner(delay, after=behaviour.after_chunks, then=Then.CUT, mid_chunk=behaviour.mid_chunk)
        case End():
            return Manner(delay, after=behaviour.after_chunks, then=Then.END)
        case Error(after_chunks=int(after)):
            error = _named(behaviour, about or About()).body
            return Manner(delay, after=after, then=Then.ERROR, error=error)
        case _:
            return Manner(delay)
