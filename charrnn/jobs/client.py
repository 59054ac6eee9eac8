"""Submit jobs, follow them, read their results: what the command line does, for code.

client = Client(Settings.from_env(os.environ))
request = GenerateRequest(model="speeches", sampling=SamplingOptions(temperatures=(0.5,)))
job = client.submit(request, [Seed("Today, we")])
for line in client.results(job.id): ...
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice

from charrnn.checks import check_choice
from charrnn.errors import InputError, NotFinishedError
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.job.views import Job, JobStatus, WorkerInfo
from charrnn.jobs.models.models import Models
from charrnn.jobs.queue import QUEUES
from charrnn.jobs.rows.formats import parse_conditions, select
from charrnn.jobs.rows.results import POLL_S, Results
from charrnn.jobs.rows.rows import first_of_each_text
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import lifecycle, registry
from charrnn.jobs.submit import openings
from charrnn.jobs.submit.sampling import submit
from charrnn.jobs.submit.submitted import Submitted
from charrnn.jobs.submit.training import train
from charrnn.jobs.upkeep import pruning
from charrnn.jobs.upkeep.status import job_status
from charrnn.text.documents import check_storable


class Client:
    """One store and one broker. Both are opened when first used, and by `close` closed."""

    def __init__(self, settings: Settings) -> None:
        self.connections = Connections(settings)

    @cached_property
    def models(self) -> Models:
        return Models(self.connections)

    @cached_property
    def schedules(self) -> Schedules:
        return Schedules(self.connections)

    def close(self) -> None:
        self.connections.close()

    def train(self, request: TrainRequest, *, dry_run: bool = False) -> Submitted[TrainSpec]:
        """Submit a training of a new version of a model on text files.

        Args:
            dry_run: check everything, store nothing.

        Raises:
            InputError: text, name or numbers that cannot be used; nothing was stored.
            NotFoundError: no such version to go on from.
            UnreachableError: broker, store or files. Nothing was stored, unless the store went away while it stored
                the job: that cannot be known.
        """
        return train(self.connections, request, dry_run=dry_run)

    def submit(
        self,
        request: GenerateRequest,
        seeds: Iterable[Seed | str] | None = None,
        *,
        after: int | None = None,
        key: str | None = None,
        dry_run: bool = False,
    ) -> Submitted[GenerateSpec]:
        """Submit seeds x temperatures x samples to be sampled from a model.

        Args:
            seeds: of a request that names no file; read once and not held, however many. An empty one starts a new
                line, and so does None.
            after: a training; the job waits for it and samples from the version that it makes.
            key: makes a repeated submit harmless: the same key and the same content are the same job.
            dry_run: check everything, store nothing; `existed` tells whether the key stands for a job already.

        Raises:
            InputError: seeds that the model cannot read or that ask for what cannot be, a key that stands for
                something else; nothing was stored.
            NotFoundError: no such model or training.
            UnreachableError: broker, store or files. Nothing was stored, unless the store went away while it stored
                the job: that cannot be known. With a key it is safe to submit again.
        """
        return submit(self.connections, request, seeds, after=after, key=key, dry_run=dry_run)

    def validation_openings(self, model: str, count: int, rng_seed: int) -> Iterator[str]:
        """Openings of so many places of the text that a model is measured on.

        Raises:
            InputError: not 1 to 1,000,000 of them, or a model without such a text.
            NotFoundError: no such model.
        """
        return openings.validation_openings(self.connections, model, count, rng_seed)

    def job(self, job_id: int) -> Job:
        """A job as the store has it, without what `status` finds out.

        Raises:
            NotFoundError: no such job.
        """
        return self.connections.store.job(job_id)

    def status(self, job_id: int | None = None) -> JobStatus:
        """Everything about a job; the newest without an id.

        Raises:
            NotFoundError: no such job.
        """
        return job_status(self.connections, job_id)

    def jobs(
        self,
        limit: int = 20,
        *,
        before: int | None = None,
        state: str | None = None,
        kind: str | None = None,
        model: str | None = None,
        label: str | None = None,
    ) -> list[Job]:
        """The newest jobs, newest first.

        Args:
            before: only those with a smaller id, to page on.
            model: `name` or `name@3`.

        Raises:
            InputError: no such state or kind.
        """
        for name, value, choices in (("state", state, list(JobState)), ("kind", kind, QUEUES)):
            if value is not None:
                check_choice(name, value, choices)
        for what, text in (("The model's name", model), ("The label", label)):
            check_storable(what, text or "")
        name, at, version = (model or "").partition("@")
        number = registry.version_number(version)
        if at and (not name or number is None):
            raise InputError(f"The model must be NAME or NAME@VERSION, such as speeches@3. Received: {model!r}")
        equal = {"state": state, "kind": kind, "model": name or None, "version": number, "label": label}
        return self.connections.store.jobs(limit, before, **equal)

    def follow(self, job_id: int, timeout_s: float | None = None) -> Iterator[JobStatus]:
        """Statuses of a job until it has ended; the last one is of the ended job.

        Raises:
            NotFinishedError: after `timeout_s` seconds; the job goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        status = self.status(job_id)
        while True:
            yield status
            if status.ended:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise NotFinishedError(f"Job {job_id} did not end within {timeout_s:g} s. It continues")
            time.sleep(POLL_S)
            known = status.history  # of thousands of epochs only the new ones are read
            status = job_status(self.connections, job_id, after_epoch=known[-1].epoch if known else 0)
            # In the end all of them: one may have been done again, and ended otherwise.
            status = self.status(job_id) if status.ended else replace(status, history=known + status.history)

    def results(
        self,
        job_id: int,
        *,
        rows: tuple[int, int | None] = (0, None),
        where: Sequence[str] = (),
        failed: bool = False,
        distinct: bool = False,
        limit: int | None = None,
        follow: bool = False,
    ) -> Iterator[bytes]:
        """Result lines (JSON, each with its line end) in row order; of a job in work those that are done.

        Args:
            rows: the first, and the one after the last; None for all further ones.
            where: conditions such as "temperature=0.5", which all must hold.
            failed: only rows that could not be sampled.
            distinct: of rows with equal texts the first only, and no failed rows.
            limit: lines at most.
            follow: wait for rows that are not done yet, until the job has ended.

        Raises:
            InputError: a training, or a condition that is none.
            NotFoundError: no such job.
        """
        found, meets = Results(self.connections, job_id), parse_conditions(where)
        lines = found.lines(*rows, failed=failed, follow=follow)
        lines = select(lines, meets) if where else lines
        return islice(first_of_each_text(lines) if distinct else lines, limit)

    def cancel(self, job_id: int) -> bool:
        """End a job; rows that are done stay readable -> False if it had ended already.

        Raises:
            NotFoundError: no such job.
        """
        with self.connections.store.write() as connection:
            return lifecycle.cancel_job(connection, job_id)

    def retry(self, job_id: int) -> int:
        """Do again what failed or was cancelled; results that are there stay -> the number of parts.

        Raises:
            InputError: a training whose model is measured on another validation text by now, or a job that waited for
                a training that made no version.
            NotFoundError: no such job, or its version was deleted.
            UnreachableError: broker, store or files.
        """
        self.connections.probe()
        with self.connections.store.write() as connection:
            retried = lifecycle.retry_job(connection, job_id)
            if retried.parts:
                registry.lock_needs(connection, retried.spec, but=job_id)
        if retried.parts and retried.ready:  # else its training rings for it
            self.connections.ring(retried.spec.QUEUE, job_id, retried.parts)
        return retried.parts

    def delete(self, job_id: int) -> None:
        """Delete an ended job with its results.

        Raises:
            InputError: it has not ended, or a version came from it.
            NotFoundError: no such job.
        """
        self.connections.claim_files()
        pruning.delete(self.connections.store, self.connections.files, job_id)

    def prune(self, older_than_s: float, *, dry_run: bool = False) -> pruning.Pruned:
        """Delete jobs that ended so long ago, but no training behind a version; and what killed processes left."""
        self.connections.claim_files()
        return pruning.prune(self.connections.store, self.connections.files, older_than_s, dry_run=dry_run)

    def workers(self) -> list[WorkerInfo]:
        """The pool children that showed a sign of life within a lease's length."""
        return self.connections.workers()
