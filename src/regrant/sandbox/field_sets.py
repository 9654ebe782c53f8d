"""The closed field sets of the Gemini API, as data.

A kind is a scalar (`string bool int float bytes struct value`), `enum:Name`, a message name, `[]kind` or `{}kind` (a map).
How they are enforced is `strict.py`. Source: docs/sources.md, section 4.
"""

from __future__ import annotations

ENUMS: dict[str, frozenset[str]] = {
    "Type": frozenset(
        {"TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
    ),
    "Mode": frozenset({"MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"}),
    "ThinkingLevel": frozenset({"THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"}),
    "Modality": frozenset({"MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO"}),
    "HarmCategory": frozenset(
        f"HARM_CATEGORY_{name}"
        for name in (
            "UNSPECIFIED",
            "HARASSMENT",
            "HATE_SPEECH",
            "SEXUALLY_EXPLICIT",
            "DANGEROUS_CONTENT",
            "CIVIC_INTEGRITY",
            "JAILBREAK",
            "IMAGE_HARASSMENT",
            "IMAGE_HATE",
            "IMAGE_SEXUALLY_EXPLICIT",
            "IMAGE_DANGEROUS_CONTENT",
        )
    ),
    "HarmBlockThreshold": frozenset(
        {
            "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
            "BLOCK_LOW_AND_ABOVE",
            "BLOCK_MEDIUM_AND_ABOVE",
            "BLOCK_ONLY_HIGH",
            "BLOCK_NONE",
            "OFF",
        }
    ),
    "MediaResolution": frozenset(
        f"MEDIA_RESOLUTION_{name}" for name in ("UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "ULTRA_HIGH")
    ),
    "Language": frozenset({"LANGUAGE_UNSPECIFIED", "PYTHON"}),
    "Outcome": frozenset(
        {"OUTCOME_UNSPECIFIED", "OUTCOME_OK", "OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED"}
    ),
    "Behavior": frozenset({"UNSPECIFIED", "BLOCKING", "NON_BLOCKING"}),
    "Scheduling": frozenset({"SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"}),
    "TaskType": frozenset(
        {
            "TASK_TYPE_UNSPECIFIED",
            "RETRIEVAL_QUERY",
            "RETRIEVAL_DOCUMENT",
            "SEMANTIC_SIMILARITY",
            "CLASSIFICATION",
            "CLUSTERING",
            "QUESTION_ANSWERING",
            "FACT_VERIFICATION",
            "CODE_RETRIEVAL_QUERY",
        }
    ),
}

MESSAGES: dict[str, dict[str, str]] = {
    "GenerateContentRequest": {
        "model": "string",
        "contents": "[]Content",
        "systemInstruction": "Content",
        "tools": "[]Tool",
        "toolConfig": "ToolConfig",
        "safetySettings": "[]SafetySetting",
        "generationConfig": "GenerationConfig",
        "cachedContent": "string",
        "serviceTier": "string",
        "store": "bool",
        "labels": "{}string",
    },
    "Content": {"role": "string", "parts": "[]Part"},
    "Part": {
        "text": "string",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "executableCode": "ExecutableCode",
        "codeExecutionResult": "CodeExecutionResult",
        "toolCall": "struct",
        "toolResponse": "struct",
        "thought": "bool",
        "thoughtSignature": "bytes",
        "videoMetadata": "VideoMetadata",
        "mediaResolution": "PartMediaResolution",
        "partMetadata": "struct",
    },
    "Blob": {"mimeType": "string", "data": "bytes", "displayName": "string"},
    "FileData": {"mimeType": "string", "fileUri": "string", "displayName": "string"},
    "FunctionCall": {
        "id": "string",
        "name": "string",
        "args": "struct",
        "partialArgs": "[]struct",
        "willContinue": "bool",
    },
    "FunctionResponse": {
        "id": "string",
        "name": "string",
        "response": "struct",
        "parts": "[]FunctionResponsePart",
        "willContinue": "bool",
        "scheduling": "enum:Scheduling",
    },
    "FunctionResponsePart": {"inlineData": "Blob", "fileData": "FileData"},
    "ExecutableCode": {"language": "enum:Language", "code": "string", "id": "string"},
    "CodeExecutionResult": {"outcome": "enum:Outcome", "output": "string", "id": "string"},
    "VideoMetadata": {"startOffset": "string", "endOffset": "string", "fps": "float"},
    "PartMediaResolution": {"level": "enum:MediaResolution", "numTokens": "int"},
    "SafetySetting": {
        "category": "enum:HarmCategory",
        "threshold": "enum:HarmBlockThreshold",
        "method": "string",
    },
    "GenerationConfig": {
        "candidateCount": "int",
        "stopSequences": "[]string",
        "maxOutputTokens": "int",
        "temperature": "float",
        "topP": "float",
        "topK": "float",
        "seed": "int",
        "presencePenalty": "float",
        "frequencyPenalty": "float",
        "responseLogprobs": "bool",
        "logprobs": "int",
        "responseMimeType": "string",
        "responseSchema": "Schema",
        "responseJsonSchema": "value",
        "responseFormat": "value",
        "responseModalities": "[]enum:Modality",
        "speechConfig": "struct",
        "thinkingConfig": "ThinkingConfig",
        "imageConfig": "ImageConfig",
        "mediaResolution": "enum:MediaResolution",
        "audioTimestamp": "bool",
        "enableEnhancedCivicAnswers": "bool",
        "routingConfig": "struct",
        "modelSelectionConfig": "struct",
    },
    "ThinkingConfig": {
        "includeThoughts": "bool",
        "thinkingBudget": "int",
        "thinkingLevel": "enum:ThinkingLevel",
    },
    "ImageConfig": {
        "aspectRatio": "string",
        "imageSize": "string",
        "personGeneration": "string",
        "prominentPeople": "string",
        "outputMimeType": "string",
        "outputCompressionQuality": "int",
    },
    "Tool": {
        "functionDeclarations": "[]FunctionDeclaration",
        "googleSearch": "struct",
        "googleSearchRetrieval": "struct",
        "urlContext": "struct",
        "codeExecution": "struct",
        "googleMaps": "struct",
        "fileSearch": "struct",
        "computerUse": "struct",
        "enterpriseWebSearch": "struct",
        "retrieval": "struct",
        "parallelAiSearch": "struct",
        "exaAiSearch": "struct",
        "mcpServers": "[]struct",
    },
    "FunctionDeclaration": {
        "name": "string",
        "description": "string",
        "parameters": "Schema",
        "parametersJsonSchema": "value",
        "response": "Schema",
        "responseJsonSchema": "value",
        "behavior": "enum:Behavior",
    },
    "Schema": {
        "type": "enum:Type",
        "format": "string",
        "title": "string",
        "description": "string",
        "nullable": "bool",
        "enum": "[]string",
        "items": "Schema",
        "minItems": "int",
        "maxItems": "int",
        "properties": "{}Schema",
        "required": "[]string",
        "minProperties": "int",
        "maxProperties": "int",
        "minLength": "int",
        "maxLength": "int",
        "minimum": "float",
        "maximum": "float",
        "pattern": "string",
        "example": "value",
        "anyOf": "[]Schema",
        "propertyOrdering": "[]string",
        "default": "value",
    },
    "ToolConfig": {
        "functionCallingConfig": "FunctionCallingConfig",
        "retrievalConfig": "struct",
        "includeServerSideToolInvocations": "bool",
    },
    "FunctionCallingConfig": {
        "mode": "enum:Mode",
        "allowedFunctionNames": "[]string",
        "streamFunctionCallArguments": "bool",
    },
    "CountTokensRequest": {"contents": "[]Content", "generateContentRequest": "GenerateContentRequest"},
    "VertexCountTokensRequest": {
        "model": "string",
        "contents": "[]Content",
        "systemInstruction": "Content",
        "tools": "[]Tool",
        "generationConfig": "GenerationConfig",
        "instances": "[]value",
    },
    "EmbedContentRequest": {
        "model": "string",
        "content": "Content",
        "taskType": "enum:TaskType",
        "title": "string",
        "outputDimensionality": "int",
    },
    "BatchEmbedContentsRequest": {"requests": "[]EmbedContentRequest"},
}

ONE_OF: dict[str, tuple[str, ...]] = {
    "Part": (
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
    ),
}
"""Of these fields a message may hold one."""

VERTEX_ONLY: frozenset[tuple[str, str]] = frozenset(
    {
        ("FunctionCall", "partialArgs"),
        ("FunctionCall", "willContinue"),
        ("FunctionCallingConfig", "streamFunctionCallArguments"),
        ("SafetySetting", "method"),
        ("Tool", "retrieval"),
        ("Tool", "enterpriseWebSearch"),
        ("Tool", "parallelAiSearch"),
        ("Tool", "exaAiSearch"),
        ("GenerationConfig", "routingConfig"),
        ("GenerationConfig", "modelSelectionConfig"),
        ("GenerationConfig", "audioTimestamp"),
        ("ImageConfig", "personGeneration"),
        ("ImageConfig", "prominentPeople"),
        ("ImageConfig", "outputMimeType"),
        ("ImageConfig", "outputCompressionQuality"),
        ("GenerateContentRequest", "labels"),
    }
)
GEMINI_ONLY: frozenset[tuple[str, str]] = frozenset(
    {
        ("Tool", "fileSearch"),
        ("Part", "toolCall"),
        ("Part", "toolResponse"),
        ("Part", "partMetadata"),
        ("FunctionResponse", "willContinue"),
        ("ToolConfig", "includeServerSideToolInvocations"),
        ("GenerateContentRequest", "store"),
        ("GenerationConfig", "enableEnhancedCivicAnswers"),
    }
)
