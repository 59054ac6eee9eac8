"""The Python interface for jobs: submit them, follow them, and read their results, as the command line does.

with Client() as client:
    request = GenerateRequest(model="speeches", sampling=SamplingOptions(temperatures=(0.5,)))
    job = client.submit(request, ["Today, we"])
    job.wait()
    for row in job.rows():
        print(row.text)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from charrnn.checks import check_type
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.views import Action, Event, Job, JobStatus, WorkerInfo, check_id
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import events, lifecycle, migrations, registry
from charrnn.jobs.upkeep import pruning
from charrnn.jobs.upkeep.inspection import Finding, inspect
from charrnn.jobs.upkeep.listing import JobFilter, list_jobs
from charrnn.jobs.upkeep.status import follow, job_status

# Imported in methods: 0.1 s of imports, NumPy among them, that not every command needs.
if TYPE_CHECKING:
    from charrnn.jobs.handle import JobHandle
    from charrnn.jobs.models.models import Models
    from charrnn.jobs.rows.results import RowFilter
    from charrnn.jobs.rows.row import Row
    from charrnn.jobs.rows.seeds import Seed
    from charrnn.jobs.schedules import Schedules


class Client:
    """A client of one store and one broker, which are opened at first use, and closed by `close` or a `with` block.

    Args:
        settings: default: those of the environment, as `Settings.from_env` reads them.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        check_type("settings", settings, Settings | None, "Settings")
        self.connections = Connections(Settings.from_env(os.environ) if settings is None else settings)
        self.person = self.connections.settings.person  # who does what is done with this client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def models(self) -> Models:
        """The versions of all models."""
        from charrnn.jobs.models.models import Models

        return Models(self.connections)

    @cached_property
    def schedules(self) -> Schedules:
        """The schedules."""
        from charrnn.jobs.schedules import Schedules

        return Schedules(self.connections)

    def close(self) -> None:
        """Close the connections to broker, store and files. The client cannot be used again."""
        self.connections.close()

    def train(self, request: TrainRequest, *, dry_run: bool = False) -> JobHandle[TrainSpec]:
        """Submit a training job for a new version of a model.

        Args:
            dry_run: check everything, but store nothing.

        Raises:
            InputError: a text, a name or a number cannot be used. Nothing was stored.
            NotFoundError: the version to fine-tune does not exist.
            UnreachableError: broker, store or files do not answer. Nothing was stored, unless the connection to the
                store broke while it stored the job: the outcome is then unknown.
        """
        from charrnn.jobs.handle import JobHandle
        from charrnn.jobs.submit.training import train

        return JobHandle(**vars(train(self.connections, request, dry_run=dry_run)), client=self)

    def submit(
        self,
        request: GenerateRequest,
        seeds: Iterable[Seed | str] | None = None,
        *,
        after: int | None = None,
        key: str | None = None,
        dry_run: bool = False,
    ) -> JobHandle[GenerateSpec]:
        """Submit a generate job that samples seeds x temperatures x samples from a model.

        Args:
            seeds: the seeds, if the request names no file. They are read once and not held in memory, however many
                there are. An empty seed starts a new line. None is the same as a single empty seed.
            after: id of a training job to wait for. The job samples from the version that it makes.
            key: idempotency key: submitting the same request again with it returns the existing job.
            dry_run: check everything, but store nothing. `existed` tells whether a job with the key exists.

        Raises:
            InputError: a seed that the model cannot read or that has invalid options, or a key that belongs to a
                different request. Nothing was stored.
            NotFoundError: the model or the training job does not exist.
            UnreachableError: broker, store or files do not answer. Nothing was stored, unless the connection to the
                store broke while it stored the job: the outcome is then unknown. With a key it is safe to submit
                again.
        """
        from charrnn.jobs.handle import JobHandle
        from charrnn.jobs.submit.sampling import submit

        if after is not None:
            check_id("after", after)
        job = submit(self.connections, request, seeds, after=after, key=key, dry_run=dry_run)
        return JobHandle(**vars(job), client=self)

    def validation_openings(self, model: str, count: int, rng_seed: int) -> Iterator[str]:
        """Yield `count` openings: short passages from random places in a model's validation text.

        Raises:
            InputError: `count` is not 1 to 1,000,000, or the model has no validation text.
            NotFoundError: the model does not exist.
        """
        from charrnn.jobs.submit import openings

        return openings.validation_openings(self.connections, model, count, rng_seed)

    def job(self, job_id: int) -> Job:
        """Return a job as it is stored, without the details that `status` adds.

        Raises:
            NotFoundError: the job does not exist.
        """
        check_id("job_id", job_id)  # without an id the store returns the newest job
        return self.connections.store.job(job_id)

    def status(self, job_id: int | None = None) -> JobStatus:
        """Return everything about a job, or about the newest job if no id is given.

        Raises:
            NotFoundError: the job does not exist.
        """
        return job_status(self.connections, job_id)

    def jobs(self, limit: int = 20, *, before: int | None = None, **filters: Unpack[JobFilter]) -> list[Job]:
        """Return the newest jobs, the newest first.

        Args:
            limit: maximum number of jobs.
            before: return only jobs with a smaller id, to get the next page.
            filters: which jobs; see `JobFilter`.

        Raises:
            InputError: a state or kind does not exist, or a model is not `name` or `name@3`.
        """
        return list_jobs(self.connections, limit, before, **filters)

    def events(self, limit: int = 20, *, before: int | None = None, job: int | None = None) -> list[Event]:
        """Return the newest events, the newest first: who did what, and which attempts failed.

        Args:
            limit: maximum number of events.
            before: return only events with a smaller id, to get the next page.
            job: return only the events of this job, which may have been deleted since.
        """
        with self.connections.store.read() as connection:
            return events.read(connection, limit, before, job)

    def follow(self, job_id: int, timeout_s: float | None = None) -> Iterator[JobStatus]:
        """Yield the status of a job again and again until it has ended. The last one is that of the ended job.

        Raises:
            NotFinishedError: the job did not end within `timeout_s` seconds. It continues.
            NotFoundError: the job does not exist.
        """
        return follow(self.connections, job_id, timeout_s)

    def wait(self, job_id: int, timeout_s: float | None = None) -> JobStatus:
        """Wait until a job has ended, and return its status. Raises what `follow` raises."""
        *_, status = self.follow(job_id, timeout_s)
        return status

    def rows(self, job_id: int, **filters: Unpack[RowFilter]) -> Iterator[Row]:
        """Return an iterator over a job's rows in order.

        Args:
            filters: which rows; see `RowFilter`.

        Raises:
            InputError: the job is a training job, a condition cannot be parsed, or it is not known of any text whether
                it is novel.
            NotFoundError: the job does not exist.
        """
        from charrnn.jobs.rows.row import Row

        return map(Row.from_line, self.results(job_id, **filters))

    def results(self, job_id: int, **filters: Unpack[RowFilter]) -> Iterator[bytes]:
        """Return the same rows as lines of JSON, each with its line end."""
        from charrnn.jobs.rows.results import Results

        return Results(self.connections, job_id).selected(**filters)

    def cancel(self, job_id: int) -> bool:
        """Cancel a job. Rows that are done stay readable. Return False if the job had ended already.

        Raises:
            NotFoundError: the job does not exist.
        """
        with self.connections.store.write() as connection:
            cancelled = lifecycle.cancel_job(connection, job_id)
            if cancelled:
                events.record(connection, self.person, Action.CANCELLED, job=job_id)
        return cancelled

    def retry(self, job_id: int) -> int:
        """Retry the parts that failed or were cancelled, and return their number. Existing results stay.

        Raises:
            InputError: the model of a training job has another validation text by now, or the job waited for a
                training job that made no version.
            NotFoundError: the job does not exist, or its version was deleted.
            UnreachableError: broker, store or files do not answer.
        """
        self.connections.probe()
        with self.connections.store.write() as connection:
            retried = lifecycle.retry_job(connection, job_id)
            if retried.parts:
                registry.lock_needs(connection, retried.spec, but=job_id)
                events.record(connection, self.person, Action.RETRIED, job=job_id)
        if retried.parts and retried.ready:  # otherwise the end of its training job sends the notifications
            self.connections.ring(retried.spec.QUEUE, job_id, retried.parts)
        return retried.parts

    def delete(self, job_id: int, progress: pruning.Progress = pruning.ignore) -> None:
        """Delete a job that has ended, with its results. If that is broken off, the next call goes on.

        Args:
            progress: called with the number of parts that are deleted, for a job with many.

        Raises:
            InputError: the job has not ended, or the version that it made exists or was fine-tuned.
            NotFoundError: the job does not exist.
        """
        self.connections.claim_files()
        store, files = self.connections.store, self.connections.files
        pruning.delete(store, files, job_id, self.person, progress)

    def prune(self, older_than_s: float, *, dry_run: bool = False, accept_newer: bool = False) -> pruning.Pruned:
        """Delete jobs that ended more than `older_than_s` seconds ago, but no training job that made a version. Files
        that no row names are set aside, and deleted a week later.

        Args:
            accept_newer: set files aside too that are newer than everything that the database knows.

        Raises:
            InputError: there are such files. Nothing was deleted.
        """
        self.connections.claim_files()
        store, files = self.connections.store, self.connections.files
        return pruning.prune(store, files, older_than_s, self.person, dry_run=dry_run, accept_newer=accept_newer)

    def inspect(self) -> Iterator[Finding]:
        """Yield what is wrong with database and files: lost or changed files, damaged rows, files without a row."""
        self.connections.claim_files()
        return inspect(self.connections.store, self.connections.files)

    def recover(self) -> None:
        """Skip numbers that may have been used since a backup that was restored. No worker or scheduler may run."""
        with self.connections.store.write() as connection:
            migrations.skip_used_numbers(connection)

    def workers(self) -> list[WorkerInfo]:
        """Return the pool children whose last heartbeat is no older than a lease's length."""
        return self.connections.workers()
