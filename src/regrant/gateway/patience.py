"""How long a client says that it will wait for the beginning of its answer.

Pure. What follows from it is the pipeline's business: its deadline, and whether a request may wait for a person.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

DEADLINE_HEADERS = (b"x-stainless-read-timeout", b"x-stainless-timeout", b"x-server-timeout")
"""Seconds, in lower-case headers. The first two are sent by the SDKs of OpenAI and Anthropic, the third by google-genai where a
time-out is set. Source: docs/sources.md, section 6."""


def read_patience(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds; None where the client does not say, or says what cannot be meant."""
    for name in DEADLINE_HEADERS:
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value)
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None
