"""What the doctor finds: one value for each thing that was looked at."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "note", "FAIL"]


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do about it ("" where nothing)."""

    check: str
    level: Level
    message: str
    advice: str = ""
