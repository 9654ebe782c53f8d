"""The clients of the chaos: what request number n asks, and what came of it. Nothing here knows of faults."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.acceptance.chaos.schedule import MODELS
from tests.acceptance.harness import Json
from tests.acceptance.wire import gemini_body, gemini_path, sse_data

Dialect = Literal["openai", "anthropic", "gemini"]
Outcome = Literal["ok", "refused", "cut", "left"]
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "gemini")
CLIENTS = 24
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Wanted:
    """One request. `leaves_after` seconds the client hangs up; `counts` tokens only."""

    number: int
    mark: str
    dialect: Dialect
    model: str
    streamed: bool
    counts: bool
    leaves_after: float | None

    @property
    def path(self) -> str:
        match self.dialect:
            case "openai":
                return "/v1/chat/completions"
            case "anthropic":
                return "/v1/messages/count_tokens" if self.counts else "/v1/messages"
            case "gemini" if self.counts:
                return gemini_path("countTokens", self.model)
            case "gemini" if self.streamed:
                return gemini_path("streamGenerateContent", self.model, query="alt=sse")
            case "gemini":
                return gemini_path("generateContent", self.model)

    @property
    def body(self) -> Json:
        text = f"{self.mark} please say something"
        if self.dialect == "gemini":
            return gemini_body(text)
        body: Json = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        if self.dialect == "anthropic" and not self.counts:
            body["max_tokens"] = 200
        return body | ({"stream": True} if self.streamed else {})


@dataclass(frozen=True)
class Result:
    """What the client saw. Times are unix seconds; `by` is the first name of the account that answered."""

    wanted: Wanted
    begun: float
    ended: float
    outcome: Outcome
    status: int = 0
    request_id: str = ""
    attempts: int = 0
    by: str = ""
    detail: str = ""


def want(seed: int, number: int, *, may_leave: bool = True) -> Wanted:
    """Request `number` of that seed, always the same."""
    random = Random(f"{seed}-{number}")
    dialect = random.choice(DIALECTS)
    counts = dialect != "openai" and random.random() < 0.05
    streamed = not counts and random.random() < 0.5
    leaves = random.uniform(0.001, 0.1) if may_leave and random.random() < 0.02 else None
    mark = f"<chaos {seed} {number}>"
    return Wanted(number, mark, dialect, random.choice(MODELS), streamed, counts, leaves)


class Client:
    """A connection that is kept between requests, like that of an SDK."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port)
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, wanted: Wanted) -> Result:
        begun = time.time()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        connection = self._connection
        try:
            connection.request(
                "POST", wanted.path, json.dumps(wanted.body), {"content-type": "application/json"}
            )
            if wanted.leaves_after is not None:
                time.sleep(wanted.leaves_after)
                self.close()
                return Result(wanted, begun, time.time(), "left")
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Result(wanted, begun, time.time(), "cut", detail=f"{type(error).__name__}: {error}")
        outcome, by, detail = _judge(wanted, answer.status, body)
        return Result(
            wanted,
            begun,
            time.time(),
            outcome,
            answer.status,
            answer.headers.get("x-request-id", ""),
            int(answer.headers.get("x-regrant-attempts", "0")),
            by,
            detail,
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _judge(wanted: Wanted, status: int, body: bytes) -> tuple[Outcome, str, str]:
    """How the answer ended, who gave it, and what was said."""
    text = body.decode("utf-8", "replace")
    by = text.partition("Hello from ")[2].partition("'")[0].lower() if "Hello from " in text else ""
    if status != 200:
        return "refused", by, text[:600]
    if wanted.streamed:
        return ("ok" if _stream_is_whole(wanted.dialect, body) else "cut"), by, text[-300:]
    return ("ok" if _is_json(body) else "cut"), by, text[-300:]


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _stream_is_whole(dialect: Dialect, body: bytes) -> bool:
    events = sse_data(body)
    if not events:
        return False
    if dialect == "openai":
        return events[-1] == b"[DONE]" and b'"error"' not in body
    if not _is_json(events[-1]):
        return False
    last: Any = json.loads(events[-1])
    if dialect == "anthropic":
        return bool(last.get("type") == "message_stop")
    return "error" not in last and any(one.get("finishReason") for one in last.get("candidates", []))


class Crowd:
    """`CLIENTS` clients that send requests at an even pace until they are told to stop."""

    def __init__(
        self, url: str, seed: int, *, per_second: float, first: int = 0, may_leave: bool = True
    ) -> None:
        self.results: list[Result] = []
        self._url = url
        self._want: Callable[[int], Wanted] = lambda number: want(seed, number, may_leave=may_leave)
        self._interval = 1 / per_second
        self._numbers = itertools.count(first)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._first = first
        self._started = time.monotonic()
        self._threads = ThreadPoolExecutor(CLIENTS, thread_name_prefix="client")
        self._work: list[Future[None]] = [self._threads.submit(self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        with contextlib.closing(Client(self._url)) as client:
            while not self._stop.is_set():
                with self._lock:
                    number = next(self._numbers)
                due = self._started + (number - self._first) * self._interval
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                self.results.append(client.ask(self._want(number)))

    def stop(self) -> list[Result]:
        """Send no more, wait for the answers that are due; everything that was asked and answered."""
        self._stop.set()
        for one in self._work:
            one.result(TIMEOUT_S)
        self._threads.shutdown()
        return self.results
