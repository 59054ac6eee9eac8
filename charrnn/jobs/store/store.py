"""The store, the single source of truth: opening it, its transactions, and its queries.

See `lifecycle` for how jobs begin and end, `leases` for the operations of workers on parts, and `registry` for models
and versions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from math import isclose
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from charrnn.errors import DamagedError, InputError, NotFoundError, UnreachableError
from charrnn.jobs import private
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.part import PartProgress, StoredPart
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.specs import SPEC_VERSION
from charrnn.jobs.job.states import ENDED_JOBS, JobState, PartState
from charrnn.jobs.job.views import Action, Engine, Job, SignOfLife, WorkerInfo, check_id
from charrnn.jobs.settings import CONNECTIONS, Settings
from charrnn.jobs.store import migrations, tables
from charrnn.jobs.store.database import NOW, Database, upsert
from charrnn.jobs.store.events import record, record_release
from charrnn.jobs.store.lifecycle import JOB, no_job, to_job
from charrnn.jobs.store.reports import read_report
from charrnn.jobs.store.shown.queues import to_worker
from charrnn.jobs.store.tables import engines, in_state, jobs, metrics, parts, previews, speeds, workers
from charrnn.release import release
from charrnn.training.progress import EpochMetrics, Preview

PAGE = 1000  # most parts to read at once
SAME_SPEED = 0.1  # share of a throughput by which another one may differ and not be stored


class Store(Database):
    """An open store. It is cheap to create and safe to share between threads, but not across a fork.

    Args:
        owner: returns the store that owns the files, or None. Called if the database is empty.
        connections: see Database.

    Attributes:
        id: the unique id of this store, which broker and files record too.

    Raises:
        InputError: the URL names another kind of database, the store belongs to another release, or the database is
            empty and the files are not.
        UnreachableError: the database cannot be opened.
    """

    def __init__(
        self, url: str, owner: Callable[[], str | None] = lambda: None, connections: int = CONNECTIONS
    ) -> None:
        super().__init__(url, connections)
        try:
            self.id = self._open(owner)
        except BaseException:
            self.close()
            raise

    def _open(self, owner: Callable[[], str | None]) -> str:
        with self.read() as connection:
            exists = migrations.is_store(connection)
        if not exists:
            with self.write() as connection:
                migrations.create(connection, lambda: _refuse_loss(self.url, owner()))
        return str(self._own(tables.store.c.id))

    @classmethod
    def open(cls, settings: Settings, owner: Callable[[], str | None] = lambda: None) -> Store:
        """Return the store that the settings name. The local one is created if it does not exist. For `owner` see
        Store."""
        with _home(settings):
            return cls(settings.database_url, owner, settings.store_connections)

    def _own(self, column: ColumnElement[Any]) -> Any:
        with self.read() as connection:
            return connection.execute(select(column)).scalar_one()

    def now(self) -> int:
        """Return milliseconds since 1970 by the database's clock, since the clocks of hosts disagree."""
        with self.read() as connection:
            return int(connection.execute(select(NOW)).scalar_one())

    @property
    def files_url(self) -> str | None:
        """The place of this store's files, or None until the first one is about to be written."""
        found: str | None = self._own(tables.store.c.files)
        return found

    def set_files_url(self, url: str) -> None:
        with self.write() as connection:
            connection.execute(update(tables.store).values(files=url))

    def job(self, job_id: int | None = None) -> Job:
        """Return a job, or the newest job if there is no id.

        Raises:
            InputError: the id is no whole number.
            NotFoundError: there is no such job.
        """
        query = select(*JOB).where(jobs.c.deleting.is_(False)).order_by(jobs.c.id.desc()).limit(1)
        if job_id is not None:
            check_id("job_id", job_id)
            query = query.where(jobs.c.id == job_id)
        with self.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is not None:
            return to_job(row)
        if job_id is None:
            raise NotFoundError("No job has been submitted yet. Start with: charrnn-jobs train NAME PATH")
        raise no_job(job_id)

    def jobs(self, limit: int, before: int | None = None, *, with_failures: bool = False, **equal: object) -> list[Job]:
        """Return the newest jobs, newest first.

        Args:
            before: only jobs with a smaller id, for the next page.
            with_failures: only jobs that failed or have failed rows.
            equal: values that columns must have; those that are None are ignored.
        """
        # A condition on the row itself would let SQLite scan all jobs, in place of an index of those asked for.
        other = jobs.alias()
        query = select(*JOB).where(jobs.c.id.not_in(select(other.c.id).where(other.c.deleting.is_(True))))
        for name, value in equal.items():
            if value is not None:
                query = query.where(jobs.c[name] == value)
        if before is not None:
            query = query.where(jobs.c.id < before)
        if with_failures:
            query = query.where((jobs.c.state == JobState.FAILED) | (jobs.c.rows_failed > 0))
        with self.read() as connection:
            return [to_job(row) for row in connection.execute(query.order_by(jobs.c.id.desc()).limit(limit))]

    def traceparent(self, job_id: int) -> str | None:
        """Return the `traceparent` of the submit of a job. Anyone may have written it."""
        with self.read() as connection:
            return connection.execute(select(jobs.c.traceparent).where(jobs.c.id == job_id)).scalar_one_or_none()

    def report(self, job_id: int) -> Report | None:
        """Return the report of a job so far, or None before its first part has ended."""
        with self.read() as connection:
            return read_report(connection, job_id)

    def engines(self, job_id: int) -> list[Engine]:
        """Return what did the committed work of a job, the one that began it first."""
        own = select(*(engines.c[field.name] for field in fields(Engine))).where(engines.c.job == job_id)
        with self.read() as connection:
            rows = connection.execute(own.order_by(engines.c.first_at, engines.c.commits.desc(), engines.c.release))
            return [Engine(**row._mapping) for row in rows]

    def unfinished(self, job_ids: Collection[int]) -> set[int]:
        """Return those of the given jobs that exist and have not ended."""
        query = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.state.not_in(ENDED_JOBS))
        with self.read() as connection:
            return set(connection.execute(query).scalars())

    def parts(self, job_id: int, *states: PartState, first: int = 0, limit: int | None = None) -> list[StoredPart]:
        """Return a page of a job's parts in order, from the one with the row `first` on; all, or those in `states`."""
        query = select(parts).where(parts.c.job == job_id).order_by(parts.c.first_row)
        if first:
            begun = select(func.max(parts.c.first_row)).where(parts.c.job == job_id, parts.c.first_row <= first)
            query = query.where(parts.c.first_row >= begun.scalar_subquery())
        if states:
            query = query.where(in_state(*states))
        with self.read() as connection:
            return [_part(row) for row in connection.execute(query.limit(PAGE if limit is None else limit))]

    def history(self, job_id: int, after: int = 0) -> list[EpochMetrics]:
        """Return the epochs of a training job after epoch `after`, each with its previews in order of temperature."""
        with self.read() as connection:
            epochs = connection.execute(
                select(metrics).where(metrics.c.job == job_id, metrics.c.epoch > after).order_by(metrics.c.epoch)
            ).all()
            texts: defaultdict[int, list[Preview]] = defaultdict(list)
            for text in connection.execute(
                select(previews)
                .where(previews.c.job == job_id, previews.c.epoch > after)
                .order_by(previews.c.temperature)
            ):
                texts[text.epoch].append(Preview(temperature=text.temperature, seed=text.seed, text=text.text))
        return [
            EpochMetrics(
                epoch=epoch.epoch,
                step=epoch.step,
                learning_rate=epoch.learning_rate,
                train_loss=epoch.train_loss,
                val_loss=epoch.val_loss,
                previews=tuple(texts[epoch.epoch]),
            )
            for epoch in epochs
        ]

    def workers(self, seen_within_ms: int) -> list[WorkerInfo]:
        """Return the pool children that showed a sign of life within that time."""
        query = select(workers).where(workers.c.seen_at > NOW - seen_within_ms).order_by(workers.c.owner)
        with self.read() as connection:
            return [to_worker(row) for row in connection.execute(query)]

    def record_heartbeat(self, life: SignOfLife) -> None:
        """Record that a pool child is alive."""
        with self.write(durable=False) as connection:
            show_life(connection, life)

    def join(self, owner: str) -> None:
        """Record that a pool child begins, which may be the first one of its release."""
        with self.write() as connection:
            record_release(connection, owner)

    def forget_worker(self, name: str, *, drained: bool) -> None:
        """Remove the pool children of a worker that has ended.

        Args:
            drained: whether it was asked to end.
        """
        with self.write() as connection:
            connection.execute(delete(workers).where(workers.c.owner.startswith(f"{name}/", autoescape=True)))
            if drained:
                record(connection, name, Action.DRAINED)

    def forget_silent_workers(self, after_ms: int) -> None:
        """Remove the pool children that showed no sign of life for that time."""
        with self.write() as connection:
            connection.execute(delete(workers).where(workers.c.seen_at < NOW - after_ms))

    def record_speed(self, model: str, device_kind: str, speed: float) -> None:
        """Store the throughput of a model on a kind of device, unless it is about the stored one.

        All workers of a model would wait for each other's commits if each of their parts wrote it.
        """
        known = self.speeds(model).get(device_kind)
        if known is None or not isclose(known, speed, rel_tol=SAME_SPEED):
            with self.write(durable=False) as connection:
                upsert(connection, speeds, model=model, device=device_kind, characters_per_s=speed)

    def speeds(self, model: str) -> dict[str, float]:
        """Return the throughput of a model by kind of device, in characters per second with a full batch."""
        query = select(speeds.c.device, speeds.c.characters_per_s).where(speeds.c.model == model)
        with self.read() as connection:
            return dict(connection.execute(query).all())


