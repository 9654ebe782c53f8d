"""The requests that are sent to Google's model APIs: addresses and headers of the Gemini API and of Vertex.

What is in the bodies is the dialects' affair; sending is `transport/`. No header of a client goes upstream but the few
that describe its body: never a key, never a cookie, never a user agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from regrant import __version__
from regrant.secret import Secret
from regrant.transport.model import Headers, Request, Timeouts

USER_AGENT = f"regrant/{__version__}".encode()
JSON = b"application/json"

FORWARDED = frozenset({b"x-goog-api-client", b"x-server-timeout", b"x-goog-request-params"})
"""Headers of a Gemini client that mean something to Google and identify nobody."""


class Route(msgspec.Struct, frozen=True):
    """Where one account's calls go. `project_id` is "" when the OAuth client's own project is meant."""

    upstream: str
    location: str
    project_id: str
    project: str
    gemini_base: str
    vertex_base: str

    def model_url(self, model: str, method: str, query: str = "") -> str:
        """The address of `method` of a Google model, e.g. `generateContent`."""
        tail = f"{quote(model, safe='-._~@')}:{method}" + (f"?{query}" if query else "")
        if self.upstream == "vertex":
            return f"{self._vertex()}/v1/projects/{self.project}/locations/{self.location}/publishers/google/models/{tail}"
        return f"{self.gemini_base}/v1beta/models/{tail}"

    def claude_url(self, model: str, method: str) -> str:
        """The address of `method` of a Claude model, which is on Vertex whatever the account's upstream is."""
        tail = f"{quote(model, safe='-._~@')}:{method}"
        where = f"projects/{self.project}/locations/{self.location}"
        return f"{self._vertex()}/v1/{where}/publishers/anthropic/models/{tail}"

    def models_url(self, page_token: str = "") -> str:
        """The address of the list of models, in pages of up to 1000."""
        more = f"&pageToken={quote(page_token, safe='')}" if page_token else ""
        if self.upstream == "vertex":
            return f"{self._vertex()}/v1beta1/publishers/google/models?pageSize=200{more}"
        return f"{self.gemini_base}/v1beta/models?pageSize=1000{more}"

    def _vertex(self) -> str:
        return self.vertex_base.replace("{location}", self.location) or vertex_host(self.location)


def endpoint_name(upstream: str, location: str, vertex_base: str) -> str:
    """What calls of an account connect to, as a name: of Vertex there is one endpoint for each location, unless one base is set."""
    if upstream != "vertex":
        return "gemini"
    return f"vertex {location}" if not vertex_base or "{location}" in vertex_base else "vertex"


def vertex_host(location: str) -> str:
    """Google's own host for a Vertex location. Source: docs/sources.md, section 5."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in {"us", "eu"}:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def ask(
    method: str,
    url: str,
    token: Secret,
    *,
    project_id: str,
    timeouts: Timeouts,
    body: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Request:
    """One call with an account's access token. `project_id` names the project to charge, "" for the client's own."""
    return Request(method, url, fields(method, token, project_id=project_id, headers=headers), body, timeouts)


def fields(
    method: str, token: Secret, *, project_id: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[tuple[bytes, bytes], ...]:
    """The header fields of a call."""
    told: list[tuple[bytes, bytes]] = [
        (b"authorization", b"Bearer " + token.reveal().encode()),
        (b"accept-encoding", b"identity"),
        (b"user-agent", USER_AGENT),
        *headers,
    ]
    if project_id:
        told.append((b"x-goog-user-project", project_id.encode()))
    if method == "POST":
        told.append((b"content-type", JSON))
    return tuple(told)


def forwarded(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    """Those of a client's headers that go on to Google. Names in lower case."""
    return tuple((name, value) for name, value in headers if name in FORWARDED)
