"""What a hostile peer can do to one request, and what the caller is told; and the ordinary cases beside it."""

from __future__ import annotations

import asyncio
import operator
import socket
import struct
from functools import partial

import pytest
from tests.transport.hostile import OK, QUICK, Peer, always, ask, client_of, failure_of, once, serving, until

from regrant.errors import (
    AnswerTimeout,
    BadAnswer,
    BodyCut,
    BodyIdle,
    BodyTooLarge,
    ConnectFailed,
    ResetBeforeAnswer,
    UnsendableRequest,
)
from regrant.transport.model import Request, Timeouts


async def test_request_goes_out_in_one_piece_with_the_fields_that_framing_needs() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.say(OK)

    async with serving(script) as server, client_of() as client:
        request = Request(
            "POST", server.url("/v1?x=1#part"), headers=[(b"X-One", b"1"), (b"Host", b"evil")], body=b"hello"
        )
        answer = await client.send(request)
        assert (answer.status, answer.header(b"content-length"), await answer.read(100)) == (200, b"2", b"ok")
        assert seen == [
            b"POST /v1?x=1 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-one: 1\r\n"
            b"user-agent: regrant-test/1\r\ncontent-length: 5\r\n\r\nhello" % server.port
        ]


async def test_connection_is_used_again_after_a_complete_answer() -> None:
    async with serving(always(OK)) as server, client_of() as client:
        for _ in range(5):
            assert await ask(client, server.url(), method="POST", body=b"x") == (200, b"ok")
        assert server.connections == 1


async def test_chunked_answer_with_extensions_and_trailers_is_unframed_and_trailers_are_ignored() -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;note=x\r\nabc\r\n2\r\nde\r\n0\r\n"
        b"set-cookie: a=1\r\nx-trailer: 1\r\n\r\n"
    )
    async with serving(always(chunked)) as server, client_of() as client:
        for _ in range(2):
            answer = await client.send(Request("GET", server.url()))
            assert await answer.read(100) == b"abcde"
            assert answer.header(b"x-trailer") is None
            assert answer.headers == [(b"transfer-encoding", b"chunked")]
        assert server.connections == 1


async def test_body_that_lasts_until_the_end_of_the_connection_ends_cleanly_and_is_not_reused() -> None:
    async with serving(once(b"HTTP/1.1 200 OK\r\n\r\nall of it")) as server, client_of() as client:
        assert await ask(client, server.url()) == (200, b"all of it")
        assert await ask(client, server.url()) == (200, b"all of it")
        assert server.connections == 2


