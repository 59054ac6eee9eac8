"""The database that is the truth: opening it, its transactions, and what people ask of it.

What workers do to parts is in `leases`, models and versions are in `registry`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Row, create_engine, delete, event, func, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from charrnn.errors import InputError, NotFoundError, UnreachableError
from charrnn.jobs.migrations import migrate
from charrnn.jobs.settings import Settings
from charrnn.jobs.specs import SPEC_VERSION, GenerateSpec, TrainSpec
from charrnn.jobs.states import ENDED_JOBS, JobState, PartState
from charrnn.jobs.tables import NOW, jobs, metrics, parts, previews, store, workers

WRITE = "charrnn_write"  # execution option: the transaction begins by taking SQLite's write lock
BUSY_TIMEOUT_S = 30


EPOCH = ("epoch", "step", "learning_rate", "train_nats", "held_out_nats")
PREVIEW = ("temperature", "seed", "text")


class Store:
    """An open store; cheap to make, safe to share between threads, not across a fork.

    Raises:
        InputError: an URL that is not SQLite's, or a store of a newer release.
        UnreachableError: the database does not open.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        with self.write() as connection:
            migrate(connection)
            self.id: str = connection.execute(select(store.c.id)).scalar_one()

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """The store that the settings name; the local one is made where there is none."""
        if not settings.store_url:
            try:
                settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise UnreachableError(f"CHARRNN_HOME {settings.home} cannot be made: {error.strerror}") from error
        return cls(settings.database_url)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; only one runs at a time."""
        with self._translated(), self.engine.execution_options(**{WRITE: True}).begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if error.connection_invalidated or not error.statement or error.statement.startswith("BEGIN"):
                raise UnreachableError(f"The store {self.url} does not answer: {error.orig}") from error
            raise

    def add_job(
        self, connection: Connection, spec: TrainSpec | GenerateSpec, label: str | None
    ) -> tuple[int, list[int]]:
        """Insert a job and its parts -> the job's id and its parts' ids."""
        rows = spec.rows if isinstance(spec, GenerateSpec) else 0
        size = spec.part_rows if isinstance(spec, GenerateSpec) else 1
        starts = range(0, max(rows, 1), size)
        job = connection.execute(
            insert(jobs)
            .values(
                kind=spec.QUEUE,
                label=label,
                spec=spec.to_dict(),
                model=spec.model,
                version=spec.version if isinstance(spec, GenerateSpec) else None,
                parts_total=len(starts),
                parts_left=len(starts),
                rows_total=rows,
            )
            .returning(jobs.c.id)
        ).scalar_one()
        values = [
            {
                "job": job,
                "number": number,
                "queue": spec.QUEUE,
                "spec_version": SPEC_VERSION,
                "first_row": start,
                "rows": min(size, rows - start) if rows else 0,
            }
            for number, start in enumerate(starts)
        ]
        connection.execute(insert(parts), values)
        ids = connection.execute(select(parts.c.id).where(parts.c.job == job).order_by(parts.c.number)).scalars()
        return job, list(ids)

    def job(self, job_id: int | None = None) -> dict[str, Any]:
        """A job's row; the newest job's without an id.

        Raises:
            NotFoundError: no such job.
        """
        query = select(jobs).order_by(jobs.c.id.desc()).limit(1)
        if job_id is not None:
            query = query.where(jobs.c.id == job_id)
        with self.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            if job_id is None:
                raise NotFoundError("No job was submitted yet. Begin with: charrnn-jobs train NAME PATH")
            raise NotFoundError(f"There is no job {job_id}. List them with: charrnn-jobs jobs")
        return dict(row)

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        """The newest jobs, newest first, without their reports, which are for `job`."""
        columns = [column for column in jobs.c if column is not jobs.c.report]
        with self.read() as connection:
            rows = connection.execute(select(*columns).order_by(jobs.c.id.desc()).limit(limit)).mappings()
            return [dict(row) for row in rows]

    def parts(self, job_id: int, *states: PartState) -> Sequence[Row[Any]]:
        """A job's parts in order, all or those in `states`."""
        query = select(parts).where(parts.c.job == job_id).order_by(parts.c.number)
        if states:
            query = query.where(parts.c.state.in_(states))
        with self.read() as connection:
            return connection.execute(query).all()

    def history(self, job_id: int) -> list[dict[str, Any]]:
        """A training's epochs in order, each with its previews by temperature."""
        with self.read() as connection:
            epochs = connection.execute(
                select(metrics).where(metrics.c.job == job_id).order_by(metrics.c.epoch)
            ).mappings()
            texts = connection.execute(
                select(previews).where(previews.c.job == job_id).order_by(previews.c.temperature)
            ).mappings()
            written = [dict(text) for text in texts]
            return [
                {
                    **{name: epoch[name] for name in EPOCH},
                    "previews": [
                        {name: text[name] for name in PREVIEW} for text in written if text["epoch"] == epoch["epoch"]
                    ],
                }
                for epoch in epochs
            ]

    def workers(self, seen_within_ms: int) -> Sequence[Row[Any]]:
        """Pool children that showed a sign of life lately."""
        query = select(workers).where(workers.c.seen_at > NOW - seen_within_ms).order_by(workers.c.owner)
        with self.read() as connection:
            return connection.execute(query).all()

    def forget_workers(self, prefix: str) -> None:
        """Drop the pool children whose owner begins so."""
        with self.write() as connection:
            connection.execute(delete(workers).where(workers.c.owner.startswith(prefix, autoescape=True)))

    def jobs_in_work(self, owners: Sequence[str]) -> Sequence[int]:
        """Jobs that those pool children are at work on, one for each leased part."""
        leased = (parts.c.state == PartState.LEASED) & parts.c.owner.in_(owners)
        query = select(parts.c.job).where(leased).order_by(parts.c.job)
        with self.read() as connection:
            return connection.execute(query).scalars().all()

    def parts_ahead(self, job_id: int) -> dict[int, int]:
        """Job → how many of its waiting or leased parts stand in the same queue before this job."""
        queue = select(parts.c.queue).where(parts.c.job == job_id).limit(1).scalar_subquery()
        query = (
            select(parts.c.job, func.count())
            .where(parts.c.queue == queue, parts.c.job < job_id)
            .where(parts.c.state.in_((PartState.QUEUED, PartState.LEASED)))
            .group_by(parts.c.job)
        )
        with self.read() as connection:
            return dict(connection.execute(query).all())

    def cancel(self, job_id: int) -> bool:
        """Ask for a job's end: waiting parts are cancelled now, leased ones by their workers.

        Returns:
            False if the job has ended already.
        """
        self.job(job_id)
        with self.write() as connection:
            asked = connection.execute(
                update(jobs).where(jobs.c.id == job_id, jobs.c.state.not_in(ENDED_JOBS)).values(cancel_requested=True)
            )
            cancelled = connection.execute(
                update(parts)
                .where(parts.c.job == job_id, parts.c.state == PartState.QUEUED)
                .values(state=PartState.CANCELLED)
            )
            end_parts(connection, job_id, cancelled.rowcount)
            return asked.rowcount == 1


