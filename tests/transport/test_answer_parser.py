"""The parser by itself: indifferent to how bytes are cut, and never surprised by any bytes."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.errors import TransportError
from regrant.transport.parser import AnswerParser

GOOD = {
    "content-length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello", b"hello", True),
    "chunked": (
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX-T: 1\r\n\r\n",
        b"hello",
        True,
    ),
    "interim": (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        ),
        b"hello",
        True,
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", b"", True),
    "closing": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello", False),
    "http/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
}


def parse(pieces: list[bytes]) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool, bool]:
    parser = AnswerParser()
    for piece in pieces:
        parser.feed(piece)
    parser.feed_end(proper=True)
    return parser.status, parser.headers, parser.take(), parser.keep_alive, parser.surplus


@pytest.mark.parametrize(("data", "body", "keep_alive"), GOOD.values(), ids=GOOD.keys())
def test_answer_is_the_same_however_it_is_cut(data: bytes, body: bytes, keep_alive: bool) -> None:
    whole = parse([data])
    assert whole[2:] == (body, keep_alive, False)
    assert parse([data[at : at + 1] for at in range(len(data))]) == whole
    for at in range(1, len(data)):
        assert parse([data[:at], data[at:]]) == whole


@pytest.mark.parametrize(("data", "body", "keep_alive"), GOOD.values(), ids=GOOD.keys())
def test_every_shortened_answer_fails_unless_it_lasts_until_close(
    data: bytes, body: bytes, keep_alive: bool
) -> None:
    end_of_head = data.rindex(b"\r\n\r\n") + 4 if body == b"" else len(data)
    open_ended = b"ength" not in data and b"chunked" not in data and b"204" not in data
    for at in range(1, end_of_head):
        if open_ended and b"\r\n\r\n" in data[:at]:
            assert parse([data[:at]])[2] == body[: at - data.index(b"\r\n\r\n") - 4]
            continue
        with pytest.raises(TransportError):
            parse([data[:at]])


FRAGMENTS = st.sampled_from(
    b"HTTP/1.1 200 OK\r\n|HTTP/1.1 100 C\r\n\r\n|HTTP/1.0 204 N\r\n|HTTP/1.1 101 S\r\n|\r\n|\r|\n|0\r\n\r\n|"
    b"content-length: 3\r\n|transfer-encoding: chunked\r\n|connection: close\r\n|upgrade: x\r\n|x: y\r\n|"
    b"3\r\nabc\r\n|abc| |;|\0|ffffffffffffffffff\r\n".split(b"|")
)


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=40), FRAGMENTS), max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_no_bytes_raise_anything_but_a_transport_error(
    pieces: list[bytes], to_head: bool, proper: bool
) -> None:
    parser = AnswerParser(to_head=to_head)
    try:
        for piece in pieces:
            parser.feed(piece)
        parser.feed_end(proper=proper)
    except TransportError:
        return
    assert parser.complete
    assert parser.head_done
    assert 200 <= parser.status <= 999
    assert parser.buffered == len(parser.take())


@given(st.lists(FRAGMENTS, max_size=12), st.integers(1, 7))
def test_outcome_does_not_depend_on_how_the_bytes_were_cut(fragments: list[bytes], size: int) -> None:
    data = b"".join(fragments)
    assert outcome([data]) == outcome([data[at : at + size] for at in range(0, len(data), size)])


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    parser = AnswerParser()
    try:
        for piece in filter(None, pieces):
            parser.feed(piece)
        parser.feed_end(proper=True)
    except TransportError as exc:
        return type(exc), parser.take() if parser.head_done else b""
    return parser.status, tuple(parser.headers), parser.take(), parser.surplus


def test_head_request_has_no_body_even_with_a_length() -> None:
    parser = AnswerParser(to_head=True)
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert parser.complete
    assert not parser.keep_alive
    parser.feed(b"hello")
    assert parser.surplus
    assert parser.take() == b""


def test_end_without_a_proper_close_cuts_a_body_that_lasts_until_close() -> None:
    parser = AnswerParser()
    parser.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
    with pytest.raises(TransportError):
        parser.feed_end(proper=False)


def test_finished_answer_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        for data, _, _ in GOOD.values():
            parser = AnswerParser()
            parser.feed(data)
            parser.feed_end(proper=True)
        del parser
        assert gc.collect() == 0
    finally:
        gc.enable()