async def test_http_1_0_answer_is_read_and_its_connection_not_reused() -> None:
    async with (
        serving(always(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")) as server,
        client_of() as client,
    ):
        assert await ask(client, server.url()) == (200, b"ok")
        assert await ask(client, server.url()) == (200, b"ok")
        assert server.connections == 2


async def test_connection_close_is_honoured() -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with serving(always(closing)) as server, client_of() as client:
        await ask(client, server.url())
        await ask(client, server.url())
        assert server.connections == 2


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_body_has_none_whatever_its_length_says(status: int) -> None:
    bodyless = b"HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\n" % status
    async with serving(always(bodyless)) as server, client_of() as client:
        assert await ask(client, server.url()) == (status, b"")
        assert await ask(client, server.url()) == (status, b"")
        assert server.connections == 1


async def test_answer_to_head_has_no_body_and_its_connection_is_not_reused() -> None:
    async with (
        serving(always(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")) as server,
        client_of() as client,
    ):
        assert await ask(client, server.url(), method="HEAD") == (200, b"")
        assert await ask(client, server.url(), method="HEAD") == (200, b"")
        assert server.connections == 2


async def test_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK
    async with serving(always(interim)) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url()))
        assert (answer.status, answer.headers) == (200, [(b"content-length", b"2")])
        assert await answer.read(10) == b"ok"


async def test_interim_answers_without_end_do_not_extend_the_time_to_the_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        while True:
            await peer.say(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.02)

    async with serving(script) as server, client_of() as client:
        with pytest.raises(AnswerTimeout):
            await client.send(Request("GET", server.url(), timeouts=Timeouts(5, 0.2, 5)))


BAD_HEADS = {
    "garbage": b"this is not http\r\n\r\n",
    "another protocol": b"RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "http/2": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "garbage status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok",
    "switched protocols": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw",
    "switched protocols without upgrade": b"HTTP/1.1 101 Switching\r\n\r\nraw",
    "both length fields": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    "list of lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nabc",
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabc",
    "endless length": b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\nabc",
    "unknown coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "space in a name": b"HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n",
    "201 fields": b"HTTP/1.1 200 OK\r\n" + b"x: 1\r\n" * 201 + b"\r\n",
    "huge field": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
    "huge reason": b"HTTP/1.1 200 " + b"a" * 70_000 + b"\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\n" + (b"x: " + b"a" * 1000 + b"\r\n") * 70 + b"\r\n",
    "head without end": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000,
    "endless interim answers": b"HTTP/1.1 100 Continue\r\nx: aaaaaaaaaaaaaaaaaaaa\r\n\r\n" * 3000,
}


@pytest.mark.parametrize("answer", BAD_HEADS.values(), ids=BAD_HEADS.keys())
async def test_bad_head_is_refused_and_its_connection_closed(answer: bytes) -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)
        assert await peer.gone()
        closed.set()

    async with serving(script) as server, client_of() as client:
        with pytest.raises(BadAnswer) as caught:
            await client.send(Request("GET", server.url(), timeouts=QUICK))
        assert caught.value.processed
        await until(closed.is_set)


async def test_200_fields_of_a_large_head_are_accepted() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + (b"x: " + b"a" * 300 + b"\r\n") * 199 + b"\r\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        for start in range(0, len(head), 7000):
            await peer.say(head[start : start + 7000])
            await asyncio.sleep(0.001)

    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
        assert len(answer.headers) == 200


async def test_close_before_any_answer_is_a_reset_and_the_request_is_not_sent_again() -> None:
    async with serving(once(b"")) as server, client_of() as client:
        with pytest.raises(ResetBeforeAnswer) as caught:
            await ask(client, server.url())
        assert caught.value.processed
        assert server.connections == 1


async def test_close_within_the_head_is_a_reset_before_the_answer() -> None:
    async with serving(once(b"HTTP/1.1 200 OK\r\ncontent-le")) as server, client_of() as client:
        with pytest.raises(ResetBeforeAnswer):
            await ask(client, server.url())


CUT_BODIES = {
    "content-length": (b"content-length: 10\r\n\r\nabc", b"abc"),
    "chunked without last chunk": (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc"),
    "chunked within a chunk": (b"transfer-encoding: chunked\r\n\r\n9\r\nabc", b"abc"),
    "chunked within the trailers": (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: 1\r\n", b"abc"),
    "chunk size that is none": (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", b"abc"),
    "chunk longer than said": (b"transfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", b"abc"),
    "length among the trailers": (
        b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ncontent-length: 9\r\n\r\n",
        b"abc",
    ),
    "endless chunk extension": (b"transfer-encoding: chunked\r\n\r\n3;x=" + b"a" * 300_000, b""),
}


@pytest.mark.parametrize(("rest", "came"), CUT_BODIES.values(), ids=CUT_BODIES.keys())
async def test_cut_body_never_looks_finished(rest: bytes, came: bytes) -> None:
    async with serving(once(b"HTTP/1.1 200 OK\r\n" + rest)) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
        received, error = await failure_of(answer)
        assert isinstance(error, BodyCut)
        assert received == came
        with pytest.raises(BodyCut):
            await answer.read(100)


async def test_status_is_known_even_if_the_body_is_broken_in_the_same_segment() -> None:
    async with (
        serving(once(b"HTTP/1.1 429 X\r\ntransfer-encoding: chunked\r\n\r\nzz")) as server,
        client_of() as client,
    ):
        answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
        assert answer.status == 429
        assert isinstance((await failure_of(answer))[1], BodyCut)


async def test_endless_trailers_are_cut_off() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        while True:
            await peer.say(b"x: " + b"a" * 1000 + b"\r\n")

    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
        received, error = await failure_of(answer)
        assert (received, type(error)) == (b"a", BodyCut)


async def test_reset_within_a_body_until_close_is_a_cut() -> None:
    started = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await started.wait()
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
        started.set()
        _, error = await failure_of(answer)
        assert isinstance(error, BodyCut)


async def test_idle_connection_closed_by_the_peer_is_replaced_before_use() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)

    async with serving(script) as server, client_of() as client:
        for round_number in range(1, 4):
            assert await ask(client, server.url(), method="POST", body=b"x") == (200, b"ok")
            assert server.connections == round_number
            pool = next(iter(client._origins.values()))[1]
            await until(partial(operator.not_, pool._idle))


async def test_byte_on_an_idle_connection_makes_it_unusable() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        if peer.number == 1:
            await asyncio.sleep(0.02)
            await peer.say(b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n")
            assert await peer.gone()
            closed.set()

    async with serving(script) as server, client_of() as client:
        assert await ask(client, server.url()) == (200, b"ok")
        await until(closed.is_set)
        assert await ask(client, server.url()) == (200, b"ok")
        assert server.connections == 2


SURPLUS = [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"x", b"\r\nx"]


@pytest.mark.parametrize("surplus", SURPLUS)
@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 204 No\r\n\r\n"])
async def test_bytes_after_the_answer_never_reach_the_next_request(answer: bytes, surplus: bytes) -> None:
    async with serving(always(answer + surplus)) as server, client_of() as client:
        for round_number in (1, 2):
            status, body = await ask(client, server.url())
            assert (status, body) in {(200, b"ok"), (204, b"")}
            assert server.connections == round_number


async def test_reused_connection_reset_after_the_request_is_reported_and_never_resent() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        requests.append(await peer.request())
        peer.reset()

    requests: list[bytes] = []
    async with serving(script) as server, client_of() as client:
        assert await ask(client, server.url(), method="POST", body=b"1") == (200, b"ok")
        with pytest.raises(ResetBeforeAnswer) as caught:
            await ask(client, server.url(), method="POST", body=b"2")
        assert caught.value.processed
        assert len(requests) == 1
        assert server.connections == 1


async def test_first_byte_time_limit() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        assert await peer.gone()
        closed.set()

    closed = asyncio.Event()
    async with serving(script) as server, client_of() as client:
        with pytest.raises(AnswerTimeout) as caught:
            await client.send(Request("GET", server.url(), timeouts=Timeouts(5, 0.05, 5)))
        assert caught.value.processed
        await until(closed.is_set)


async def test_idle_time_limit_of_a_body_counts_from_the_last_byte() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
        for _ in range(8):
            await peer.say(b"x")
            await asyncio.sleep(0.05)
        assert await peer.gone()

    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=Timeouts(5, 5, 0.25)))
        received, error = await failure_of(answer)
        assert isinstance(error, BodyIdle)
        assert received == b"x" * 8


async def test_chunk_framing_without_body_bytes_does_not_extend_the_idle_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n5;x=")
        while True:
            await peer.say(b"y")
            await asyncio.sleep(0.02)

    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=Timeouts(5, 5, 0.2)))
        received, error = await failure_of(answer)
        assert (received, type(error)) == (b"a", BodyIdle)


