"""google-genai itself asks what the server half of the Gemini dialect reads, and reads what it answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from google import genai
from google.genai import errors, types

from regrant.dialects import gemini
from regrant.dialects.base import reply_context
from regrant.messages.fold import unfold
from regrant.messages.model import (
    Choice,
    Finish,
    FinishReason,
    Reply,
    ReplyPart,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import Event, Failed, Started

MODEL = "gemini-of-mine"
Answers = list[list[Event]]


def reply(*parts: ReplyPart, reason: FinishReason = FinishReason.STOP) -> list[Event]:
    finish = Finish(choice=0, reason=reason)
    usage = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)
    return list(unfold(Reply(id="", model="", choices=(Choice(parts=parts, finish=finish),), usage=usage)))


@asynccontextmanager
async def another_vendor(answers: Answers) -> AsyncIterator[tuple[genai.Client, list[Request]]]:
    """A client of a server that answers streams with `answers`, one after the other, and what it was asked."""
    asked: list[Request] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        asked.append(gemini.decode_request(body, model=MODEL, stream=True))
        encoder = gemini.stream_encoder(reply_context(asked[-1], id="R1", created=1))
        said = b"".join(encoder.keep_alive() + encoder.encode(event) for event in answers.pop(0))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + said
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = types.HttpOptions(base_url=f"http://127.0.0.1:{port}", api_version="v1beta")
    client = genai.Client(api_key="key-of-a-client", http_options=options)
    try:
        async with server:
            yield client, asked
    finally:
        await client.aio.aclose()
        client.close()


async def stream(chat: Any, message: Any) -> list[types.GenerateContentResponse]:
    async with asyncio.timeout(20):
        return [chunk async for chunk in await chat.send_message_stream(message)]


async def test_a_chat_goes_on_with_what_it_was_told() -> None:
    call = ToolCall(id="c1", name="get", args=msgspec.Raw(b'{"p": "a"}'), signature="c2ln")
    answers = [
        reply(Thinking(text="Plan"), call, reason=FinishReason.TOOL_CALLS),
        reply(Text(text="It is "), Text(text="42.")),
        reply(Text(text="Bye.")),
    ]
    async with another_vendor(answers) as (client, asked):
        declared = types.FunctionDeclaration(
            name="get", parameters=types.Schema(type=types.Type.OBJECT, properties={})
        )
        config = types.GenerateContentConfig(
            system_instruction="S",
            tools=[types.Tool(function_declarations=[declared])],
            thinking_config=types.ThinkingConfig(include_thoughts=True),
        )
        chat = client.aio.chats.create(model=MODEL, config=config)
        chunks = await stream(chat, "What?")
        called = [one for chunk in chunks for one in chunk.function_calls or ()]
        assert [(one.id, one.name, one.args) for one in called] == [("c1", "get", {"p": "a"})]
        result = types.Part.from_function_response(name="get", response={"output": "42"})
        second = await stream(chat, result)
        assert "".join(chunk.text or "" for chunk in second) == "It is 42."
        counted = second[-1].usage_metadata
        assert counted is not None
        assert (counted.prompt_token_count, counted.thoughts_token_count, counted.total_token_count) == (
            3, 2, 8,
        )  # fmt: skip
        await stream(chat, "Thanks")
    assert [len(request.turns) for request in asked] == [1, 3, 5]
    assert asked[-1].system == (Text(text="S"),)
    schema = asked[-1].tools[0].schema
    assert schema is not None
    assert msgspec.json.decode(schema) == {"type": "object", "properties": {}}
    first, told, answered, said, last = asked[-1].turns
    assert told.parts[:2] == (Thinking(text="Plan"), call)
    assert answered.parts == (ToolResult(call_id="c1", name="get", content=(Text(text="42"),)),)
    assert "".join(part.text for part in said.parts if isinstance(part, Text)) == "It is 42."
    assert (first.parts, last.parts) == ((Text(text="What?"),), (Text(text="Thanks"),))


async def test_a_stream_that_breaks_off_is_an_error_to_the_sdk() -> None:
    problem = Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone", status=503)
    begun = reply(Text(text="It is"))[:-1]
    async with another_vendor([[*begun, Failed(problem=problem)], [Started(id="", model="")]]) as (client, _):
        chat = client.aio.chats.create(model=MODEL)
        with pytest.raises(errors.ServerError, match="gone"):
            await stream(chat, "What?")
