"""Lists of models as OpenAI writes them. Which models there are is `messages/catalogue.py`'s and the gateway's affair."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from regrant.messages.catalogue import ModelInfo


def encode_models(models: Sequence[ModelInfo]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [_describe(model) for model in models]})


def encode_model(model: ModelInfo) -> bytes:
    return msgspec.json.encode(_describe(model))


def _describe(model: ModelInfo) -> dict[str, object]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owner}
