"""All metrics: name, type, labels and meaning. docs/metrics.md has the same table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
FAMILIES = {GAUGE: GaugeMetricFamily, COUNTER: CounterMetricFamily, HISTOGRAM: HistogramMetricFamily}


@dataclass(frozen=True)
class Definition:
    """One metric.

    Attributes:
        kind: GAUGE, COUNTER or HISTOGRAM.
    """

    name: str
    kind: str
    labels: Sequence[str]
    help: str


DEFINITIONS = (
    Definition("charrnn_build_info", GAUGE, ("release",), "Release of the process that serves the metrics; always 1."),
    Definition("charrnn_up", GAUGE, ("service",), "Whether store, broker or files answered this scrape: 1 or 0."),
    Definition(
        "charrnn_probe_seconds", GAUGE, ("service",), "Time that store, broker or files took to answer this scrape."
    ),
    Definition("charrnn_jobs", GAUGE, ("kind", "state"), "Jobs in the store."),
    Definition(
        "charrnn_parts",
        GAUGE,
        ("queue", "state"),
        "Parts of jobs that have not ended: queued, leased, or blocked until a training job has ended.",
    ),
    Definition(
        "charrnn_oldest_waiting_seconds",
        GAUGE,
        ("queue",),
        "Time since the first job became ready of which no part was claimed yet; 0 if there is none.",
    ),
    Definition(
        "charrnn_notifications",
        GAUGE,
        ("queue",),
        "Notifications that wait in the broker. Expected: 1 while parts wait.",
    ),
    Definition("charrnn_workers", GAUGE, ("device", "release"), "Live worker processes, one for each device."),
    Definition("charrnn_queue_workers", GAUGE, ("queue",), "Live worker processes that serve a queue."),
    Definition(
        "charrnn_self_check_failed",
        GAUGE,
        ("device",),
        "Live worker processes in which a self-check failed: texts may depend on more than their rows.",
    ),
    Definition("charrnn_maintenance_age_seconds", GAUGE, (), "Time since the last round of maintenance began."),
    Definition(
        "charrnn_attempts_failed_total", COUNTER, ("reason",), "Attempts at parts that ended without their result."
    ),
    Definition(
        "charrnn_parts_failed_total",
        COUNTER,
        ("reason",),
        "Parts that failed for good, by the reason of the last attempt.",
    ),
    Definition("charrnn_parts_done_total", COUNTER, ("queue",), "Parts that were completed."),
    Definition("charrnn_rows_total", COUNTER, ("device", "model"), "Sampled rows."),
    Definition("charrnn_characters_total", COUNTER, ("device", "model"), "Sampled characters."),
    Definition(
        "charrnn_phase_seconds",
        HISTOGRAM,
        ("device", "phase"),
        "Time of sampled parts by phase: loading, compiling, sampling, writing.",
    ),
    Definition(
        "charrnn_champion_validation_loss_nats",
        GAUGE,
        ("model",),
        "Validation loss of a model's champion in nats per character.",
    ),
    Definition(
        "charrnn_schedule_last_success_timestamp_seconds",
        GAUGE,
        ("schedule",),
        "When a schedule's last run that succeeded ended, in seconds since 1970.",
    ),
    Definition(
        "charrnn_schedule_failed",
        GAUGE,
        ("schedule",),
        "Whether the last run of a schedule that ended has failed: 1 or 0.",
    ),
    Definition(
        "charrnn_schedule_overdue_seconds",
        GAUGE,
        ("schedule",),
        "Time since the first run of a schedule that is due and has no job; 0 if there is none.",
    ),
    Definition("charrnn_disk_free_bytes", GAUGE, ("disk",), "Free space of the disk with files or home."),
    Definition("charrnn_disk_size_bytes", GAUGE, ("disk",), "Size of the disk with files or home."),
)


class Families:
    """The metrics of one scrape, with the values that are known so far."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {
            each.name: FAMILIES[each.kind](each.name, each.help, labels=each.labels) for each in DEFINITIONS
        }

    def set(self, name: str, value: object, *labels: str) -> None:
        """Set the value of a gauge or counter. One that is no number, of a damaged cell, is left out."""
        if isinstance(value, int | float):
            self._families[name].add_metric(labels, float(value))

    def set_histogram(self, name: str, buckets: Mapping[str, float], total: float, *labels: str) -> None:
        """Set a histogram.

        Args:
            buckets: the number of values up to each bound, in order and without those of the buckets before.
            total: the sum of all values.
        """
        count, rising = 0.0, []
        for bound, number in buckets.items():
            count += number
            rising.append((bound, count))
        self._families[name].add_metric(labels, rising, total)

    def known(self) -> Iterator[Metric]:
        """Yield the metrics that have a value."""
        return (family for family in self._families.values() if family.samples)
