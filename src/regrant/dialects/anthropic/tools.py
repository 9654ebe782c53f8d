"""From the tools of a Messages request to functions and built-in tools.

Theory of operation. Anthropic knows three kinds of tools. Functions of the client's own come with a schema. Tools that
Anthropic designed and the client runs (bash, text editor, memory) come with a type alone: their schemas stand below, so
that any model can call them. Tools that the server runs become built-in ones where the message model has them.
A tool that is marked `defer_loading` is declared from the moment on that the conversation made it known.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from regrant.dialects.anthropic import wire
from regrant.dialects.anthropic.turns import Conversation
from regrant.errors import DialectError
from regrant.messages.model import BuiltinTool, Tool, ToolChoice

_BUILTIN = (
    ("web_search_", BuiltinTool.WEB_SEARCH),
    ("web_fetch_", BuiltinTool.URL_CONTEXT),
    ("code_execution_", BuiltinTool.CODE_EXECUTION),
)
_TOOL_SEARCH = "tool_search_tool_"
_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}
_LIMITS = ("max_uses", "allowed_domains", "blocked_domains", "user_location")

_STRING = {"type": "string"}
_RANGE = {"type": "array", "items": {"type": "integer"}}
_EDITING = {
    "path": _STRING,
    "file_text": _STRING,
    "old_str": _STRING,
    "new_str": _STRING,
    "insert_line": {"type": "integer"},
    "insert_text": _STRING,
    "view_range": _RANGE,
}


def _schema(properties: dict[str, object], *required: str) -> msgspec.Raw:
    described = {"type": "object", "properties": properties, "required": list(required)}
    return msgspec.Raw(msgspec.json.encode(described))


def _commands(*names: str) -> dict[str, object]:
    return {"type": "string", "enum": list(names)}


_DESIGNED = (
    (
        "bash_",
        "Run a command in a bash session that lives on between calls; `restart` starts it anew.",
        _schema({"command": _STRING, "restart": {"type": "boolean"}}),
    ),
    (
        "text_editor_",
        "View and edit text files: view, create, str_replace, insert. `view_range` is the first and last line.",
        _schema(
            {"command": _commands("view", "create", "str_replace", "insert"), **_EDITING}, "command", "path"
        ),
    ),
    (
        "memory_",
        "Keep notes in files under /memories: view, create, str_replace, insert, delete, rename.",
        _schema(
            {
                "command": _commands("view", "create", "str_replace", "insert", "delete", "rename"),
                **_EDITING,
                "old_path": _STRING,
                "new_path": _STRING,
            },
            "command",
        ),
    ),
)
"""Type prefix, description, schema. Source: platform.claude.com, the pages on these tools."""


class Toolbox:
    """The tools of one request; `dropped` names what has no meaning here. Raises: DialectError."""

    def __init__(self, request: wire.MessagesRequest, conversation: Conversation) -> None:
        self.functions: dict[str, Tool] = {}
        """By name: a tool that was added in mid-conversation replaces its namesake."""
        self.builtin: list[BuiltinTool] = []
        self.choice: ToolChoice | None = None
        self.dropped: list[str] = []
        self._builtin_names: set[str] = set()
        declared = [*(request.tools or ()), *conversation.added]
        chosen = request.tool_choice.name if request.tool_choice else None
        searched = any((tool.type or "").startswith(_TOOL_SEARCH) for tool in declared)
        for index, tool in enumerate(declared):
            hidden = tool.defer_loading and not (
                searched or tool.name in conversation.loaded or tool.name == chosen
            )
            if hidden or tool.name in conversation.removed:
                self.dropped.append(f"tools[{index}] (not loaded)")
            else:
                self._add(tool, f"tools[{index}]")
        if request.tool_choice is not None:
            self.choice = self._decode_choice(request.tool_choice)

    def _add(self, tool: wire.Tool, where: str) -> None:
        kind = tool.type or "custom"
        if kind == "custom":
            self._add_function(tool, where)
            return
        for prefix, builtin in _BUILTIN:
            if kind.startswith(prefix):
                self._builtin_names.add(tool.name)
                if builtin not in self.builtin:
                    self.builtin.append(builtin)
                self.dropped.extend(f"{where}.{name}" for name in _LIMITS if says(getattr(tool, name)))
                return
        for prefix, description, schema in _DESIGNED:
            if kind.startswith(prefix):
                self.functions[tool.name] = Tool(name=tool.name, description=description, schema=schema)
                return
        if kind.startswith(_TOOL_SEARCH):
            self.dropped.append(f"{where} (all tools are declared)")
            return
        raise DialectError(f"{where} is of type {kind!r}, which only Anthropic's models know.", param=where)

    def _add_function(self, tool: wire.Tool, where: str) -> None:
        if not tool.name:
            raise DialectError(f"{where} has no name.", param=where)
        schema = tool.input_schema if says(tool.input_schema) else None
        self.functions[tool.name] = Tool(
            name=tool.name, description=tool.description or "", schema=schema, strict=tool.strict
        )

    def _decode_choice(self, choice: wire.ToolChoice) -> ToolChoice | None:
        parallel = choice.disable_parallel_tool_use is not True
        names: tuple[str, ...] = ()
        if choice.type == "tool":
            if choice.name in self._builtin_names:
                self.dropped.append("tool_choice")  # a tool that the server runs cannot be forced
                return None
            if choice.name not in self.functions:
                text = f"`tool_choice` names {choice.name!r}, which is not among the tools."
                raise DialectError(text, param="tool_choice.name")
            names = (choice.name,)
        return ToolChoice(mode=_MODES[choice.type], names=names, parallel=parallel)


def says(value: msgspec.Raw) -> bool:
    """Whether the field is there and not null."""
    return bytes(value) not in {b"", b"null"}
