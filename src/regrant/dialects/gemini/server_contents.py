"""From a Gemini client's `contents` to turns. The rest of its request is read in `server_request.py`.

A call or result without an id gets one, so that they can be paired elsewhere too: Gemini's older clients pair them by name and order.
"""

from __future__ import annotations

import msgspec

from regrant.dialects.gemini.fields import ANY, BOOL, OBJECT, STR, Fields
from regrant.dialects.gemini.signatures import STAND_INS
from regrant.errors import DialectError
from regrant.messages.model import (
    EMPTY_OBJECT,
    Media,
    Part,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)

_ROLES: dict[str, Role] = {"": "user", "user": "user", "function": "user", "model": "assistant"}
_KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_OF_GOOGLES_TOOLS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


class Conversation:
    """Reads contents, oldest first."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.dropped: list[str] = []
        self._waiting: list[ToolCall] = []
        """Calls that no result has come for."""
        self._unnamed = 0

    def read(self, content: Fields) -> None:
        """Raises: DialectError, naming the part."""
        word = content.take("role", STR) or ""
        if word not in _ROLES:
            raise content.refuse("role", f"is {word!r}: only user and model are known")
        role = _ROLES[word]
        parts = tuple(self._read_part(part, role) for part in content.children("parts"))
        if role == "assistant" and self.turns and self.turns[-1].role == role:
            parts = (
                *self.turns.pop().parts,
                *parts,
            )  # Google's SDK sends each chunk that it was told as a content
        self.turns.append(Turn(role=role, parts=parts))
        self.dropped.extend(content.rest())

    def read_system(self, instruction: Fields) -> tuple[Text, ...]:
        """Raises: DialectError for anything but text."""
        instruction.take("role", STR)  # has no meaning there
        texts: list[Text] = []
        for part in instruction.children("parts"):
            read = self._read_part(part, "user")
            if not isinstance(read, Text):
                raise DialectError(f"`{part.where}` must be a text.", param=part.where)
            texts.append(read)
        self.dropped.extend(instruction.rest())
        return tuple(texts)

    def _read_part(self, part: Fields, role: Role) -> Part:
        thought = part.take("thought", BOOL)
        signature = part.take("thoughtSignature", STR)
        read = self._read_data(part, role, bool(thought), None if signature in STAND_INS else signature)
        if signature is not None and isinstance(read, Media | ToolResult):
            self.dropped.append(part.path("thoughtSignature"))
        self.dropped.extend(part.rest())
        return read

    def _read_data(self, part: Fields, role: Role, thought: bool, signature: str | None) -> Part:
        for name in _OF_GOOGLES_TOOLS:
            if name in part:
                raise part.refuse(name, "is of a tool that Google runs, which no other model can take up")
        match [name for name in _KINDS if name in part]:
            case ["text"]:
                return _speak(part.take("text", STR) or "", thought, signature)
            case ["inlineData"]:
                return self._read_blob(part)
            case ["fileData"]:
                return self._read_link(part)
            case ["functionCall"] if role == "assistant":
                return self._read_call(part, signature)
            case ["functionResponse"] if role == "user":
                return self._read_result(part)
            case [] if signature is not None:
                return _speak("", thought, signature)
            case [name] if name.startswith("function"):
                raise part.refuse(name, "stands in a content of the wrong role")
            case kinds:
                found = " and ".join(kinds) or "nothing that is known"
                raise DialectError(f"`{part.where}` must hold one thing; it holds {found}.", param=part.where)

    def _read_blob(self, part: Fields) -> Media:
        blob = part.child("inlineData")
        assert blob is not None
        mime, data = blob.take("mimeType", STR), blob.take("data", STR)
        if not mime or not data:
            raise blob.refuse("data" if mime else "mimeType", "is missing")
        name = blob.take("displayName", STR)
        self.dropped.extend(blob.rest())
        return Media(mime=mime, data=data, name=name)

    def _read_link(self, part: Fields) -> Media:
        link = part.child("fileData")
        assert link is not None
        uri = link.take("fileUri", STR)
        if not uri:
            raise link.refuse("fileUri", "is missing")
        mime, name = link.take("mimeType", STR) or "", link.take("displayName", STR)
        self.dropped.extend(link.rest())
        return Media(mime=mime, uri=uri, name=name, where=link.path("fileUri"))

    def _read_call(self, part: Fields, signature: str | None) -> ToolCall:
        call = part.child("functionCall")
        assert call is not None
        name = call.take("name", STR)
        if not name:
            raise call.refuse("name", "is missing")
        for unfinished in ("partialArgs", "willContinue"):
            if call.take(unfinished, ANY):
                raise call.refuse(unfinished, "tells a part of a call; only whole calls can be sent")
        args = call.raw("args")
        if args is not None and not bytes(args).startswith(b"{"):
            raise call.refuse("args", "must be an object")
        read = ToolCall(
            id=call.take("id", STR) or self._invent_id(),
            name=name,
            args=EMPTY_OBJECT if args is None else args,
            signature=signature,
        )
        self._waiting.append(read)
        self.dropped.extend(call.rest())
        return read

    def _read_result(self, part: Fields) -> ToolResult:
        answer = part.child("functionResponse")
        assert answer is not None
        if answer.take("willContinue", BOOL):
            raise answer.refuse("willContinue", "tells a part of a result; only whole results can be sent")
        call_id, name = self._pair(answer.take("id", STR), answer.take("name", STR))
        texts, is_error = _read_response(answer)
        media = [self._read_attachment(one) for one in answer.children("parts")]
        self.dropped.extend(answer.rest())
        return ToolResult(call_id=call_id, name=name, content=(*texts, *media), is_error=is_error)

    def _read_attachment(self, part: Fields) -> Media:
        media = self._read_link(part) if "fileData" in part else None
        if (media is None) is ("inlineData" not in part):
            raise DialectError(f"`{part.where}` must hold one file.", param=part.where)
        media = media or self._read_blob(part)
        self.dropped.extend(part.rest())
        return media

    def _pair(self, call_id: str | None, name: str | None) -> tuple[str, str | None]:
        """The id and the tool's name of a result that says `call_id` and `name`."""
        for index, call in enumerate(self._waiting):
            if call.id == call_id if call_id else call.name == name:
                del self._waiting[index]
                return call.id, name or call.name
        return call_id or self._invent_id(), name

    def _invent_id(self) -> str:
        self._unnamed += 1
        return f"call_unnamed_{self._unnamed}"


def _speak(text: str, thought: bool, signature: str | None) -> Text | Thinking:
    return Thinking(text=text, signature=signature) if thought else Text(text=text, signature=signature)


def _read_response(answer: Fields) -> tuple[list[Text], bool]:
    """The words of a result, and whether it is an error.

    `output` and `error` are Google's words for either; any other object is the result as a whole, as JSON.
    """
    said = answer.take("response", OBJECT)
    if said is None:
        return [], False
    for word, is_error in (("output", False), ("error", True)):
        if list(said) == [word]:
            inner = Fields(said, answer.path("response"))
            text = inner.take(word, STR) if bytes(said[word])[:1] == b'"' else bytes(said[word]).decode()
            return [Text(text=text)] if text else [], is_error
    return [Text(text=msgspec.json.encode(said).decode())], False
