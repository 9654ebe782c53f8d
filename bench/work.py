"""What the contestants are asked and what they must answer: requests, models of the pretend upstream, and the check of each answer.

Sends nothing (`load.py`, `pace.py`, `streams.py`) and answers nothing (`upstream.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

FLASH = "gemini-3.8-flash"
CHUNKS = 100
CHUNKED = f"gemini-stream-{CHUNKS}x5"
"""The upstream sends as many chunks, one every 5 ms: `<chunks>x<milliseconds>`."""
BRIEF = "gemini-stream-3x1"
TICKS = ("gemini-ticks-3x1000", "gemini-ticks-6x1000", "gemini-ticks-15x1000")
"""One chunk a second, each with the time of its sending."""
MODELS = (FLASH, CHUNKED, BRIEF, *TICKS)

SAID = "Hello from the upstream."
CHAT_PATH = "/v1/chat/completions"


def generate(model: str) -> str:
    return f"/v1beta/models/{model}:generateContent"


def stream_generate(model: str) -> str:
    return f"/v1beta/models/{model}:streamGenerateContent?alt=sse"


class Wrong(Exception):  # ends the run
    """An answer was not what it must be."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer comes to, in any dialect: two answers that say the same are equal."""

    text: str
    finish: str
    tokens: int


def read_chat(body: bytes) -> Said:
    """An OpenAI chat completion."""
    answer = json.loads(body)
    choice = answer["choices"][0]
    return Said(choice["message"]["content"], choice["finish_reason"], answer["usage"]["total_tokens"])


def read_chat_stream(body: bytes) -> Said:
    """OpenAI chat completion chunks up to `[DONE]`; their token counts are only there when asked for, so they are not read."""
    if not body.rstrip().endswith(b"data: [DONE]"):
        raise Wrong(f"no [DONE] at the end: {body[-200:]!r}")
    text, finish = "", ""
    for event in events(body):
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
    return Said(text, finish, 0)


def read_gemini(body: bytes) -> Said:
    return _gemini([json.loads(body)])


def read_gemini_stream(body: bytes) -> Said:
    return _gemini(events(body))


def events(body: bytes) -> list[dict[str, Any]]:
    """The JSON events of a stream, without the closing `[DONE]`."""
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def _gemini(answers: Sequence[dict[str, Any]]) -> Said:
    text, finish, tokens = "", "", 0
    for answer in answers:
        candidate = answer["candidates"][0]
        text += "".join(part["text"] for part in candidate["content"]["parts"])
        finish = candidate.get("finishReason", finish)
        tokens = answer["usageMetadata"]["totalTokenCount"]
    return Said(text, finish, tokens)


@dataclass(slots=True)
class Check:
    """Compares answers with what they must say. The first is decoded; others that differ only in id and time are equal at a glance."""

    read: Callable[[bytes], Said]
    expected: Said
    _alike: re.Pattern[bytes] | None = field(default=None, init=False)

    def __call__(self, body: bytes) -> None:
        """Raises Wrong."""
        if self._alike is not None and self._alike.fullmatch(body):
            return
        try:
            said = self.read(body)
        except (ValueError, LookupError, TypeError) as error:
            raise Wrong(f"not an answer ({error!r}): {body[:300]!r}") from error
        if said != self.expected:
            raise Wrong(f"expected {self.expected}, got {said}")
        self._alike = _pattern(body)


def _pattern(body: bytes) -> re.Pattern[bytes]:
    changing = re.compile(rb'("(?:id|responseId)": ?)"[^"]+"|("created": ?)\d+')
    parts, end = [], 0
    for found in changing.finditer(body):
        parts += [re.escape(body[end : found.start()]), re.escape(found[1] or found[2]), rb'"?[\w-]+"?']
        end = found.end()
    return re.compile(b"".join([*parts, re.escape(body[end:])]))


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of request, where it goes, and the check of every answer."""

    port: int
    path: str
    body: bytes
    check: Callable[[bytes], None]
    headers: Sequence[str] = ()

    @property
    def raw(self) -> bytes:
        lines = [
            f"POST {self.path} HTTP/1.1",
            "host: 127.0.0.1",
            "content-type: application/json",
            f"content-length: {len(self.body)}",
            *self.headers,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body


@dataclass(frozen=True, slots=True)
class Door:
    """How a contestant is addressed: its port, the headers it wants, and whether it translates (or passes bytes through)."""

    port: int
    headers: Sequence[str] = ()
    translates: bool = True

    def chat(self, model: str = FLASH) -> Load:
        """A chat completion. Who does not translate has an upstream that speaks the same protocol."""
        return Load(self.port, CHAT_PATH, chat(model), Check(read_chat, Said(SAID, "stop", 14)), self.headers)

    def stream(self, model: str = FLASH, *, text: str = SAID) -> Load:
        """A streamed chat completion; to who does not translate, the stream of the upstream itself."""
        if self.translates:
            check = Check(read_chat_stream, Said(text, "stop", 0))
            return Load(self.port, CHAT_PATH, chat(model, stream=True), check, self.headers)
        check = Check(read_gemini_stream, Said(text, "STOP", 14))
        return Load(self.port, stream_generate(model), GEMINI, check, self.headers)

    def gemini(self) -> Load:
        """A Gemini request, which nobody has to translate."""
        return Load(
            self.port, generate(FLASH), GEMINI, Check(read_gemini, Said(SAID, "STOP", 14)), self.headers
        )

    def agent(self) -> Load:
        """A long conversation of an agent: 40 tools, 100 messages, 200 kB."""
        return Load(self.port, CHAT_PATH, AGENT, Check(read_chat, Said(SAID, "stop", 14)), self.headers)


def chat(model: str, *, stream: bool = False) -> bytes:
    """The body of a chat completion."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Say hello to the reader of this line."},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    return json.dumps(body | ({"stream": True} if stream else {})).encode()


GEMINI = b'{"contents":[{"role":"user","parts":[{"text":"Say hello to the reader of this line."}]}]}'


def _tool(number: int) -> dict[str, Any]:
    fields = {
        f"field_{position}": {
            "type": "string",
            "description": f"The {position}. value that the tool works with.",
        }
        for position in range(8)
    }
    parameters = {"type": "object", "properties": fields, "required": ["field_0", "field_1"]}
    about = f"Does the work number {number} on the files of the project and tells what has changed. " * 4
    return {
        "type": "function",
        "function": {"name": f"tool_{number}", "description": about, "parameters": parameters},
    }


def _turn(number: int) -> list[dict[str, Any]]:
    """Four messages: a question, a call, its result, an answer."""
    arguments = json.dumps({"field_0": f"src/module_{number}.py", "field_1": "read"})
    call = {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": f"tool_{number}", "arguments": arguments},
    }
    return [
        {"role": "user", "content": f"Look at module {number} and say what it does. " * 12},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": f"call_{number}",
            "content": "def compute(value): return value\n" * 142,
        },
        {"role": "assistant", "content": f"Module {number} computes a value and returns it as it is. " * 12},
    ]


AGENT = json.dumps(
    {
        "model": FLASH,
        "messages": [
            {"role": "system", "content": "You are a careful engineer. " * 150},
            *(message for number in range(24) for message in _turn(number)),
            {"role": "user", "content": "Was that all?"},
            {"role": "assistant", "content": "Yes, all modules are read."},
            {"role": "user", "content": "Now change them."},
        ],
        "tools": [_tool(number) for number in range(40)],
        "max_tokens": 4096,
    }
).encode()
