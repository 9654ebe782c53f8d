"""A tally as Prometheus reads it: the text format, or OpenMetrics where the scraper asks for that.

The only module that knows prometheus-client. It is slow to import, so it is imported by the first scrape, in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from regrant.traffic.meters import METERS, Meter
from regrant.traffic.tally import Bins, Tally

OPENMETRICS = "application/openmetrics-text"


def render(tally: Tally, accept: str) -> tuple[str, bytes]:
    """Content type and body of the answer. `accept` is the scraper's Accept header."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(tally))
    if OPENMETRICS in accept.lower():
        body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # theirs
        return openmetrics.CONTENT_TYPE_LATEST, body
    return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        for meter in METERS:
            yield self._histogram(meter) if meter.kind == "histogram" else self._values(meter)

    def _values(self, meter: Meter) -> Metric:
        kind = CounterMetricFamily if meter.kind == "counter" else GaugeMetricFamily
        family = kind(meter.name, meter.help, labels=meter.labels)
        values = dict.fromkeys(meter.seeds, 0.0) | self._tally.values.get(meter.name, {})
        for labels, value in sorted(values.items()):
            family.add_metric(labels, value)
        return family

    def _histogram(self, meter: Meter) -> Metric:
        family = HistogramMetricFamily(meter.name, meter.help, labels=meter.labels)
        ends = [str(bound) for bound in meter.bounds] + ["+Inf"]
        empty = {labels: Bins([0] * len(ends)) for labels in meter.seeds}
        for labels, bins in sorted((empty | self._tally.bins.get(meter.name, {})).items()):
            below = accumulate(bins.counts)
            family.add_metric(labels, list(zip(ends, below, strict=True)), sum_value=bins.total)
        return family
