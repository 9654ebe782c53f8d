"""Google's generateContent, on the Gemini API and on Vertex alike.

`wire.py` declares the JSON. `request.py`, `contents.py`, `names.py` and `families.py` write requests; `reply.py` and `finish.py`
read answers. For answers that pass through untouched, `scanner.py` watches the bytes. `errors.py` and `models.py` write
problems and lists of models.
"""

from collections.abc import Mapping

from regrant.dialects.gemini.errors import encode_problem
from regrant.dialects.gemini.models import encode_model, encode_models
from regrant.dialects.gemini.reply import NO_NAMES, GeminiReplyDecoder, decode_reply
from regrant.dialects.gemini.request import encode_request, without_signatures
from regrant.dialects.gemini.scanner import GeminiStreamScanner, StreamForm, error_event


def reply_decoder(*, call_prefix: str, names: Mapping[str, str] = NO_NAMES) -> GeminiReplyDecoder:
    return GeminiReplyDecoder(call_prefix=call_prefix, names=names)


__all__ = [
    "GeminiStreamScanner",
    "StreamForm",
    "decode_reply",
    "encode_model",
    "encode_models",
    "encode_problem",
    "encode_request",
    "error_event",
    "reply_decoder",
    "without_signatures",
]
