"""The upstream of the measurements: answers every model call with one fixed body, as fast as Python can.

`python bench/upstream.py PORT` prints `ready` when it listens. It is the same for every contestant.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

WORDS = ["Hello", " from", " the", " upstream", "."]


def event(text: str, *, last: bool) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-3.8-flash",
        "responseId": "r1",
    }


def answer(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


WHOLE = answer(json.dumps(event("".join(WORDS), last=True)).encode())
CHAT = answer(
    json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "".join(WORDS)},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
        }
    ).encode()
)
STREAM = answer(
    b"".join(
        b"data: " + json.dumps(event(word, last=word == WORDS[-1])).encode() + b"\r\n\r\n" for word in WORDS
    ),
    "text/event-stream",
)
TOKEN = answer(b'{"access_token":"bench-access","expires_in":3599,"token_type":"Bearer","scope":"openid"}')


class Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "write")
        self._write = transport.write
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:head_end].lower()
            _, found, rest = head.partition(b"content-length:")
            end = head_end + 4 + (int(rest.split(b"\r\n", 1)[0]) if found else 0)
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            self._write(choose(head))


def choose(head: bytes) -> bytes:
    if b"/token " in head[:40]:
        return TOKEN
    if b"/chat/completions" in head[:80]:
        return CHAT
    return STREAM if b":streamgeneratecontent" in head[:160] else WHOLE


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
