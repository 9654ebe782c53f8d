"""From the messages of a Chat Completions request to turns.

Everything but `messages` is read in `request.py`. Which media and orders a model accepts is the upstream's dialect's affair.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from regrant.dialects.decoding import is_json_object
from regrant.dialects.media import decode_data_url, is_data_url, type_of_name
from regrant.dialects.openai_chat import wire
from regrant.errors import DialectError
from regrant.messages.model import EMPTY_OBJECT, Media, Part, Text, ToolCall, ToolResult, Turn


def decode_turns(messages: list[wire.Message]) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    """The leading system messages, and all that follows. Raises: DialectError, naming the message or its part."""
    reader = _Reader()
    for index, message in enumerate(messages):
        if type(message) is wire.UserMessage and type(message.content) is str and message.content:
            # Most messages by far; without the detour they cost half.
            reader.turns.append(Turn(role="user", parts=(Text(text=message.content),)))
        else:
            reader.read(message, f"messages[{index}]")
    return tuple(reader.system), tuple(reader.turns)


class _Reader:
    def __init__(self) -> None:
        self.system: list[Text] = []
        self.turns: list[Turn] = []
        self._function_calls: dict[str, str] = {}

    def read(self, message: wire.Message, where: str) -> None:
        match message:
            case wire.UserMessage():
                self.turns.append(Turn(role="user", parts=_decode_content(message.content, where)))
            case wire.AssistantMessage():
                self.turns.append(Turn(role="assistant", parts=self._decode_assistant(message, where)))
            case wire.ToolMessage():
                self._add_result(message.tool_call_id, message.content, where)
            case wire.SystemMessage() | wire.DeveloperMessage():
                self._add_system(_decode_texts(message.content, where))
            case wire.FunctionMessage():
                call_id = self._function_calls.get(message.name, message.name)
                self._add_result(call_id, message.content, where)
            case _:
                assert_never(message)

    def _add_system(self, texts: tuple[Text, ...]) -> None:
        if self.turns:
            self.turns.append(Turn(role="system", parts=texts))
        else:
            self.system.extend(texts)

    def _add_result(self, call_id: str, content: wire.Content, where: str) -> None:
        parts = tuple(part for part in _decode_content(content, where) if isinstance(part, Text | Media))
        self.turns.append(Turn(role="user", parts=(ToolResult(call_id=call_id, content=parts),)))

    def _decode_assistant(self, message: wire.AssistantMessage, where: str) -> tuple[Part, ...]:
        if bytes(message.audio) not in {b"", b"null"}:
            raise DialectError(
                f"{where}.audio refers to a sound that is not stored here.", param=f"{where}.audio"
            )
        parts = list(_decode_content(message.content, where))
        if message.refusal:
            parts.append(Text(text=message.refusal))
        for index, call in enumerate(message.tool_calls or ()):
            parts.append(_decode_call(call, f"{where}.tool_calls[{index}]"))
        if message.function_call is not None:
            name = message.function_call.name
            self._function_calls[name] = call_id = f"function_{len(self.turns)}"
            parts.append(
                ToolCall(id=call_id, name=name, args=_decode_arguments(message.function_call.arguments))
            )
        return tuple(parts)


def _decode_content(content: wire.Content, where: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(text=content),) if content else ()
    return tuple(_decode_part(part, f"{where}.content[{index}]") for index, part in enumerate(content))


def _decode_texts(content: wire.Content, where: str) -> tuple[Text, ...]:
    if isinstance(content, str):
        return (Text(text=content),) if content else ()
    texts: list[Text] = []
    for index, part in enumerate(_decode_content(content, where)):
        if not isinstance(part, Text):
            path = f"{where}.content[{index}]"
            raise DialectError(f"A system message can hold text only; {path} is something else.", param=path)
        texts.append(part)
    return tuple(texts)


def _decode_part(part: wire.ContentPart, where: str) -> Part:
    match part:
        case wire.TextPart():
            return Text(text=part.text)
        case wire.RefusalPart():
            return Text(text=part.refusal)
        case wire.ImagePart():
            return _decode_url(part.image_url.url, f"{where}.image_url.url")
        case wire.AudioPart():
            return Media(mime=f"audio/{part.input_audio.format}", data=part.input_audio.data)
        case wire.FilePart():
            return _decode_file(part.file, f"{where}.file")
        case _:
            assert_never(part)


def _decode_url(url: str, where: str, name: str | None = None) -> Media:
    if is_data_url(url):
        return decode_data_url(url, where, name)
    if url[:8].lower().startswith(("http://", "https://", "gs://")):
        return Media(mime=type_of_name(url.partition("?")[0]), uri=url, name=name, where=where)
    raise DialectError(f"{where} must be an https or a data URL.", param=where)


def _decode_file(file: wire.File, where: str) -> Media:
    if not file.file_data:
        raise DialectError(f"{where} must hold `file_data`; files are not stored here.", param=where)
    if is_data_url(file.file_data):
        return decode_data_url(file.file_data, f"{where}.file_data", file.filename)
    mime = type_of_name(file.filename or "") or "application/pdf"
    return Media(mime=mime, data=file.file_data, name=file.filename)


def _decode_call(call: wire.ToolCall, where: str) -> ToolCall:
    google = call.extra_content.google if call.extra_content else None
    signature = google.thought_signature if google else None
    call_id = call.id or where
    if call.function is not None:
        args = _decode_arguments(call.function.arguments)
        return ToolCall(id=call_id, name=call.function.name, args=args, signature=signature)
    if call.custom is not None:
        args = msgspec.Raw(msgspec.json.encode({"input": call.custom.input}))
        return ToolCall(id=call_id, name=call.custom.name, args=args, signature=signature)
    raise DialectError(f"{where} names neither a function nor a custom tool.", param=where)


def _decode_arguments(arguments: str | dict[str, msgspec.Raw] | None) -> msgspec.Raw:
    """Models and clients write broken arguments at times; the history must go through all the same."""
    if not arguments:
        return EMPTY_OBJECT
    if isinstance(arguments, dict):
        return msgspec.Raw(msgspec.json.encode(arguments))
    encoded = arguments.encode()
    if is_json_object(encoded):
        return msgspec.Raw(encoded)
    return EMPTY_OBJECT if not arguments.strip() else msgspec.Raw(msgspec.json.encode({"_raw": arguments}))
