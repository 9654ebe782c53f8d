"""From events to the whole reply and back: streaming and plain answers share one path.

The events themselves, and the order that they may come in, are in `stream.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from regrant.messages.model import EMPTY_OBJECT, Choice, Reply, ReplyPart, Text, Thinking, ToolCall
from regrant.messages.stream import (
    Event,
    Failed,
    Finished,
    GrammarError,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
)


class Fold:
    """Gathers events. `result` is None until the end, then the Reply or the Failed that ended it."""

    def __init__(self) -> None:
        self.result: Reply | Failed | None = None
        self._started = Started(id="", model="")
        self._parts: dict[int, list[ReplyPart]] = {}
        self._open: dict[int, tuple[ReplyPart, list[str]]] = {}

    def add(self, event: Event) -> None:
        """Events must obey the grammar of `stream.py`."""
        match event:
            case PartDelta():
                self._open[event.choice][1].append(event.text)
            case PartStarted():
                self._open[event.choice] = (event.part, [])
            case PartEnded():
                part, deltas = self._open.pop(event.choice)
                self._parts.setdefault(event.choice, []).append(_join(part, deltas, event.signature))
            case Started():
                self._started = event
            case Finished():
                self.result = self._reply(event)
            case Failed():
                self.result = event

    def _reply(self, finished: Finished) -> Reply:
        choices = tuple(
            Choice(parts=tuple(self._parts.get(finish.choice, ())), finish=finish)
            for finish in finished.finishes
        )
        return Reply(id=self._started.id, model=self._started.model, choices=choices, usage=finished.usage)


def fold(events: Iterable[Event]) -> Reply | Failed:
    """The reply that `events` describe. Raises: GrammarError when they just stop."""
    gathered = Fold()
    for event in events:
        gathered.add(event)
    if gathered.result is None:
        raise GrammarError("the events stop before Finished or Failed")
    return gathered.result


def unfold(reply: Reply) -> Iterator[Event]:
    """The shortest sequence of events that folds to `reply`."""
    yield Started(id=reply.id, model=reply.model)
    for choice in reply.choices:
        number = choice.finish.choice
        for index, part in enumerate(choice.parts):
            yield PartStarted(part=part, index=index, choice=number)
            yield PartEnded(index=index, choice=number)
    yield Finished(finishes=tuple(choice.finish for choice in reply.choices), usage=reply.usage)


def _join(part: ReplyPart, deltas: list[str], signature: str | None) -> ReplyPart:
    if not deltas and signature is None and not (isinstance(part, ToolCall) and not bytes(part.args)):
        return part
    more = "".join(deltas)
    match part:
        case Text():
            return Text(text=part.text + more, signature=signature or part.signature)
        case Thinking():
            return Thinking(
                text=part.text + more, signature=signature or part.signature, redacted=part.redacted
            )
        case ToolCall():
            args = bytes(part.args) + more.encode()
            return msgspec.structs.replace(
                part, args=msgspec.Raw(args) if args else EMPTY_OBJECT, signature=signature or part.signature
            )
        case _:
            return part
