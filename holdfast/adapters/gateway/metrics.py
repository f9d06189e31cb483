"""Every count of the service, in Prometheus' format.

Responsibility: write one snapshot of the service whenever it is asked for.
Guarantees: nothing is registered globally, so that an application with metrics of its own, or with two services, meets
    no clash; no label is under a client's control, so that the number of series is bounded.
Not responsible for: which figures there are: see `holdfast.adapters.gateway.samples`.
Source: Prometheus, "Writing exporters".
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.adapters.gateway.samples import Kind, Sample, samples_of
from holdfast.ports.service import Service

__all__ = ["Metrics"]


class Metrics:
    """Writes the metrics of one service.

    Args:
        service: asked for a snapshot each time.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_HealthCollector(service))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type, in the newest format that the ``Accept`` header names."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _HealthCollector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterable[Metric]:
        return []  # or registering would ask the service

    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in samples_of(self._service.health()):
            family = families.setdefault(sample.name, _family(sample))
            family.add_metric(list(sample.labels.values()), sample.value)
        return families.values()


def _family(sample: Sample) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if sample.kind is Kind.COUNTER else GaugeMetricFamily
    return make(f"holdfast_{sample.name}", sample.description, labels=list(sample.labels))
