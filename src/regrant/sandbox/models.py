"""The catalogue of pretend models and what each accepts.

The names are those of Google's live models; their answers are made by `gemini.py`. Source: docs/sources.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from regrant.sandbox.wire import JsonObject

_GENERATE = ("generateContent", "countTokens", "createCachedContent", "batchGenerateContent")
_LEVELS = ("LOW", "MEDIUM", "HIGH")


@dataclass(frozen=True, slots=True)
class Model:
    """`levels` and `budget` (least and most tokens) say which thinking settings are accepted."""

    id: str
    title: str
    methods: tuple[str, ...] = _GENERATE
    thinking: bool = True
    levels: tuple[str, ...] = ()
    budget: tuple[int, int] | None = None
    ends_with_model: bool = True
    images: bool = False
    input_limit: int = 1_048_576
    output_limit: int = 65_536

    @property
    def third_generation(self) -> bool:
        """Gemini 3 and later: thought signatures are enforced, JSON mode and built-in tools go with functions."""
        return self.id.startswith("gemini-3")

    def listed(self) -> JsonObject:
        return {
            "name": f"models/{self.id}",
            "version": "001",
            "displayName": self.title,
            "description": f"{self.title} (sandbox)",
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": list(self.methods),
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "maxTemperature": 2,
            "thinking": self.thinking,
        }


_ALL = (
    Model("gemini-3.8-flash", "Gemini 3.8 Flash", levels=_LEVELS, ends_with_model=False),
    Model(
        "gemini-3.5-flash-lite",
        "Gemini 3.5 Flash-Lite",
        levels=("MINIMAL", *_LEVELS),
        ends_with_model=False,
    ),
    Model("gemini-3.1-pro-preview", "Gemini 3.1 Pro Preview", levels=_LEVELS),
    Model(
        "gemini-3.1-flash-image",
        "Gemini 3.1 Flash Image",
        thinking=False,
        images=True,
        input_limit=65_536,
        output_limit=32_768,
    ),
    Model("gemini-2.5-pro", "Gemini 2.5 Pro", budget=(128, 32_768)),
    Model("gemini-2.5-flash", "Gemini 2.5 Flash", budget=(0, 24_576)),
    Model(
        "gemini-embedding-001",
        "Gemini Embedding 001",
        methods=("embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent"),
        thinking=False,
        input_limit=2048,
        output_limit=1,
    ),
)
MODELS = {model.id: model for model in _ALL}
EMBEDDING_SIZE = 3072
