"""The upstream of the measurements: answers every call of a model with a fixed text, as fast as Python can, alike for every contestant.

`python bench/upstream.py [--cert FILE --key FILE]` prints `ready PORT`. It speaks Gemini and OpenAI chat completions, plain or over TLS.
A model named `...-<chunks>x<milliseconds>` streams that many chunks at that distance; of `gemini-ticks-...` each holds the time of its
sending (`at=<monotonic seconds>;`), which is the same clock in every process of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import re
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.work import MODELS, SAID

WORDS = ["Hello", " from", " the", " upstream", "."]
PACED = re.compile(rb"models/gemini-(stream|ticks)-(\d+)x(\d+):streamgeneratecontent")
LAST_PIECE = b"0\r\n\r\n"


def event(text: str, *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-3.8-flash",
        "responseId": "r1",
    }


def server_sent(text: str, *, last: bool) -> bytes:
    return b"data: " + json.dumps(event(text, last=last)).encode() + b"\r\n\r\n"


def answer(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def piece(body: bytes) -> bytes:
    """One chunk of the chunked transfer coding."""
    return b"%x\r\n%s\r\n" % (len(body), body)


GEMINI_BODY = json.dumps(event(SAID, last=True)).encode()
CHAT_BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }
).encode()
TOKEN_BODY = (
    b'{"access_token":"bench-access","expires_in":3599,"token_type":"Bearer","scope":"openid email '
    b'https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/generative-language.retriever"}'
)
METHODS = ["generateContent", "streamGenerateContent", "countTokens"]
CATALOGUE_BODY = json.dumps(
    {"models": [{"name": f"models/{name}", "supportedGenerationMethods": METHODS} for name in MODELS]}
).encode()

GEMINI, CHAT, TOKEN, CATALOGUE = map(answer, (GEMINI_BODY, CHAT_BODY, TOKEN_BODY, CATALOGUE_BODY))
STREAM = answer(
    b"".join(server_sent(word, last=word == WORDS[-1]) for word in WORDS),
    "text/event-stream",
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Upstream(asyncio.Protocol):
    def __init__(self, running: set[asyncio.Task[None]]) -> None:
        self._running = running
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "write")
        self._write: Callable[[bytes], None] = transport.write
        self._closed: Callable[[], bool] = transport.is_closing

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:head_end].lower()
            _, found, rest = head.partition(b"content-length:")
            end = head_end + 4 + (int(rest.split(b"\r\n", 1)[0]) if found else 0)
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        paced = PACED.search(head, 0, 160)
        if paced is None:
            self._write(choose(head))
            return
        task = asyncio.ensure_future(
            self._stream(int(paced[2]), int(paced[3]) / 1000, timed=paced[1] == b"ticks")
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _stream(self, chunks: int, pause_s: float, *, timed: bool) -> None:
        """`chunks` events, the n-th at n times `pause_s` after the request: lateness of one does not delay the next."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._write(STREAM_HEAD)
        for number in range(chunks):
            await asyncio.sleep(started + number * pause_s - loop.time())
            if self._closed():
                return
            text = f"at={time.monotonic():.6f};" if timed else "x"
            self._write(piece(server_sent(text, last=number == chunks - 1)))
        self._write(LAST_PIECE)


def choose(head: bytes) -> bytes:
    """The whole answer to a request that is not paced."""
    if head.startswith(b"get "):
        return CATALOGUE
    if b"/token " in head[:40]:
        return TOKEN
    if b"/chat/completions" in head[:80]:
        return CHAT
    return STREAM if b":streamgeneratecontent" in head[:160] else GEMINI


async def main(options: argparse.Namespace) -> None:
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    loop = asyncio.get_running_loop()
    make = functools.partial(Upstream, set())
    server = await loop.create_server(make, "127.0.0.1", options.port, ssl=context, backlog=2048)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    uvloop.run(main(parser.parse_args()))
