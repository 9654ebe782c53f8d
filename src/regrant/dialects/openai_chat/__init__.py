"""OpenAI's Chat Completions: what most clients speak.

`wire.py` declares the JSON of a request, `request.py` and `turns.py` read it, `reply.py` and `stream.py` write the
answer, `errors.py` the problems, `models.py` the lists of models.
"""

from regrant.dialects.base import ReplyContext
from regrant.dialects.openai_chat.errors import encode_problem
from regrant.dialects.openai_chat.models import encode_model, encode_models
from regrant.dialects.openai_chat.reply import encode_reply
from regrant.dialects.openai_chat.request import decode_request
from regrant.dialects.openai_chat.stream import OpenAIStreamEncoder


def stream_encoder(context: ReplyContext) -> OpenAIStreamEncoder:
    return OpenAIStreamEncoder(context)


__all__ = [
    "decode_request",
    "encode_model",
    "encode_models",
    "encode_problem",
    "encode_reply",
    "stream_encoder",
]
