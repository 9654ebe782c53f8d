"""The grammar of a reply in the making."""

import pytest

from regrant.messages.model import Finish, FinishReason, Media, ReplyPart, Text
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import (
    Event,
    Failed,
    Finished,
    Grammar,
    GrammarError,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
)

STARTED = Started(id="r", model="m")
TEXT = Text(text="a")
FAILED = Failed(problem=Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone"))


def part(index: int = 0, choice: int = 0, what: ReplyPart = TEXT) -> Event:
    return PartStarted(part=what, index=index, choice=choice)


def delta(index: int = 0, choice: int = 0) -> Event:
    return PartDelta(text="b", index=index, choice=choice)


def ended(index: int = 0, choice: int = 0) -> Event:
    return PartEnded(index=index, choice=choice)


def finished(*choices: int) -> Event:
    return Finished(finishes=tuple(Finish(choice=choice, reason=FinishReason.STOP) for choice in choices))


GOOD: list[list[Event]] = [
    [STARTED, finished(0)],
    [FAILED],
    [STARTED, FAILED],
    [STARTED, part(), delta(), FAILED],
    [STARTED, part(), delta(), ended(), part(1), ended(1), finished(0)],
    [STARTED, part(), part(choice=1), delta(choice=1), ended(), ended(choice=1), finished(0, 1)],
    [STARTED, part(choice=1), ended(choice=1), finished(0, 1)],
]

BAD: dict[str, list[Event]] = {
    "a part before Started": [part()],
    "Finished before Started": [finished(0)],
    "Started twice": [STARTED, STARTED],
    "overlapping parts of one choice": [STARTED, part(), part(1)],
    "a part number left out": [STARTED, part(1)],
    "a part number used twice": [STARTED, part(), ended(), part()],
    "a delta without a part": [STARTED, delta()],
    "a delta of another part": [STARTED, part(), delta(1)],
    "a delta of media": [STARTED, part(what=Media(mime="image/png", data="eA==")), delta()],
    "an end without a part": [STARTED, ended()],
    "Finished with an open part": [STARTED, part(), finished(0)],
    "Finished without a choice that spoke": [STARTED, part(choice=1), ended(choice=1), finished(0)],
    "choices out of order": [STARTED, finished(1, 0)],
    "anything after Finished": [STARTED, finished(0), FAILED],
    "anything after Failed": [FAILED, STARTED],
}


@pytest.mark.parametrize("events", GOOD)
def test_what_the_grammar_allows_is_accepted_and_complete_at_its_end_only(events: list[Event]) -> None:
    grammar = Grammar()
    complete = []
    for event in events:
        complete.append(grammar.complete)
        grammar.accept(event)
    assert complete == [False] * len(events)
    assert grammar.complete


@pytest.mark.parametrize("events", BAD.values(), ids=BAD)
def test_what_the_grammar_forbids_is_refused_at_its_last_event(events: list[Event]) -> None:
    grammar = Grammar()
    for event in events[:-1]:
        grammar.accept(event)
    with pytest.raises(GrammarError):
        grammar.accept(events[-1])
