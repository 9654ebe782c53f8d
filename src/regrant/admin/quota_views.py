"""The numbers of the ledger as people and programs see them: the items of `GET /api/quota`. Used by the API and by the commands.

Pure. What the numbers are is decided in `pool/quota.py`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from regrant.pool.quota import Figure

State = Literal["known", "stale", "unknown"]
Source = Literal["settings", "learned", "cloud", "counted"]


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    """What a project has used of a model in one window, and of which limit. Times are unix seconds.

    `source` and `as_of` are the limit's, null when it is unknown; `limit` null with a source: there is none. `used` is the most that
    anybody has counted: `used_source`, at `used_as_of`. `protected`: quota protection holds the rest back, until `resets_at`.
    """

    project: str
    model: str
    window: Literal["minute", "day"]
    unit: Literal["requests", "tokens"]
    used: int
    used_source: Source
    used_as_of: float
    limit: int | None
    remaining: int | None
    source: Source | None
    as_of: float | None
    state: State
    note: str
    protected: bool
    resets_at: float


def show_figure(figure: Figure, note: str) -> QuotaView:
    """`note`: why the limits of the project could not be read, for a number without a limit to go by."""
    limit = figure.limit
    return msgspec.convert(
        {
            "project": figure.project,
            "model": figure.model,
            "window": figure.measure.window,
            "unit": figure.measure.unit,
            "used": figure.used,
            "used_source": figure.used_source.value,
            "used_as_of": figure.used_as_of,
            "limit": limit.value if limit else None,
            "remaining": figure.remaining,
            "source": limit.source.value if limit else None,
            "as_of": limit.as_of if limit else None,
            "state": figure.state,
            "note": "" if figure.state == "known" else note,
            "protected": figure.hold is not None,
            "resets_at": figure.resets_at,
        },
        QuotaView,
    )
