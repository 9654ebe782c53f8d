"""The JSON of Anthropic's Messages requests, field by field.

What it means in the message model is in `request.py`, `turns.py` and `tools.py`; answers are written in `reply.py`.
Fields that stand in no Struct, such as `cache_control`, are read over.
Source: anthropic-python 2.12, `anthropic/types` and `anthropic/types/beta`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw

ABSENT = Raw()


class Wire(msgspec.Struct, kw_only=True, gc=False):
    """Values that hold no cycles: the collector need not look at them."""


class TextBlock(Wire, tag="text"):
    text: str


class Base64Source(Wire, tag="base64"):
    data: str
    media_type: str = ""


class UrlSource(Wire, tag="url"):
    url: str


class TextSource(Wire, tag="text"):
    data: str
    media_type: str = "text/plain"


class FileSource(Wire, tag="file"):
    file_id: str


class ImageBlock(Wire, tag="image"):
    source: Base64Source | UrlSource | FileSource


class ContentSource(Wire, tag="content"):
    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(Wire, tag="document"):
    source: Base64Source | UrlSource | TextSource | ContentSource | FileSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Wire, tag="search_result"):
    content: list[TextBlock]
    source: str = ""
    title: str = ""


class ThinkingBlock(Wire, tag="thinking"):
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Wire, tag="redacted_thinking"):
    data: str


class ToolUseBlock(Wire, tag="tool_use"):
    id: str
    name: str
    input: Raw = ABSENT


class ToolReferenceBlock(Wire, tag="tool_reference"):
    tool_name: str


ResultBlock: TypeAlias = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock


class ToolResultBlock(Wire, tag="tool_result"):
    tool_use_id: str
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None


class CompactionBlock(Wire, tag="compaction"):
    """What stands for the part of the conversation that was summed up."""

    content: str | None = None


class ServerToolUseBlock(Wire, tag="server_tool_use"):
    name: str


class WebSearchResultBlock(Wire, tag="web_search_tool_result"):
    pass


class WebFetchResultBlock(Wire, tag="web_fetch_tool_result"):
    pass


class FoundTools(Wire):
    tool_references: list[ToolReferenceBlock] = []


class ToolSearchResultBlock(Wire, tag="tool_search_tool_result"):
    content: FoundTools = msgspec.field(default_factory=FoundTools)


ServerBlock: TypeAlias = (
    ServerToolUseBlock | WebSearchResultBlock | WebFetchResultBlock | ToolSearchResultBlock
)
"""What Anthropic's own tools did in earlier turns; meant for Anthropic, and encrypted where it matters."""

Block: TypeAlias = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | CompactionBlock
    | ServerToolUseBlock
    | WebSearchResultBlock
    | WebFetchResultBlock
    | ToolSearchResultBlock
)


class Tool(Wire):
    """A function of the client's, or one of Anthropic's own tools, which `type` names."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: Raw = ABSENT
    strict: bool | None = None
    defer_loading: bool | None = None
    max_uses: Raw = ABSENT
    allowed_domains: Raw = ABSENT
    blocked_domains: Raw = ABSENT
    user_location: Raw = ABSENT


class NamedTool(Wire, tag="tool_reference"):
    name: str


class DefinedTool(Wire, tag="tool_definition"):
    definition: Tool


class ToolAdditionBlock(Wire, tag="tool_addition"):
    tool: NamedTool | DefinedTool


class ToolRemovalBlock(Wire, tag="tool_removal"):
    tool: NamedTool


class UserMessage(Wire, tag="user", tag_field="role"):
    content: str | list[Block]


class AssistantMessage(Wire, tag="assistant", tag_field="role"):
    content: str | list[Block]


class SystemMessage(Wire, tag="system", tag_field="role"):
    content: str | list[TextBlock | ToolAdditionBlock | ToolRemovalBlock] | None = None
    clear_at: str | None = None


Message: TypeAlias = UserMessage | AssistantMessage | SystemMessage


class ToolChoice(Wire):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Wire):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class JsonFormat(Wire):
    type: str = "json_schema"
    schema: Raw = ABSENT


class OutputConfig(Wire):
    effort: str | None = None
    format: JsonFormat | None = None


class Metadata(Wire):
    user_id: str | None = None


class MessagesRequest(Wire):
    model: str
    messages: list[Message]
    max_tokens: int | None = None
    """Anthropic demands it; a request to count tokens has none."""
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    metadata: Metadata | None = None
    stream: bool | None = None
    cache_control: Raw = ABSENT
    container: Raw = ABSENT
    context_management: Raw = ABSENT
    diagnostics: Raw = ABSENT
    inference_geo: Raw = ABSENT
    mcp_servers: Raw = ABSENT
    service_tier: Raw = ABSENT
    speed: Raw = ABSENT
    user_profile_id: Raw = ABSENT
    workspace_id: Raw = ABSENT


WITHOUT_MEANING = (
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "mcp_servers",
    "service_tier",
    "speed",
    "user_profile_id",
    "workspace_id",
)
"""Fields that Anthropic documents and that no other vendor knows."""


class KnownMessagesRequest(MessagesRequest, forbid_unknown_fields=True):
    """The same, refusing fields that are not declared: tells cheaply whether there are any."""