async def test_slow_reader_is_not_blamed_on_the_peer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        await asyncio.sleep(0.02)  # so that the reader waits, and its time runs
        await peer.say(b"ab")
        await released.wait()
        await peer.say(b"cd")
        await peer.gone()

    released = asyncio.Event()
    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=Timeouts(5, 5, 0.1)))
        chunks = answer.chunks()
        assert await anext(chunks) == b"ab"
        await asyncio.sleep(0.3)
        released.set()
        assert await anext(chunks) == b"cd"


async def test_connection_refused_is_a_connect_failure_with_nothing_processed() -> None:
    async with serving(always(OK)) as server:
        pass
    async with client_of() as client:
        with pytest.raises(ConnectFailed, match=rf"127\.0\.0\.1:{server.port}") as caught:
            await ask(client, server.url())
        assert not caught.value.processed


async def test_unknown_host_is_a_connect_failure() -> None:
    async with client_of() as client:
        with pytest.raises(ConnectFailed, match=r"nowhere\.invalid:80"):
            await ask(client, "http://nowhere.invalid/")


async def test_body_over_the_limit_is_refused_and_its_connection_closed() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"8\r\nabcdefgh\r\n" * 100
    for answer in (chunked, b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"):
        closed = asyncio.Event()

        async def script(peer: Peer, answer: bytes = answer, closed: asyncio.Event = closed) -> None:
            await peer.request()
            await peer.say(answer)
            assert await peer.gone()
            closed.set()

        async with serving(script) as server, client_of() as client:
            response = await client.send(Request("GET", server.url(), timeouts=QUICK))
            with pytest.raises(BodyTooLarge):
                await response.read(100)
            await until(closed.is_set)


async def test_complete_body_over_the_limit_is_refused_too_and_one_just_within_it_is_read() -> None:
    async with serving(always(OK)) as server, client_of() as client:
        for limit in (1, 0):
            answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
            with pytest.raises(BodyTooLarge):
                await answer.read(limit)
        answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
        assert await answer.read(2) == b"ok"


async def test_redirect_is_handed_to_the_caller() -> None:
    redirect = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    async with serving(always(redirect)) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url()))
        assert (answer.status, answer.header(b"location")) == (302, b"/elsewhere")
        assert server.connections == 1


