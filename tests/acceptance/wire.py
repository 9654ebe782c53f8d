"""What the gateway's acceptance tests read and write on the wire: raw requests, streams, and the sandbox's journal."""

from __future__ import annotations

import hashlib
import json
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.acceptance.harness import Json, wait_until
from tests.sandbox_client import SandboxControl

GENERATING = ("generate", "stream", "count", "embed")
OPENAI_CHAT = "/v1/chat/completions"


def gemini_path(verb: str, model: str = "gemini-3.5-flash-lite", *, query: str = "") -> str:
    return f"/v1beta/models/{model}:{verb}" + (f"?{query}" if query else "")


def gemini_body(text: str = "hi", **fields: Any) -> Json:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sse_data(body: bytes) -> list[bytes]:
    """The data of each event; comments are left out."""
    events = body.replace(b"\r\n", b"\n").split(b"\n\n")
    lines = [[line for line in event.split(b"\n") if line.startswith(b"data:")] for event in events]
    return [b"\n".join(line[5:].lstrip() for line in found) for found in lines if found]


# -- the journal -------------------------------------------------------------------------------------------------------


def model_calls(sandbox: SandboxControl, since: int = 0) -> list[Json]:
    """What the model API received, without lists of models, oldest first."""
    return [entry for entry in sandbox.journal(since=since) if entry["endpoint"] in GENERATING]


def asked(sandbox: SandboxControl, since: int = 0) -> list[str]:
    """The first names of the accounts that the model API was called with, in order."""
    return [entry["email"].partition("@")[0] for entry in model_calls(sandbox, since)]


def last_call(sandbox: SandboxControl, since: int = 0) -> Json:
    return model_calls(sandbox, since)[-1]


def arrived(sandbox: SandboxControl, endpoint: str, *, since: int = 0, count: int = 1) -> Json:
    """Wait until that endpoint has received `count` requests; the newest of them."""
    wait_until(
        lambda: len(sandbox.journal(since=since, endpoint=endpoint)) >= count,
        f"{count} requests at {endpoint}",
    )
    return sandbox.journal(since=since, endpoint=endpoint)[-1]


def header_of(entry: Json, name: str) -> str | None:
    return next((value for key, value in entry["headers"] if key.lower() == name), None)


# -- raw connections ---------------------------------------------------------------------------------------------------


class Wire:
    """A connection on which bytes are written and answers read as they come."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        self.netloc = parts.netloc
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=timeout_s)
        self._unread = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"host": self.netloc, "content-type": "application/json", "content-length": str(len(raw))}
        head = "".join(f"{name}: {value}\r\n" for name, value in (fields | dict(headers or {})).items())
        self.send(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + raw)

    def get(self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> None:
        head = "".join(
            f"{name}: {value}\r\n" for name, value in ({"host": self.netloc} | dict(headers or {})).items()
        )
        self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))

    def silent_for(self, seconds: float) -> bool:
        """Whether not a byte came within that time."""
        readable, _, _ = select.select([self.socket], [], [], seconds)
        return not (readable or self._unread)

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and including `mark`. Raises EOFError if the connection ends before."""
        while mark not in self._unread:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError(self._unread)
            self._unread += data
        found, _, self._unread = self._unread.partition(mark)
        return found + mark

    def read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError(self._unread)
            self._unread += data
        found, self._unread = self._unread[:size], self._unread[size:]
        return found

    @property
    def buffered(self) -> int:
        """How many bytes have been received and not yet asked for."""
        return len(self._unread)

    def read_all(self) -> bytes:
        """Everything until the other side closes; a reset counts as its end."""
        parts = [self._unread]
        self._unread = b""
        try:
            while data := self.socket.recv(1 << 16):
                parts.append(data)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """One answer: status, headers with names in lower case, body without its framing."""
        status_line, *lines = self.read_until(b"\r\n\r\n").decode("latin-1").splitlines()
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        status = int(status_line.split(" ")[1])
        if bodiless or status == 204:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, b"".join(self._chunks())
        return status, headers, self.read_exactly(int(headers["content-length"]))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.read_until(b"\r\n"), 16):
            yield self.read_exactly(size)
            self.read_exactly(2)
        self.read_exactly(2)

    def close(self) -> None:
        self.socket.close()


@contextmanager
def wire(url: str, *, timeout_s: float = 30.0) -> Iterator[Wire]:
    connection = Wire(url, timeout_s=timeout_s)
    try:
        yield connection
    finally:
        connection.close()


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
