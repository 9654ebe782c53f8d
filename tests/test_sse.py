"""Server-sent events: any cut of the bytes gives the same events."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from regrant.sse import KEEP_ALIVE, STRAY_LIMIT_BYTES, SseDecoder, SseEvent, encode_data, encode_event


def decode(chunks: list[bytes]) -> tuple[list[SseEvent], bytes]:
    decoder = SseDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.end(), bytes(decoder.stray)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def test_events_with_crlf_lf_names_comments_and_several_data_lines_are_read() -> None:
    stream = b": hi\r\nevent: ping\r\ndata: {}\r\n\r\ndata:a\ndata: b\n\nid: 7\nretry: 3\n\ndata: last"
    events, stray = decode([stream])
    assert events == [SseEvent(b"{}", b"ping"), SseEvent(b"a\nb"), SseEvent(b"last")]
    assert stray == b""


def test_bare_json_between_events_is_kept_as_stray_lines() -> None:
    events, stray = decode([b'data: 1\r\n\r\n{ "error": {\r\n  "code": 503\r\n} }'])
    assert events == [SseEvent(b"1")]
    assert stray == b'{ "error": {\n  "code": 503\n} }\n'


def test_stray_bytes_are_kept_up_to_a_limit_only() -> None:
    line = b"x" * 1000 + b"\n"
    _, stray = decode([line] * 1000)
    assert len(stray) < STRAY_LIMIT_BYTES + len(line)


def test_a_name_belongs_to_one_event_only() -> None:
    events, _ = decode([b"event: a\ndata: 1\n\ndata: 2\n\n"])
    assert [event.name for event in events] == [b"a", b""]


def test_encoded_events_are_decoded_again() -> None:
    events, _ = decode([encode_data(b"1"), KEEP_ALIVE, encode_event(b"error", b"2")])
    assert events == [SseEvent(b"1"), SseEvent(b"2", b"error")]


def test_idle_tells_whether_a_line_or_an_event_is_open() -> None:
    decoder = SseDecoder()
    seen = [decoder.idle]
    for chunk in (b"data: 1", b"\n", b"\n"):
        decoder.feed(chunk)
        seen.append(decoder.idle)
    assert seen == [True, False, False, True]


PIECES = st.sampled_from(
    [b"data: ", b"data:", b"\n", b"\r\n", b"\n\n", b"event: e", b": c", b"{}", b"x", b'{"error":', b"\r"]
)


@given(st.lists(PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 1000), max_size=8))
def test_how_the_stream_is_cut_never_matters(stream: bytes, places: list[int]) -> None:
    assert decode(cut(stream, places)) == decode([stream])
