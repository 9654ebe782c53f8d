"""From a Gemini client's `tools` and `toolConfig` to the message model."""

from __future__ import annotations

from collections.abc import Sequence

from regrant.dialects.gemini.fields import BOOL, STR, STRS, Fields
from regrant.dialects.gemini.schemas import take_google_schema, take_schema
from regrant.messages.model import BuiltinTool, Tool, ToolChoice

_BUILTIN = {
    "googleSearch": BuiltinTool.WEB_SEARCH,
    "googleSearchRetrieval": BuiltinTool.WEB_SEARCH,
    "urlContext": BuiltinTool.URL_CONTEXT,
    "codeExecution": BuiltinTool.CODE_EXECUTION,
}


class Toolbox:
    def __init__(self) -> None:
        self.functions: dict[str, Tool] = {}
        self.builtin: list[BuiltinTool] = []
        self.choice: ToolChoice | None = None
        self.dropped: list[str] = []

    def read(self, tools: Sequence[Fields], config: Fields | None) -> None:
        """Raises: DialectError, naming the tool."""
        for tool in tools:
            self._read_tool(tool)
        if config is not None:
            calling = config.child("functionCallingConfig")
            if calling is not None:
                self.choice = self._read_choice(calling)
            config.take("includeServerSideToolInvocations", BOOL)  # whoever writes the request knows
            self.dropped.extend(config.rest())

    def _read_tool(self, tool: Fields) -> None:
        for declaration in tool.children("functionDeclarations"):
            self._declare(declaration)
        for name, builtin in _BUILTIN.items():
            settings = tool.child(name)
            if settings is not None:
                self.dropped.extend(settings.rest())
                if builtin not in self.builtin:
                    self.builtin.append(builtin)
        if unknown := tool.rest():
            raise tool.refuse(unknown[0].rpartition(".")[2], "is a tool of Google's that cannot be had here")

    def _declare(self, declaration: Fields) -> None:
        name = declaration.take("name", STR)
        if not name:
            raise declaration.refuse("name", "is missing")
        if name in self.functions:
            raise declaration.refuse("name", f"{name!r} is declared twice")
        as_google = take_google_schema(declaration, "parameters")
        as_json_schema = take_schema(declaration, "parametersJsonSchema")
        if as_google is not None and as_json_schema is not None:
            raise declaration.refuse("parameters", "cannot be given together with parametersJsonSchema")
        self.functions[name] = Tool(
            name=name,
            description=declaration.take("description", STR) or "",
            schema=as_json_schema if as_google is None else as_google,
        )
        self.dropped.extend(declaration.rest())

    def _read_choice(self, calling: Fields) -> ToolChoice | None:
        mode = (calling.take("mode", STR) or "AUTO").upper()
        listed = calling.take("allowedFunctionNames", STRS)
        names = tuple(listed or ())
        self.dropped.extend(calling.rest())
        for name in names:
            if name not in self.functions:
                raise calling.refuse("allowedFunctionNames", f"names {name!r}, which is not declared")
        match mode:
            case "ANY":
                return ToolChoice(mode="required", names=names)
            case "VALIDATED":
                return ToolChoice(mode="auto", names=names)
            case "AUTO" | "NONE" | "MODE_UNSPECIFIED":
                if names:
                    self.dropped.append(calling.path("allowedFunctionNames"))
                return ToolChoice(mode="none" if mode == "NONE" else "auto")
            case _:
                raise calling.refuse("mode", f"is {mode!r}: only AUTO, ANY, NONE and VALIDATED are known")
