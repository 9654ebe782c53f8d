"""From a Messages request to the message model.

Messages are read in `turns.py`, tools in `tools.py`; the JSON is declared in `wire.py`. A knob without a meaning here is
noted in `Request.dropped`; a piece of content without one raises DialectError.
"""

from __future__ import annotations

import msgspec

from regrant.dialects.anthropic import wire
from regrant.dialects.anthropic.tools import Toolbox, says
from regrant.dialects.anthropic.turns import Conversation
from regrant.dialects.base import ROOM_TO_THINK
from regrant.dialects.decoding import decode_body
from regrant.errors import DialectError
from regrant.messages.model import Effort, Generation, OutputFormat, Reasoning, Request

_KNOWN_FIELDS = msgspec.json.Decoder(wire.KnownMessagesRequest)
_ANY_FIELDS = msgspec.json.Decoder(wire.MessagesRequest)
_FIELD_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DECLARED = frozenset(wire.MessagesRequest.__struct_fields__)
_EFFORTS = frozenset(Effort)


def decode_request(body: bytes) -> Request:
    """Raises: DialectError, naming the field."""
    asked, unknown = _decode_wire(body)
    if not asked.messages:
        raise DialectError("`messages` must not be empty.", param="messages")
    conversation = Conversation()
    conversation.read_system(asked.system)
    conversation.read(asked.messages)
    toolbox = Toolbox(asked, conversation)
    dropped = [name for name in wire.WITHOUT_MEANING if says(getattr(asked, name))]
    return Request(
        model=asked.model,
        system=tuple(conversation.system),
        turns=tuple(conversation.turns),
        tools=tuple(toolbox.functions.values()),
        builtin_tools=tuple(toolbox.builtin),
        tool_choice=toolbox.choice,
        generation=Generation(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            stop=tuple(asked.stop_sequences or ()),
        ),
        output=_decode_format(asked),
        reasoning=_decode_reasoning(asked, dropped),
        stream=bool(asked.stream),
        include_usage=True,
        conversation=(asked.metadata.user_id or "") if asked.metadata else "",
        dropped=(*dropped, *unknown, *conversation.dropped, *toolbox.dropped),
    )


def _decode_wire(body: bytes) -> tuple[wire.MessagesRequest, tuple[str, ...]]:
    try:
        if not body.isascii():
            body.decode()
        return _KNOWN_FIELDS.decode(body), ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # the tolerant decoder says what is wrong, if anything is
    asked = decode_body(body, _ANY_FIELDS)
    return asked, tuple(sorted(set(_FIELD_NAMES.decode(body)) - _DECLARED))


def _decode_format(asked: wire.MessagesRequest) -> OutputFormat | None:
    config = asked.output_config.format if asked.output_config else None
    found = config or asked.output_format
    if found is None:
        return None
    if found.type != "json_schema":
        where = "output_config.format.type"
        raise DialectError(f"{where} is {found.type!r}: only json_schema is known.", param=where)
    return OutputFormat(schema=found.schema if says(found.schema) else None, strict=True)


def _decode_reasoning(asked: wire.MessagesRequest, dropped: list[str]) -> Reasoning | None:
    effort = _decode_effort(asked, dropped)
    thinking = asked.thinking
    if thinking is None:
        if effort is None and asked.max_tokens is not None and asked.max_tokens < ROOM_TO_THINK:
            return Reasoning(effort=Effort.NONE)  # Anthropic counts no thoughts against such a limit
        return Reasoning(effort=effort) if effort is not None else None
    if thinking.type == "disabled":
        return Reasoning(effort=Effort.NONE)
    summaries = thinking.display != "omitted"
    budget = thinking.budget_tokens if thinking.type == "enabled" else None
    if effort is None and budget is None and not summaries:
        return None
    return Reasoning(effort=effort, budget_tokens=budget, summaries=summaries)


def _decode_effort(asked: wire.MessagesRequest, dropped: list[str]) -> Effort | None:
    word = asked.output_config.effort if asked.output_config else None
    if word is None:
        return None
    if word.lower() not in _EFFORTS:
        dropped.append("output_config.effort")
        return None
    return Effort(word.lower())
