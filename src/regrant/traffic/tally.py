"""Numbers by metric and labels, of one process or of several added up. What the metrics are is `meters.py`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import msgspec

from regrant.traffic.meters import METERS, Labels, Meter


class Bins(msgspec.Struct):
    """A histogram: how many values fell into each bucket (the last one has no upper end), and their sum."""

    counts: list[int]
    total: float = 0.0


class Tally(msgspec.Struct):
    """`values` of counters and gauges and `bins` of histograms, by a metric's name and its labels' values."""

    values: dict[str, dict[Labels, float]] = {}
    bins: dict[str, dict[Labels, Bins]] = {}

    def count(self, meter: Meter, labels: Labels = (), amount: float = 1.0) -> None:
        """Add to a counter, or to a gauge."""
        held = self.values.setdefault(meter.name, {})
        held[labels] = held.get(labels, 0.0) + amount

    def put(self, meter: Meter, value: float, labels: Labels = ()) -> None:
        """Set a counter or gauge that is kept elsewhere."""
        self.values.setdefault(meter.name, {})[labels] = value

    def observe(self, meter: Meter, value: float, labels: Labels = ()) -> None:
        held = self.bins.setdefault(meter.name, {})
        found = held.get(labels)
        if found is None:
            found = held[labels] = Bins([0] * (len(meter.bounds) + 1))
        found.counts[bisect_left(meter.bounds, value)] += 1
        found.total += value

    def copy(self) -> Tally:
        """The numbers of this moment."""
        same = Tally()
        same.add(self, lambda _: True)
        return same

    def add(self, other: Tally, wanted: Callable[[Meter], bool]) -> None:
        """Add the numbers of `other`, of those metrics that are `wanted`. What this version does not know is left out."""
        for meter in METERS:
            if not wanted(meter):
                continue
            for labels, value in other.values.get(meter.name, {}).items():
                self.count(meter, labels, value)
            for labels, bins in other.bins.get(meter.name, {}).items():
                self.gather(meter, bins, labels)

    def gather(self, meter: Meter, bins: Bins, labels: Labels = ()) -> None:
        """Add the values of another histogram of the same metric."""
        own = self.bins.setdefault(meter.name, {}).setdefault(labels, Bins([0] * (len(meter.bounds) + 1)))
        own.counts = [mine + theirs for mine, theirs in zip(own.counts, bins.counts, strict=True)]
        own.total += bins.total


def counts_up(meter: Meter) -> bool:
    """Whether its numbers outlive the process that counted them."""
    return meter.kind != "gauge"


def adds_up(meter: Meter) -> bool:
    """Whether the numbers of several processes make a sum."""
    return not meter.shared
