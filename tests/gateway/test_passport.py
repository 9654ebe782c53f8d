"""Which signatures a request carries to which account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from regrant.clock import SystemClock
from regrant.errors import DialectError
from regrant.gateway.passport import FixedBody, Passport, RelayedBody
from regrant.gateway.signatures import SignatureStore
from regrant.messages.model import Media, Request, Text, ToolCall, ToolResult, Turn
from regrant.state import StateDatabase

STAND_IN = "skip_thought_signature_validator"
MODEL = "gemini-3.5-flash"
ANN, BOB = "gemini ann p1 m", "gemini bob p2 m"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SignatureStore]:
    state = StateDatabase(tmp_path / "state.sqlite3", SystemClock())
    yield SignatureStore(state, SystemClock())
    state.close()


def conversation(*calls: ToolCall) -> Request:
    turns = [Turn(role="user", parts=(Text(text="go"),))]
    for call in calls:
        turns.append(Turn(role="assistant", parts=(call,)))
        turns.append(Turn(role="user", parts=(ToolResult(call_id=call.id, content=()),)))
    return Request(model="m", turns=tuple(turns))


def call(call_id: str, signature: str | None = None) -> ToolCall:
    return ToolCall(id=call_id, name="f", signature=signature)


def passport(store: SignatureStore, *calls: ToolCall) -> Passport:
    return Passport(conversation(*calls), model=MODEL, store=store, client="key-1")


def signatures(body: bytes) -> list[str | None]:
    contents = json.loads(body)["contents"]
    parts = [part for content in contents for part in content["parts"] if "functionCall" in part]
    return [part.get("thoughtSignature") for part in parts]


def test_each_account_gets_the_signatures_that_it_minted_and_the_stand_in_for_the_others(
    store: SignatureStore,
) -> None:
    store.keep("key-1", "c1", "by-ann", ANN)
    store.keep("key-1", "c2", "by-bob", BOB)
    shown = passport(store, call("c1"), call("c2"), call("c3"))
    assert signatures(shown.shown_to(ANN)) == ["by-ann", STAND_IN, STAND_IN]
    assert signatures(shown.shown_to(BOB)) == [STAND_IN, "by-bob", STAND_IN]
    assert signatures(shown.shown_to("vertex ann p1 m")) == [STAND_IN] * 3


def test_a_request_that_no_account_matters_to_is_encoded_once(store: SignatureStore) -> None:
    store.keep("key-1", "c1", "by-ann", ANN)
    assert passport(store).shown_to(ANN) is not None
    plain = passport(store)
    assert plain.shown_to(ANN) is plain.shown_to(BOB)
    signed = passport(store, call("c1"))
    assert signed.shown_to(ANN) is signed.encoded.body
    assert signed.shown_to(BOB) is signed.shown_to(BOB)
    assert signed.shown_to(ANN) is signed.encoded.body


def test_a_signature_of_the_clients_own_is_judged_by_where_it_was_minted(store: SignatureStore) -> None:
    store.keep("key-1", "c1", "by-ann", ANN)
    shown = passport(
        store, call("c1", "by-ann"), call("c2", "from elsewhere"), call("c1", "of another reply")
    )
    assert signatures(shown.shown_to(ANN)) == ["by-ann", "from elsewhere", "of another reply"]
    assert signatures(shown.shown_to(BOB)) == [STAND_IN, "from elsewhere", "of another reply"]


def test_the_signatures_of_another_clients_calls_are_not_lent(store: SignatureStore) -> None:
    store.keep("key-2", "c1", "not yours", ANN)
    assert signatures(passport(store, call("c1")).shown_to(ANN)) == [STAND_IN]


def test_after_a_refusal_every_signature_is_forgotten_once(store: SignatureStore) -> None:
    store.keep("key-1", "c1", "by-ann", ANN)
    shown = passport(store, call("c1"), call("c2", "from elsewhere"))
    assert signatures(shown.shown_to(ANN)) == ["by-ann", "from elsewhere"]
    assert shown.forget_signatures()
    assert signatures(shown.shown_to(ANN)) == [STAND_IN] * 2
    assert signatures(shown.shown_to(BOB)) == [STAND_IN] * 2
    assert not shown.forget_signatures()


def test_a_request_without_signatures_cannot_be_mended(store: SignatureStore) -> None:
    shown = passport(store, call("c1"))
    shown.shown_to(ANN)
    assert not shown.forget_signatures()
    assert not FixedBody(b"{}").forget_signatures()


def test_signatures_in_the_answer_are_marked_with_the_account_that_gave_it(store: SignatureStore) -> None:
    shown = passport(store)
    shown.shown_to(ANN)
    shown.shown_to(BOB)
    shown.note(call("c9", "by-bob"))
    shown.note(call("c10"))
    kept = store.find("key-1", "c9")
    assert kept is not None
    assert (kept.signature, kept.mint) == ("by-bob", BOB)
    assert store.find("key-1", "c10") is None


def test_what_cannot_be_expressed_is_refused_before_an_account_is_asked(store: SignatureStore) -> None:
    picture = Turn(role="user", parts=(Media(mime="image/gif", data="R0lG"),))
    with pytest.raises(DialectError, match="image/gif"):
        Passport(Request(model="m", turns=(picture,)), model=MODEL, store=store, client="")


def test_a_relayed_body_is_touched_only_after_a_refusal_and_only_once() -> None:
    original = (
        b'{ "contents": [{"role":"model","parts":[{"functionCall":{"name":"f"},"thoughtSignature":"x"}]}] }'
    )
    body = RelayedBody(original)
    assert body.shown_to(ANN) is original
    assert body.forget_signatures()
    assert signatures(body.shown_to(BOB)) == [STAND_IN]
    assert not body.forget_signatures()
