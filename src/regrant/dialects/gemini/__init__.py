"""Google's generateContent, on the Gemini API and on Vertex alike.

`wire.py` declares the JSON. `request.py`, `contents.py`, `names.py` and `families.py` write requests; `reply.py` and `finish.py`
read answers. The `server_*` modules, with `fields.py` and `schemas.py`, are the other half: what a Gemini client asks and is
answered. For what passes through untouched, `scanner.py` watches the bytes and `signatures.py` mends a refused request.
`counting.py` asks for numbers of tokens. `errors.py` and `models.py` write problems and lists of models.
"""

from collections.abc import Mapping

from regrant.dialects.base import ReplyContext
from regrant.dialects.gemini.counting import CountRequest, encode_count, read_count
from regrant.dialects.gemini.errors import encode_problem
from regrant.dialects.gemini.models import encode_model, encode_models
from regrant.dialects.gemini.reply import NO_NAMES, GeminiReplyDecoder, decode_reply, read_reply
from regrant.dialects.gemini.request import encode_request, without_signatures
from regrant.dialects.gemini.scanner import GeminiStreamScanner, StreamForm, error_event
from regrant.dialects.gemini.server_reply import ChunkForm, GeminiStreamEncoder, encode_reply
from regrant.dialects.gemini.server_request import decode_request
from regrant.dialects.gemini.signatures import replace_signatures


def stream_encoder(context: ReplyContext, *, form: ChunkForm = "sse") -> GeminiStreamEncoder:
    return GeminiStreamEncoder(context, form)


def reply_decoder(*, call_prefix: str, names: Mapping[str, str] = NO_NAMES) -> GeminiReplyDecoder:
    return GeminiReplyDecoder(call_prefix=call_prefix, names=names)


__all__ = [
    "CountRequest",
    "GeminiStreamScanner",
    "StreamForm",
    "decode_reply",
    "decode_request",
    "encode_count",
    "encode_model",
    "encode_models",
    "encode_problem",
    "encode_reply",
    "encode_request",
    "error_event",
    "read_count",
    "read_reply",
    "replace_signatures",
    "reply_decoder",
    "stream_encoder",
    "without_signatures",
]
