"""The JSON of OpenAI's Chat Completions requests, field by field.

What it means in the message model is in `request.py`; answers are written in `reply.py`.
Source: openai-python 3.54, `openai/types/chat`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw

ABSENT = Raw()


class Wire(msgspec.Struct, kw_only=True, gc=False):
    """Values that hold no cycles: the collector need not look at them."""


class TextPart(Wire, tag="text"):
    text: str


class RefusalPart(Wire, tag="refusal"):
    refusal: str


class ImageUrl(Wire):
    url: str
    detail: str | None = None


class ImagePart(Wire, tag="image_url"):
    image_url: ImageUrl


class InputAudio(Wire):
    data: str
    format: str


class AudioPart(Wire, tag="input_audio"):
    input_audio: InputAudio


class File(Wire):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Wire, tag="file"):
    file: File


ContentPart: TypeAlias = TextPart | RefusalPart | ImagePart | AudioPart | FilePart
Content: TypeAlias = str | list[ContentPart] | None


class GoogleExtra(Wire):
    thought_signature: str | None = None


class ExtraContent(Wire):
    google: GoogleExtra | None = None


class FunctionCall(Wire):
    name: str
    arguments: str | dict[str, Raw] | None = None


class CustomCall(Wire):
    name: str
    input: str = ""


class ToolCall(Wire):
    id: str | None = None
    type: str | None = None
    function: FunctionCall | None = None
    custom: CustomCall | None = None
    extra_content: ExtraContent | None = None


class SystemMessage(Wire, tag="system", tag_field="role"):
    content: Content = None


class DeveloperMessage(Wire, tag="developer", tag_field="role"):
    content: Content = None


class UserMessage(Wire, tag="user", tag_field="role"):
    content: Content = None


class AssistantMessage(Wire, tag="assistant", tag_field="role"):
    content: Content = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    audio: Raw = ABSENT


class ToolMessage(Wire, tag="tool", tag_field="role"):
    tool_call_id: str
    content: Content = None


class FunctionMessage(Wire, tag="function", tag_field="role"):
    name: str
    content: Content = None


Message: TypeAlias = (
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
)


class FunctionDefinition(Wire):
    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class CustomDefinition(Wire):
    name: str
    description: str | None = None
    format: Raw = ABSENT


class Tool(Wire):
    type: str = "function"
    function: FunctionDefinition | None = None
    custom: CustomDefinition | None = None


class ToolName(Wire):
    name: str


class ToolReference(Wire):
    type: str = "function"
    function: ToolName | None = None
    custom: ToolName | None = None


class AllowedTools(Wire):
    mode: Literal["auto", "required"]
    tools: list[ToolReference]


class ToolChoice(Wire):
    type: str
    function: ToolName | None = None
    custom: ToolName | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchema(Wire):
    name: str | None = None
    description: str | None = None
    schema: Raw = ABSENT
    strict: bool | None = None


class ResponseFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Wire):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ThinkingConfig(Wire):
    thinking_budget: int | None = None
    thinking_level: str | None = None
    include_thoughts: bool | None = None


class GoogleBody(Wire):
    thinking_config: ThinkingConfig | None = None


class ExtraBody(Wire):
    """Google's own extension of this API: `extra_body.google`."""

    google: GoogleBody | None = None


class ChatRequest(Wire):
    model: str
    messages: list[Message]
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = None
    function_call: Literal["auto", "none"] | ToolName | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    modalities: list[Literal["text", "audio", "image"]] | None = None
    web_search_options: Raw = ABSENT
    prompt_cache_key: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    extra_body: ExtraBody | None = None


WITHOUT_MEANING = (
    "audio",
    "logit_bias",
    "metadata",
    "moderation",
    "prediction",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
)
"""Fields that OpenAI documents and that no other vendor knows."""


class KnownChatRequest(ChatRequest, forbid_unknown_fields=True):
    """The same, refusing fields that are not declared: tells cheaply whether there are any."""
