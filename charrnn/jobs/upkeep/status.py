"""The status of a job: how far it is, why it waits, and how it went."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from charrnn.checks import check_type
from charrnn.errors import DamagedError, NotFinishedError, counted
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.json_object import field_values, reading
from charrnn.jobs.job.part import RunningPart
from charrnn.jobs.job.report import ReportSummary, summarize
from charrnn.jobs.job.specs import SPEC_VERSION, TrainSpec
from charrnn.jobs.job.states import PartState
from charrnn.jobs.job.views import POLL_S, Job, JobStatus, check_id, no_release, no_worker
from charrnn.jobs.store.shown import queues
from charrnn.training.progress import Progress as TrainingProgress

logger = logging.getLogger(__name__)

SHOWN_JOBS = 5  # most jobs to list that are ahead of a waiting one


def job_status(connections: Connections, job_id: int | None, *, after_epoch: int = 0) -> JobStatus:
    """Return the status of a job, or of the newest job if there is no id.

    Args:
        after_epoch: leave the epochs of a training job up to this one out of its history.

    Raises:
        NotFoundError: there is no such job.
    """
    store = connections.store
    with store.read():  # one transaction, and one state of the job
        job = store.job(job_id)
        begun, trains = job.started_at is not None, job.kind == TrainSpec.QUEUE  # nobody asks for what cannot exist
        leased = store.parts(job.id, PartState.LEASED) if begun else []
        running = (RunningPart(part=part.number, attempt=part.attempts, progress=part.progress) for part in leased)
        return JobStatus(
            **field_values(job),
            progress=tuple(running),
            report=None if trains else _report(connections, job),
            history=tuple(store.history(job.id, after_epoch)) if begun and trains else (),
            engines=tuple(store.engines(job.id)) if begun else (),
            waiting_for=None if leased or job.ended else _waiting_for(connections, job),
        )


def follow(connections: Connections, job_id: int, timeout_s: float | None) -> Iterator[JobStatus]:
    """Yield the status of a job again and again until it has ended.

    Raises:
        InputError: `job_id` or `timeout_s` is not a number.
        NotFinishedError: the job did not end within `timeout_s` seconds.
        NotFoundError: the job does not exist.
    """
    check_id("job_id", job_id)
    check_type("timeout_s", timeout_s, int | float | None, "a number of seconds")
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    status = job_status(connections, job_id)
    while True:
        yield status
        if status.ended:
            return
        if deadline is not None and time.monotonic() > deadline:
            raise NotFinishedError(
                f"Job {job_id} did not end within {timeout_s:g} s. It stays {status.state}; follow it with: "
                f"charrnn-jobs wait {job_id}"
            )
        time.sleep(POLL_S)
        known = status.history  # there may be thousands of epochs, so only new ones are read
        status = job_status(connections, job_id, after_epoch=known[-1].epoch if known else 0)
        # Finally all epochs are read: one may have been repeated with another result.
        status = job_status(connections, job_id) if status.ended else replace(status, history=known + status.history)


def _report(connections: Connections, job: Job) -> ReportSummary | None:
    if job.started_at is None:
        return None
    try:
        if (report := connections.store.report(job.id)) is None:
            return None
        with reading(f"the report of job {job.id}"):  # it may have values of any type
            return summarize(report, queue_seconds=(job.started_at - job.created_at) / 1000)
    except DamagedError as error:
        logger.warning("%s", error)
        return None


def _waiting_for(connections: Connections, job: Job) -> str:
    """Return why a job without a part in work is still waiting."""
    if job.after is not None and job.version is None:
        return f"its training, job {job.after}: {_training(connections, job.after)}"
    return _waiting_for_worker(connections, job)


def _waiting_for_worker(connections: Connections, job: Job) -> str:
    seen_within_ms = round(connections.settings.lease_s * 1000)
    with connections.store.read() as connection:
        newest = queues.newest_worker(connection, job.kind, seen_within_ms)
        if newest is None:
            return no_worker(job.kind)
        needed = max((version for _, version in queues.waiting_versions(connection, job.id)), default=1)
        if reason := no_release(job.kind, needed, newest):
            return reason
        if needed <= SPEC_VERSION and job.known_spec is None:
            return "a worker that can read its spec. A newer release stored it, or it is damaged"
        ahead = queues.parts_ahead(connection, job, SHOWN_JOBS)
        if ahead.parts or ahead.others:
            return _ahead(ahead)
        busy = queues.busy_with(connection, job, seen_within_ms, SHOWN_JOBS + 1)
    return _busy(busy) if busy else "a worker is about to claim it"


def _training(connections: Connections, job_id: int) -> str:
    """Return how far a training job is, or why it is still waiting."""
    for part in connections.store.parts(job_id, PartState.LEASED):
        if part.progress.waits is not None:
            return f"waiting: {part.progress.waits}"
        work = part.progress.work
        return f"epoch {work.epoch} of {work.epochs}" if isinstance(work, TrainingProgress) else "starting"
    return _waiting_for_worker(connections, connections.store.job(job_id))


def _busy(jobs: Sequence[int]) -> str:
    shown = [f"job {job}" for job in jobs[:SHOWN_JOBS]] + (["others"] if len(jobs) > SHOWN_JOBS else [])
    return f"the workers are busy with {' and '.join(shown)}; a training job among them yields at its next checkpoint"


def _ahead(ahead: queues.Ahead) -> str:
    least = "at least " if ahead.others == queues.MOST_USERS else ""
    others = f"jobs of {least}{counted(ahead.others, 'other user')} take turns with it" if ahead.others else ""
    if not ahead.parts:
        return others
    shown = ", ".join(f"{counted(count, 'part')} of job {other}" for other, count in ahead.parts.items())
    least = "at least " if len(ahead.parts) + ahead.more == queues.MOST_JOBS else ""
    more = f" and those of {least}{counted(ahead.more, 'more job')}" if ahead.more else ""
    verb = "is" if sum(ahead.parts.values()) == 1 and not ahead.more else "are"
    return f"{shown}{more} {verb} ahead{'; ' if others else ''}{others}"
