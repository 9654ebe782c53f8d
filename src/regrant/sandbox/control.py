"""The control API under `/_sandbox/`: people, grants, scripts, sign-ins, and the journal.

It is described for people in `docs/sandbox.md`. Nothing here is part of what Google offers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from regrant.sandbox.faults import NAMED
from regrant.sandbox.google import (
    DEFAULT_CLIENT_ID,
    DEFAULT_SCOPE,
    Death,
    Google,
    Grant,
    OAuthClient,
    Person,
    SignIn,
)
from regrant.sandbox.script import Error, Script
from regrant.sandbox.service import Service
from regrant.sandbox.wire import Answer, Call, JsonObject, json_answer

PREFIX = "/_sandbox/"
_LONGEST_WAIT_S = 60.0
T = TypeVar("T")


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """The body of one control request."""


class AddPerson(_Order):
    email: str
    name: str = ""
    sub: str = ""
    projects: list[str] | None = None


class MintGrant(_Order):
    email: str
    client_id: str = DEFAULT_CLIENT_ID
    scope: str = DEFAULT_SCOPE
    expires_in: int | None = None
    refresh_token_expires_in: int | None = None


class Revoke(_Order):
    """Every grant of `email`, or the one grant of `refresh_token`."""

    email: str = ""
    refresh_token: str = ""
    error_subtype: str = ""
    description: str = "Token has been expired or revoked."


class Expire(_Order):
    email: str


class Settings(_Order):
    """Of one person, if `email` is given; `signatures` is for the whole sandbox."""

    email: str = ""
    expires_in: int | None = None
    refresh_token_expires_in: int | None = None
    rotate_refresh_token: bool | None = None
    scopes: list[str] | None = None
    signatures: str = ""


class SetClient(_Order):
    client_id: str
    client_secret: str = ""
    state: str = "ok"
    redirect_uris: list[str] = []


class SetQuota(_Order):
    """What Cloud Quotas and Cloud Monitoring tell of a project's use of a model; -1: no limit. `used`: beside what is in the journal."""

    project: str
    model: str
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    used: int | None = None


class NextSignIn(_Order):
    """How the next visit of the consent page ends."""

    email: str = ""
    ignore_hint: bool = False
    error: str = ""
    untick: list[str] = []
    choose: bool = False


