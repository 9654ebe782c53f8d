"""What the doctor finds: one value for each thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it ("" where nothing)."""

    check: str
    level: Level
    message: str
    advice: str = ""
