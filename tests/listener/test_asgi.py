"""ASGI applications behind a conversation: what they are told, and what of their answers reaches the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.listener.rig import Rig, get, post, post_chunked, serving, statuses, until

from regrant.listener import asgi
from regrant.listener.conversation import Conversation


@asynccontextmanager
async def serving_app(app: asgi.Asgi, *, body_idle_s: float = 10) -> AsyncIterator[Rig]:
    async def handle(conversation: Conversation) -> None:
        await asgi.run(app, conversation, extra=b"x-extra: yes\r\n", body_idle_s=body_idle_s)

    async with serving(handle) as rig:
        yield rig


async def body_of(receive: Any) -> bytes:
    body = b""
    while True:
        message: dict[str, Any] = await receive()
        assert message["type"] == "http.request"
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def tell(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was told."""
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "raw": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
        "body": len(await body_of(receive)),
    }
    body = json.dumps(seen).encode()
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", length)]})
    await send({"type": "http.response.body", "body": body})


async def test_an_application_is_told_the_whole_request() -> None:
    async with serving_app(tell) as rig, rig.client() as client:
        await client.send(post(b"hello", "/a%20b?c=d", "X-One: 1", "X-One: 2"))
        answer = await client.answer()
        seen = json.loads(answer.body)
        assert (seen["method"], seen["path"], seen["raw"], seen["query"]) == ("POST", "/a b", "/a%20b", "c=d")
        assert [value for name, value in seen["headers"] if name == "x-one"] == ["1", "2"]
        assert seen["body"] == 5
        assert answer.headers["x-extra"] == "yes"
        await client.send(post_chunked(b"x" * 700_000, b"y"))
        assert json.loads((await client.answer()).body)["body"] == 700_001


async def test_head_has_the_length_and_no_body() -> None:
    async with serving_app(tell) as rig, rig.client() as client:
        await client.send(get("/a", method="HEAD") + get("/b"))
        assert int((await client.answer(bodiless=True)).headers["content-length"]) > 0
        assert json.loads((await client.answer()).body)["path"] == "/b"


async def test_a_stream_without_a_length_is_chunked() -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"transfer-encoding", b"chunked")]}
        )
        for piece in (b"one,", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async with serving_app(stream) as rig, rig.client() as client:
        await client.send(get())
        assert (await client.answer()).body == b"one,two"


@pytest.mark.parametrize("before", [True, False], ids=["before its answer", "within its answer"])
async def test_an_application_that_fails_is_told_or_cut(before: bool) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        if not before:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one,", "more_body": True})
        raise RuntimeError("nobody foresaw this")

    async with serving_app(fail) as rig:
        data = await rig.exchange(get("/echo", "Connection: close"))
        assert statuses(data) == [500 if before else 200]
        assert b"0\r\n\r\n" not in data


async def test_an_application_hears_that_the_client_left() -> None:
    heard: list[str] = []

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        await body_of(receive)
        heard.append((await receive())["type"])

    async with serving_app(listen) as rig:
        async with rig.client() as client:
            await client.send(get())
            await until(lambda: rig.server.busy == 1)
        await until(lambda: heard == ["http.disconnect"])


async def test_a_body_that_stops_coming_counts_as_a_client_that_left() -> None:
    heard: list[str] = []

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])

    async with serving_app(listen, body_idle_s=0.1) as rig, rig.client() as client:
        await client.send(get("/a", "Content-Length: 9", method="POST") + b"half")
        assert await client.rest() == b""
        assert heard == ["http.request", "http.disconnect"]


async def test_an_injected_header_is_an_error_and_not_a_header() -> None:
    async def inject(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"x-name", b"a\r\nx-injected: yes")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})

    async with serving_app(inject) as rig, rig.client() as client:
        await client.send(get())
        answer = await client.answer()
        assert answer.status == 500
        assert "x-injected" not in answer.headers


async def test_a_client_that_reads_slowly_holds_the_application_back() -> None:
    sent = 0

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    async with serving_app(flood) as rig, rig.client(receive_buffer=8192) as client:
        await client.send(get())
        await until(lambda: sent > 0)
        await asyncio.sleep(0.2)
        assert sent < 500
        client.reset()
        await until(lambda: not rig.server.busy)
