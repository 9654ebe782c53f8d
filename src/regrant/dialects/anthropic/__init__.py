"""Anthropic's Messages: problems (`errors.py`) and lists of models (`models.py`)."""

from regrant.dialects.anthropic.errors import encode_problem
from regrant.dialects.anthropic.models import encode_model, encode_models

__all__ = ["encode_model", "encode_models", "encode_problem"]
