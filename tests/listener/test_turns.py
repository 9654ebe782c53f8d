"""Requests on one connection are answered in their order, and each answer ends where it says."""

from __future__ import annotations

import asyncio

import pytest
from tests.listener.rig import PLAIN, get, post, post_chunked, serving, statuses, until

from regrant.listener.conversation import ClientLeft, Conversation
from regrant.listener.limits import Limits


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(b"".join(post(str(n).encode(), f"/echo/{n}") for n in range(50)))
        for n in range(50):
            assert (await client.answer()).echo == ["POST", f"/echo/{n}", "", str(n)]


async def test_a_body_cut_across_segments_belongs_to_its_request() -> None:
    stream = get("/echo/1") + post(b"second") + get("/echo/3")
    cut = stream.index(b"second") + 3
    async with serving() as rig, rig.client() as client:
        await client.send(stream[:cut])
        assert (await client.answer()).echo[1] == "/echo/1"
        await client.send(stream[cut:])
        assert (await client.answer()).echo[3] == "second"
        assert (await client.answer()).echo[1] == "/echo/3"


async def test_a_request_that_comes_while_an_answer_streams_waits_its_turn() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/stream"))
        await client.until(b"one,\r\n")
        await client.send(post(b"next"))
        await asyncio.sleep(0.05)
        assert rig.answerer.begun == ["/stream"]
        rig.answerer.gate.set()
        assert (await client.until(b"0\r\n\r\n")).endswith(b"4\r\ntwo,\r\n5\r\nthree\r\n0\r\n\r\n")
        assert (await client.answer()).echo[3] == "next"


async def test_a_body_that_comes_while_an_answer_streams_waits_its_turn() -> None:
    body = b"x" * 3_000_000
    async with serving() as rig, rig.client() as client:
        await client.send(get("/gate"))
        await until(lambda: rig.answerer.begun == ["/gate"])
        sending = asyncio.ensure_future(client.send(post(body)))
        await asyncio.sleep(0.05)
        rig.answerer.gate.set()
        assert (await client.answer()).body == b"at last"
        assert len((await client.answer()).echo[3]) == len(body)
        await sending


async def test_too_many_requests_sent_ahead_are_refused_after_the_answers_to_the_first() -> None:
    async with serving(limits=Limits(max_ahead=3)) as rig, rig.client() as client:
        await client.send(get("/gate") + get("/echo") * 10)
        await until(lambda: bool(rig.answerer.begun))
        rig.answerer.gate.set()
        assert statuses(await client.rest()) == [200, 200, 200, 200, 429]


async def test_an_early_answer_leaves_the_connection_usable() -> None:
    async with serving() as rig, rig.client() as client:
        head = get("/early", "Content-Length: 1000000", method="POST")
        await client.send(head)
        assert (await client.answer()).status == 401
        await client.send(b"x" * 1_000_000, get("/echo"))
        assert (await client.answer()).echo[0] == "GET"


async def test_an_early_last_answer_reaches_a_client_that_goes_on_sending() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/early", "Content-Length: 30000000", "Connection: close", method="POST"))
        await asyncio.sleep(0.05)
        for _ in range(30):
            await client.send(b"x" * 1_000_000)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert await client.rest() == b""


async def test_a_client_that_never_stops_sending_after_its_last_answer_is_cut_off() -> None:
    async with serving(limits=Limits(linger_s=0.1, sweep_s=0.02)) as rig, rig.client() as client:
        await client.send(get("/early", "Content-Length: 30000000", "Connection: close", method="POST"))
        await until(lambda: not rig.server.connections)


# -- 100-continue


async def test_a_client_that_waits_for_it_is_told_to_continue() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/echo", "Content-Length: 2", "Expect: 100-Continue", method="POST"))
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hi" + get("/echo/next"))
        assert (await client.answer()).echo[3] == "hi"
        assert (await client.answer()).echo[1] == "/echo/next"


async def test_a_client_that_does_not_wait_is_not_told() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(post(b"hi", "/echo", "Expect: 100-continue"))
        assert (await client.answer()).status == 200
        await client.send(get())
        assert (await client.answer()).status == 200


async def test_a_body_refused_before_it_came_ends_the_connection() -> None:
    """The client may leave the body out: what it sends next would be taken for it."""
    async with serving() as rig, rig.client() as client:
        await client.send(get("/early", "Content-Length: 40", "Expect: 100-continue", method="POST"))
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        await client.send(get("/echo/smuggled"))
        assert await client.rest() == b""
        assert rig.answerer.begun == ["/early"]


