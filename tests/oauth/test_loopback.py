"""The browser's way back to the command line, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from regrant.clock import SystemClock
from regrant.oauth.login import CallbackRefused, Code, Login, begin
from regrant.oauth.loopback import LoopbackListener, listening
from regrant.secret import Secret

CLOCK = SystemClock()
WAIT_S = 10.0


def login_for(listener: LoopbackListener) -> Login:
    return begin(
        client_id="123-app",
        redirect_uri=listener.redirect_uri,
        scopes=["openid"],
        entropy=bytes(range(64)),
        now=CLOCK.now(),
    )


async def fetch(port: int, target: str, method: str = "GET") -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    async with asyncio.timeout(WAIT_S):
        answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
async def listener() -> AsyncIterator[LoopbackListener]:
    async with listening(CLOCK) as opened:
        yield opened


async def test_the_code_arrives_and_is_never_echoed(listener: LoopbackListener) -> None:
    login = login_for(listener)
    assert login.redirect_uri == f"http://127.0.0.1:{listener.port}/"
    waiting = asyncio.create_task(listener.wait(login, WAIT_S))
    await asyncio.sleep(0)
    page = await fetch(listener.port, "/any/path?" + urlencode({"state": login.state, "code": "4/0code"}))
    assert await waiting == Code(Secret("4/0code"))
    assert page.startswith("HTTP/1.1 200 OK\r\n")
    assert "go back to the terminal" in page
    assert "default-src 'none'" in page
    assert "no-store" in page
    assert "0code" not in page
    assert login.state not in page
    assert "<script" not in page


async def test_icons_other_methods_and_foreign_states_do_not_end_the_wait(listener: LoopbackListener) -> None:
    login = login_for(listener)
    waiting = asyncio.create_task(listener.wait(login, WAIT_S))
    await asyncio.sleep(0)
    good = "/?" + urlencode({"state": login.state, "code": "4/0code"})
    assert "404 Not Found" in await fetch(listener.port, "/favicon.ico")
    assert "404 Not Found" in await fetch(listener.port, "/")
    assert "405 Method" in await fetch(listener.port, good, method="POST")
    assert "405 Method" in await fetch(listener.port, good, method="HEAD")
    assert "400 Bad Request" in await fetch(listener.port, "/?state=forged&code=4")
    assert "400 Bad Request" in await fetch(listener.port, "/?error=access_denied&state=forged")
    assert "400 Bad Request" in await fetch(listener.port, "/favicon.ico?version=2")
    assert not waiting.done()
    await fetch(listener.port, good)
    assert await waiting == Code(Secret("4/0code"))


async def test_a_refusal_ends_the_wait_and_is_explained_on_the_page(listener: LoopbackListener) -> None:
    login = login_for(listener)
    waiting = asyncio.create_task(listener.wait(login, WAIT_S))
    await asyncio.sleep(0)
    page = await fetch(listener.port, "/?" + urlencode({"state": login.state, "error": "access_denied"}))
    outcome = await waiting
    assert isinstance(outcome, CallbackRefused)
    assert outcome.reason == "access_denied"
    assert "test users" in page


async def test_an_unknown_error_is_escaped(listener: LoopbackListener) -> None:
    login = login_for(listener)
    waiting = asyncio.create_task(listener.wait(login, WAIT_S))
    await asyncio.sleep(0)
    page = await fetch(
        listener.port, "/?" + urlencode({"state": login.state, "error": "<script>alert(1)</script>"})
    )
    await waiting
    assert "<script" not in page
    assert "&lt;script&gt;" in page


async def test_idle_and_half_open_connections_do_not_keep_the_browser_waiting() -> None:
    async with listening(CLOCK) as listener:
        login = login_for(listener)
        waiting = asyncio.create_task(listener.wait(login, WAIT_S))
        spare = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(5)]
        spare[0][1].write(b"GET / HT")
        spare[1][1].write(b"x" * 100_000)
        await fetch(listener.port, "/?" + urlencode({"state": login.state, "code": "4/0code"}))
        assert await waiting == Code(Secret("4/0code"))
    for reader, writer in spare:
        async with asyncio.timeout(WAIT_S):
            assert b"200 OK" not in await _read_to_end(reader)
        writer.close()


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_second_answer_changes_nothing(listener: LoopbackListener) -> None:
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    login = login_for(listener)
    waiting = asyncio.create_task(listener.wait(login, WAIT_S))
    await asyncio.sleep(0)
    await fetch(listener.port, "/?" + urlencode({"state": login.state, "code": "first"}))
    assert "200 OK" in await fetch(listener.port, "/?" + urlencode({"state": login.state, "code": "second"}))
    assert await waiting == Code(Secret("first"))
    assert failures == []


async def test_an_answer_before_the_wait_began_is_not_believed(listener: LoopbackListener) -> None:
    assert "404 Not Found" in await fetch(listener.port, "/?state=&code=4")


async def test_the_wait_ends_with_advice(listener: LoopbackListener) -> None:
    outcome = await listener.wait(login_for(listener), 0.01)
    assert isinstance(outcome, CallbackRefused)
    assert outcome.reason == "timed_out"
    assert "--paste" in outcome.advice


async def test_the_port_is_free_again_after_the_block() -> None:
    async with listening(CLOCK) as listener:
        port = listener.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
