"""From turns to Gemini's `contents`, in the order that Gemini insists on.

Theory of operation. Gemini refuses conversations that other vendors accept, so that the list is built by these rules:
1. Every model content with calls is followed by exactly one user content with one response per call, in the order of
   the calls, wherever the client put the results. A call without a result gets an error in its place; a result without
   a call is left out.
2. Nothing but responses stands in that content: text that accompanied them follows in a content of its own. (Vertex
   refuses the mixture.)
3. Empty texts, and contents that would be empty, are left out.
4. The first and the last content are the user's; where they are not, a minimal one is added.
5. On models that want thought signatures, the first call of each step since the user last spoke carries one: its own,
   else the one Google documents for calls that have none.
The rest of the request is `request.py`.
Source: ai.google.dev/gemini-api/docs/{function-calling,thought-signatures}; reports named in tests/dialects.
"""

from __future__ import annotations

from regrant.dialects.base import Signatures
from regrant.dialects.gemini import wire
from regrant.dialects.gemini.families import Family
from regrant.dialects.gemini.names import ToolNames
from regrant.dialects.gemini.signatures import UNSIGNED
from regrant.errors import DialectError
from regrant.messages.model import Media, Request, Text, Thinking, ToolCall, ToolResult, Turn

GO_ON = "Continue."
"""Stands where Gemini demands a word of the user and the client sent none."""

NO_RESULT = "no result"
_REFUSED_PICTURES = frozenset({"image/gif", "image/svg+xml"})


def encode_contents(
    request: Request, *, names: ToolNames, family: Family, signatures: Signatures
) -> tuple[list[wire.Content], tuple[str, ...]]:
    """The contents, and the paths of what was left out. Raises: DialectError, naming the part."""
    builder = _Builder(request, names, family, signatures)
    for index, turn in enumerate(request.turns):
        builder.add(index, turn)
    return builder.finish(), tuple(builder.dropped)


class _Builder:
    def __init__(self, request: Request, names: ToolNames, family: Family, signatures: Signatures) -> None:
        self.dropped: list[str] = []
        self._contents: list[wire.Content] = []
        self._names = names
        self._family = family
        self._signatures = signatures
        self._turns = request.turns
        self._last_word: int | None = None
        self._results: dict[str, list[ToolResult]] = {}
        for turn in request.turns:
            for part in turn.parts:
                if type(part) is ToolResult:
                    self._results.setdefault(part.call_id, []).append(part)

    def add(self, index: int, turn: Turn) -> None:
        match turn.role:
            case "user":
                self._append("user", self._encode_parts(index, turn))
            case "assistant":
                self._add_assistant(index, turn)
            case "system":
                texts = (part.text for part in turn.parts if isinstance(part, Text) and part.text)
                self._append("user", [wire.Part(text=f"<system>\n{text}\n</system>") for text in texts])

    def finish(self) -> list[wire.Content]:
        contents = self._contents
        for call_id in self._results:
            self.dropped.append(f"the result of the unknown tool call {call_id!r}")
        if not contents or contents[0].role == "model":
            contents.insert(0, _say_go_on())
        if contents[-1].role == "model":
            contents.append(_say_go_on())
        return contents

    def _append(self, role: str, parts: list[wire.Part]) -> None:
        if not parts:
            return
        last = self._contents[-1] if self._contents else None
        if last is not None and last.role == role and last.parts[-1].function_response is None:
            last.parts.extend(parts)
        else:
            self._contents.append(wire.Content(role=role, parts=parts))

    def _add_assistant(self, index: int, turn: Turn) -> None:
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        self._append("model", self._encode_parts(index, turn))
        if not calls:
            return
        responses: list[wire.Part] = []
        pictures: list[wire.Part] = []
        for call in calls:
            self._answer(call, index, responses, pictures)
        self._contents.append(wire.Content(role="user", parts=responses))
        self._append("user", pictures)

    def _encode_parts(self, index: int, turn: Turn) -> list[wire.Part]:
        encoded: list[wire.Part] = []
        first_call = True
        for number, part in enumerate(turn.parts):
            match part:
                case Text():
                    if part.text:
                        encoded.append(wire.Part(text=part.text, thought_signature=part.signature))
                case Media():
                    encoded.append(_encode_media(part, f"messages[{index}].content[{number}]"))
                case ToolCall():
                    signed = first_call and index > self._find_last_word()
                    encoded.append(self._encode_call(part, required=signed))
                    first_call = False
                case Thinking() | ToolResult():
                    pass  # thoughts are not wanted back; results stand where their calls are
        return encoded

    def _find_last_word(self) -> int:
        """Looked for once: an agent's conversation has a hundred calls after it."""
        if self._last_word is None:
            self._last_word = _last_word_of_the_user(self._turns)
        return self._last_word

    def _encode_call(self, call: ToolCall, *, required: bool) -> wire.Part:
        signature = self._signatures(call)
        if signature is None and required and self._family.needs_signatures:
            signature = UNSIGNED
        args = call.args if len(call.args) else None
        encoded = wire.FunctionCall(id=call.id, name=self._names.sent(call.name), args=args)
        return wire.Part(function_call=encoded, thought_signature=signature)

    def _answer(
        self, call: ToolCall, index: int, responses: list[wire.Part], pictures: list[wire.Part]
    ) -> None:
        results = self._results.get(call.id)
        result = results.pop(0) if results else None
        if results is not None and not results:
            del self._results[call.id]
        response = wire.FunctionResponse(
            id=call.id, name=self._names.sent(call.name), response=_describe(result)
        )
        media = [part for part in result.content if isinstance(part, Media)] if result else []
        encoded = [_encode_media(part, f"the result of {call.id!r} in messages[{index}]") for part in media]
        if self._family.media_in_results and encoded:
            response.parts = [
                wire.FunctionResponsePart(inline_data=part.inline_data, file_data=part.file_data)
                for part in encoded
            ]
        else:
            pictures.extend(encoded)
        responses.append(wire.Part(function_response=response))


def _last_word_of_the_user(turns: tuple[Turn, ...]) -> int:
    """The number of the last turn in which the user spoke for himself, not only answered calls; -1 if none."""
    for index in range(len(turns) - 1, -1, -1):
        turn = turns[index]
        if (
            turn.role == "user"
            and turn.parts
            and not any(isinstance(part, ToolResult) for part in turn.parts)
        ):
            return index
    return -1


def _describe(result: ToolResult | None) -> dict[str, str]:
    if result is None:
        return {"error": NO_RESULT}
    text = "\n".join(part.text for part in result.content if isinstance(part, Text))
    return {"error" if result.is_error else "output": text}


def _encode_media(media: Media, where: str) -> wire.Part:
    if media.mime in _REFUSED_PICTURES:
        raise DialectError(
            f"Gemini does not read {media.mime} ({where}): send PNG, JPEG or WebP.", param=where
        )
    if media.uri:
        return wire.Part(file_data=wire.FileData(file_uri=media.uri, mime_type=media.mime))
    return wire.Part(inline_data=wire.Blob(mime_type=media.mime, data=media.data))


def _say_go_on() -> wire.Content:
    return wire.Content(role="user", parts=[wire.Part(text=GO_ON)])


def tool_names_of(request: Request) -> list[str]:
    """Every tool name in `request`: declared, called in its history, or chosen."""
    names = [tool.name for tool in request.tools] if request.tools else []
    for turn in request.turns:
        if turn.role == "assistant":
            names += [part.name for part in turn.parts if type(part) is ToolCall]
    return names
