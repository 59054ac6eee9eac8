"""Turn a request into a stored generate job: check and store the seeds, choose version, batch size and parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from charrnn.checks import check_integer, check_type
from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.connections import Connections
from charrnn.jobs.files.layout import new_seeds_file
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject, reading, stored
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.schedule import SkippedError, Slot
from charrnn.jobs.job.sizing import (
    MAX_PART_ROWS,
    Estimate,
    batch_speed,
    check_part_rows,
    choose_part_rows,
    most_part_rows,
    result_bytes,
)
from charrnn.jobs.job.specs import SINCE, GenerateSpec, TrainSpec
from charrnn.jobs.rows.seed_file import SeedFile
from charrnn.jobs.rows.seeds import BadSeeds, Seed, StoredSeeds, store_seeds, to_json
from charrnn.jobs.store import lifecycle
from charrnn.jobs.store.lifecycle import NewJob
from charrnn.jobs.submit.corpora import check_local
from charrnn.jobs.submit.estimates import guess_speed
from charrnn.jobs.submit.submitted import Submitted, check_label, choose_rng_seed, store_job
from charrnn.jobs.submit.target import Fleet, Target, find_fleet, find_target, target_after
from charrnn.jobs.tracing import traced
from charrnn.options import SamplingOptions
from charrnn.sampling.defaults import CPU, GPU, choose_batches, choose_precision
from charrnn.text.documents import check_storable
from charrnn.text.vocabulary import Vocabulary

MAX_KEY = 200  # characters


@traced("submit")
def submit(
    connections: Connections,
    request: GenerateRequest,
    given: Iterable[Seed | str] | None = None,
    *,
    after: int | None = None,
    key: str | None = None,
    dry_run: bool = False,
    slot: Slot | None = None,
    scheduled: bool = False,
) -> Submitted[GenerateSpec]:
    """Submit a generate job that samples seeds x temperatures x samples from a model.

    Args:
        given: the seeds, if the request names none. They are read once and not held in memory, however many there are.
        after: id of a training job to wait for. The job samples from the version that it makes.
        key: idempotency key: submitting the same request again with it returns the existing job.
        dry_run: check everything, but store nothing. `existed` tells whether a job with the key exists.
        slot: the slot of the schedule that submits the job, to be marked as submitted.
        scheduled: whether a schedule submits the job. It may read fewer files than a person, and no pipe.

    Raises:
        InputError: a seed that the model cannot read or that has invalid options, or a key that belongs to a different
            request. Nothing was stored.
        NotFoundError: the model or the training job does not exist.
        SkippedError: the slot must not get the job.
        UnreachableError: broker, store or files do not answer. Nothing was stored, unless the connection to the store
            broke while it stored the job: the outcome is then unknown. With a key it is safe to submit again.
    """
    _check(request, key, after)
    rng_seed = choose_rng_seed(request, key if slot is None else str(slot))
    sampling = replace(request.sampling, rng_seed=rng_seed)  # before any connection, since it may be refused
    connections.probe()
    target = find_target(connections, request.model, after)
    plan = Plan(
        request=request,
        sampling=sampling,
        after=after,
        key=key,
        target=target,
        fleet=find_fleet(connections, target.model),
    )
    bad = BadSeeds(request.on_bad_seed)
    file = _seed_file(connections, request, bad, scheduled=scheduled)
    seeds = as_seeds(file if file is not None else _random_seeds(connections, plan) or given)
    submitted = _dry_run(connections, plan, seeds, bad) if dry_run else _store(connections, plan, seeds, bad, slot)
    blank_lines = file.blank_lines if file else 0
    return replace(submitted, blank_lines=blank_lines, bad_seeds=bad.count, first_bad_seed=bad.first)


def follow_up(
    connections: Connections,
    request: GenerateRequest,
    training: TrainSpec,
    *,
    dry_run: bool,
    slot: Slot | None,
    scheduled: bool,
) -> NewJob:
    """Return a job that samples after a training job, to be stored with that one. Its seeds are stored here.

    Args:
        training: the spec of the training job.
        dry_run: check the seeds, but store nothing.
        slot: the slot of the schedule that submits both jobs.
        scheduled: as in `submit`.

    Raises:
        InputError: a seed cannot be used, or the job would have too many parts.
    """
    _check(request, None, None)
    target, bad = target_after(training), BadSeeds(request.on_bad_seed)
    plan = Plan(
        request=request,
        sampling=replace(request.sampling, rng_seed=choose_rng_seed(request, None if slot is None else str(slot))),
        after=None,
        key=None,
        target=target,
        fleet=find_fleet(connections, target.model, training),
    )
    given = as_seeds(_seed_file(connections, request, bad, scheduled=scheduled))
    seeds = _write_seeds(connections, plan, given, bad, dry_run=dry_run)
    with discarding(connections, seeds.file):
        return plan.new_job(seeds)


@contextmanager
def discarding(connections: Connections, seeds: FileRef | None) -> Iterator[None]:
    """Delete the stored seeds of a job if the block refuses to store it."""
    try:
        yield
    except (InputError, NotFoundError, SkippedError):  # after other errors the job may have been stored
        if seeds is not None and seeds.name:  # it has none after a dry run
            connections.files.discard(seeds.name)
        raise


def _seed_file(
    connections: Connections, request: GenerateRequest, bad: BadSeeds, *, scheduled: bool
) -> SeedFile | None:
    if request.seeds is None:
        return None
    if scheduled:
        check_local(Path(request.seeds), connections.settings.local_roots)
    columns = request.seed_column, request.id_column
    return SeedFile(request.seeds, request.seeds_format, *columns, pipes=not scheduled, bad=bad)


def _check(request: GenerateRequest, key: str | None, after: int | None) -> None:
    check_type("request", request, GenerateRequest, "a GenerateRequest")
    if request.random_seeds is not None and after is not None:
        raise InputError("`random_seeds` requires a trained `model`, whose text it uses. Leave out `after`")
    check_label(request.label)
    if key is not None:
        check_storable("The key", key)
        if not 0 < len(key) <= MAX_KEY:
            raise InputError(f"A key must have 1 to {MAX_KEY} characters. Received: {len(key):,}")
    if request.part_rows is not None:
        check_integer("part_rows", request.part_rows, 1, MAX_PART_ROWS)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request, together with what the store knows about its model and the fleet."""

    request: GenerateRequest
    sampling: SamplingOptions  # with the random seed
    after: int | None
    key: str | None
    target: Target
    fleet: Fleet

    @property
    def model(self) -> str | None:
        """The model as it was named, or the one that is sampled because none was named."""
        return self.target.model if self.request.model is None and self.after is None else self.request.model

    def new_job(self, seeds: StoredSeeds) -> NewJob:
        """Return the job to store for the seeds.

        Raises:
            InputError: the job would have too many parts.
        """
        request = self.request
        return NewJob(
            spec=make_spec(self.target, self.sampling, seeds, self.fleet, request.part_rows),
            label=request.label,
            key=self.key,
            request=request_hash(self.model, self.after, self.sampling, seeds.sha256),
            priority=request.priority,
            after=self.after,
            frames=seeds.frames,
            seed_options=seeds.options,
        )


