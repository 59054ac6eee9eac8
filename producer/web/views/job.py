"""One job as its page and its report show it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from charrnn.errors import CharrnnError
from charrnn.jobs.client import Client
from charrnn.jobs.job.part import StoredPart
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import PartState
from charrnn.jobs.job.version import VersionDetails
from charrnn.jobs.job.views import Event, JobStatus
from charrnn.training.progress import EpochMetrics, Preview
from producer.output.progress import Pace, clock, headline_of, work_of
from producer.web.views.curve import Curve, draw

SHOWN_FAILURES = 20  # parts
SHOWN_EVENTS = 20
SHOWN_EPOCHS = 12  # of the previews: the first, the last, and some between


@dataclass(frozen=True, kw_only=True)
class JobView:
    """One job with everything that is shown of it.

    Attributes:
        done, total: characters sampled or trained on.
        headline: what it does now, in words.
        speed: throughput and time left in words, if they are known.
        failed: the first of the parts that failed.
        previews: texts by epoch, for each temperature in order.
        best: the epoch with the lowest validation loss.
        made: the version that a training job made.
        events: the newest, newest first.
    """

    job: JobStatus
    spec: TrainSpec | GenerateSpec | None
    done: float
    total: float
    headline: str
    speed: str
    failed: Sequence[StoredPart]
    curve: Curve | None
    previews: Mapping[int, Sequence[Preview]]
    best: EpochMetrics | None
    made: VersionDetails | None
    events: Sequence[Event]

    @property
    def generates(self) -> bool:
        return isinstance(self.spec, GenerateSpec)


def view(client: Client, job_id: int, pace: Pace | None = None) -> JobView:
    """Return everything that is shown of a job.

    Args:
        pace: measures the throughput over several calls.

    Raises:
        NotFoundError: there is no such job.
    """
    job = client.status(job_id)
    done, total = work_of(job)
    return JobView(
        job=job,
        spec=job.known_spec,
        done=done,
        total=total,
        headline=headline_of(job),
        speed=_speed(pace(done, total, time.monotonic()) if pace and job.progress else None),
        failed=client.connections.store.parts(job.id, PartState.FAILED, limit=SHOWN_FAILURES),
        curve=loss_curve(job.history),
        previews=_previews(job.history),
        best=best_epoch(job.history),
        made=_made(client, job),
        events=client.events(SHOWN_EVENTS, job=job.id),
    )


def _speed(pace: tuple[float, float] | None) -> str:
    return "" if pace is None else f"{pace[0]:,.0f} characters/s, {clock(pace[1])} left"


def loss_curve(history: Sequence[EpochMetrics]) -> Curve | None:
    """Return the drawing of a training's losses, or None before its first epoch has ended."""
    if not history:
        return None
    losses = {
        "training loss": [epoch.train_loss for epoch in history],
        "validation loss": [epoch.val_loss for epoch in history],
    }
    return draw("Loss in nats per character by epoch", "epoch", [epoch.epoch for epoch in history], losses)


def best_epoch(history: Sequence[EpochMetrics]) -> EpochMetrics | None:
    """Return the epoch with the lowest validation loss, or None if none has one."""
    finite = [epoch for epoch in history if math.isfinite(epoch.val_loss)]
    return min(finite, key=lambda epoch: epoch.val_loss, default=None)


def _previews(history: Sequence[EpochMetrics]) -> dict[int, Sequence[Preview]]:
    written = [epoch for epoch in history if epoch.previews]
    last = len(written) - 1
    chosen = {round(index * last / max(1, SHOWN_EPOCHS - 1)) for index in range(SHOWN_EPOCHS)} if written else set()
    return {written[index].epoch: written[index].previews for index in sorted(chosen)}


def _made(client: Client, job: JobStatus) -> VersionDetails | None:
    """Return the version that a training job made, unless it was deleted since or cannot be read."""
    if job.kind != TrainSpec.QUEUE or job.version is None:
        return None
    with suppress(CharrnnError):
        return client.models.show(job.name)
    return None
