"""What every implementation of `Transport` does, whatever it is built of.

Subclass `TransportContract` as a `Test…` class and give the `transport` fixture; `test_http_client_contract.py` is
the example. How HttpClient does it, and what it does beyond this, is in the other test modules of this folder.
"""

from __future__ import annotations

import asyncio
import gzip

import pytest
from tests.transport.hostile import OK, QUICK, Peer, Script, Server, always, failure_of, once, serving, until

from regrant.errors import (
    AnswerTimeout,
    BadAnswer,
    BodyCut,
    BodyIdle,
    BodyTooLarge,
    ConnectFailed,
    ResetBeforeAnswer,
    TransportError,
    UnsendableRequest,
)
from regrant.transport.model import Request, Response, Timeouts, Transport


class TransportContract:
    async def test_request_arrives_whole_and_once(self, transport: Transport) -> None:
        body = bytes(range(256)) * 4000
        heard: list[bytes] = []
        async with serving(hearing(heard)) as server:
            request = Request(
                "POST", server.url("/a/b?c=d"), [(b"X-One", b"1"), (b"x-one", b"2")], body, QUICK
            )
            answer = await transport.send(request)
            assert (answer.status, await answer.read(10)) == (200, b"ok")
        (whole,) = heard
        head, _, sent = whole.partition(b"\r\n\r\n")
        line, *fields = head.lower().split(b"\r\n")
        assert line == b"post /a/b?c=d http/1.1"
        assert fields.count(b"host: 127.0.0.1:%d" % server.port) == 1
        assert [field for field in fields if field.startswith(b"x-one")] == [b"x-one: 1", b"x-one: 2"]
        assert b"content-length: %d" % len(body) in fields
        assert sent == body

    @pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"TE"])
    async def test_field_of_the_framing_or_the_connection_is_not_the_callers(
        self, transport: Transport, name: bytes
    ) -> None:
        heard: list[bytes] = []
        async with serving(hearing(heard)) as server:
            answer = await transport.send(Request("POST", server.url(), [(name, b"evil")], b"x", QUICK))
            assert await answer.read(10) == b"ok"
        assert b"evil" not in heard[0]

    async def test_user_agent_of_the_caller_replaces_the_clients(self, transport: Transport) -> None:
        heard: list[bytes] = []
        async with serving(hearing(heard)) as server:
            answer = await transport.send(Request("GET", server.url(), [(b"User-Agent", b"theirs/1")]))
            await answer.read(10)
        assert heard[0].lower().count(b"user-agent") == 1
        assert b"theirs/1" in heard[0]

    async def test_fields_of_the_answer_are_in_lower_case_and_in_order(self, transport: Transport) -> None:
        fields = b"Content-Length: 0\r\nSet-Cookie: a=1\r\nX-B:   b c \r\nSet-Cookie: b=2\r\n"
        async with serving(always(b"HTTP/1.1 201 Created\r\n" + fields + b"\r\n")) as server:
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            assert answer.status == 201
            assert list(answer.headers) == [
                (b"content-length", b"0"),
                (b"set-cookie", b"a=1"),
                (b"x-b", b"b c"),
                (b"set-cookie", b"b=2"),
            ]
            assert answer.header(b"set-cookie") == b"a=1"
            assert answer.header(b"absent") is None
            assert await answer.read(10) == b""

    @pytest.mark.parametrize(
        "rest",
        [
            b"content-length: 5\r\n\r\nhello",
            b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx-t: 1\r\n\r\n",
            b"\r\nhello",
        ],
        ids=["content-length", "chunked", "until close"],
    )
    async def test_body_is_unframed_by_chunks_and_by_read(self, transport: Transport, rest: bytes) -> None:
        async with serving(once(b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + rest)) as server:
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            assert [piece async for piece in answer.chunks() if not piece] == []
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            assert b"".join([piece async for piece in answer.chunks()]) == b"hello"
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            assert await answer.read(5) == b"hello"

    async def test_chunks_come_while_the_peer_still_speaks(self, transport: Transport) -> None:
        taken = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
            await taken.wait()
            await peer.say(b"cd")

        async with serving(script) as server:
            chunks = (await transport.send(Request("GET", server.url(), timeouts=QUICK))).chunks()
            assert await anext(chunks) == b"ab"
            taken.set()
            assert await anext(chunks) == b"cd"

    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
    async def test_answer_that_has_no_body_ends_at_its_head(
        self, transport: Transport, method: str, status: int
    ) -> None:
        async with serving(always(b"HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\n" % status)) as server:
            answer = await transport.send(Request(method, server.url(), timeouts=QUICK))
            assert (answer.status, await answer.read(10)) == (status, b"")

    async def test_interim_answers_are_skipped(self, transport: Transport) -> None:
        async with serving(always(b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + OK)) as server:
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            assert (answer.status, answer.header(b"link")) == (200, None)
            assert await answer.read(10) == b"ok"

    async def test_redirect_is_not_followed_and_a_coded_body_not_decoded(self, transport: Transport) -> None:
        coded = gzip.compress(b"hello")
        head = b"HTTP/1.1 302 F\r\nlocation: /x\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
        async with serving(always(head % len(coded) + coded)) as server:
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            assert (answer.status, answer.header(b"location")) == (302, b"/x")
            assert await answer.read(100) == coded
            assert server.connections == 1

    async def test_connection_is_used_again_after_a_complete_answer_only(self, transport: Transport) -> None:
        longer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"
        gone: list[bool] = []

        async def script(peer: Peer) -> None:
            while b"/cut" not in await peer.request():
                await peer.say(OK)
            await peer.say(longer)
            gone.append(await peer.gone())

        async with serving(script) as server:
            for _ in range(3):
                answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
                assert await answer.read(10) == b"ok"
                await answer.close()
            assert server.connections == 1
            answer = await transport.send(Request("GET", server.url("/cut"), timeouts=QUICK))
            await answer.close()
            await answer.close()
            await until(lambda: gone == [True])
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            assert await answer.read(10) == b"ok"
            assert server.connections == 2

    async def test_many_at_once_each_get_their_own_answer(self, transport: Transport) -> None:
        async def script(peer: Peer) -> None:
            while True:
                path = (await peer.request()).split(b" ")[1]
                await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(path))
                await asyncio.sleep(0)
                await peer.say(path)

        async def one(server: Server, number: int) -> bytes:
            answer = await transport.send(Request("GET", server.url(f"/{number}"), timeouts=QUICK))
            return await answer.read(100)

        async with serving(script) as server:
            for _ in range(2):
                got = await asyncio.gather(*(one(server, number) for number in range(40)))
                assert got == [b"/%d" % number for number in range(40)]

    async def test_refused_connection_leaves_nothing_processed(self, transport: Transport) -> None:
        async with serving(always(OK)) as server:
            pass
        with pytest.raises(ConnectFailed) as caught:
            await transport.send(Request("GET", server.url(), timeouts=QUICK))
        assert not caught.value.processed

    @pytest.mark.parametrize(
        ("said", "kind"),
        [(b"", ResetBeforeAnswer), (b"HTTP/1.1 200", ResetBeforeAnswer), (b"hello\r\n\r\n", BadAnswer)],
        ids=["nothing", "half a head", "garbage"],
    )
    async def test_answer_without_head_fails_and_is_not_asked_for_again(
        self, transport: Transport, said: bytes, kind: type[TransportError]
    ) -> None:
        async with serving(once(said)) as server:
            with pytest.raises(kind) as caught:
                await transport.send(Request("POST", server.url(), body=b"x", timeouts=QUICK))
            assert caught.value.processed
            assert server.connections == 1

    async def test_reused_connection_that_breaks_is_not_replaced_once_bytes_went_out(
        self, transport: Transport
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(OK)
            await peer.request()
            peer.reset()

        async with serving(script) as server:
            answer = await transport.send(Request("POST", server.url(), body=b"x", timeouts=QUICK))
            await answer.read(10)
            with pytest.raises(ResetBeforeAnswer):
                await transport.send(Request("POST", server.url(), body=b"x", timeouts=QUICK))
            assert server.connections == 1

    @pytest.mark.parametrize(
        "rest",
        [b"content-length: 9\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"],
        ids=["content-length", "chunked"],
    )
    async def test_cut_body_never_looks_finished(self, transport: Transport, rest: bytes) -> None:
        async with serving(once(b"HTTP/1.1 200 OK\r\n" + rest)) as server:
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            came, error = await failure_of(answer)
            assert (came, type(error)) == (b"abc", BodyCut)

    async def test_time_limits_of_head_and_body(self, transport: Transport) -> None:
        async def script(peer: Peer) -> None:
            if b"/body" in await peer.request():
                await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            closed.append(await peer.gone())

        closed: list[bool] = []
        short = Timeouts(connect_s=5, first_byte_s=0.1, idle_s=0.1)
        async with serving(script) as server:
            with pytest.raises(AnswerTimeout):
                await transport.send(Request("GET", server.url(), timeouts=short))
            answer = await transport.send(Request("GET", server.url("/body"), timeouts=short))
            with pytest.raises(BodyIdle):
                await answer.read(100)
            await until(lambda: closed == [True, True])

    async def test_body_over_the_limit_is_refused_and_the_connection_closed(
        self, transport: Transport
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n")
            closed.append(await peer.gone())

        closed: list[bool] = []
        async with serving(script) as server:
            answer = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            with pytest.raises(BodyTooLarge):
                await answer.read(5)
            await until(lambda: closed == [True])

    @pytest.mark.parametrize(
        "request_",
        [
            Request("GET", "http://localhost/a b"),
            Request("GET", "ftp://localhost/"),
            Request("GET", "http://ann:pass-1@localhost/"),
            Request("G T", "http://localhost/"),
            Request("GET", "http://localhost/", [(b"x", b"pass-1\r\ny: 1")]),
            Request("GET", "http://localhost/", [(b"x y", b"1")]),
        ],
        ids=["path", "scheme", "user info", "method", "value", "name"],
    )
    async def test_malformed_request_is_refused_unquoted(
        self, transport: Transport, request_: Request
    ) -> None:
        with pytest.raises(UnsendableRequest) as caught:
            await transport.send(request_)
        assert "pass-1" not in str(caught.value)

    @pytest.mark.parametrize("answered", [False, True], ids=["before the head", "within the body"])
    async def test_cancelled_caller_closes_the_connection(self, transport: Transport, answered: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            if answered:
                await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
            asked.set()
            closed.append(await peer.gone())

        async def ask() -> bytes:
            return await (await transport.send(Request("GET", server.url(), timeouts=QUICK))).read(100)

        asked, closed = asyncio.Event(), list[bool]()
        async with serving(script) as server:
            task = asyncio.ensure_future(ask())
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: closed == [True])

    async def test_closing_ends_exchanges_and_refuses_new_ones(self, transport: Transport) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
            closed.append(await peer.gone())

        closed: list[bool] = []
        async with serving(script) as server:
            answer: Response = await transport.send(Request("GET", server.url(), timeouts=QUICK))
            await transport.close()
            await transport.close()
            assert isinstance((await failure_of(answer))[1], BodyCut)
            await until(lambda: closed == [True])
            with pytest.raises(ConnectFailed):
                await transport.send(Request("GET", server.url(), timeouts=QUICK))


def hearing(heard: list[bytes]) -> Script:
    """Note every request and answer it."""

    async def script(peer: Peer) -> None:
        while True:
            heard.append(await peer.request())
            await peer.say(OK)

    return script