class Nonsense(Exception):
    """A control request that cannot be carried out."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class Control:
    """`reset` puts everything back to the start. `changed` is set when the journal grows and when the sandbox stops."""

    service: Service
    now: Callable[[], float]
    reset: Callable[[], None]
    stopping: asyncio.Event
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def google(self) -> Google:
        return self.service.google

    async def serve(self, call: Call) -> Answer:
        try:
            return json_answer(await self._carry_out(call))
        except Nonsense as error:
            return json_answer({"error": str(error)}, status=error.status)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return json_answer({"error": f"The request is not understood: {error}"}, status=400)

    async def _carry_out(self, call: Call) -> Any:
        route = (call.method, call.path.removeprefix(PREFIX).rstrip("/"))
        if route[0] == "DELETE" and route[1].startswith("script/"):
            return self._drop_script(route[1].removeprefix("script/"))
        if route == ("GET", "journal"):
            return await self._journal(call.query)
        handler = self._handlers().get(route)
        if handler is None:
            raise Nonsense(f"There is no {call.method} {call.path}; see docs/sandbox.md", 404)
        return handler(call)

    def _handlers(self) -> dict[tuple[str, str], Callable[[Call], Any]]:
        return {
            ("GET", "state"): lambda _call: self._state(),
            ("POST", "people"): lambda call: self._add_person(_read(call, AddPerson)),
            ("POST", "grants"): lambda call: self._mint(_read(call, MintGrant)),
            ("POST", "revoke"): lambda call: self._revoke(_read(call, Revoke)),
            ("POST", "expire"): lambda call: self._expire(_read(call, Expire)),
            ("POST", "settings"): lambda call: self._set(_read(call, Settings)),
            ("POST", "clients"): lambda call: self._set_client(_read(call, SetClient)),
            ("POST", "quotas"): lambda call: self._set_quota(_read(call, SetQuota)),
            ("POST", "sign-in"): lambda call: self._next_sign_in(_read(call, NextSignIn)),
            ("POST", "script"): lambda call: self._add_script(_read(call, Script)),
            ("GET", "script"): lambda _call: {"scripts": self.service.scripts.waiting()},
            ("DELETE", "script"): lambda _call: self._clear(self.service.scripts.clear),
            ("GET", "journal/counts"): lambda _call: self.service.journal.counts(),
            ("DELETE", "journal"): lambda _call: self._clear(self.service.journal.clear),
            ("POST", "reset"): lambda _call: self._clear(self.reset),
        }

    def _clear(self, action: Callable[[], None]) -> JsonObject:
        action()
        return {"next": self.service.journal.last_seq}

    def _person(self, email: str) -> Person:
        person = self.google.person(email)
        if person is None:
            raise Nonsense(f"Nobody here is called {email}", 404)
        return person

    def _state(self) -> JsonObject:
        google, now = self.google, self.now()
        return {
            "people": [_shown_person(google, person, now) for person in google.people.values()],
            "clients": [{"client_id": one.client_id, "state": one.state} for one in google.clients.values()],
            "scripts": self.service.scripts.waiting(),
            "errors": sorted(NAMED),
            "signatures": self.service.signatures,
            "journal": {"next": self.service.journal.last_seq},
        }

    def _add_person(self, order: AddPerson) -> JsonObject:
        person = self.google.add_person(order.email, name=order.name, sub=order.sub, projects=order.projects)
        return _shown_person(self.google, person, self.now())

    def _mint(self, order: MintGrant) -> JsonObject:
        client = self.google.clients.get(order.client_id)
        if client is None:
            raise Nonsense(f"There is no OAuth client {order.client_id}", 404)
        person = self.google.person(order.email) or self.google.add_person(order.email)
        now = self.now()
        grant = self.google.mint_grant(
            person,
            client.client_id,
            order.scope,
            now,
            refresh_token_expires_in=order.refresh_token_expires_in,
        )
        token = self.google.mint_token(grant, now, expires_in=order.expires_in)
        return {
            "email": person.email,
            "sub": person.sub,
            "grant": grant.label,
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "refresh_token": grant.refresh_token,
            "access_token": token.value,
            "expires_in": round(token.expires_at - now),
            "scope": grant.scope,
        }

    def _revoke(self, order: Revoke) -> JsonObject:
        return {
            "revoked": self.google.kill(self._condemned(order), Death(order.description, order.error_subtype))
        }

    def _condemned(self, order: Revoke) -> list[Grant]:
        if order.refresh_token:
            grant = self.google.grants.get(order.refresh_token)
            if grant is None:
                raise Nonsense("There is no grant with that refresh token", 404)
            return [grant]
        return self.google.grants_of(self._person(order.email))

    def _expire(self, order: Expire) -> JsonObject:
        return {"expired": self.google.expire_tokens(self._person(order.email), self.now())}

    def _set(self, order: Settings) -> JsonObject:
        if order.signatures:
            if order.signatures not in {"model", "account"}:
                raise Nonsense("signatures must be model or account")
            self.service.signatures = order.signatures
        if not order.email:
            return {"signatures": self.service.signatures}
        person = self._person(order.email)
        person.expires_in = person.expires_in if order.expires_in is None else order.expires_in
        person.refresh_token_expires_in = order.refresh_token_expires_in or person.refresh_token_expires_in
        if order.rotate_refresh_token is not None:
            person.rotate_refresh_token = order.rotate_refresh_token
        if order.scopes is not None:
            person.scopes = tuple(order.scopes) or None
        return _shown_person(self.google, person, self.now())

    def _set_client(self, order: SetClient) -> JsonObject:
        if order.state not in {"ok", "deleted", "disabled"}:
            raise Nonsense("state must be ok, deleted or disabled")
        known = self.google.clients.get(order.client_id)
        secret = order.client_secret or (known.client_secret if known else "")
        if not secret:
            raise Nonsense("A new client needs a client_secret")
        client = OAuthClient(order.client_id, secret, order.state, tuple(order.redirect_uris))
        self.google.add_client(client)
        return {"client_id": client.client_id, "state": client.state}

    def _set_quota(self, order: SetQuota) -> JsonObject:
        key = (order.project, order.model)
        quotas = self.google.quotas
        told = quotas.limits.setdefault(key, {})
        if order.requests_per_minute is not None:
            told["minute"] = order.requests_per_minute
        if order.requests_per_day is not None:
            told["day"] = order.requests_per_day
        if order.used is not None:
            quotas.used_elsewhere[key] = order.used
        return {"limits": told, "used": quotas.used_elsewhere.get(key, 0)}

    def _next_sign_in(self, order: NextSignIn) -> JsonObject:
        if order.email:
            self._person(order.email)
        self.google.next_sign_in = SignIn(
            order.email, order.ignore_hint, order.error, tuple(order.untick), order.choose
        )
        return {}

    def _add_script(self, script: Script) -> JsonObject:
        if isinstance(script.behaviour, Error) and script.behaviour.name not in NAMED:
            raise Nonsense(f"There is no error {script.behaviour.name}; known are {', '.join(sorted(NAMED))}")
        return {"id": self.service.scripts.add(script)}

    def _drop_script(self, script_id: str) -> JsonObject:
        if not script_id.isdigit() or not self.service.scripts.remove(int(script_id)):
            raise Nonsense(f"There is no script {script_id}", 404)
        return {}

    async def _journal(self, query: dict[str, str]) -> JsonObject:
        seq, limit = _number(query, "since", 0), _number(query, "limit", 1000)
        wait = min(_number(query, "wait", 0), _LONGEST_WAIT_S)
        endpoint, email = query.get("endpoint", ""), query.get("email", "")
        journal = self.service.journal
        try:
            async with asyncio.timeout(wait):
                while not (entries := journal.since(seq, endpoint=endpoint, email=email, limit=limit)):
                    if self.stopping.is_set():
                        break
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            entries = []
        following = entries[-1].seq if len(entries) == limit else journal.last_seq
        return {"entries": [journal.shown(entry) for entry in entries], "next": following}


def _read(call: Call, kind: type[T]) -> T:
    return msgspec.json.decode(call.body or b"{}", type=kind)


def _number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit():
        raise Nonsense(f"{name} must be a number")
    return int(text)


def _shown_person(google: Google, person: Person, now: float) -> JsonObject:
    grants = [
        {
            "grant": grant.label,
            "client_id": grant.client_id,
            "scope": grant.scope,
            "alive": grant.death_at(now) is None,
        }
        for grant in google.grants_of(person)
    ]
    return {
        "email": person.email,
        "name": person.name,
        "sub": person.sub,
        "projects": person.projects,
        "expires_in": person.expires_in,
        "refresh_token_expires_in": person.refresh_token_expires_in,
        "rotate_refresh_token": person.rotate_refresh_token,
        "scopes": None if person.scopes is None else list(person.scopes),
        "grants": grants,
    }
