"""From the messages of a Messages request to turns.

Everything but `messages` and `system` is read in `request.py`, tools in `tools.py`. Which media and orders a model accepts is
the affair of the upstream's dialect.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from regrant.dialects.anthropic import signature, wire
from regrant.dialects.decoding import is_json_object
from regrant.dialects.media import decode_data_url, is_data_url, type_of_data, type_of_name
from regrant.errors import DialectError
from regrant.messages.model import EMPTY_OBJECT, Media, Part, Text, Thinking, ToolCall, ToolResult, Turn

_ATTRIBUTION = "x-anthropic-billing-header:"
"""How the block begins in which Claude Code names itself to Anthropic. It changes per session and spoils every cache."""


class Conversation:
    """The messages of one request, read in order. What was read over is named in `dropped`."""

    def __init__(self) -> None:
        self.system: list[Text] = []
        self.turns: list[Turn] = []
        self.dropped: list[str] = []
        self.loaded: set[str] = set()
        """Names of tools that the client has made known since the start: found, added, or already called."""
        self.added: list[wire.Tool] = []
        self.removed: set[str] = set()

    def read_system(self, system: str | list[wire.TextBlock] | None) -> None:
        blocks = [wire.TextBlock(text=system)] if isinstance(system, str) else system or ()
        for index, block in enumerate(blocks):
            if block.text.startswith(_ATTRIBUTION):
                self.dropped.append(f"system[{index}] (attribution)")
            elif block.text:
                self.system.append(Text(text=block.text))

    def read(self, messages: list[wire.Message]) -> None:
        """Raises: DialectError, naming the message or its block."""
        last_user = max(
            (index for index, message in enumerate(messages) if isinstance(message, wire.UserMessage)),
            default=-1,
        )
        for index, message in enumerate(messages):
            where = f"messages[{index}]"
            match message:
                case wire.UserMessage():
                    self.turns.append(Turn(role="user", parts=self._decode_content(message.content, where)))
                case wire.AssistantMessage():
                    parts = _sign_calls(self._decode_content(message.content, where))
                    self.turns.append(Turn(role="assistant", parts=parts))
                case wire.SystemMessage():
                    cleared = message.clear_at == "next_user_message" and index < last_user
                    self._read_system_message(message, cleared=cleared)
                case _:
                    assert_never(message)

    def _read_system_message(self, message: wire.SystemMessage, *, cleared: bool) -> None:
        content = message.content
        blocks = [wire.TextBlock(text=content)] if isinstance(content, str) else content or ()
        texts: list[Text] = []
        for block in blocks:
            match block:
                case wire.TextBlock():
                    if block.text:
                        texts.append(Text(text=block.text))
                case wire.ToolAdditionBlock():
                    self._add_tool(block.tool)
                case wire.ToolRemovalBlock():
                    self.removed.add(block.tool.name)
                case _:
                    assert_never(block)
        if cleared or not texts:
            return
        if self.turns:
            self.turns.append(Turn(role="system", parts=tuple(texts)))
        else:
            self.system.extend(texts)

    def _add_tool(self, tool: wire.NamedTool | wire.DefinedTool) -> None:
        name = tool.name if isinstance(tool, wire.NamedTool) else tool.definition.name
        if isinstance(tool, wire.DefinedTool):
            self.added.append(tool.definition)
        self.loaded.add(name)
        self.removed.discard(name)

    def _decode_content(self, content: str | list[wire.Block], where: str) -> tuple[Part, ...]:
        if isinstance(content, str):
            return (Text(text=content),) if content else ()
        parts: list[Part] = []
        for index, block in enumerate(content):
            parts.extend(self._decode_block(block, f"{where}.content[{index}]"))
        return tuple(parts)

    def _decode_block(self, block: wire.Block, where: str) -> Iterable[Part]:
        match block:
            case wire.TextBlock():
                return (Text(text=block.text),) if block.text else ()
            case wire.ThinkingBlock():
                return (Thinking(text=block.thinking, signature=block.signature),)
            case wire.RedactedThinkingBlock():
                return (Thinking(text="", redacted=block.data),)
            case wire.ToolUseBlock():
                self.loaded.add(block.name)
                return (ToolCall(id=block.id, name=block.name, args=_decode_input(block.input)),)
            case wire.ToolResultBlock():
                return (self._decode_result(block, where),)
            case wire.CompactionBlock():
                return (Text(text=block.content),) if block.content else ()
            case wire.ToolSearchResultBlock():
                self.loaded.update(found.tool_name for found in block.content.tool_references)
                self.dropped.append(where)
                return ()
            case wire.ServerToolUseBlock() | wire.WebSearchResultBlock() | wire.WebFetchResultBlock():
                self.dropped.append(where)
                return ()
            case _:
                return self._decode_result_block(block, where)

    def _decode_result(self, block: wire.ToolResultBlock, where: str) -> ToolResult:
        content: list[Text | Media] = []
        if isinstance(block.content, str):
            content.append(Text(text=block.content))
        else:
            for index, part in enumerate(block.content or ()):
                content.extend(self._decode_result_block(part, f"{where}.content[{index}]"))
        return ToolResult(call_id=block.tool_use_id, content=tuple(content), is_error=block.is_error is True)

    def _decode_result_block(self, block: wire.ResultBlock, where: str) -> Iterable[Text | Media]:
        match block:
            case wire.TextBlock():
                return (Text(text=block.text),) if block.text else ()
            case wire.ImageBlock():
                return (_decode_image(block, where),)
            case wire.DocumentBlock():
                return _decode_document(block, where)
            case wire.SearchResultBlock():
                texts = "\n".join(text.text for text in block.content)
                return (Text(text=_join(block.title, block.source, texts)),)
            case wire.ToolReferenceBlock():
                self.loaded.add(block.tool_name)
                return (Text(text=f"The tool {block.tool_name} can be called from now on."),)
            case _:
                assert_never(block)


def _sign_calls(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Give a call the signature that travelled in the thinking block right before it."""
    signed: list[Part] = []
    for part in parts:
        before = signed[-1] if signed else None
        if isinstance(part, ToolCall) and isinstance(before, Thinking):
            part = msgspec.structs.replace(part, signature=signature.unwrap(before.signature))
        signed.append(part)
    return tuple(signed)