async def test_closing_an_answer_before_its_end_drops_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        assert await peer.gone()
        closed.set()

    closed = asyncio.Event()
    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url()))
        await answer.close()
        await answer.close()
        await until(closed.is_set)
        _, error = await failure_of(answer)
        assert isinstance(error, BodyCut)


async def test_closing_a_complete_answer_keeps_the_connection() -> None:
    async with serving(always(OK)) as server, client_of() as client:
        for _ in range(3):
            answer = await client.send(Request("GET", server.url()))
            assert await answer.read(10) == b"ok"
            await answer.close()
        assert server.connections == 1


async def test_cancelling_send_closes_the_connection_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        assert await peer.gone()
        closed.set()

    asked, closed = asyncio.Event(), asyncio.Event()
    async with serving(script) as server, client_of() as client:
        task = asyncio.ensure_future(client.send(Request("GET", server.url())))
        await asked.wait()
        task.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await task
            await closed.wait()


async def test_cancelling_the_reader_of_a_body_closes_the_connection_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        assert await peer.gone()
        closed.set()

    closed = asyncio.Event()
    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url()))
        chunks = answer.chunks()
        assert await anext(chunks) == b"abc"
        task = asyncio.ensure_future(answer.read(1000))
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await task
            await closed.wait()


async def test_closing_the_client_ends_exchanges_under_way_and_refuses_new_ones() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        assert await peer.gone()

    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url()))
        waiting = asyncio.ensure_future(client.send(Request("GET", server.url())))
        await until(lambda: server.connections == 2)
        await client.close()
        await client.close()
        received, error = await failure_of(answer)
        assert (received, type(error)) == (b"abc", BodyCut)
        with pytest.raises(ResetBeforeAnswer):
            await waiting
        with pytest.raises(ConnectFailed, match="closed"):
            await client.send(Request("GET", server.url()))


async def test_closed_client_opens_no_connection_to_an_origin_that_it_has_not_met() -> None:
    async with serving(always(OK)) as server, client_of() as client:
        await client.close()
        with pytest.raises(ConnectFailed, match="closed"):
            await ask(client, server.url())
        assert server.connections == 0


async def test_early_answer_ends_the_writing_and_the_connection_is_not_reused() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        if peer.number == 1:
            await peer.say(refusal)
            await answered.wait()
        await peer.say(OK)

    answered = asyncio.Event()
    async with serving(script) as server, client_of() as client:
        large = Request("POST", server.url(), body=bytes(32 << 20), timeouts=QUICK)
        answer = await client.send(large)
        assert (answer.status, await answer.read(10)) == (413, b"no")
        answered.set()
        assert await ask(client, server.url()) == (200, b"ok")
        assert server.connections == 2


async def test_connection_of_a_request_cut_short_is_not_reused_even_if_all_written_bytes_were_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        if peer.number == 2:
            await peer.say(OK)
            return
        await peer.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nn")
        await answered.wait()
        try:
            while True:
                async with asyncio.timeout(0.2):
                    assert await peer.reader.read(1 << 20)
        except TimeoutError:  # all that was written has been read
            await peer.say(b"o")
        assert await peer.gone()

    answered = asyncio.Event()
    async with serving(script) as server, client_of() as client:
        large = Request("POST", server.url(), body=bytes(64 << 20), timeouts=QUICK)
        answer = await client.send(large)
        assert answer.status == 413
        answered.set()
        assert await answer.read(10) == b"no"
        assert await ask(client, server.url()) == (200, b"ok")
        assert server.connections == 2


async def test_reset_while_a_large_body_is_written_is_a_reset_before_the_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.reader.read(1000)
        peer.reset()

    async with serving(script) as server, client_of() as client:
        for size in (200_000, 64 << 20):
            with pytest.raises(ResetBeforeAnswer):
                await ask(client, server.url(), method="POST", body=bytes(size))


async def test_closing_the_client_ends_a_reader_that_lags_behind() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            await peer.say(bytes(1 << 16))

    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url()))
        pool = next(iter(client._origins.values()))[1]
        (connection,) = pool._members
        await until(lambda: not connection.transport.is_reading())
        closing = asyncio.ensure_future(client.close())
        await asyncio.sleep(0)
        _, error = await failure_of(answer)
        assert isinstance(error, BodyCut)
        await closing


