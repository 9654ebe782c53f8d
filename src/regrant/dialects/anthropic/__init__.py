"""Anthropic's Messages: what Claude Code and Anthropic's SDKs speak.

`wire.py` declares the JSON of a request; `request.py`, `turns.py` and `tools.py` read it; `reply.py` and `stream.py` write
the answer; `signature.py` is how thought signatures travel; `errors.py` the problems, `models.py` the lists of models, `vertex.py` what differs for Claude on Vertex.
"""

from regrant.dialects.anthropic.errors import encode_failure, encode_problem
from regrant.dialects.anthropic.models import encode_model, encode_models
from regrant.dialects.anthropic.reply import encode_count, encode_reply
from regrant.dialects.anthropic.request import decode_request
from regrant.dialects.anthropic.stream import AnthropicStreamEncoder
from regrant.dialects.base import ReplyContext


def stream_encoder(context: ReplyContext) -> AnthropicStreamEncoder:
    return AnthropicStreamEncoder(context)


__all__ = [
    "decode_request",
    "encode_count",
    "encode_failure",
    "encode_model",
    "encode_models",
    "encode_problem",
    "encode_reply",
    "stream_encoder",
]