def _random_seeds(connections: Connections, plan: Plan) -> Iterator[str] | None:
    if plan.request.random_seeds is None:
        return None
    from charrnn.jobs.submit.openings import training_openings  # needs NumPy

    version = f"{plan.target.model}@{plan.target.version}"
    return training_openings(connections, version, plan.request.random_seeds, plan.sampling.rng_seed)


def as_seeds(given: Iterable[Seed | str] | None) -> Iterator[Seed]:
    """Yield seeds as `Seed`s. They may be given as strings too, and None stands for a single empty seed."""
    if given is not None and (isinstance(given, str | bytes) or not isinstance(given, Iterable)):
        example = given if isinstance(given, str) else "The "
        raise InputError(f"Seeds must be a list, such as [{example!r:.80}]. Received: {given!r:.80}")
    for seed in [""] if given is None else given:
        if not isinstance(seed, str | Seed):
            raise InputError(f"A seed must be a string or a Seed. Received: {seed!r:.80}")
        yield Seed(seed) if isinstance(seed, str) else seed


def _dry_run(connections: Connections, plan: Plan, given: Iterable[Seed], bad: BadSeeds) -> Submitted[GenerateSpec]:
    seeds = _write_seeds(connections, plan, given, bad, dry_run=True)
    new = plan.new_job(seeds)
    with connections.store.read() as connection:
        existed = lifecycle.first_of_key(connection, new) is not None
    return _submitted(None, new.spec.to_dict(), plan, seeds, existed=existed)


