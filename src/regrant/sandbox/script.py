"""Scripted behaviours: what the control API asked for, and which request meets it.

The texts of named errors are `faults.py`; acting a behaviour out on the wire is `delivery.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from regrant.sandbox.routes import ENDPOINTS
from regrant.sandbox.wire import JsonObject


class _Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """`delay` is seconds of silence before anything else happens."""

    delay: float = 0.0


class Error(_Behaviour, frozen=True, kw_only=True, tag="error"):
    """A named error; with `after_chunks`, in the middle of a stream that began well."""

    name: str
    retry_delay: str = ""
    message: str = ""
    after_chunks: int | None = None


class Raw(_Behaviour, frozen=True, kw_only=True, tag="raw"):
    """Exactly this answer. `body` is text, `json` any value; `size` pads the body with spaces to that many bytes."""

    status: int = 200
    headers: dict[str, str] = {}
    body: str = ""
    json: msgspec.Raw = msgspec.Raw()
    size: int = 0


class Status(_Behaviour, frozen=True, kw_only=True, tag="status"):
    """That status with Google's envelope around `message`."""

    status: int
    message: str = ""


class Slow(_Behaviour, frozen=True, kw_only=True, tag="slow"):
    """A pause of `seconds` before the answer, or after that many chunks of it."""

    seconds: float
    after_chunks: int = 0


class DelayStream(_Behaviour, frozen=True, kw_only=True, tag="delay_stream"):
    """A pause of `seconds` before every chunk."""

    seconds: float


class Hang(_Behaviour, frozen=True, kw_only=True, tag="hang"):
    """Silence until the client leaves; with `after_chunks`, in the middle of the body."""

    after_chunks: int | None = None


class Reset(_Behaviour, frozen=True, kw_only=True, tag="reset"):
    """The connection is reset before an answer."""


class Cut(_Behaviour, frozen=True, kw_only=True, tag="cut"):
    """The connection is dropped in mid-body, after that many chunks and, if asked, half of the next."""

    after_chunks: int = 1
    mid_chunk: bool = False


class End(_Behaviour, frozen=True, kw_only=True, tag="end"):
    """The body ends cleanly after that many chunks, with no finishReason."""

    after_chunks: int = 1


class Said(_Behaviour, frozen=True, kw_only=True, tag="reply"):
    """What the model says: `text`, or `parts`, or whole bodies (`response` or `chunks`) sent as they are."""

    text: str | None = None
    parts: list[JsonObject] | None = None
    response: JsonObject | None = None
    chunks: list[JsonObject] | None = None
    finish_reason: str = "STOP"


class Rotate(_Behaviour, frozen=True, kw_only=True, tag="rotate"):
    """This refresh gets a new refresh token; the old one is dead from then on."""


Behaviour = Error | Raw | Status | Slow | DelayStream | Hang | Reset | Cut | End | Said | Rotate


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A behaviour and the requests that meet it; an empty field matches everything. `times` None is for ever."""

    behaviour: Behaviour
    email: str = ""
    endpoint: str = "any"
    model: str = ""
    project: str = ""
    client_id: str = ""
    times: int | None = 1

    def __post_init__(self) -> None:
        if isinstance(self.behaviour, Raw | Status) and not 200 <= self.behaviour.status <= 599:
            raise ValueError("status must be from 200 to 599")
        if self.endpoint != "any" and self.endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint must be any, {', '.join(ENDPOINTS)}")


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known about a request when a script is looked for."""

    endpoint: str
    email: str = ""
    model: str = ""
    project: str = ""
    client_id: str = ""


@dataclass(slots=True)
class _Queued:
    script: Script
    left: int | None


@dataclass(slots=True)
class Scripts:
    """The queue: the oldest entry that matches is met, once per request, until its `times` are used up."""

    _queue: dict[int, _Queued] = field(default_factory=dict)
    _last_id: int = 0

    def add(self, script: Script) -> int:
        self._last_id += 1
        self._queue[self._last_id] = _Queued(script, script.times)
        return self._last_id

    def remove(self, script_id: int) -> bool:
        return self._queue.pop(script_id, None) is not None

    def clear(self) -> None:
        self._queue.clear()

    def waiting(self) -> list[JsonObject]:
        return [
            {"id": script_id, "times_left": queued.left, **_shown(queued.script)}
            for script_id, queued in self._queue.items()
        ]

    def take(self, situation: Situation) -> tuple[int, Behaviour] | None:
        """The number and the behaviour of the script that this request meets."""
        for script_id, queued in self._queue.items():
            if _matches(queued.script, situation):
                if queued.left is not None:
                    queued.left -= 1
                    if queued.left <= 0:
                        del self._queue[script_id]
                return script_id, queued.script.behaviour
        return None


def _shown(script: Script) -> JsonObject:
    """A script as JSON values; `json` null where none was given."""
    behaviour = script.behaviour
    if isinstance(behaviour, Raw) and not bytes(behaviour.json):
        script = msgspec.structs.replace(
            script, behaviour=msgspec.structs.replace(behaviour, json=msgspec.Raw(b"null"))
        )
    shown: JsonObject = msgspec.json.decode(msgspec.json.encode(script))
    return shown


def _matches(script: Script, situation: Situation) -> bool:
    return (
        script.endpoint in {"any", situation.endpoint}
        and script.email.casefold() in {"", situation.email.casefold()}
        and script.model in {"", situation.model}
        and script.project in {"", situation.project}
        and script.client_id in {"", situation.client_id}
    )