async def test_large_body_is_sent_whole() -> None:
    body = bytes(range(256)) * 20_000

    async def script(peer: Peer) -> None:
        while True:
            got.append((await peer.request()).partition(b"\r\n\r\n")[2])
            await peer.say(OK)

    got: list[bytes] = []
    async with serving(script) as server, client_of() as client:
        assert await ask(client, server.url(), method="POST", body=body) == (200, b"ok")
        assert await ask(client, server.url(), method="POST", body=body) == (200, b"ok")
        assert got == [body, body]
        assert server.connections == 1


async def test_server_that_never_reads_holds_up_the_writing_with_little_memory() -> None:
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio.WriteTransport is a Transport
        await released.wait()

    released = asyncio.Event()
    async with serving(script) as server, client_of() as client:
        request = Request("POST", server.url(), body=bytes(64 << 20), timeouts=Timeouts(5, 5, 0.5))
        sending = asyncio.ensure_future(client.send(request))
        await until(lambda: bool(client._origins))
        pool = next(iter(client._origins.values()))[1]
        await until(lambda: any(member.write_paused for member in pool._members))
        (connection,) = pool._members
        assert connection.transport.get_write_buffer_size() < 1 << 20
        with pytest.raises(AnswerTimeout, match="stopped reading"):
            await sending
        released.set()


async def test_slow_reader_holds_up_the_peer_with_little_memory() -> None:
    size = 64 << 20

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            await peer.say(bytes(1 << 16))
            written[0] += 1 << 16
        await peer.gone()

    written = [0]
    async with serving(script) as server, client_of() as client:
        answer = await client.send(Request("GET", server.url(), timeouts=QUICK))
        seen = -1
        while seen != written[0]:  # until the peer is stuck
            seen = written[0]
            await asyncio.sleep(0.1)
        assert written[0] < size // 2
        first = await anext(answer.chunks())
        assert len(first) < 1 << 20
        total = len(first)
        async for chunk in answer.chunks():
            assert len(chunk) < 1 << 20
            total += len(chunk)
        assert total == size


BAD_REQUESTS = {
    "line feed in the path": Request("GET", "http://localhost/a\nb"),
    "carriage return in the path": Request("GET", "http://localhost/a\rb"),
    "nul in the path": Request("GET", "http://localhost/a\0b"),
    "blank in the path": Request("GET", "http://localhost/a b HTTP/1.1"),
    "not ascii in the path": Request("GET", "http://localhost/é"),
    "user info": Request("GET", "http://ann:pass-1@localhost/"),
    "no scheme": Request("GET", "localhost/"),
    "other scheme": Request("GET", "ftp://localhost/"),
    "no host": Request("GET", "http:///x"),
    "line break in the host": Request("GET", "http://local\r\nhost/"),
    "port out of range": Request("GET", "http://localhost:65536/"),
    "port zero": Request("GET", "http://localhost:0/"),
    "port not a number": Request("GET", "http://localhost:8a/"),
    "malformed ipv6": Request("GET", "http://[::1/"),
    "name in brackets": Request("GET", "http://[localhost]/"),
    "more after the brackets": Request("GET", "http://[::1]evil/"),
    "zone": Request("GET", "http://[fe80::1%eth0]/"),
    "bare ipv6": Request("GET", "http://::1/"),
    "line break in the method": Request("GET / HTTP/1.1\r\nx: 1\r\n", "http://localhost/"),
    "connect": Request("CONNECT", "http://localhost/"),
    "line feed in a name": Request("GET", "http://localhost/", headers=[(b"x\n", b"1")]),
    "colon in a name": Request("GET", "http://localhost/", headers=[(b"x: 1", b"1")]),
    "empty name": Request("GET", "http://localhost/", headers=[(b"", b"1")]),
    "line feed in a value": Request("GET", "http://localhost/", headers=[(b"x", b"hush-1\nb")]),
    "carriage return in a value": Request("GET", "http://localhost/", headers=[(b"x", b"hush-1\rb")]),
    "nul in a value": Request("GET", "http://localhost/", headers=[(b"x", b"hush-1\0b")]),
}


@pytest.mark.parametrize("request_", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
async def test_request_that_could_inject_anything_is_refused_before_anything_is_sent(
    request_: Request,
) -> None:
    async with client_of() as client:
        with pytest.raises(UnsendableRequest) as caught:
            await client.send(request_)
        assert isinstance(caught.value, ValueError)
        assert "hush-1" not in str(caught.value)
        assert "pass-1" not in str(caught.value)
        assert not client._origins or not next(iter(client._origins.values()))[1]._members
