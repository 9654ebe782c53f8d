"""The pretend Google's memory: OAuth clients, people, their grants, codes and access tokens.

Time and randomness are passed in. Reading requests and writing answers is `oauth_endpoints.py` and `gemini_endpoints.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
GENERATIVE_LANGUAGE = "https://www.googleapis.com/auth/generative-language"
USERINFO_EMAIL = "https://www.googleapis.com/auth/userinfo.email"
SCOPE_ALIASES = {"email": USERINFO_EMAIL, "profile": "https://www.googleapis.com/auth/userinfo.profile"}
DEFAULT_SCOPE = f"openid {USERINFO_EMAIL} {CLOUD_PLATFORM} {GENERATIVE_LANGUAGE}.retriever"

DEFAULT_CLIENT_ID = "100000000001-sandbox.apps.regrant.test"
DEFAULT_CLIENT_SECRET = "sandbox-client-secret"

CODE_LIFETIME_S = 600.0
FREE_TIER = {"minute": 10, "day": 250}
"""Requests that Cloud Quotas tells of where nothing else was said."""


@dataclass(frozen=True, slots=True)
class Death:
    """How the token endpoint tells that a grant is dead."""

    description: str = "Token has been expired or revoked."
    subtype: str = ""


@dataclass(slots=True)
class OAuthClient:
    client_id: str
    client_secret: str
    state: str = "ok"
    redirect_uris: tuple[str, ...] = ()

    @property
    def project(self) -> str:
        """The number before the first hyphen: the project that owns the client and is charged by default."""
        return self.client_id.partition("-")[0]


@dataclass(slots=True)
class Person:
    """`expires_in` and `refresh_token_expires_in` are seconds; `scopes` limits what this person consents to."""

    email: str
    name: str
    sub: str
    nick: str
    projects: list[str]
    expires_in: int = 3599
    refresh_token_expires_in: int | None = None
    rotate_refresh_token: bool = False
    scopes: tuple[str, ...] | None = None
    grants: int = 0
    tokens: int = 0

    @property
    def first_name(self) -> str:
        return self.name.partition(" ")[0]


@dataclass(slots=True)
class Grant:
    label: str
    person: Person
    client_id: str
    refresh_token: str
    scope: str
    minted_at: float
    ends_at: float | None = None
    death: Death | None = None

    def death_at(self, now: float) -> Death | None:
        if self.death is None and self.ends_at is not None and now >= self.ends_at:
            return Death()
        return self.death


@dataclass(slots=True)
class AccessToken:
    label: str
    value: str
    grant: Grant
    expires_at: float

    def alive(self, now: float) -> bool:
        return now < self.expires_at and self.grant.death_at(now) is None


@dataclass(slots=True)
class Code:
    value: str
    person: Person
    client_id: str
    redirect_uri: str
    challenge: str
    scope: str
    offline: bool
    issued_at: float
    used: bool = False


@dataclass(slots=True)
class SignIn:
    """What the next visitor of the consent page does."""

    email: str = ""
    ignore_hint: bool = False
    error: str = ""
    untick: tuple[str, ...] = ()
    choose: bool = False


@dataclass(slots=True)
class Quotas:
    """What was said of a (project, model): limits by window (`minute`, `day`; -1: none), and use that the journal does not show."""

    limits: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    used_elsewhere: dict[tuple[str, str], int] = field(default_factory=dict)

    def limit(self, project: str, model: str, window: str) -> int:
        return self.limits.get((project, model), {}).get(window, FREE_TIER[window])


@dataclass(slots=True)
class Google:
    """All state. `new_id` returns fresh text for token values; secrets here are pretend and never look real."""

    new_id: Callable[[], str]
    clients: dict[str, OAuthClient] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    tokens: dict[str, AccessToken] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    next_sign_in: SignIn | None = None
    quotas: Quotas = field(default_factory=Quotas)

    def add_client(self, client: OAuthClient) -> None:
        self.clients[client.client_id] = client

    def person(self, email_or_sub: str) -> Person | None:
        wanted = email_or_sub.casefold()
        found = self.people.get(wanted)
        return found or next((one for one in self.people.values() if one.sub == wanted), None)

    def add_person(
        self, email: str, *, name: str = "", sub: str = "", projects: Iterable[str] | None = None
    ) -> Person:
        """Create or change a person. Another `sub` for a known e-mail is a recreated account: its old grants die."""
        known = self.people.get(email.casefold())
        if known is not None and sub and sub != known.sub:
            self.kill(self.grants_of(known), Death("Account has been deleted"))
            known.sub = sub
        if known is None:
            known = self._new_person(email, sub)
        known.name = name or known.name
        if projects is not None:
            known.projects = list(projects)
        return known

    def _new_person(self, email: str, sub: str) -> Person:
        local = re.sub(r"[^a-z0-9]+", "", email.partition("@")[0].casefold()) or "person"
        taken = {one.nick for one in self.people.values()}
        nick = local if local not in taken else f"{local}{len(taken) + 1}"
        digits = str(int(hashlib.sha256(email.casefold().encode()).hexdigest(), 16))
        person = Person(
            email=email,
            name=f"{local.capitalize()} Example",
            sub=sub or "1" + digits[:20],
            nick=nick,
            projects=[f"{nick}-project"],
        )
        self.people[email.casefold()] = person
        return person

    def grants_of(self, person: Person) -> list[Grant]:
        """Each grant of that person once, although a rotated one is known by several refresh tokens."""
        return list({g.label: g for g in self.grants.values() if g.person is person}.values())

    def mint_grant(
        self,
        person: Person,
        client_id: str,
        scope: str,
        now: float,
        *,
        refresh_token_expires_in: int | None = None,
    ) -> Grant:
        person.grants += 1
        lifetime = refresh_token_expires_in or person.refresh_token_expires_in
        grant = Grant(
            label=f"{person.nick}/grant-{person.grants}",
            person=person,
            client_id=client_id,
            refresh_token=self._refresh_value(person),
            scope=normalised_scope(scope),
            minted_at=now,
            ends_at=None if lifetime is None else now + lifetime,
        )
        self.grants[grant.refresh_token] = grant
        return grant

    def _refresh_value(self, person: Person) -> str:
        return f"sandbox-refresh-{person.nick}-{person.grants}-{self.new_id()}"

    def rotate(self, grant: Grant) -> None:
        """Give the grant a new refresh token; the old one stays known, and dead."""
        grant.refresh_token = self._refresh_value(grant.person)
        self.grants[grant.refresh_token] = grant

    def mint_token(self, grant: Grant, now: float, *, expires_in: int | None = None) -> AccessToken:
        person = grant.person
        person.tokens += 1
        lifetime = person.expires_in if expires_in is None else expires_in
        value = f"sandbox-access-{person.nick}-{person.tokens}-{self.new_id()}"
        token = AccessToken(f"{person.nick}/token-{person.tokens}", value, grant, now + lifetime)
        self.tokens[value] = token
        return token

    def kill(self, grants: Iterable[Grant], death: Death) -> int:
        """Revoke; the access tokens of a dead grant are dead with it. Returns how many were alive."""
        alive = [grant for grant in grants if grant.death is None]
        for grant in alive:
            grant.death = death
        return len(alive)

    def expire_tokens(self, person: Person, now: float) -> int:
        live = [t for t in self.tokens.values() if t.grant.person is person and t.expires_at > now]
        for token in live:
            token.expires_at = now
        return len(live)

    def issue_code(self, code: Code) -> str:
        self.codes[code.value] = code
        return code.value

    def grant_by_any_token(self, value: str) -> Grant | None:
        """The grant behind a refresh or access token, dead or alive."""
        token = self.tokens.get(value)
        return token.grant if token else self.grants.get(value)

    def name_of(self, value: str) -> str:
        """What the journal writes instead of a token."""
        if token := self.tokens.get(value):
            return token.label
        if grant := self.grants.get(value):
            return grant.label
        return "unknown token"


def normalised_scope(scope: str) -> str:
    """Google returns `email` and `profile` by their long names."""
    return " ".join(SCOPE_ALIASES.get(one, one) for one in scope.split())
