"""The journal: every request that came, in order, with tokens replaced by their names.

Bounded by entries and by bytes; the counts are never trimmed. Waiting for new entries is `control.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from regrant.sandbox.wire import Call, JsonObject

MAX_ENTRIES = 100_000
MAX_BODY_BYTES = 256 * 1024 * 1024
_TOKEN = re.compile(r"sandbox-(?:refresh|access)-[a-z0-9]+-\d+-[A-Za-z0-9]+")


@dataclass(slots=True)
class Entry:
    """One request. `status` is None until the answer's head goes out; `at` is unix seconds."""

    seq: int
    at: float
    call: Call
    endpoint: str
    email: str = ""
    client_id: str = ""
    grant: str = ""
    project: str = ""
    model: str = ""
    status: int | None = None
    behaviour: str = ""
    script: int | None = None
    aborted: bool = False
    answered_sha256: str = ""


@dataclass(slots=True)
class Journal:
    """`name_of` gives the name of a token; `secrets` yields values (with their names) that must not be shown."""

    name_of: Callable[[str], str]
    secrets: Callable[[], dict[str, str]]
    _entries: deque[Entry] = field(default_factory=deque)
    _body_bytes: int = 0
    _last_seq: int = 0
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def last_seq(self) -> int:
        return self._last_seq

    def open(self, at: float, call: Call, endpoint: str) -> Entry:
        self._last_seq += 1
        entry = Entry(self._last_seq, at, call, endpoint)
        self._entries.append(entry)
        self._body_bytes += len(call.body)
        while len(self._entries) > MAX_ENTRIES or self._body_bytes > MAX_BODY_BYTES:
            self._body_bytes -= len(self._entries.popleft().call.body)
        return entry

    def identified(self, entry: Entry) -> None:
        """Count the entry, once it is known whose it is."""
        self._counts[entry.endpoint, entry.email] += 1

    def answered(self, entry: Entry, status: int) -> None:
        entry.status = status
        self._statuses[entry.endpoint, status] += 1

    def clear(self) -> None:
        """Forget entries and counts; sequence numbers go on."""
        self._entries.clear()
        self._counts.clear()
        self._statuses.clear()
        self._body_bytes = 0

    def since(self, seq: int, *, endpoint: str = "", email: str = "", limit: int = 1000) -> list[Entry]:
        """At most `limit` matching entries with a number above `seq`, oldest first."""
        return list(islice((e for e in self._newer(seq) if _fits(e, endpoint, email)), limit))

    def _newer(self, seq: int) -> list[Entry]:
        if not self._entries:
            return []
        skipped = max(0, seq + 1 - self._entries[0].seq)
        return list(islice(self._entries, skipped, None))

    def counts(self) -> JsonObject:
        """Requests by endpoint, by endpoint and person, and by endpoint and answered status."""
        endpoints: JsonObject = {}
        emails: JsonObject = {}
        statuses: JsonObject = {}
        for (endpoint, email), number in self._counts.items():
            endpoints[endpoint] = endpoints.get(endpoint, 0) + number
            emails.setdefault(endpoint, {})[email] = number
        for (endpoint, status), number in self._statuses.items():
            statuses.setdefault(endpoint, {})[str(status)] = number
        return {"endpoints": endpoints, "emails": emails, "statuses": statuses}

    def shown(self, entry: Entry) -> JsonObject:
        """An entry as JSON, every token and client secret replaced by its name in angle brackets."""
        call = entry.call
        secrets = self.secrets()
        return {
            "seq": entry.seq,
            "at": entry.at,
            "endpoint": entry.endpoint,
            "method": call.method,
            "path": call.path,
            "query": self._veiled(call.raw_query, secrets),
            "email": entry.email,
            "client_id": entry.client_id,
            "grant": entry.grant,
            "project": entry.project,
            "model": entry.model,
            "headers": [[name, self._header(name, value, secrets)] for name, value in call.headers],
            "body": self._veiled(call.body.decode("utf-8", "backslashreplace"), secrets),
            "body_sha256": hashlib.sha256(call.body).hexdigest(),
            "status": entry.status,
            "behaviour": entry.behaviour,
            "script": entry.script,
            "aborted": entry.aborted,
            "answered_sha256": entry.answered_sha256,
        }

    def _veiled(self, text: str, secrets: dict[str, str]) -> str:
        text = _TOKEN.sub(lambda found: f"<{self.name_of(found[0])}>", text)
        for value, name in secrets.items():
            text = text.replace(value, f"<{name}>")
        return text

    def _header(self, name: str, value: str, secrets: dict[str, str]) -> str:
        if name != "authorization":
            return self._veiled(value, secrets)
        scheme, _, credential = value.partition(" ")
        return f"{scheme} <{self.name_of(credential.strip())}>"


def _fits(entry: Entry, endpoint: str, email: str) -> bool:
    return endpoint in {"", entry.endpoint} and email.casefold() in {"", entry.email.casefold()}
