"""Events and whole replies say the same."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.messages.fold import fold, unfold
from regrant.messages.model import Choice, Finish, FinishReason, Media, Reply, Text, Thinking, ToolCall, Usage
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

WORDS = st.text(max_size=12)
SIGNATURES = st.none() | st.just("c2ln")
PARTS = st.one_of(
    st.builds(Text, text=WORDS, signature=SIGNATURES),
    st.builds(Thinking, text=WORDS, signature=SIGNATURES),
    st.builds(Media, mime=st.just("image/png"), data=st.just("eA==")),
    st.builds(ToolCall, id=WORDS, name=WORDS, args=st.sampled_from([b"{}", b'{"a":1}']).map(msgspec.Raw)),
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    choices = draw(st.lists(st.lists(PARTS, max_size=4), min_size=1, max_size=3))
    return Reply(
        id=draw(WORDS),
        model=draw(WORDS),
        choices=tuple(
            Choice(
                parts=tuple(parts), finish=Finish(choice=number, reason=draw(st.sampled_from(FinishReason)))
            )
            for number, parts in enumerate(choices)
        ),
        usage=Usage(input_tokens=draw(st.integers(0, 9)), output_tokens=draw(st.integers(0, 9))),
    )


@given(replies())
def test_a_reply_unfolded_obeys_the_grammar_and_folds_to_itself(reply: Reply) -> None:
    grammar = Grammar()
    events = list(unfold(reply))
    for event in events:
        grammar.accept(event)
    assert grammar.complete
    assert fold(events) == reply


def test_deltas_are_joined_and_a_late_signature_replaces_the_first() -> None:
    call = ToolCall(id="c", name="get", args=msgspec.Raw(b""))
    events: list[Event] = [
        Started(id="r", model="m"),
        PartStarted(part=Thinking(text="a"), index=0),
        PartDelta(text="b", index=0),
        PartEnded(index=0, signature="late"),
        PartStarted(part=call, index=1),
        PartDelta(text='{"p":', index=1),
        PartDelta(text="1}", index=1),
        PartEnded(index=1),
        PartStarted(part=call, index=2),
        PartEnded(index=2),
        Finished(finishes=(Finish(choice=0, reason=FinishReason.TOOL_CALLS),)),
    ]
    reply = fold(events)
    assert isinstance(reply, Reply)
    assert reply.choices[0].parts == (
        Thinking(text="ab", signature="late"),
        ToolCall(id="c", name="get", args=msgspec.Raw(b'{"p":1}')),
        ToolCall(id="c", name="get", args=msgspec.Raw(b"{}")),
    )


def test_a_reply_that_broke_off_folds_to_its_failure() -> None:
    failed = Failed(problem=Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone"))
    assert fold([Started(id="r", model="m"), PartStarted(part=Text(text="a"), index=0), failed]) is failed


def test_events_that_just_stop_are_no_reply() -> None:
    with pytest.raises(GrammarError):
        fold([Started(id="r", model="m")])