async def test_no_continue_follows_the_answer() -> None:
    async def refuse_and_read(conversation: Conversation) -> None:
        conversation.start(413, PLAIN, length=2)
        await conversation.write(b"no")
        while await conversation.read():
            pass
        conversation.end()

    async with serving(refuse_and_read) as rig, rig.client() as client:
        await client.send(get("/", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert (await client.answer()).status == 413
        await client.send(b"hi")
        assert await client.rest() == b""


async def test_http_1_0_is_never_told_to_continue() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(
            get("/echo", "Content-Length: 2", "Expect: 100-continue", version="1.0", method="POST")
        )
        await asyncio.sleep(0.05)
        await client.send(b"hi")
        assert (await client.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


# -- how an answer ends


@pytest.mark.parametrize("path", ["/echo", "/stream", "/big", "/fit"])
async def test_head_is_answered_without_a_body(path: str) -> None:
    async with serving() as rig, rig.client() as client:
        rig.answerer.gate.set()
        await client.send(get(path, method="HEAD") + get("/echo/next"))
        assert (await client.answer(bodiless=True)).status == 200
        assert (await client.answer()).echo[1] == "/echo/next"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("way", ["none", "startnone"])
async def test_a_status_without_a_body_has_none_whatever_is_written(way: str, status: int) -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get(f"/{way}/{status}") + get("/echo/next"))
        answer = await client.answer(bodiless=True)
        assert answer.status == status
        assert not {"content-length", "transfer-encoding"} & set(answer.headers)
        assert (await client.answer()).echo[1] == "/echo/next"


async def test_an_announced_length_may_come_in_pieces() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/fit") + get("/echo/next"))
        assert (await client.answer()).body == b"fourandsix"
        assert (await client.answer()).status == 200


async def test_a_body_shorter_than_announced_is_cut_and_nothing_follows() -> None:
    async with serving() as rig:
        data = await rig.exchange(get("/short") + get("/echo/next"))
        assert data.endswith(b"four")
        assert rig.answerer.begun == ["/short"]


async def test_a_body_longer_than_announced_is_not_sent_on() -> None:
    async with serving() as rig:
        data = await rig.exchange(get("/long") + get("/echo/next"))
        assert statuses(data) == [200]
        assert data.endswith(b"\r\n\r\nfour")


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection() -> None:
    async with serving() as rig:
        rig.answerer.gate.set()
        data = await rig.exchange(get("/stream", "Connection: keep-alive", version="1.0"))
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head
    assert body == b"one,two,three"


async def test_a_stream_that_breaks_in_http_1_0_does_not_look_finished() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/raiselate", version="1.0"))
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_http_1_0_closes_after_an_answer_unless_asked_otherwise() -> None:
    async with serving() as rig:
        assert statuses(await rig.exchange(get(version="1.0"))) == [200]
        async with rig.client() as client:
            for _ in range(3):
                await client.send(get("/echo", "Connection: keep-alive", version="1.0"))
                assert (await client.answer()).headers["connection"] == "keep-alive"


async def test_connection_close_is_answered_and_done() -> None:
    async with serving() as rig:
        data = await rig.exchange(get("/echo", "Connection: close"))
        assert b"connection: close\r\n" in data


async def test_a_handler_that_fails_before_its_answer_is_told_as_500() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/raise") + get("/echo"))
        assert (await client.answer()).status == 500
        assert (await client.answer()).status == 200


async def test_a_handler_that_fails_within_its_answer_cuts_it() -> None:
    async with serving() as rig:
        data = await rig.exchange(get("/raiselate") + get("/echo"))
        assert data.endswith(b"4\r\none,\r\n")


async def test_a_handler_that_says_nothing_drops_the_connection() -> None:
    async with serving() as rig:
        assert await rig.exchange(get("/leave")) == b""


async def test_a_body_that_its_handler_waits_for_ends_with_the_client() -> None:
    left: list[str] = []

    async def wait(conversation: Conversation) -> None:
        try:
            await conversation.read()
        except ClientLeft:
            left.append("left")
            raise

    async with serving(wait) as rig:
        async with rig.client() as client:
            await client.send(get("/", "Content-Length: 2", method="POST"))
            await until(lambda: rig.server.busy == 1)
        await until(lambda: left == ["left"])


async def test_chunks_of_any_size_are_one_body() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(post_chunked(*(b"x" * size for size in (1, 70_000, 3, 300_000))))
        assert len((await client.answer()).echo[3]) == 370_004


async def test_ipv6_is_served_alike() -> None:
    seen: list[object] = []

    async def look(conversation: Conversation) -> None:
        seen.extend((conversation.client, conversation.local))
        conversation.reply(200, PLAIN, b"ok")

    async with serving(look, host="::1") as rig, rig.client() as client:
        await client.send(get())
        assert (await client.answer()).body == b"ok"
        assert [address[0] for address in seen if isinstance(address, tuple)] == ["::1", "::1"]
