"""Lists of models as Anthropic writes them. Which models there are is decided in `gateway/`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from regrant.messages.catalogue import ModelInfo


def encode_models(models: Sequence[ModelInfo]) -> bytes:
    return msgspec.json.encode(
        {
            "data": [_describe(model) for model in models],
            "has_more": False,
            "first_id": models[0].id if models else None,
            "last_id": models[-1].id if models else None,
        }
    )


def encode_model(model: ModelInfo) -> bytes:
    return msgspec.json.encode(_describe(model))


def _describe(model: ModelInfo) -> dict[str, object]:
    created = datetime.fromtimestamp(model.created, tz=UTC)
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name or model.id,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": model.input_token_limit,
        "max_tokens": model.output_token_limit,
    }
