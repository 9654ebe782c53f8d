"""A reply in the making: its events, and the grammar that they obey.

    reply   = Started (part)* (Finished | Failed)
    part    = PartStarted PartDelta* PartEnded        the parts of one choice never overlap; choices may interleave
    Failed  may come at any place, even first; nothing follows it. Finished comes with all parts ended.

Every decoder of an upstream produces such a sequence and every encoder for a client may rely on it. A whole reply is
the same sequence folded: `fold.py`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from regrant.errors import RegrantError
from regrant.messages.model import Finish, Media, ReplyPart, Usage
from regrant.messages.problem import Problem


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream answers. `id` and `model` are its own words for this reply and for the model that writes it."""

    id: str
    model: str


class PartStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A part begins and `part` is as much of it as is known: often its first words, for Media all of it."""

    part: ReplyPart
    index: int
    """Counts the parts of the choice from 0."""
    choice: int = 0


class PartDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of the open part: text of a Text or Thinking, JSON of a ToolCall's arguments."""

    text: str
    index: int
    choice: int = 0


class PartEnded(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    choice: int = 0
    signature: str | None = None
    """The part's signature when it came last; it replaces that of PartStarted."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The reply is complete. `finishes` has one entry per choice, sorted by number."""

    finishes: tuple[Finish, ...]
    usage: Usage = Usage()


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The reply broke off and stays incomplete."""

    problem: Problem
    upstream_error: bytes = b""
    """The upstream's own error object, for those who judge whose fault it was; never shown to a client."""


Event: TypeAlias = Started | PartStarted | PartDelta | PartEnded | Finished | Failed


class GrammarError(RegrantError):
    """A sequence of events that no reply can have: a defect of the decoder that produced it."""


class Grammar:
    """Checks a sequence, event by event. `complete` tells whether it may end here."""

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._open: dict[int, PartStarted] = {}
        self._next_index: dict[int, int] = {}

    @property
    def complete(self) -> bool:
        return self._over

    def accept(self, event: Event) -> None:
        """Raises: GrammarError, naming the event that is out of place."""
        if self._over:
            raise GrammarError(f"{event!r} after the end")
        if not isinstance(event, Started | Failed) and not self._started:
            raise GrammarError(f"{event!r} before Started")
        match event:
            case Started():
                self._accept_started()
            case PartStarted():
                self._accept_part(event)
            case PartDelta():
                self._require_open(event)
                if isinstance(self._open[event.choice].part, Media):
                    raise GrammarError("Media comes whole, never in deltas")
            case PartEnded():
                self._require_open(event)
                del self._open[event.choice]
            case Finished():
                self._accept_finished(event)
            case Failed():
                self._over = True

    def _accept_started(self) -> None:
        if self._started:
            raise GrammarError("Started twice")
        self._started = True

    def _accept_part(self, event: PartStarted) -> None:
        if event.choice in self._open:
            raise GrammarError(f"{event!r} while part {self._open[event.choice].index} is open")
        if event.index != self._next_index.get(event.choice, 0):
            raise GrammarError(f"{event!r} is out of sequence")
        self._open[event.choice] = event
        self._next_index[event.choice] = event.index + 1

    def _require_open(self, event: PartDelta | PartEnded) -> None:
        part = self._open.get(event.choice)
        if part is None or part.index != event.index:
            raise GrammarError(f"{event!r} for a part that is not open")

    def _accept_finished(self, event: Finished) -> None:
        if self._open:
            raise GrammarError(f"Finished while parts of choices {sorted(self._open)} are open")
        numbers = [finish.choice for finish in event.finishes]
        if numbers != sorted(set(numbers)) or not set(self._next_index) <= set(numbers):
            raise GrammarError(
                f"Finished names the choices {numbers}, parts came for {sorted(self._next_index)}"
            )
        self._over = True
