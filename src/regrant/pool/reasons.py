"""The words for why accounts are out: one table for answers to clients, the traffic log and the commands.

Pure. Which reason it is, is decided in `census.py` and `standing.py`; what a person can do is the account's advice.
"""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = {
    "disabled": "disabled (the grant died; sign in again)",
    "quota": "held back by quota protection",
    "paused": "paused",
    "attention": "in need of attention",
    "cooldown": "cooling down",
    "client": "without a working OAuth client",
    "corrupt": "unreadable on disk",
    "unsuited": "unable to serve this model",
    "tried": "tried without success",
}
"""By Absence, of which the checks of an account are a part. Each follows "is" or a number."""


def name_reason(reason: str) -> str:
    return _WORDS.get(reason, reason)


def count_reasons(reasons: Mapping[str, int]) -> str:
    """`2 disabled (…), 1 paused`; "" for nothing to count."""
    return ", ".join(f"{count} {name_reason(reason)}" for reason, count in reasons.items() if count)
