"""What a scrape answers: all metrics in the text format of Prometheus, or in OpenMetrics."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from pool.metrics.counting import Tally
from pool.metrics.families import FAMILIES, Family, Kind, Source
from pool.metrics.gauges import gauges
from pool.models import PoolStatus

_OPENMETRICS = "application/openmetrics-text"

#: Labels → value.
Samples = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True, eq=False)
class Scrape(Collector):
    """All that is known at one moment.

    Attributes:
        version: Of this package.
        pools: Each pool, and what was counted of it.
        closed: Pools that this server is to serve and that no manager opened yet.
        redis_up: Whether Redis answered.
        redis_latency_s: How long it took; None where it did not.
        requests: Route, method and status → how many calls were answered.
        passed_on: Kind → how many calls the gateway passes on right now.
    """

    version: str
    pools: Sequence[tuple[PoolStatus, Tally]] = ()
    closed: Sequence[str] = ()
    redis_up: bool = False
    redis_latency_s: float | None = None
    requests: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    passed_on: Mapping[str, int] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, in the order of the catalogue."""
        found = [(status.pool, gauges(status), tally) for status, tally in self.pools]
        for family in FAMILIES.values():
            match family.source, family.kind:
                case Source.SERVER, _:
                    yield from self._of_server(family)
                case Source.STATE, _:
                    samples = [
                        ((pool, *labels), value) for pool, values, _ in found for labels, value in values[family.name]
                    ]
                    if family.name == "pool_manager_active":
                        samples += [((pool,), 0.0) for pool in self.closed]
                    yield _gauge(family, samples)
                case _, Kind.HISTOGRAM:
                    yield _histogram(family, ((pool, tally) for pool, _, tally in found))
                case _:
                    yield _counter(
                        family,
                        (
                            ((pool, *labels), float(value))
                            for pool, _, tally in found
                            for labels, value in tally.counters(family).items()
                        ),
                    )

    def _of_server(self, family: Family) -> Iterator[Metric]:
        match family.name:
            case "pool_redis_up":
                yield _gauge(family, [((), float(self.redis_up))])
            case "pool_redis_latency_seconds" if self.redis_latency_s is not None:
                yield _gauge(family, [((), self.redis_latency_s)])
            case "pool_http_requests_total":
                yield _counter(family, ((labels, float(number)) for labels, number in sorted(self.requests.items())))
            case "pool_gateway_connections":
                yield _gauge(family, ((labels, float(self.passed_on.get(labels[0], 0))) for labels in family.zeros()))
            case "pool_build_info":
                info = InfoMetricFamily(family.name.removesuffix("_info"), family.about)
                info.add_metric([], {"version": self.version, "python": platform.python_version()})
                yield info


def render(scrape: Scrape, accept: str) -> tuple[bytes, str]:
    """Write a scrape.

    Args:
        scrape: What is known.
        accept: The Accept header: OpenMetrics where it is named, otherwise the text format that all understand.

    Returns:
        The text, and its content type.
    """
    registry = CollectorRegistry()
    registry.register(scrape)
    ProcessCollector(registry=registry)
    if _OPENMETRICS in accept.lower():
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def _gauge(family: Family, samples: Samples) -> Metric:
    metric = GaugeMetricFamily(family.name, family.about, labels=family.names)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def _counter(family: Family, samples: Samples) -> Metric:
    metric = CounterMetricFamily(family.name, family.about, labels=family.names)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, tallies: Iterable[tuple[str, Tally]]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.about, labels=family.names)
    for pool, tally in tallies:
        for labels, (buckets, total_s) in tally.histograms(family).items():
            metric.add_metric((pool, *labels), buckets, total_s)
    return metric
