"""From a Gemini client's body of `generateContent` to the message model.

No route needs it yet: a Gemini client's requests go to Gemini byte for byte (`gateway/relay.py`). It is the seam at which Gemini
clients can be served from another upstream, and what proves that `request.py` loses nothing. Contents are read in
`server_contents.py`, tools in `server_tools.py`. A knob without a meaning here is noted in `Request.dropped`; a piece of
content without one raises DialectError.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from regrant.dialects.decoding import decode_body
from regrant.dialects.gemini.fields import BOOL, FLOAT, INT, OBJECT, STR, STRS, Fields
from regrant.dialects.gemini.schemas import take_google_schema, take_schema
from regrant.dialects.gemini.server_contents import Conversation
from regrant.dialects.gemini.server_tools import Toolbox
from regrant.errors import DialectError
from regrant.messages.model import Effort, Generation, OutputFormat, Reasoning, Request

Modality = Literal["text", "image", "audio"]

_MODALITIES: dict[str, Modality] = {"TEXT": "text", "IMAGE": "image", "AUDIO": "audio"}
_LEVELS = {
    "MINIMAL": Effort.MINIMAL,
    "LOW": Effort.LOW,
    "MEDIUM": Effort.MEDIUM,
    "HIGH": Effort.HIGH,
    "XHIGH": Effort.XHIGH,
    "THINKING_LEVEL_UNSPECIFIED": None,
}


def decode_request(body: bytes, *, model: str = "", stream: bool = False) -> Request:
    """`model` and `stream` are told by the address; without, the body's own `model` counts. Raises: DialectError."""
    fields = decode_body(body, OBJECT)
    asked = Fields(fields)
    named = asked.take("model", STR) or ""
    contents = asked.children("contents")
    if not contents:
        raise DialectError("`contents` must not be empty.", param="contents")
    if "cachedContent" in asked:
        raise asked.refuse("cachedContent", "is kept at Google, where no other model can read it")
    conversation, toolbox = Conversation(), Toolbox()
    for content in contents:
        conversation.read(content)
    toolbox.read(asked.children("tools"), asked.child("toolConfig"))
    instruction = asked.child("systemInstruction")
    request = Request(
        model=(model or named).removeprefix("models/"),
        system=conversation.read_system(instruction) if instruction is not None else (),
        turns=tuple(conversation.turns),
        tools=tuple(toolbox.functions.values()),
        builtin_tools=tuple(toolbox.builtin),
        tool_choice=toolbox.choice,
        stream=stream,
        include_usage=True,
    )
    config = asked.child("generationConfig") or Fields({})
    request = _configure(request, config)
    dropped = (*asked.rest(), *config.rest(), *conversation.dropped, *toolbox.dropped)
    return msgspec.structs.replace(request, dropped=(*request.dropped, *dropped))


def _configure(request: Request, config: Fields) -> Request:
    n = config.take("candidateCount", INT)
    if n is not None and n < 1:
        raise config.refuse("candidateCount", "must be at least 1")
    modalities = tuple(_read_modality(word, config) for word in config.take("responseModalities", STRS) or ())
    stops = config.take("stopSequences", STRS)
    thinking = config.child("thinkingConfig")
    return msgspec.structs.replace(
        request,
        n=n or 1,
        modalities=modalities,
        generation=Generation(
            max_tokens=config.take("maxOutputTokens", INT),
            temperature=config.take("temperature", FLOAT),
            top_p=config.take("topP", FLOAT),
            top_k=config.take("topK", INT),
            stop=tuple(stops or ()),
            seed=config.take("seed", INT),
            presence_penalty=config.take("presencePenalty", FLOAT),
            frequency_penalty=config.take("frequencyPenalty", FLOAT),
            logprobs=config.take("responseLogprobs", BOOL) or False,
            top_logprobs=config.take("logprobs", INT),
        ),
        output=_read_format(config),
        reasoning=_read_reasoning(thinking) if thinking is not None else None,
        dropped=thinking.rest() if thinking is not None else (),
    )


def _read_modality(word: str, config: Fields) -> Modality:
    modality = _MODALITIES.get(word.upper())
    if modality is None:
        raise config.refuse("responseModalities", f"names {word!r}: only TEXT, IMAGE and AUDIO are known")
    return modality


def _read_format(config: Fields) -> OutputFormat | None:
    for wanted in config.children("responseFormat"):
        if text := wanted.child("text"):
            return _read_text_format(text)
        if other := wanted.rest():
            raise DialectError(f"`{other[0]}` is a form of answer that cannot be had here.", param=other[0])
    mime = config.take("responseMimeType", STR)
    as_google = take_google_schema(config, "responseSchema")
    as_json_schema = take_schema(config, "responseJsonSchema")
    schema = as_json_schema if as_google is None else as_google
    match mime:
        case "application/json":
            return OutputFormat(schema=schema)
        case None | "" | "text/plain":
            return OutputFormat(schema=schema) if schema is not None else None
        case _:
            raise config.refuse("responseMimeType", f"is {mime!r}: only JSON and plain text are known")


def _read_text_format(text: Fields) -> OutputFormat | None:
    """The newer spelling of the same."""
    mime = text.take("mimeType", STR) or "APPLICATION_JSON"
    schema = take_schema(text, "schema")
    return OutputFormat(schema=schema) if "JSON" in mime.upper() else None


def _read_reasoning(thinking: Fields) -> Reasoning:
    level = thinking.take("thinkingLevel", STR)
    if level is not None and level.upper() not in _LEVELS:
        raise thinking.refuse("thinkingLevel", f"is {level!r}: known are {', '.join(_LEVELS)}")
    return Reasoning(
        effort=_LEVELS[level.upper()] if level is not None else None,
        budget_tokens=thinking.take("thinkingBudget", INT),
        summaries=thinking.take("includeThoughts", BOOL) or False,
    )
