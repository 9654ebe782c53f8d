"""From a body to a wire Struct, with errors that name the field. What the fields mean is each dialect's affair."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from regrant.errors import DialectError

T = TypeVar("T")

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>.*)`)?$", re.DOTALL)


def decode_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a client's JSON. Raises: DialectError with the path of the field that is wrong."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into what it skips or keeps raw
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise DialectError(f"The body is not UTF-8: byte {error.start} is wrong.") from error
    except RecursionError as error:
        raise DialectError("The body is nested too deeply.") from error
    except msgspec.ValidationError as error:
        match = _PATH.match(str(error))
        what, path = (match["what"], match["path"] or "") if match else (str(error), "")
        raise DialectError(f"{what} in {path or 'the body'}.", param=path) from error
    except msgspec.DecodeError as error:
        raise DialectError(f"The body is not valid JSON: {error}") from error


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_json_object(text: bytes) -> bool:
    """Whether `text` is one JSON object and nothing else."""
    try:
        _OBJECT.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
