"""Submit jobs, follow them, read their results: what the command line does, for code.

client = Client(Settings.from_env(os.environ))
job = client.submit("speeches", [Seed("Today, we")], SamplingOptions(temperatures=(0.5,)))
for line in client.results(job.id): ...
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row

from charrnn.errors import InputError, NotFinishedError, UnreachableError
from charrnn.jobs import registry
from charrnn.jobs.files import FileRef, Files
from charrnn.jobs.queue import Queue
from charrnn.jobs.reports import summary
from charrnn.jobs.rows import (
    Seed,
    decode_seeds,
    dump_line,
    encode_seeds,
    failed_result,
    first_of_each_text,
    part_rows,
    read_lines,
    store_seeds,
)
from charrnn.jobs.settings import Settings
from charrnn.jobs.specs import MAX_PART_ROWS, PART_WAVES, GenerateSpec, TrainSpec, check_name
from charrnn.jobs.states import ENDED_JOBS, JobState, PartState
from charrnn.jobs.store import Store
from charrnn.openings import draw_openings
from charrnn.options import (
    ERROR,
    NetworkOptions,
    SamplingOptions,
    TrainingOptions,
    check_integer,
    choose_batch,
    choose_precision,
    continued,
)
from charrnn.split import TrainingText, check_characters, choose_held_out, documents, stands_in, whole
from charrnn.text import UTF_8, Document, check_encodable
from charrnn.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

POLL_S = 0.5
SHOWN_LINES = 5  # of wrong seeds in one error
MAX_RANDOM_SEEDS = 1_000_000
MAX_PARTS = 100_000  # each is a row of the store and a doorbell


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A job as it was stored, or would be with `dry_run`; then `id` is None."""

    id: int | None
    spec: TrainSpec | GenerateSpec
    parts: int


