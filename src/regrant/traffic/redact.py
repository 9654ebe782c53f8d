"""Takes secrets out of text before it is kept: by the type of field that holds them, and by the shapes that tokens have.

Pure. For text that is somebody's own, such as prompts; too much is taken out rather than too little. Secrets that the program
itself holds are of the type `Secret` and hidden by that (`regrant/secret.py`); they are given here to be found in text as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from regrant.secret import MASK, Secret, redact

_NAMES = "|".join(
    (
        *("authorization", "api[-_ ]?key", "[-_.]key", "token", "secret", "passw(?:or)?d", "passphrase"),
        *("private[-_]?key", "secret[-_]?key", "credentials?", "cookie", "session[-_]?id"),
    )
)
"""Ends of the names of fields and headers that hold secrets: `x-goog-api-key`, `clientSecret`, `OPENAI_API_KEY`."""

_NAMED = re.compile(
    rf"""(?:{_NAMES})\\*["']?\s*[:=]\s*"""  # the name, its closing quote, and what stands before the value
    r"""(?:(?P<quote>\\*"|')|(?P<bare>(?:(?:bearer|basic|token)\s+)?[^\s"'\\,;&<>{}\[\]()]+))""",
    re.IGNORECASE,
)
_QUOTE = re.compile(r'(\\*)"')
_QUERY = re.compile(r"""([?&](?:key|sig|signature|auth)=)[^&\s"'\\#<>]+""", re.IGNORECASE)
_SCHEME = re.compile(
    r"""\b(bearer\s+|basic\s+(?=[A-Za-z+/]*(?-i:[0-9=A-Z])))[A-Za-z0-9._~+/=-]{4,}""", re.IGNORECASE
)
_SHAPES = re.compile(
    r"""\b(?:ya29\.[\w.-]+|1//0[\w-]+|GOCSPX-[\w-]+|AIza[\w-]{20,}|sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"""
    r"""|xox[abprs]-[\w-]{10,}|AKIA[A-Z0-9]{16}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"""
)
_PEM = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)


def clean(text: str, secrets: Iterable[Secret] = ()) -> str:
    """`text` with the mask in place of every secret, JSON still being JSON. `secrets` are known ones."""
    text = redact(text, secrets)
    text = _PEM.sub(MASK, text)
    text = _mask_named(text)
    text = _QUERY.sub(rf"\1{MASK}", text)
    text = _SCHEME.sub(rf"\1{MASK}", text)
    return _SHAPES.sub(MASK, text)


def _mask_named(text: str) -> str:
    parts: list[str] = []
    at = 0
    while found := _NAMED.search(text, at):
        begin = found.end() if found["quote"] else found.start("bare")
        parts += (text[at:begin], MASK)
        at = _end_of_value(text, begin, found["quote"]) if found["quote"] else found.end()
    return "".join((*parts, text[at:]))


def _end_of_value(text: str, begin: int, quote: str) -> int:
    """Where the quoted value that begins there ends; where the text does, if it was cut.

    JSON inside of JSON strings has its quotes behind backslashes: `depth` of them around this value, twice as many and one
    more before a quote inside of it, and a multiple of `2 * depth + 2` for its own backslashes. Fewer: an outer string ends.
    """
    if quote == "'":
        end = text.find("'", begin)
        return end if end >= 0 else len(text)
    depth = len(quote) - 1
    for found in _QUOTE.finditer(text, begin):
        slashes = len(found[1])
        if slashes < depth:
            return found.start()
        if (slashes - depth) % (2 * depth + 2) == 0:
            return found.end() - 1 - depth
    return len(text)