def _write_seeds(
    connections: Connections, plan: Plan, given: Iterable[Seed], bad: BadSeeds, *, dry_run: bool
) -> StoredSeeds:
    put = _measure if dry_run else partial(connections.files.put, new_seeds_file())
    return store_seeds(given, plan.sampling, Vocabulary(plan.target.characters), put, bad)


def _measure(frames: Iterable[bytes]) -> FileRef:
    """Return the reference that a dry run uses instead of a stored file."""
    return FileRef(name="", size=sum(map(len, frames)), sha256="")


def _store(
    connections: Connections, plan: Plan, given: Iterable[Seed], bad: BadSeeds, slot: Slot | None
) -> Submitted[GenerateSpec]:
    seeds = _write_seeds(connections, plan, given, bad, dry_run=False)
    with discarding(connections, seeds.file):
        job, _ = store_job(connections, plan.new_job(seeds), slot)
    submitted = _submitted(job.id, job.spec, plan, seeds, existed=job.existed)
    if job.existed:
        connections.files.discard(seeds.file.name)
    elif submitted.spec.version is not None:  # otherwise the end of its training job sends the notifications
        connections.ring(GenerateSpec.QUEUE, job.id, submitted.parts)
    return submitted


def _submitted(
    job: int | None, document: JsonObject, plan: Plan, seeds: StoredSeeds, *, existed: bool
) -> Submitted[GenerateSpec]:
    with reading("the job with this key" if existed else "the job"):
        spec = GenerateSpec.from_dict(document)
    found = estimate(spec, seeds.seed_bytes, plan.fleet, plan.target)
    return Submitted(id=job, spec=spec, estimate=found, existed=existed)


def make_spec(
    target: Target, sampling: SamplingOptions, seeds: StoredSeeds, fleet: Fleet, part_rows: int | None
) -> GenerateSpec:
    """Return the spec of a job with the stored seeds.

    Raises:
        InputError: the job would have too many parts, or too large ones.
    """
    batches, most = choose_batches(seeds.rows), most_part_rows(seeds.row_memory)
    characters = seeds.characters
    if target.network.lines:  # the length of other texts depends too much on the stop strings of a job
        characters = fleet.expected_characters(seeds.rows, characters)

    def chosen(kind: str, devices: int) -> int:
        known = fleet.speeds.get(kind)
        speed = known and batch_speed(known, batches[kind], kind)
        return choose_part_rows(seeds.rows, characters, batches[kind], devices, most, speed, kind)

    gpu_rows = part_rows or chosen(GPU, fleet.devices.get(GPU, 1))
    part_rows = part_rows or chosen(fleet.kind, fleet.size)
    check_part_rows(seeds.rows, part_rows, most)
    return GenerateSpec(
        model=target.model,
        version=target.version,
        seeds=seeds.file,
        num_seeds=seeds.num_seeds,
        rows=seeds.rows,
        characters=seeds.characters,
        sampling=replace(sampling, precision=choose_precision(sampling.precision, target.precision, batches[CPU])),
        batches=batches,
        part_rows=part_rows,
        gpu_rows=gpu_rows,
    )


def estimate(spec: GenerateSpec, seed_bytes: int, fleet: Fleet, target: Target) -> Estimate:
    """Estimate the time and storage of a job.

    Args:
        spec: the job's.
        seed_bytes: bytes of its seeds, each counted once for each row.
        fleet: the devices, and what is known about the model.
        target: the version.
    """
    ends_early = spec.sampling.stop or target.network.lines
    characters = fleet.expected_characters(spec.rows, spec.characters) if ends_early else spec.characters
    in_store, export = result_bytes(spec.rows, characters, seed_bytes, logprobs=spec.sampling.logprobs)
    speed = fleet.characters_per_s or guess_speed(target.network.num_weights(len(target.characters)), fleet.kind)
    return Estimate(
        result_bytes=in_store + spec.seeds.size,
        export_bytes=export,
        seconds=characters / batch_speed(speed, spec.batches[fleet.kind], fleet.kind) / fleet.size,
        guessed=fleet.characters_per_s is None,
        mean_length=fleet.mean_length if ends_early else None,
    )


def request_hash(model: str | None, after: int | None, sampling: SamplingOptions, seeds: str) -> str:
    """Return a hash of everything in a request that its results depend on. `seeds` is the sha256 of the seeds."""
    return hashlib.sha256(to_json([model, after, stored(sampling, SINCE), seeds]).encode()).hexdigest()
