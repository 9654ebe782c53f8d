"""How much a run measures, and where its rows put their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: more rounds for steadier figures, less of everything to see that it works."""

    rounds: int = 5
    requests: int = 3000
    connections: int = 8
    seconds: float = 4.0
    rate: int = 500
    streams: int = 1000
    ticks: int = 15
    accounts: int = 10_000
    revoked: int = 40
    picks: int = 20_000
    crowds: tuple[int, ...] = (1, 8, 64)
    settle_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a row puts its files, how much it measures, and why litellm has no part in it ("": it has)."""

    folder: Path
    scale: Scale
    without_litellm: str = ""
