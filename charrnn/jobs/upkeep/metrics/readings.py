"""Readings of store, broker and files. Each raises an error of any type if what it reads does not answer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

from charrnn.errors import UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.report import Seconds, is_failure, readable_self_check
from charrnn.jobs.job.sizing import device_kind
from charrnn.jobs.job.specs import QUEUES, GenerateSpec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.store import counters
from charrnn.jobs.store.counters import Series
from charrnn.jobs.store.scheduled.duties import MAINTAIN
from charrnn.jobs.store.shown import figures
from charrnn.jobs.upkeep.metrics.definitions import Families

MAX_MODELS = 50  # the newest; all others are OTHERS together
MAX_SCHEDULES = 100
MAX_RELEASES = 10
OTHERS = "_others"  # not the name of a model, which begins with a letter or a digit
DEVICES = ("cpu", "gpu")
PHASES = tuple(field.name for field in fields(Seconds))


def read_store(connections: Connections, families: Families) -> None:
    """Read what the database knows, in one transaction of 9 queries."""
    with connections.store.read() as connection:
        work = {row.kind: row for row in figures.open_work(connection)}
        blocked = figures.count_blocked(connection)
        leased = {row.kind: row.number for row in figures.count_leased(connection)}
        jobs = {(row.kind, row.state): row.number for row in figures.count_jobs(connection)}
        workers = figures.live_workers(connection, round(connections.settings.lease_s * 1000))
        age = figures.round_age(connection, MAINTAIN)
        models = figures.newest_models(connection, MAX_MODELS)
        schedules = figures.active_schedules(connection, MAX_SCHEDULES)
        totals = counters.totals(connection)
    for kind, state in product(QUEUES, JobState):
        families.set("charrnn_jobs", jobs.get((kind, state), 0), kind, state)
    _set_work(families, work, leased)
    families.set("charrnn_parts", blocked, GenerateSpec.QUEUE, "blocked")
    _set_workers(families, workers)
    families.set("charrnn_maintenance_age_seconds", _seconds(age))
    for model in models:
        families.set("charrnn_champion_validation_loss_nats", model.val_loss, model.name)
    for schedule in schedules:
        families.set("charrnn_schedule_last_success_timestamp_seconds", _seconds(schedule.success_at), schedule.name)
        families.set("charrnn_schedule_failed", schedule.failed, schedule.name)
        families.set("charrnn_schedule_overdue_seconds", _seconds(schedule.overdue_ms), schedule.name)
    _set_counters(families, totals, {model.name for model in models})


def _seconds(milliseconds: object) -> float | None:
    """Return seconds, at least 0: clocks are set back. None for what is no number."""
    return max(0.0, milliseconds / 1000) if isinstance(milliseconds, int | float) else None


def _set_work(families: Families, work: Mapping[str, Any], leased: Mapping[str, int]) -> None:
    for queue in QUEUES:
        row, running = work.get(queue), leased.get(queue, 0)
        left, oldest = (int(row.left), row.oldest_ms) if row else (0, None)
        # A worker that still holds a part of a job that was cancelled has a part that its job no longer counts.
        families.set("charrnn_parts", max(0, left - running), queue, "queued")
        families.set("charrnn_parts", running, queue, "leased")
        families.set("charrnn_oldest_waiting_seconds", _seconds(oldest) or 0.0, queue)


def _set_workers(families: Families, workers: Any) -> None:
    named = [(worker, str(worker.release)[:64]) for worker in workers]
    releases = Counter(release for _, release in named)
    shown = {release for release, _ in releases.most_common(MAX_RELEASES)}
    found: Counter[tuple[str, str]] = Counter()
    failing: Counter[str] = Counter()
    serving: Counter[str] = Counter()
    for worker, release in named:
        device = device_kind(worker.device)
        found[device, release if release in shown else OTHERS] += 1
        failing[device] += is_failure(readable_self_check(worker.self_check))
        if isinstance(worker.queues, list):  # a damaged cell may be of another type
            serving.update(queue for queue in QUEUES if queue in worker.queues)
    for labels, count in found.items():
        families.set("charrnn_workers", count, *labels)
    for device, count in failing.items():
        families.set("charrnn_self_check_failed", count, device)
    for queue in QUEUES:
        families.set("charrnn_queue_workers", serving[queue], queue)


def _set_counters(families: Families, totals: Mapping[Series, float], models: set[str]) -> None:
    """Set all counters. Those without models begin at 0: `increase` does not see a series that begins at 1."""
    for metric, name, labels in (
        ("charrnn_attempts_failed_total", counters.ATTEMPTS_FAILED, counters.REASONS),
        ("charrnn_parts_failed_total", counters.PARTS_FAILED, counters.REASONS),
        ("charrnn_parts_done_total", counters.PARTS_DONE, QUEUES),
    ):
        for label in labels:
            families.set(metric, totals.get(Series(name, label), 0.0), label.replace(" ", "_"))
    for metric, name in (("charrnn_rows_total", counters.ROWS), ("charrnn_characters_total", counters.CHARACTERS)):
        by_model: Counter[tuple[str, str]] = Counter()
        for series, value in totals.items():
            if series.name == name and series.device in DEVICES:
                by_model[series.label if series.label in models else OTHERS, series.device] += value  # type: ignore[assignment]
        for (model, device), total in sorted(by_model.items()):
            families.set(metric, total, device, model)
    for phase, device in product(PHASES, DEVICES):
        seconds = Series(counters.PHASE_SECONDS, phase, device)
        if seconds in totals:
            found = [Series(counters.PHASES_BY_SECONDS, phase, device, bound) for bound in counters.BUCKETS]
            buckets = {series.bucket: totals.get(series, 0.0) for series in found}
            families.set_histogram("charrnn_phase_seconds", buckets, totals[seconds], device, phase)


def read_broker(connections: Connections, families: Families) -> None:
    """Read the number of notifications of each queue."""
    for queue, length in connections.queue.lengths().items():
        families.set("charrnn_notifications", length, queue)


def read_files(connections: Connections, families: Families) -> None:
    """Read the free space of the local disks, and then whether the files answer.

    Raises:
        UnreachableError: they do not, or their folder is not mounted.
    """
    files = connections.files
    for disk, folder in (("home", connections.settings.home), ("files", files.scratch)):
        space = os.statvfs(_existing(folder))
        families.set("charrnn_disk_free_bytes", space.f_bavail * space.f_frsize, disk)
        families.set("charrnn_disk_size_bytes", space.f_blocks * space.f_frsize, disk)
    if files.owner() is None and connections.store.files_url is not None:
        raise UnreachableError(f"{files.url} has none of the store's files. Is it mounted?")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