def show_life(connection: Connection, life: SignOfLife) -> None:
    """Store that a pool child of this release is alive."""
    facts = {**vars(life), "queues": list(life.queues), "release": release(), "spec_version": SPEC_VERSION}
    upsert(connection, workers, **facts, seen_at=NOW)


def _part(row: Row[Any]) -> StoredPart:
    return StoredPart(
        job=row.job,
        number=row.number,
        state=PartState(row.state),
        attempts=row.attempts,
        token=row.token,
        owner=row.owner,
        progress=_progress(row.progress),
        stored_checkpoint=row.checkpoint,
        stored_output=row.output,
        error=row.error,
        first_row=row.first_row,
        rows=row.rows,
        frame_offset=row.frame_offset,
        frame_row=row.frame_row,
    )


def _progress(values: Any) -> PartProgress:
    """Return the progress of a part. The next heartbeat replaces a damaged one."""
    with suppress(DamagedError), reading("the progress of a part"):
        return PartProgress.from_dict(values or {})
    return PartProgress()


def upgrade(settings: Settings, owner: Callable[[], str | None] = lambda: None) -> tuple[int, int]:
    """Upgrade a store's schema, or create it in an empty database. Return the versions before and after; 0 before: it
    was created. For `owner` see Store.

    Raises:
        InputError: the store belongs to a newer release, the database has tables of another program, or the database
            is empty and the files are not.
    """
    with _home(settings):
        database = Database(settings.database_url)
        try:
            with database.write() as connection:
                before = migrations.upgrade(connection, lambda: _refuse_loss(database.url, owner()))
            return before, migrations.latest()
        finally:
            database.close()


def _refuse_loss(url: str, owner: str | None) -> None:
    if owner is not None:
        raise InputError(
            f"The database {url} is empty or missing, but the files belong to the store {owner}. Set "
            f"CHARRNN_STORE_URL to that store's database or, if it is lost, restore it as docs/store.md says"
        )


@contextmanager
def _home(settings: Settings) -> Iterator[None]:
    """Create the folder of a local store, and close to others what the block creates in it."""
    if settings.store_url:
        yield
        return
    try:
        settings.home.mkdir(mode=private.FOLDER_MODE, parents=True, exist_ok=True)
        private.close_home(settings.home)
        yield
        private.close_home(settings.home)  # SQLite creates its files with the rights of the umask
    except OSError as error:
        raise UnreachableError(f"CHARRNN_HOME {settings.home} cannot be created: {error.strerror}") from error
