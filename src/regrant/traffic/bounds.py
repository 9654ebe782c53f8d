"""Keeps `traffic.sqlite3` within its age and its size, the `-wal` file included, while it is written.

The oldest rows go first, a few at a time, so that neither other writers nor readers wait. Pages that became free are used again,
and given back to the disk when there are many of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from regrant.clock import Clock
from regrant.database import BUSY_MS, Database
from regrant.settings.model import Traffic

CHUNK: Final = 500  # rows deleted in one transaction
VACUUM_PAGES: Final = 500
AGE_EVERY_S: Final = 60.0
MAX_WAL: Final = 8 << 20
DAY_S: Final = 86_400.0

_OLDEST = "delete from exchange where seq in (select seq from exchange order by seq limit ?)"
_TOO_OLD = "delete from exchange where seq in (select seq from exchange where at < ? order by at limit ?)"


class Bounds:
    """Works on the writer's connection, in the writer's thread."""

    def __init__(self, database: Database, path: Path, clock: Clock) -> None:
        self._database = database
        self._wal = path.with_name(path.name + "-wal")
        self._clock = clock
        self._age_at = 0.0
        self._kept: Traffic | None = None

    def due(self, limits: Traffic) -> bool:
        """Whether it is time to look, though nothing was written."""
        return limits != self._kept or self._clock.monotonic() >= self._age_at

    def keep(self, limits: Traffic) -> None:
        """Delete what is too old or too much. Cheap when nothing is. Raises sqlite3.Error, OSError."""
        self._set_wal(limits.max_mb)
        if self.due(limits):
            self._drop_old(limits.keep_days)
            self._age_at, self._kept = self._clock.monotonic() + AGE_EVERY_S, limits
        self._shrink(limits.max_mb)

    def _set_wal(self, max_mb: int) -> None:
        """How far the `-wal` file may grow: it counts as much as the rest."""
        allowed = _wal_share(max_mb)
        self._database.fetch(f"pragma wal_autocheckpoint = {max(8, allowed // 2 // self._page_size())}")
        self._database.fetch(f"pragma journal_size_limit = {allowed}")

    def _drop_old(self, keep_days: int) -> None:
        before = self._clock.now() - keep_days * DAY_S
        while self._delete(_TOO_OLD, (before, CHUNK)) == CHUNK:
            pass

    def _shrink(self, max_mb: int) -> None:
        page = self._page_size()
        limit = ((max_mb << 20) - 2 * _wal_share(max_mb)) // page
        pages, free = self._pages()
        if pages - free > limit:
            # A little below, so that it is not done again for each batch.
            target = int(limit * 0.95)
            while pages - free > target and self._delete_pages(pages - free, pages - free - target):
                pages, free = self._pages()
        spare = max(pages - limit, free - pages // 4 if free > VACUUM_PAGES else 0)
        while spare > 0 and free > 0:
            self._database.run(f"pragma incremental_vacuum({min(spare, VACUUM_PAGES)})")
            spare -= VACUUM_PAGES
            pages, free = self._pages()
        if self._wal_size() > _wal_share(max_mb):
            self._truncate_wal()

    def _truncate_wal(self) -> None:
        """Not waiting long for readers: the next time will do."""
        self._database.fetch("pragma busy_timeout = 100")
        self._database.fetch("pragma wal_checkpoint(truncate)")
        self._database.fetch(f"pragma busy_timeout = {BUSY_MS}")

    def _delete_pages(self, used: int, wanted: int) -> int:
        """Delete the oldest rows that take about so many of the pages in use; how many rows that were."""
        [(rows,)] = self._database.fetch("select coalesce(max(seq) - min(seq) + 1, 0) from exchange")
        return self._delete(_OLDEST, (max(1, min(CHUNK, rows * wanted // used)),))

    def _delete(self, statement: str, values: tuple[object, ...]) -> int:
        with self._database.transaction() as cursor:
            return cursor.execute(statement, values).rowcount

    def _pages(self) -> tuple[int, int]:
        """All pages of the file, and the free ones among them."""
        [(pages,)] = self._database.fetch("pragma page_count")
        [(free,)] = self._database.fetch("pragma freelist_count")
        return pages, free

    def _page_size(self) -> int:
        return int(self._database.fetch("pragma page_size")[0][0])

    def _wal_size(self) -> int:
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0


def _wal_share(max_mb: int) -> int:
    """Bytes of the whole that the `-wal` file may take."""
    return min(MAX_WAL, (max_mb << 20) // 8)
