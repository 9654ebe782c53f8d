"""The models on offer, in words that belong to no vendor. Which ones there are is decided in `gateway/`."""

from __future__ import annotations

import msgspec


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """The name to ask for it by, without a `models/` in front."""
    display_name: str = ""
    description: str = ""
    owner: str = "google"
    created: int = 0
    """Unix seconds; 0 = not known."""
    input_token_limit: int | None = None
    output_token_limit: int | None = None
    methods: tuple[str, ...] = ("generateContent", "streamGenerateContent", "countTokens")
    """What can be asked of it, in the Gemini API's words."""
    thinking: bool | None = None
    version: str = ""
