"""The JSON of `generateContent`, both ways, field by field.

What it means is in `request.py` and `reply.py`. Source: google-genai 3.4 `types.py`; ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw


class Wire(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """camelCase in JSON; what is not set is not sent. Values hold no cycles."""


class Blob(Wire):
    mime_type: str = ""
    data: str = ""


class FileData(Wire):
    file_uri: str
    mime_type: str = ""


class FunctionCall(Wire):
    name: str = ""
    id: str | None = None
    args: Raw | None = None


class FunctionResponsePart(Wire):
    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(Wire):
    name: str
    response: dict[str, str]
    id: str | None = None
    parts: list[FunctionResponsePart] | None = None


class ExecutableCode(Wire):
    code: str = ""
    language: str = ""


class CodeExecutionResult(Wire):
    output: str = ""
    outcome: str = ""


class Part(Wire):
    text: str | None = None
    thought: bool = False
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought_signature: str | None = None


class Content(Wire):
    role: str
    parts: list[Part]


class SystemInstruction(Wire):
    parts: list[Part]


class FunctionDeclaration(Wire):
    name: str
    description: str | None = None
    parameters_json_schema: Raw | None = None


class Empty(Wire):
    pass


class Tool(Wire):
    function_declarations: list[FunctionDeclaration] | None = None
    google_search: Empty | None = None
    url_context: Empty | None = None
    code_execution: Empty | None = None


class FunctionCallingConfig(Wire):
    mode: str
    allowed_function_names: list[str] | None = None


class ToolConfig(Wire):
    function_calling_config: FunctionCallingConfig | None = None
    include_server_side_tool_invocations: bool | None = None


class ThinkingConfig(Wire):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class GenerationConfig(Wire):
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_json_schema: Raw | None = None
    response_modalities: list[str] | None = None
    thinking_config: ThinkingConfig | None = None


class GenerateRequest(Wire):
    contents: list[Content]
    system_instruction: SystemInstruction | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None


class ReplyFunctionCall(Wire):
    name: str = ""
    id: str | None = None
    args: Raw = Raw()
    """Empty bytes when absent: msgspec cannot decode an optional Raw."""


class ReplyPart(Wire):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: ReplyFunctionCall | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    executable_code: ExecutableCode | None = None
    code_execution_result: CodeExecutionResult | None = None


class ReplyContent(Wire):
    parts: list[ReplyPart] | None = None


class LogprobsCandidate(Wire):
    token: str = ""
    log_probability: float = 0.0


class TopCandidates(Wire):
    candidates: list[LogprobsCandidate] | None = None


class LogprobsResult(Wire):
    chosen_candidates: list[LogprobsCandidate] | None = None
    top_candidates: list[TopCandidates] | None = None


class WebChunk(Wire):
    uri: str = ""
    title: str = ""


class GroundingChunk(Wire):
    web: WebChunk | None = None


class Segment(Wire):
    start_index: int = 0
    """In bytes of the text as UTF-8."""
    end_index: int = 0


class GroundingSupport(Wire):
    segment: Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class GroundingMetadata(Wire):
    grounding_chunks: list[GroundingChunk] | None = None
    grounding_supports: list[GroundingSupport] | None = None


class Candidate(Wire):
    content: ReplyContent | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0
    logprobs_result: LogprobsResult | None = None
    grounding_metadata: GroundingMetadata | None = None


class PromptFeedback(Wire):
    block_reason: str | None = None


class UsageMetadata(Wire):
    prompt_token_count: int = 0
    cached_content_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    tool_use_prompt_token_count: int = 0


class GenerateReply(Wire):
    """One answer, or one chunk of it."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Raw = Raw()
    """Empty bytes when absent."""