class Client:
    """One store and one broker. Both are opened when first used, and by `close` closed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.files = Files(settings.files_root)

    @cached_property
    def store(self) -> Store:
        return Store.open(self.settings)

    @cached_property
    def queue(self) -> Queue:
        return Queue(self.settings)

    def close(self) -> None:
        for name in ("store", "queue"):
            if name in self.__dict__:
                getattr(self, name).close()

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
        label: str | None = None,
    ) -> Submitted:
        """Submit a training of a new version of `model` on text files.

        Args:
            held_out: files to measure the loss on; else about 5 % of the text, whole files where there are
                several. Only for a model's first training: it keeps its held-out text.
            start: a version to go on from, as `name`, `name@3` or `name@alias`; it must not have been trained
                on the held-out text.

        Raises:
            InputError: text, name or numbers that cannot be used; nothing was stored.
            NotFoundError: no such version to go on from.
            UnreachableError: broker or store; nothing was stored.
        """
        check_name("The model's name", model)
        check_encodable("The job's name", label or "")
        corpus = documents(paths, encoding)
        self.probe()
        version = registry.resolve(self.store, start) if start else None
        network = continued(network, NetworkOptions.from_dict(version.network) if version else None)
        chosen = self._held_out(model, corpus, documents(held_out, encoding) if held_out else [], version)
        text = TrainingText(corpus, chosen)
        text.scan()
        vocabulary = Vocabulary(version.characters) if version else text.vocabulary()
        check_characters(text, vocabulary, start or model)
        training = training or TrainingOptions()
        training.batch_of(network, text.characters)
        spec = TrainSpec(
            model=model,
            vocabulary=vocabulary.characters,
            corpus=self.files.put_content("corpora", ".txt", (chunk.encode() for chunk in text)),
            characters=text.characters,
            held_out=self.files.put_content("held-out", ".txt", [chosen.encode()]),
            held_out_characters=len(chosen),
            network=network,
            training=training,
            start=f"{version.model}@{version.version}" if version else None,
        )
        return self._add(spec, label)

    def _held_out(
        self, model: str, corpus: Sequence[Document], given: Sequence[Document], start: Row[Any] | None
    ) -> str:
        """The model's held-out text: frozen, asked for, or chosen."""
        frozen = self._frozen(model)
        if frozen is None and not given:
            return self._chosen(corpus, start)
        text = whole(given) if given else frozen or ""
        if frozen is not None and text != frozen:
            raise InputError(
                f"{model} keeps the held-out text of its first training, so that its versions can be compared. "
                f"Leave out --held-out, or train a model of another name"
            )
        if start is not None and start.model != model and self._was_trained_on(start, text):
            raise InputError(
                f"{start.model}@{start.version} was trained on the held-out text of {model}, so that a loss on it "
                f"would say nothing. Go on from another version, or train a model of another name with a held-out "
                f"text of its own"
            )
        return text

    def _chosen(self, corpus: Sequence[Document], start: Row[Any] | None) -> str:
        """Text of the corpus; if `start` was trained on that, what `start` itself was measured on."""
        text = choose_held_out(corpus)
        if start is not None and self._was_trained_on(start, text):
            return self._frozen(start.model) or text
        return text

    def _frozen(self, model: str) -> str | None:
        with self.store.read() as connection:
            frozen = registry.held_out(connection, model)
        return self.files.read(frozen).decode() if frozen else None

    def _was_trained_on(self, version: Row[Any], held_out: str) -> bool:
        """Whether a piece of the text stands in what the version, or one that it goes on from, was trained on."""
        spec = TrainSpec.from_dict(self.store.job(version.job)["spec"])
        if stands_in(Document(self.files.path(spec.corpus.name)), held_out):
            return True
        return spec.start is not None and self._was_trained_on(registry.resolve(self.store, spec.start), held_out)

    def submit(
        self,
        model: str,
        seeds: Iterable[Seed],
        sampling: SamplingOptions,
        *,
        part_rows: int | None = None,
        label: str | None = None,
        dry_run: bool = False,
    ) -> Submitted:
        """Submit seeds x temperatures x samples to be sampled from a model.

        Args:
            model: `name` for its champion, `name@3` for a version, `name@alias`.
            seeds: an empty one starts a new line, and so does no seed at all.
            part_rows: that are done under one lease; the results do not depend on it.
            dry_run: check everything, store nothing.

        Raises:
            InputError: seeds that the model cannot read or that ask for what cannot be; nothing was stored.
            NotFoundError: no such model.
            UnreachableError: broker or store; nothing was stored.
        """
        check_encodable("The job's name", label or "")
        if part_rows is not None:
            check_integer("part-rows", part_rows, 1, MAX_PART_ROWS)
        self.probe()
        version = registry.resolve(self.store, model)
        given, vocabulary = list(seeds) or [Seed("")], Vocabulary(version.characters)
        rows, characters, stops = _survey(given, sampling)
        _check_characters(given, vocabulary, sampling.unknown)
        _warn_of_stops(stops, vocabulary)
        stored = list(store_seeds(given))
        batch = choose_batch(rows)
        part_rows = part_rows or PART_WAVES * batch
        if (parts := -(-rows // part_rows)) > MAX_PARTS:
            raise InputError(
                f"{rows:,} rows would be {parts:,} parts. Expected at most {MAX_PARTS:,}: a larger --part-rows, or "
                f"fewer rows"
            )
        if dry_run:
            reference = FileRef(name="", size=0, sha256="")
        else:
            reference = self.files.put_content("seeds", ".jsonl.zst", encode_seeds(stored))
        spec = GenerateSpec(
            model=version.model,
            version=version.version,
            seeds=reference,
            num_seeds=len(stored),
            rows=rows,
            characters=characters,
            sampling=replace(sampling, precision=choose_precision(sampling.precision, version.precision, batch)),
            batch=batch,
            part_rows=part_rows,
        )
        if dry_run:
            return Submitted(id=None, spec=spec, parts=parts)
        return self._add(spec, label)

    def random_seeds(self, model: str, count: int, rng_seed: int) -> list[Seed]:
        """Openings of so many places, drawn by `rng_seed`, of the text that a version was trained on.

        Raises:
            InputError: not 1 to 1,000,000 of them.
            NotFoundError: no such model.
        """
        check_integer("random-seeds", count, 1, MAX_RANDOM_SEEDS)
        version = registry.resolve(self.store, model)
        spec = TrainSpec.from_dict(self.store.job(version.job)["spec"])
        text = Document(self.files.checked(spec.corpus))
        return [Seed(opening) for opening in draw_openings(text, count, rng_seed)]

    def _add(self, spec: TrainSpec | GenerateSpec, label: str | None) -> Submitted:
        with self.store.write() as connection:
            if isinstance(spec, TrainSpec) and spec.held_out != _freeze(connection, spec):
                raise InputError(f"Another first training of {spec.model} was submitted just now. Submit again")
            job, parts = self.store.add_job(connection, spec, label)
        try:
            self.queue.ring(spec.QUEUE, parts)
        except UnreachableError as error:  # maintenance rings for it
            logger.warning("job %d is stored and starts when the broker is back: %s", job, error)
        return Submitted(id=job, spec=spec, parts=len(parts))

    def probe(self) -> None:
        """Reach broker and store, and see that they belong together."""
        self.queue.claim_for(self.store.id, self.store.url)

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

    def _waiting_for(self, job: Mapping[str, Any]) -> str | None:
        if job["state"] in ENDED_JOBS or self.store.parts(job["id"], PartState.LEASED):
            return None
        queue = job["kind"]
        serving = [worker for worker in self.workers() if queue in worker["queues"]]
        if not serving:
            return f"no live worker serves {queue}. Start one: charrnn-jobs up, or charrnn-jobs worker"
        if ahead := self.store.parts_ahead(job["id"]):
            return ", ".join(f"{count} parts of job {other}" for other, count in ahead.items()) + " are ahead"
        at_work = self.store.jobs_in_work([worker["owner"] for worker in serving])
        others = [other for other in at_work if other != job["id"]]  # its own may have begun meanwhile
        if len(others) >= len(serving):
            busy = ", ".join(map(str, sorted(set(others))))
            return f"the workers are busy with job {busy}; a training makes way at its next checkpoint"
        return "a worker is about to take it"

    def jobs(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest jobs, newest first."""
        return self.store.jobs(limit)

    def models(self) -> list[dict[str, Any]]:
        """Every version of every model, with its aliases."""
        return registry.all_versions(self.store)

    def workers(self) -> list[dict[str, Any]]:
        """The pool children that showed a sign of life within a lease's length."""
        alive = self.store.workers(round(self.settings.lease_s * 1000))
        return [dict(worker._mapping) for worker in alive]

    def cancel(self, job_id: int) -> bool:
        """End a job; rows that are done stay readable -> False if it had ended already."""
        return self.store.cancel(job_id)

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

    def results(self, job_id: int, limit: int | None = None, *, distinct: bool = False) -> Iterator[bytes]:
        """Result lines (JSON, each with its line end) in row order.

        Of a job in work: the rows before the first part that is not done.

        Args:
            limit: lines at most.
            distinct: of rows with equal texts the first only, and no failed rows.
        """
        job = self.store.job(job_id)
        if job["kind"] != GenerateSpec.QUEUE:
            raise InputError(f"Job {job_id} is a training; it has no rows. See: charrnn-jobs status {job_id}")
        lines = self._lines(job)
        return islice(first_of_each_text(lines) if distinct else lines, limit)

    def _lines(self, job: Mapping[str, Any]) -> Iterator[bytes]:
        spec = GenerateSpec.from_dict(job["spec"])
        for part in self.store.parts(job["id"]):
            if part.state == PartState.DONE:
                yield from read_lines(self.files.read(FileRef(**part.output)))
            elif part.state == PartState.FAILED:
                seeds = decode_seeds(self.files.read(spec.seeds))
                for row in part_rows(spec, seeds, part.first_row, part.rows):
                    yield dump_line(failed_result(row, f"{spec.model}@{spec.version}", part.error))
            elif job["state"] not in ENDED_JOBS:
                return


def _freeze(connection: Connection, spec: TrainSpec) -> FileRef:
    return registry.freeze_held_out(connection, spec.model, spec.held_out)


def _queue_seconds(job: Mapping[str, Any]) -> float:
    """From submit to the first claim."""
    return float((job["started_at"] - job["created_at"]) / 1000)


def _survey(seeds: Iterable[Seed], sampling: SamplingOptions) -> tuple[int, int, set[str]]:
    """Check what each seed asks for itself -> rows, characters to sample at most, and all stop strings."""
    rows, characters, stops = 0, 0, set(sampling.stop)
    for seed in seeds:
        try:
            chosen = sampling.overridden(seed.options)
        except InputError as error:
            raise InputError(f"{seed.place}: {error}") from error
        texts = sampling.texts(seed.options)
        rows, characters = rows + texts, characters + texts * chosen.length
        stops.update(chosen.stop)
    return rows, characters, stops


def _warn_of_stops(stops: Iterable[str], vocabulary: Vocabulary) -> None:
    if never := sorted(stop for stop in stops if vocabulary.unknown(stop)):
        shown = ", ".join(map(repr, never[:SHOWN_LINES]))
        logger.warning("the model cannot write %s: it does not know every character, so no text stops there", shown)


def _check_characters(seeds: Sequence[Seed], vocabulary: Vocabulary, policy: str) -> None:
    wrong = [(seed, unknown) for seed in seeds if (unknown := vocabulary.unknown(vocabulary.fed(seed.text, policy)))]
    if wrong and (policy != ERROR or not wrong[0][0].text):
        raise InputError(
            f"{wrong[0][0].place}: of an empty seed a newline is read, which the model does not know. Give a seed of "
            f"characters that it knows"
        )
    if wrong:
        shown = "\n".join(f"  {seed.place}: {', '.join(map(repr, unknown))}" for seed, unknown in wrong[:SHOWN_LINES])
        more = f"\n  and {len(wrong) - SHOWN_LINES:,} seeds more" if len(wrong) > SHOWN_LINES else ""
        raise InputError(
            f"{len(wrong):,} seeds have characters the model does not know:\n{shown}{more}\n"
            f"It knows: {''.join(c for c in vocabulary.characters if c.isprintable())}\n"
            f"--unknown drop leaves such characters out, --unknown replace writes them plainly"
        )


def succeeded(job: Mapping[str, Any]) -> bool:
    """Whether an ended job did all that was asked."""
    return bool(job["state"] == JobState.DONE and job["rows_failed"] == 0)