def _decode_input(raw: msgspec.Raw) -> msgspec.Raw:
    """Models write broken arguments at times, and clients repeat them; the history must go through all the same."""
    args = bytes(raw).strip()
    if args.startswith(b"{"):
        return raw  # the whole body was parsed: it is an object
    if args in {b"", b"null", b'""'}:
        return EMPTY_OBJECT
    encoded = b'{"_raw":' + args + b"}"
    return msgspec.Raw(encoded) if is_json_object(encoded) else EMPTY_OBJECT


def _decode_image(block: wire.ImageBlock, where: str) -> Media:
    source = block.source
    match source:
        case wire.Base64Source():
            return _decode_base64(source, where)
        case wire.UrlSource():
            return _decode_url(source.url, where, mime=type_of_name(source.url.partition("?")[0]))
        case wire.FileSource():
            raise _not_stored(where)
        case _:
            assert_never(source)


def _decode_document(block: wire.DocumentBlock, where: str) -> Iterable[Text | Media]:
    source, about = block.source, _join(block.title or "", block.context or "")
    match source:
        case wire.TextSource():
            yield Text(text=_join(about, source.data))
            return
        case wire.FileSource():
            raise _not_stored(where)
        case _:
            pass
    if about:
        yield Text(text=about)
    match source:
        case wire.Base64Source():
            yield _decode_base64(source, where, name=block.title)
        case wire.UrlSource():
            mime = type_of_name(source.url.partition("?")[0]) or "application/pdf"
            yield _decode_url(source.url, where, mime=mime, name=block.title)
        case wire.ContentSource():
            yield from _decode_pieces(source.content, where)
        case _:
            assert_never(source)


def _decode_pieces(
    content: str | list[wire.TextBlock | wire.ImageBlock], where: str
) -> Iterable[Text | Media]:
    if isinstance(content, str):
        yield Text(text=content)
        return
    for index, piece in enumerate(content):
        if isinstance(piece, wire.TextBlock):
            yield Text(text=piece.text)
        else:
            yield _decode_image(piece, f"{where}.source.content[{index}]")


def _decode_base64(source: wire.Base64Source, where: str, *, name: str | None = None) -> Media:
    where = f"{where}.source.data"
    if is_data_url(source.data):
        return decode_data_url(source.data, where, name)
    if not source.data:
        raise DialectError(f"{where} is empty.", param=where)
    return Media(mime=type_of_data(source.media_type, source.data), data=source.data, name=name)


def _decode_url(url: str, where: str, *, mime: str, name: str | None = None) -> Media:
    where = f"{where}.source.url"
    if is_data_url(url):
        return decode_data_url(url, where, name)
    if url[:8].lower().startswith(("http://", "https://", "gs://")):
        return Media(mime=mime, uri=url, name=name, where=where)
    raise DialectError(f"{where} must be an https or a data URL.", param=where)


def _not_stored(where: str) -> DialectError:
    where = f"{where}.source"
    return DialectError(
        f"{where} names a file, and files are not stored here: send its content.", param=where
    )


def _join(*texts: str) -> str:
    return "\n".join(text for text in texts if text)
