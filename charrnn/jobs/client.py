"""Submit jobs, follow them, read their results: what the command line does, for code.

client = Client(Settings.from_env(os.environ))
job = client.submit("speeches", [Seed("Today, we")], SamplingOptions(temperatures=(0.5,)))
for line in client.results(job.id): ...
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection

from charrnn.errors import InputError, NotFinishedError, NotFoundError, UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.files.files import Files, unique_name
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.gate import Gate
from charrnn.jobs.job.report import summary
from charrnn.jobs.job.specs import MAX_PART_ROWS, MAX_SOURCES, SPECS, GenerateSpec, TrainSpec, check_name
from charrnn.jobs.job.states import ENDED_JOBS, JobState, PartState, Priority
from charrnn.jobs.models import transfer
from charrnn.jobs.queue import QUEUES, Queue
from charrnn.jobs.rows.formats import parse_conditions, select
from charrnn.jobs.rows.results import POLL_S, Results
from charrnn.jobs.rows.rows import first_of_each_text
from charrnn.jobs.rows.seeds import Seed, SeedWriter
from charrnn.jobs.schedules.runner import Schedules
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import lifecycle, registry
from charrnn.jobs.store import slots as schedules
from charrnn.jobs.store.lifecycle import NewJob, StoredJob
from charrnn.jobs.store.slots import SkippedError, Slot
from charrnn.jobs.store.store import Store
from charrnn.jobs.submit.corpora import open_corpora
from charrnn.jobs.submit.held_out import HeldOut
from charrnn.jobs.submit.sampling import (
    Fleet,
    Submitted,
    as_seeds,
    check_key,
    estimate,
    find_target,
    make_spec,
    request_hash,
)
from charrnn.jobs.upkeep import pruning
from charrnn.jobs.upkeep.pruning import Pruned
from charrnn.options import (
    NetworkOptions,
    SamplingOptions,
    TrainingOptions,
    check_choice,
    check_integer,
    check_number,
    continued,
)
from charrnn.text.documents import UTF_8, Document, check_storable
from charrnn.text.held_out import TrainingText, check_characters
from charrnn.text.openings import draw_openings
from charrnn.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

SHOWN_JOBS = 5  # that are ahead of one that waits
MAX_RANDOM_SEEDS = 1_000_000
MAX_KEEP = 1_000_000  # versions


class Client:
    """One store and one broker. Both are opened when first used, and by `close` closed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connections = Connections(settings)

    @property
    def files(self) -> Files:
        return self.connections.files

    @property
    def store(self) -> Store:
        return self.connections.store

    @property
    def queue(self) -> Queue:
        return self.connections.queue

    @cached_property
    def schedules(self) -> Schedules:
        return Schedules(self)

    def close(self) -> None:
        self.connections.close()

    def train(
        self,
        model: str,
        paths: Sequence[str | Path],
        network: NetworkOptions | None = None,
        training: TrainingOptions | None = None,
        *,
        held_out: Sequence[str | Path] = (),
        encoding: str = UTF_8,
        start: str | None = None,
        margin: float = 0.0,
        keep: int | None = None,
        label: str | None = None,
        dry_run: bool = False,
        slot: Slot | None = None,
    ) -> Submitted[TrainSpec]:
        """Submit a training of a new version of `model` on text files.

        Args:
            paths: files, folders of *.txt, patterns, and s3:// files and folders below settings.corpus_roots.
            held_out: files to measure the loss on; else about 5 % of the text, whole files where there are
                several. Only for a model's first training: it keeps its held-out text.
            start: a version to go on from, as `name`, `name@3` or `name@alias`; it must not have been trained
                on the held-out text.
            margin: nats per character by which it must be better than the champion to take its place.
            keep: delete versions older than the newest so many afterwards, see `delete_older_versions`.
            dry_run: check everything, store nothing.
            slot: of the schedule that asks for it, to be marked submitted.

        Raises:
            InputError: text, name or numbers that cannot be used; nothing was stored.
            NotFoundError: no such version to go on from.
            SkippedError: the slot is not to have the job.
            UnreachableError: broker, store or files. Nothing was stored, unless the store went away while it stored
                the job: that cannot be known.
        """
        check_name("The model's name", model)
        check_storable("The job's name", label or "")
        check_number("margin", margin)
        if keep is not None:
            check_integer("keep", keep, 1, MAX_KEEP)
        with open_corpora(self.settings) as corpora:
            corpus = corpora.documents(paths, encoding)
            self.probe()
            version = registry.resolve(self.store, start) if start else None
            network = continued(network, NetworkOptions.from_dict(version.network) if version else None)
            given = corpora.documents(held_out, encoding) if held_out else []
            chosen = HeldOut(self.store, self.files).text(model, corpus, given, version)
            text = TrainingText(corpus, chosen)
            text.scan()
            vocabulary = Vocabulary(version.characters) if version else text.vocabulary()
            check_characters(text, vocabulary, start or model)
            training = training or TrainingOptions()
            training.batch_of(network, text.characters)
            put = _not_stored if dry_run else self.files.put_content
            spec = TrainSpec(
                model=model,
                vocabulary=vocabulary.characters,
                corpus=put("corpora", ".txt", (chunk.encode() for chunk in text)),
                characters=text.characters,
                held_out=put("held-out", ".txt", [chosen.encode()]),
                held_out_characters=len(chosen),
                network=network,
                training=training,
                start=f"{version.model}@{version.version}" if version else None,
                sources=tuple(map(_printable, corpus[:MAX_SOURCES])),
                num_sources=len(corpus),
                margin=margin,
                keep=keep,
            )
        if dry_run:
            return Submitted(id=None, spec=spec)
        job = self._add(NewJob(spec=spec, label=label), slot)
        self._ring(spec.QUEUE, job.id, [0])
        return Submitted(id=job.id, spec=spec)

    def submit(
        self,
        model: str | None,
        seeds: Iterable[Seed | str] | None,
        sampling: SamplingOptions,
        *,
        after: int | None = None,
        key: str | None = None,
        priority: Priority = Priority.NORMAL,
        part_rows: int | None = None,
        label: str | None = None,
        dry_run: bool = False,
        slot: Slot | None = None,
    ) -> Submitted[GenerateSpec]:
        """Submit seeds x temperatures x samples to be sampled from a model.

        Args:
            model: `name` for its champion, `name@3` for a version, `name@alias`; may be None with `after`.
            seeds: read once and not held, however many; an empty one starts a new line, and so does None.
            after: a training; the job waits for it and samples from the version that it makes.
            key: makes a repeated submit harmless: the same key and the same content are the same job.
            priority: of its parts among those that wait.
            part_rows: that are done under one lease, about 20 seconds of work if left out; the results do not
                depend on it.
            dry_run: check everything, store nothing; `existed` tells whether the key stands for a job already.
            slot: of the schedule that asks for it, to be marked submitted.

        Raises:
            InputError: seeds that the model cannot read or that ask for what cannot be, a key that stands for
                something else; nothing was stored.
            NotFoundError: no such model or training.
            SkippedError: the slot is not to have the job.
            UnreachableError: broker, store or files. Nothing was stored, unless the store went away while it stored
                the job: that cannot be known. With a key it is safe to submit again.
        """
        check_storable("The job's name", label or "")
        check_key(key)
        if part_rows is not None:
            check_integer("part-rows", part_rows, 1, MAX_PART_ROWS)
        self.probe()
        target = find_target(self.store, model, after)
        fleet = Fleet.of(self.store, target.model, self._devices())
        writer = SeedWriter(sampling, Vocabulary(target.characters))
        frames = writer.write(as_seeds(seeds))

        def new_job(spec: GenerateSpec) -> NewJob:
            request = request_hash(model, after, sampling, writer.sha256)
            return NewJob(
                spec=spec, label=label, key=key, request=request, priority=priority, after=after, frames=writer.frames
            )

        def submitted(job: int | None, spec: GenerateSpec, existed: bool) -> Submitted[GenerateSpec]:
            return Submitted(id=job, spec=spec, estimate=estimate(spec, writer.seed_bytes, fleet), existed=existed)

        if dry_run:
            file = FileRef(name="", size=sum(map(len, frames)), sha256="")
            spec = make_spec(target, writer, file, fleet, part_rows)
            return submitted(None, spec, self._exists(new_job(spec)))
        stored = self.files.put(unique_name("seeds", ".jsonl.zst"), frames)
        try:
            job = self._add(new_job(make_spec(target, writer, stored, fleet, part_rows)), slot)
        except (InputError, NotFoundError, SkippedError):  # of others it is not known whether the job was stored
            self._discard(stored)
            raise
        spec = GenerateSpec.from_dict(job.spec)
        if job.existed:
            self._discard(stored)
        elif spec.version is not None:  # else its training rings for it
            self._ring(spec.QUEUE, job.id, range(spec.parts))
        return submitted(job.id, spec, job.existed)

    def _exists(self, new: NewJob) -> bool:
        with self.store.read() as connection:
            return lifecycle.first_of_key(connection, new) is not None

    def _discard(self, seeds: FileRef) -> None:
        """Delete seeds that no job names; what is said to the caller matters more than they."""
        try:
            self.files.delete(seeds.name)
        except UnreachableError as error:
            logger.warning("%s is left over, for prune to delete: %s", seeds.name, error)

    def _devices(self) -> list[str]:
        """Of the live workers that sample."""
        return [worker["device"] for worker in self.workers() if GenerateSpec.QUEUE in worker["queues"]]

    def random_seeds(self, model: str, count: int, rng_seed: int) -> Iterator[Seed]:
        """Openings of so many places, drawn by `rng_seed`, of the text that a version was trained on.

        Raises:
            InputError: not 1 to 1,000,000 of them, or a version whose text is not here.
            NotFoundError: no such model.
        """
        check_integer("random-seeds", count, 1, MAX_RANDOM_SEEDS)
        version = registry.resolve(self.store, model)
        if version.job is None:
            raise InputError(f"{model} was imported, without the text that it was trained on. Give it seeds")
        spec = TrainSpec.from_dict(self.store.job(version.job)["spec"])
        text = Document(self.files.checked(spec.corpus))
        return map(Seed, draw_openings(text, count, rng_seed))

    def held_out_openings(self, model: str, count: int, rng_seed: int) -> Iterator[str]:
        """Openings of so many places of the text that a model is measured on.

        Raises:
            InputError: not 1 to 1,000,000 of them, or a model without such a text.
            NotFoundError: no such model.
        """
        check_integer("samples", count, 1, MAX_RANDOM_SEEDS)
        version = registry.resolve(self.store, model)
        with self.store.read() as connection:
            held_out = registry.held_out(connection, version.model)
        if held_out is None:
            raise InputError(f"{version.model} has no held-out text")
        return draw_openings(Document(self.files.checked(held_out)), count, rng_seed)

    def _add(self, new: NewJob, slot: Slot | None) -> StoredJob:
        with self.store.write() as connection:
            _lock_needs(connection, new.spec)
            job = lifecycle.add_job(connection, new)
            if slot is not None:
                schedules.fill(connection, slot, job.id, new.spec)
            return job

    def _ring(self, queue: str, job: int, numbers: Iterable[int]) -> None:
        try:
            self.queue.ring(queue, (f"{job}/{number}" for number in numbers))
        except UnreachableError as error:  # maintenance rings for it
            logger.warning("job %d is stored and starts when the broker is back: %s", job, error)

    def probe(self) -> None:
        """Reach broker, store and files, and see that they belong together.

        Raises:
            InputError: they do not.
            UnreachableError: one of them.
        """
        self.connections.probe()

    def status(self, job_id: int | None = None) -> dict[str, Any]:
        """Everything about a job, JSON-ready; the newest without an id.

        Beside the columns of the store: `progress` of the parts in work, `history` of a training,
        the sampler's `report`, and `waiting_for`, why nothing happens yet.
        """
        job = self.store.job(job_id)
        leased = self.store.parts(job["id"], PartState.LEASED)
        return {
            **job,
            "progress": [{"part": part.number, "attempt": part.attempts, **(part.progress or {})} for part in leased],
            "report": {"queue_seconds": _queue_seconds(job), **summary(job["report"])} if job["report"] else None,
            "history": self.store.history(job["id"]),
            "waiting_for": self._waiting_for(job),
        }

    def _waiting_for(self, job: dict[str, Any]) -> str | None:
        if job["state"] in ENDED_JOBS or self.store.parts(job["id"], PartState.LEASED, limit=1):
            return None
        if job["after"] is not None and job["version"] is None:
            return f"job {job['after']}, whose version it will sample from, has not ended"
        queue = job["kind"]
        serving = [worker for worker in self.workers() if queue in worker["queues"]]
        if not serving:
            return f"no live worker serves {queue}. Start one: charrnn-jobs up, or charrnn-jobs worker"
        if ahead := self.store.parts_ahead(job):
            shown = [f"{count:,} parts of job {other}" for other, count in islice(ahead.items(), SHOWN_JOBS)]
            more = len(ahead) - len(shown)
            return ", ".join(shown) + (f" and those of {more:,} jobs more" if more else "") + " are ahead"
        at_work = self.store.jobs_in_work([worker["owner"] for worker in serving])
        others = [other for other in at_work if other != job["id"]]  # its own may have begun meanwhile
        if len(others) >= len(serving):
            busy = ", ".join(map(str, sorted(set(others))))
            return f"the workers are busy with job {busy}; a training among them makes way at its next checkpoint"
        return "a worker is about to take it"

    def jobs(
        self,
        limit: int = 20,
        *,
        before: int | None = None,
        state: str | None = None,
        kind: str | None = None,
        model: str | None = None,
        label: str | None = None,
    ) -> list[dict[str, Any]]:
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
        for what, text in (("The model's name", model), ("The job's name", label)):
            check_storable(what, text or "")
        name, at, version = (model or "").partition("@")
        number = registry.version_number(version)
        if at and (not name or number is None):
            raise InputError(f"The model must be NAME or NAME@VERSION, such as speeches@3. Received: {model!r}")
        equal = {"state": state, "kind": kind, "model": name or None, "version": number, "label": label}
        return self.store.jobs(limit, before, **equal)

    def models(self) -> list[dict[str, Any]]:
        """Every version of every model, with its aliases."""
        return registry.all_versions(self.store)

    def version(self, reference: str) -> dict[str, Any]:
        """A version with its aliases, what it was trained on (`training`, None of an imported one), the text that it is
        measured on (`held_out`), and what the gate made of it (`reason`).

        Raises:
            NotFoundError: no such version.
        """
        found = registry.resolve(self.store, reference)
        with self.store.read() as connection:
            training = registry.training_of(connection, found.model, found.version)
            names = registry.aliases_of(connection, found.model, found.version)
            held_out = registry.held_out(connection, found.model)
        return {
            **found._mapping,
            "aliases": names,
            "held_out": held_out and held_out.to_dict(),
            "reason": Gate.from_dict(found.gate).reason(found.model),
            "training": training and training.to_dict(),
        }

    def promote(self, reference: str, alias: str = registry.CHAMPION) -> str:
        """Let `model@alias`, or the model's plain name, mean that version from now on -> the version's name.

        Jobs that were submitted keep the version that they were submitted with.

        Raises:
            InputError: an alias that is none.
            NotFoundError: no such version.
        """
        version = registry.resolve(self.store, reference)
        with self.store.write() as connection:
            registry.promote(connection, version.model, version.version, alias)
        return f"{version.model}@{version.version}"

    def rollback(self, model: str) -> str:
        """Go back to the champion of before; again, and it is the one before that -> the version's name.

        Raises:
            InputError: there was none.
            NotFoundError: no such model.
        """
        check_storable("The model's name", model)
        with self.store.write() as connection:
            return f"{model}@{registry.rollback(connection, model)}"

    def delete_version(self, reference: str) -> str:
        """Delete a version for good; its number is not given again -> its name.

        Raises:
            InputError: an alias means it, or a job that has not ended needs it.
            NotFoundError: no such version.
        """
        self.connections.claim_files()
        version = registry.resolve(self.store, reference)
        with self.store.write() as connection:
            files = registry.delete_version(connection, version.model, version.version)
        self._discard_folder(files)
        return f"{version.model}@{version.version}"

    def delete_older_versions(self, model: str, keep: int) -> list[str]:
        """Delete all versions of a model but the newest `keep` for good -> their names, the newest first.

        Those stay that an alias means, that a job which has not ended needs, or that a rollback would go back to.

        Raises:
            InputError: a name that is none, or not 1 to 1,000,000 to keep.
            NotFoundError: no such model.
        """
        check_name("The model's name", model)
        check_integer("keep", keep, 1, MAX_KEEP)
        self.connections.claim_files()
        registry.resolve(self.store, model)
        with self.store.write() as connection:
            deleted = registry.delete_older(connection, model, keep)
        for files in deleted.values():
            self._discard_folder(files)
        return [f"{model}@{number}" for number in deleted]

    def _discard_folder(self, files: FileRef) -> None:
        """Delete the files of a version that is no more."""
        try:
            self.files.delete_folder(files.name)
        except UnreachableError as error:
            logger.warning("%s is left over, for prune to delete: %s", files.name, error)

    def export_model(self, reference: str, target: BinaryIO) -> str:
        """Write a version as one file, to be imported elsewhere -> the file's sha256.

        Raises:
            NotFoundError: no such version.
        """
        return transfer.export_version(self.store, self.files, reference, target)

    def import_model(self, path: str | Path, name: str | None = None) -> str:
        """Add an exported version as the next one of its model, or of the model `name` -> its name, as `speeches@3`.

        Raises:
            InputError: no such file, one that is damaged, or a model that is measured on another held-out text.
        """
        if name is not None:
            check_name("The model's name", name)
        self.connections.claim_files()
        return transfer.import_version(self.store, self.files, Path(path), name)

    def workers(self) -> list[dict[str, Any]]:
        """The pool children that showed a sign of life within a lease's length."""
        alive = self.store.workers(round(self.settings.lease_s * 1000))
        return [dict(worker._mapping) for worker in alive]

    def cancel(self, job_id: int) -> bool:
        """End a job; rows that are done stay readable -> False if it had ended already.

        Raises:
            NotFoundError: no such job.
        """
        with self.store.write() as connection:
            return lifecycle.cancel_job(connection, job_id)

    def retry(self, job_id: int) -> int:
        """Do again what failed or was cancelled; results that are there stay -> the number of parts.

        Raises:
            InputError: a training whose model is measured on another held-out text by now, or a job that waited for
                a training that made no version.
            NotFoundError: no such job, or its version was deleted.
            UnreachableError: broker, store or files.
        """
        self.probe()
        with self.store.write() as connection:
            numbers = lifecycle.retry_job(connection, job_id)
            job = lifecycle.lock_job(connection, job_id)
            if numbers:
                _lock_needs(connection, SPECS[job.kind].from_dict(job.spec), but=job_id)
        if job.after is None or job.version is not None:  # else its training rings for it
            self._ring(job.kind, job_id, numbers)
        return len(numbers)

    def delete(self, job_id: int) -> None:
        """Delete an ended job with its results.

        Raises:
            InputError: it has not ended, or a version came from it.
            NotFoundError: no such job.
        """
        self.connections.claim_files()
        pruning.delete(self.store, self.files, job_id)

    def prune(self, older_than_s: float, *, dry_run: bool = False) -> Pruned:
        """Delete the jobs that ended so long ago, but for trainings that a version came from; and what is left over
        of submits and workers that were killed."""
        self.connections.claim_files()
        return pruning.prune(self.store, self.files, older_than_s, dry_run=dry_run)

    def follow(self, job_id: int, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Statuses of a job until it has ended; the last one is of the ended job.

        Raises:
            NotFinishedError: after `timeout_s` seconds; the job goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            status = self.status(job_id)
            yield status
            if status["state"] in ENDED_JOBS:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise NotFinishedError(f"Job {job_id} has not ended within {timeout_s:g} s; it goes on")
            time.sleep(POLL_S)

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
        job, meets = self.store.job(job_id), parse_conditions(where)
        if job["kind"] != GenerateSpec.QUEUE:
            raise InputError(f"Job {job_id} is a training; it has no rows. See: charrnn-jobs status {job_id}")
        lines = Results(self.store, self.files, job).lines(*rows, failed=failed, follow=follow)
        lines = select(lines, meets) if where else lines
        return islice(first_of_each_text(lines) if distinct else lines, limit)


def _lock_needs(connection: Connection, spec: TrainSpec | GenerateSpec, but: int | None = None) -> None:
    """Keep what the job needs until it is stored: the model before the version, as locks are ordered.

    Args:
        but: the job itself, if it is stored already.
    """
    if isinstance(spec, TrainSpec):
        _freeze_held_out(connection, spec, but)
    registry.hold(connection, spec)


def _not_stored(_folder: str, _suffix: str, chunks: Iterable[bytes]) -> FileRef:
    """What a dry run has in the place of a stored file."""
    return FileRef(name="", size=sum(map(len, chunks)), sha256="")


def _freeze_held_out(connection: Connection, spec: TrainSpec, but: int | None) -> None:
    if registry.freeze_held_out(connection, spec.model, spec.held_out, but) != spec.held_out:
        raise InputError(
            f"{spec.model} is measured on another held-out text: another first training of it was submitted meanwhile. "
            f"Submit this one anew"
        )


def _printable(document: Document) -> str:
    """A file's name may hold bytes that are no text."""
    return os.fsencode(str(document)).decode(errors="replace")


def _queue_seconds(job: Mapping[str, Any]) -> float:
    """From submit to the first claim."""
    return float((job["started_at"] - job["created_at"]) / 1000)


def succeeded(job: Mapping[str, Any]) -> bool:
    """Whether an ended job did all that was asked."""
    return bool(job["state"] == JobState.DONE and job["rows_failed"] == 0)
