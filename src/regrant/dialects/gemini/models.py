"""Lists of models as the Gemini API writes them. Which models there are is decided in `gateway/`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from regrant.messages.catalogue import ModelInfo


def encode_models(models: Sequence[ModelInfo]) -> bytes:
    return msgspec.json.encode({"models": [_describe(model) for model in models]})


def encode_model(model: ModelInfo) -> bytes:
    return msgspec.json.encode(_describe(model))


def _describe(model: ModelInfo) -> dict[str, Any]:
    described = {
        "name": f"models/{model.id}",
        "version": model.version or None,
        "displayName": model.display_name or model.id,
        "description": model.description or None,
        "inputTokenLimit": model.input_token_limit,
        "outputTokenLimit": model.output_token_limit,
        "supportedGenerationMethods": model.methods,
        "thinking": model.thinking,
    }
    return {name: value for name, value in described.items() if value is not None}