def end_parts(connection: Connection, job_id: int, count: int, **added: int) -> None:
    """Count parts as ended and add to the job's counters; whoever ends the last part ends the job."""
    values = {name: jobs.c[name] + amount for name, amount in added.items()}
    job = connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(parts_left=jobs.c.parts_left - count, **values).returning(jobs)
    ).one()
    if count and job.parts_left == 0:
        state = _final_state(connection, job)
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=state, finished_at=NOW))


def _final_state(connection: Connection, job: Row[Any]) -> JobState:
    ended = select(parts.c.state).where(parts.c.job == job.id).distinct()
    states = set(connection.execute(ended).scalars())
    if PartState.CANCELLED in states:
        return JobState.CANCELLED
    if job.kind == TrainSpec.QUEUE and PartState.FAILED in states:
        return JobState.FAILED
    return JobState.DONE


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(
            "CHARRNN_STORE_URL is not a database URL. Expected: sqlite:////path/to/store.sqlite"
        ) from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise InputError(
            f"CHARRNN_STORE_URL must name a SQLite file, sqlite:////path/to/store.sqlite. "
            f"Received: {parsed.render_as_string(hide_password=True)}"
        )
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: Any) -> None:
    """Leave transactions to us: the driver begins them too late for a read that is followed by a write."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
