"""Any order of the store's verbs, on every database: three workers, one with a GPU, two queues, deaths, late clocks,
cancels, retries.

Promises after every step: the store is equal to a model in plain Python, a lost lease can change nothing, and a job's
state and counters follow from the states of its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Row, delete, select, update

from charrnn.errors import InputError, LeaseLostError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import BadRows, Part, PartProgress, SamplingProgress
from charrnn.jobs.job.states import DIED, Priority
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.queue import BELLS
from charrnn.jobs.store import lifecycle, registry, turns
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.deletion.jobs import begin_deletion
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.lifecycle import NewJob
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, metadata, metrics, parts, submitters, versions
from charrnn.options import NetworkOptions
from charrnn.training.progress import EpochMetrics
from tests.fixtures.store import NO_FILE, PART_ROWS, each_database, generate_spec, sampled, train_spec

pytestmark = each_database

OWNERS, QUEUES = ("w0", "w1", "w2"), ("train", "generate")
DEVICES = {"w0": "cpu", "w1": "cpu", "w2": "gpu"}
GPU_ROWS = 3 * PART_ROWS - 1  # a GPU takes two parts at once, or three if the last one is among them
MODEL = "speeches"
PEOPLE = ("ada", "bob")
ATTEMPTS, PIECES, SPLITS = 3, 8, 16  # written out, as are all states: the model must not follow the product's constants
LEFT, ENDED = ("queued", "leased"), ("done", "failed", "cancelled")
JOINED = "joined"  # of a part that has no row, since one before it stands for it
LAST_ROWS = 7  # rows of a job's last part; a different number shows if it is counted for another part
MOST_JOBS = 4  # unfinished jobs at once: with fewer jobs, one of them ends more often
CHARACTERS = 5  # characters that each part samples
STEPS = 40
LEAST_SEEN = 0.2  # per example: verbs accepted, stale verbs refused, parts retried; fewer would prove little

# A lease is seven and a half steps of the clock, so that none ends within half a step of now: the real time that an
# example takes has no effect. Two leases are shorter than an hour, the longest possible lease.
STEP_MS = 200_000
LEASE_MS = 15 * STEP_MS // 2
TOLERANCE_MS = STEP_MS // 2

OWNER, QUEUE = st.sampled_from(OWNERS), st.sampled_from(QUEUES)
SELDOM = st.sampled_from((False, False, False, True))
BACK = st.integers(0, 3)
LEFT_SINCE = st.sampled_from((0, 0, 0, 0, 0, 1, 2, 4))  # most verbs use the claim in hand
PRIORITY = st.sampled_from(Priority)
PERSON = st.sampled_from(PEOPLE)


Submitter = tuple[str, int, str]  # queue, priority and name


@dataclass
class ModelPart:
    """The expected row of a part."""

    rows: int
    first_row: int = 0
    span: int = 1
    state: str = "queued"
    token: int = 0
    attempts: int = 0
    owner: str | None = None
    deadline: int | None = None  # in the model's time
    progress: dict[str, Any] | None = None
    checkpoint: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    error: str | None = None
    commits: int = 0  # results that the store accepted


@dataclass
class ModelJob:
    """The expected row of a job; its counters are always the sums over its parts."""

    id: int
    kind: str
    priority: int
    parts: list[ModelPart]
    after: int | None
    version: int | None
    person: str
    turn: int  # place among the jobs of this person that wait
    state: str = "queued"
    started: bool = False
    cancelling: bool = False
    error: str | None = None
    splits: int = 0
    epochs: dict[int, int] = field(default_factory=dict)  # epoch → step

    def count(self, *states: str) -> int:
        return len(self.within(*states))

    def spans(self, *states: str) -> int:
        return sum(part.span for part in self.within(*states))

    def end_lease(self, part: ModelPart, state: str) -> None:
        """End a lease that did not complete its part. What was joined is cut again."""
        part.state, part.deadline = state, None
        number, size, end = self.parts.index(part), -(-part.rows // part.span), part.first_row + part.rows
        for other in self.parts[number + 1 : number + part.span]:
            other.state, other.attempts, other.error = state, part.attempts, part.error
        pieces, part.span = self.parts[number : number + part.span], 1
        for place, piece in enumerate(pieces):
            piece.first_row = pieces[0].first_row + place * size
            piece.rows = min(size, end - piece.first_row)

    def join(self, part: ModelPart) -> None:
        """Join a part with those behind it that nobody has claimed yet."""
        size = part.rows
        for other in self.parts[self.parts.index(part) + 1 :]:
            unclaimed = (other.state, other.token, other.attempts) == ("queued", 0, 0)
            next_one = other.first_row == part.first_row + part.rows
            even = part.rows == part.span * size and other.rows <= size
            if not (unclaimed and next_one and even and part.rows + other.rows <= GPU_ROWS):
                break
            other.state = JOINED
            part.rows, part.span = part.rows + other.rows, part.span + 1

    def rows(self, *states: str) -> int:
        return sum(part.rows for part in self.within(*states))

    def within(self, *states: str) -> list[ModelPart]:
        return [part for part in self.parts if part.state in states]

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def ready(self) -> bool:
        return self.after is None or self.version is not None

    @property
    def submitter(self) -> Submitter:
        return self.kind, self.priority, self.person


class Model:
    """The expected state of the store, without a database; `now` is its clock."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[int, ModelJob] = {}
        self.turns: dict[Submitter, int] = {}
        self.num_versions = 0

    def held(self, claim: Part) -> ModelPart | None:
        """Return the part if the claim still is its lease; an expired lease counts until it is taken away."""
        part = self.part(claim)
        return part if part and part.state == "leased" and part.token == claim.token else None

    def part(self, claim: Part) -> ModelPart | None:
        job = self.jobs.get(claim.job)
        return job.parts[claim.number] if job else None

    def next_job(self, queue: str) -> ModelJob | None:
        waiting = [job for job in self.jobs.values() if job.kind == queue and not job.ended and job.count("queued")]
        return min((job for job in waiting if job.ready), key=self.order, default=None)

    def order(self, job: ModelJob) -> tuple[int, int, str, int, int]:
        """Return the sort key of a job: the job with the least value is served first, see `Leases.claim`."""
        return (-job.priority, self.turns[job.submitter], job.person, job.turn, job.id)

    def last_place(self, submitter: Submitter) -> int:
        """Return the place behind the jobs of a person that have not ended and do not wait for a training job."""
        return max((job.turn for job in self.claimable(submitter)), default=0) + 1

    def claimable(self, submitter: Submitter) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.submitter == submitter and job.ready and not job.ended]

    def last_turn(self, submitter: Submitter) -> int:
        """Return the place behind all people in a queue with a priority."""
        return max((turn for other, turn in self.turns.items() if other[:2] == submitter[:2]), default=0) + 1

    def enter(self, submitter: Submitter) -> None:
        self.turns.setdefault(submitter, self.last_turn(submitter))

    def forget_idle(self) -> None:
        self.turns = {submitter: turn for submitter, turn in self.turns.items() if self.claimable(submitter)}

    def claim(self, job: ModelJob, owner: str) -> tuple[int, ModelPart]:
        number, part = next((number, part) for number, part in enumerate(job.parts) if part.state == "queued")
        if job.state == "queued":
            job.state, job.started = "running", True
        job.turn = self.last_place(job.submitter)
        waiting = {other for other in self.turns if any(each.count("queued") for each in self.claimable(other))}
        if len([other for other in waiting if other[:2] == job.submitter[:2]]) > 1:
            self.turns[job.submitter] = self.last_turn(job.submitter)
        part.state, part.owner, part.progress = "leased", owner, None
        part.token += 1
        part.attempts += 1
        part.deadline = self.now + LEASE_MS
        if DEVICES[owner] == "gpu" and job.kind == "generate" and part.attempts == 1:
            job.join(part)
        return number, part

    def give_up(self, job: ModelJob, part: ModelPart, reason: str, *, permanent: bool = False) -> None:
        """End a failed attempt."""
        part.error = reason
        if job.cancelling:
            job.end_lease(part, "cancelled")
        elif part.span > 1 or (not permanent and (part.attempts < ATTEMPTS or self.split(job, part))):
            job.end_lease(part, "queued")
        else:
            job.end_lease(part, "failed")
            job.error = reason
        self.settle(job)

    def split(self, job: ModelJob, part: ModelPart) -> bool:
        """Split a part into pieces with one attempt each. Return False if it has one row, or too many were split."""
        if part.rows < 2 or job.splits == SPLITS:
            return False
        job.splits += 1
        size = -(-part.rows // PIECES)
        end, part.rows, part.attempts = part.first_row + part.rows, size, ATTEMPTS - 1
        for first in range(part.first_row + size, end, size):
            job.parts.append(ModelPart(rows=min(size, end - first), first_row=first, attempts=ATTEMPTS - 1))
        return True

    def fail_row(self, job: ModelJob, part: ModelPart, row: int) -> None:
        """Fail one row of a part, and queue those before and after it as if nobody had tried."""
        if job.cancelling or part.span > 1:
            job.end_lease(part, "cancelled" if job.cancelling else "queued")
            self.settle(job)
            return
        job.error, end, attempts = "bad row", part.first_row + part.rows, part.attempts - 1
        places = [(part.first_row, row, "queued"), (row, row + 1, "failed"), (row + 1, end, "queued")]
        (first, stop, state), *others = [place for place in places if place[0] < place[1]]
        part.rows, part.attempts = stop - first, attempts
        job.end_lease(part, state)
        part.error = "bad row" if state == "failed" else None
        for start, stop, state in others:
            error = "bad row" if state == "failed" else None
            job.parts.append(ModelPart(rows=stop - start, first_row=start, state=state, attempts=attempts, error=error))
        self.settle(job)

    def take_away(self, condition: Callable[[ModelPart], bool]) -> int:
        taken = [(job, part) for job in self.jobs.values() for part in job.within("leased") if condition(part)]
        for job, part in taken:
            self.give_up(job, part, DIED)
        return len(taken)

    def release(self, job: ModelJob, part: ModelPart) -> None:
        """Release a part; this does not count as an attempt."""
        if not job.cancelling:
            part.attempts = max(0, part.attempts - 1)
        job.end_lease(part, "cancelled" if job.cancelling else "queued")
        self.settle(job)

    def complete(self, job: ModelJob, part: ModelPart, output: FileRef | None) -> None:
        part.state, part.deadline = "done", None
        part.commits += 1
        part.error, part.output = None, output.to_dict() if output else None
        if job.kind == "train":
            self.num_versions += 1
            job.version = self.num_versions
        self.settle(job)

    def committed(self, claim: Part) -> bool:
        part = self.part(claim)
        return part is not None and (part.state, part.token) == ("done", claim.token)

    def all(self) -> list[ModelJob]:
        return list(self.jobs.values())

    def unfinished(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if not job.ended]

    def lost(self) -> list[ModelJob]:
        """Return the jobs with a failed or canceled part, or with a requested cancellation."""
        return [job for job in self.jobs.values() if job.cancelling or job.count("failed", "cancelled")]

    def trainings(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.kind == "train"]

    def leased(self) -> bool:
        return any(job.count("leased") for job in self.jobs.values())

    def settle(self, job: ModelJob) -> None:
        """End a job without unfinished parts, and settle the jobs that wait for it."""
        if job.ended or job.count(*LEFT):
            return
        lost = "cancelled" if job.count("cancelled") else "failed" if job.count("failed") else None
        job.state = lost if lost and (job.kind == "train" or lost == "cancelled") else "done"
        waiting_for_it = [other for other in self.jobs.values() if other.after == job.id and not other.ended]
        arrived = {other.submitter for other in waiting_for_it if not other.ready}
        for waiting in waiting_for_it:
            if job.state == "done":
                waiting.version = waiting.version or job.version
            elif not waiting.ready:
                self.fail_waiting(waiting, job)
        for submitter in sorted(arrived):
            self.enter(submitter)

    def fail_waiting(self, job: ModelJob, training: ModelJob) -> None:
        for part in job.parts:
            part.state = "cancelled"
        job.state = "failed"
        job.error = f"job {training.id}, the training job that it waited for, is {training.state}"

    def cancel(self, job: ModelJob) -> None:
        job.cancelling = True
        for part in job.within("queued"):
            part.state = "cancelled"
        self.settle(job)

    def retry(self, job: ModelJob) -> list[int]:
        numbers = [number for number, part in enumerate(job.parts) if part.state in ("failed", "cancelled")]
        for number in numbers:
            part = job.parts[number]
            part.state, part.attempts, part.error, part.progress = "queued", 0, None, None
        job.cancelling = False
        if numbers:
            job.state, job.error = "running" if job.started else "queued", None
        if job.version is None and job.after is not None:
            job.version = self.jobs[job.after].version
        self.enter(job.submitter)
        return numbers

    def delete(self, job: ModelJob) -> None:
        del self.jobs[job.id]
        for other in self.jobs.values():
            other.after = None if other.after == job.id else other.after

    def refuses_to_wait(self, training: ModelJob) -> type[Exception] | None:
        """Return the error if a job cannot wait for this training job, None if it can."""
        return InputError if training.ended and training.version is None else None

    def refuses_to_retry(self, job: ModelJob) -> type[Exception] | None:
        """Return the error of a retry, None if it works. A job can only be retried if a version exists or may come."""
        if job.kind == "train" or job.version is not None:
            return None
        return InputError if job.after is None else self.refuses_to_wait(self.jobs[job.after])

    def refuses_to_delete(self, job: ModelJob) -> type[Exception] | None:
        return InputError if not job.ended or (job.kind == "train" and job.version is not None) else None


class LeaseMachine(RuleBasedStateMachine):
    """A state machine that applies each step to the store and to the model.

    A worker has one claim in hand and takes the next one when it needs it. Claims that it ended, lost or left behind
    are never forgotten: they are used again, as by a thread or a process that only seemed dead.
    """

    def __init__(self, store: Store, seen: Counter[str]) -> None:
        super().__init__()
        self.store, self.seen = store, seen
        self.leases = Leases(store, LEASE_MS / 1000)
        self.model = Model()
        self.hands: dict[str, Part] = {}
        self.old: list[Part] = []

    @initialize(num_parts=st.integers(1, 4), deaths=st.integers(0, ATTEMPTS - 1), cancelled=SELDOM)
    def begin(self, num_parts: int, deaths: int, cancelled: bool) -> None:
        """Add a job of each kind and some deaths, since late states of a job would be reached too rarely otherwise."""
        self.empty_the_store()
        training = self.add(NewJob(spec=train_spec(), submitted_by=PEOPLE[0]))
        for after, person in ((None, PEOPLE[1]), (training, PEOPLE[0])):
            self.add(_new_job(num_parts, Priority.NORMAL, person, after))
        for owner in OWNERS * deaths:
            self.idle_workers_claim()
            self.process_dies(owner)
        if cancelled:
            self.cancel(back=-1)  # the oldest: the training job that another job waits for

    def empty_the_store(self) -> None:
        """Delete all rows, since a new database for each example would take longer than the example."""
        with self.store.write() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name != "store":
                    connection.execute(delete(table))
            registry.freeze_validation(connection, MODEL, NO_FILE)

    @precondition(lambda self: len(self.model.unfinished()) < MOST_JOBS)
    @rule(num_parts=st.integers(1, 4), priority=PRIORITY, person=PERSON)
    def generate(self, num_parts: int, priority: Priority, person: str) -> None:
        self.add(_new_job(num_parts, priority, person, after=None))

    @precondition(lambda self: len(self.model.unfinished()) < MOST_JOBS)
    @rule(priority=PRIORITY, person=PERSON)
    def train(self, priority: Priority, person: str) -> None:
        self.add(NewJob(spec=train_spec(), priority=priority, submitted_by=person))

    @precondition(lambda self: self.model.trainings() and len(self.model.unfinished()) < MOST_JOBS)
    @rule(back=BACK, num_parts=st.integers(1, 4), person=PERSON)
    def generate_after(self, back: int, num_parts: int, person: str) -> None:
        training = _counted_back(self.model.trainings(), back)
        new = _new_job(num_parts, Priority.NORMAL, person, after=training.id)
        with _refused(self.model.refuses_to_wait(training)):
            self.add(new)

    def add(self, new: NewJob) -> int:
        with self.store.write() as connection:
            job = lifecycle.add_job(connection, new).id
        if new.spec.QUEUE == "train":
            rows, version = [0], None
        else:
            rows = [PART_ROWS] * (new.spec.parts - 1) + [LAST_ROWS]
            version = self.model.jobs[new.after].version if new.after is not None else 1
        its_parts = [ModelPart(rows=of_part, first_row=number * PART_ROWS) for number, of_part in enumerate(rows)]
        facts = ModelJob(
            job, new.spec.QUEUE, new.priority, its_parts, new.after, version, person=new.submitted_by, turn=0
        )
        self.model.jobs[job] = replace(facts, turn=self.model.last_place(facts.submitter))
        self.model.enter(facts.submitter)
        return job

    @precondition(lambda self: len(self.hands) < len(OWNERS) and any(map(self.model.next_job, QUEUES)))
    @rule()
    def idle_workers_claim(self) -> None:
        for owner in OWNERS:
            if owner not in self.hands:
                any(self.claimed(owner, queue) for queue in QUEUES)

    @precondition(lambda self: any(map(self.model.next_job, QUEUES)))
    @rule(owner=OWNER, queue=QUEUE)
    def claim(self, owner: str, queue: str) -> None:
        self.leave(owner)
        self.claimed(owner, queue)

    def claimed(self, owner: str, queue: str) -> Part | None:
        job = self.model.next_job(queue)
        claim = self.leases.claim(queue, owner, DEVICES[owner])
        if job is None or claim is None:
            assert (job, claim) == (None, None)
            return None
        number, part = self.model.claim(job, owner)
        assert (claim.job, claim.number, claim.token, claim.attempt) == (job.id, number, part.token, part.attempts)
        assert (claim.first_row, claim.rows, claim.span) == (part.first_row, part.rows, part.span)
        self.seen["joined"] += part.span > 1
        assert (claim.checkpoint and claim.checkpoint.to_dict()) == part.checkpoint
        assert queue == "train" or getattr(claim.spec, "version", None) == job.version
        self.hands[owner] = claim
        return claim

    def leave(self, owner: str) -> None:
        if claim := self.hands.pop(owner, None):
            self.old.append(claim)

    def chosen(self, owner: str, queue: str, left: int) -> Part | None:
        """Return the worker's claim, a new one if it has none, or the `left`-th last of the claims that were left."""
        if 0 < left <= len(self.old):
            return self.old[-left]
        return self.hands.get(owner) or self.claimed(owner, queue)

    def used(self, claim: Part, verb: Callable[[], Any]) -> tuple[ModelPart | None, Any]:
        """Apply a verb to a claim. Return its part and the verb's result; the part is None if the lease is lost."""
        part = self.model.held(claim)
        if part is None:
            self.check_refused(claim, verb)
            return None, None
        with self.store.read() as connection:
            token = connection.execute(select(parts.c.token).where(parts.c.id == claim.id)).scalar_one()
        answer = verb()
        assert token == claim.token, "a claim of before was accepted"
        self.seen["accepted"] += 1
        return part, answer

    def check_refused(self, claim: Part, verb: Callable[[], Any]) -> None:
        before = self.everything()
        with pytest.raises(LeaseLostError):
            verb()
        assert self.everything() == before
        self.seen["refused"] += 1
        self.drop(claim)

    def drop(self, claim: Part) -> None:
        """Drop a lost claim: its worker now knows that it is lost."""
        for owner in [owner for owner, held in self.hands.items() if held is claim]:
            self.leave(owner)

    def everything(self) -> list[Any]:
        with self.store.read() as connection:
            rows = [connection.execute(select(table)).all() for table in metadata.sorted_tables]
        return [sorted(map(repr, of_table)) for of_table in rows]

    @rule(owner=OWNER, queue=QUEUE, left=LEFT_SINCE, rows=st.integers(0, 9))
    def heartbeat(self, owner: str, queue: str, left: int, rows: int) -> None:
        if claim := self.chosen(owner, queue, left):
            progress = PartProgress(work=SamplingProgress(rows=rows, characters=0))
            part, cancelling = self.used(claim, lambda: self.leases.heartbeat(claim, progress))
            if part:
                assert cancelling is self.model.jobs[claim.job].cancelling
                part.deadline, part.progress = self.model.now + LEASE_MS, progress.to_dict()

    @rule(owner=OWNER, left=LEFT_SINCE, epoch=st.integers(1, 2), step=st.integers(1, 2), saved=st.booleans())
    def end_epoch(self, owner: str, left: int, epoch: int, step: int, saved: bool) -> None:
        """End an epoch, with or without a checkpoint."""
        claim = self.chosen(owner, "train", left)
        if claim and claim.spec.QUEUE == "train":
            reference, history = _file(claim, "checkpoint"), [_epoch(epoch, step)]
            save = lambda: self.leases.checkpoint(claim, reference, history, "cpu", "float32")  # noqa: E731
            show = lambda: self.leases.record(claim, history)  # noqa: E731
            part, _ = self.used(claim, save if saved else show)
            if part:
                part.deadline = self.model.now + LEASE_MS
                self.model.jobs[claim.job].epochs[epoch] = step
            if part and saved:
                part.attempts, part.checkpoint = 0, reference.to_dict()

    @rule(owner=OWNER, queue=QUEUE, left=LEFT_SINCE)
    def release(self, owner: str, queue: str, left: int) -> None:
        if claim := self.chosen(owner, queue, left):
            part, state = self.used(claim, lambda: self.leases.release(claim))
            if part:
                self.model.release(self.model.jobs[claim.job], part)
                assert state == part.state
                self.drop(claim)

    @rule(owner=OWNER, queue=QUEUE, left=LEFT_SINCE, reason=st.sampled_from(("a", "b")), permanent=SELDOM)
    def fail(self, owner: str, queue: str, left: int, reason: str, permanent: bool) -> None:
        if claim := self.chosen(owner, queue, left):
            part, state = self.used(claim, lambda: self.leases.fail(claim, reason, permanent=permanent))
            if part:
                self.model.give_up(self.model.jobs[claim.job], part, reason, permanent=permanent)
                assert state == part.state
                self.drop(claim)

    @rule(owner=OWNER, left=LEFT_SINCE, place=st.sampled_from((0, 3, -1)))
    def fail_row(self, owner: str, left: int, place: int) -> None:
        claim = self.chosen(owner, "generate", left)
        if claim and claim.spec.QUEUE == "generate":
            row = claim.first_row + min(place, claim.rows - 1) % claim.rows
            bad = [BadRows(first_row=row, rows=1, reason="bad row")]
            part, states = self.used(claim, lambda: self.leases.fail_rows(claim, bad))
            if part:
                self.model.fail_row(self.model.jobs[claim.job], part, row)
                assert states[0] == part.state
                self.drop(claim)

    @rule(owner=OWNER, queue=QUEUE, left=LEFT_SINCE)
    def complete(self, owner: str, queue: str, left: int) -> None:
        if claim := self.chosen(owner, queue, left):
            output = None if claim.spec.QUEUE == "train" else _file(claim, "part")
            part, _ = self.used(claim, lambda: self._commit(claim, output))
            if part:
                self.model.complete(self.model.jobs[claim.job], part, output)
                self.drop(claim)
            assert self.leases.committed(claim) is self.model.committed(claim)

    def _commit(self, claim: Part, output: FileRef | None) -> None:
        if output is None:
            self.leases.complete_training(claim, _version(claim))
        else:
            self.leases.complete_rows(claim, output, sampled(claim, characters=CHARACTERS), "cpu")

    @precondition(lambda self: self.model.leased())
    @rule(owner=OWNER)
    def process_dies(self, owner: str) -> None:
        """Let a worker process die; its replacement requeues its parts."""
        self.leave(owner)
        assert self.leases.requeue(owner) == self.model.take_away(lambda part: part.owner == owner)

    @precondition(lambda self: self.model.leased())
    @rule(steps=st.integers(0, 2 * LEASE_MS // STEP_MS))
    def time_passes(self, steps: int) -> None:
        _move_clock(self.store, steps * STEP_MS)
        self.model.now += steps * STEP_MS

    @precondition(lambda self: self.model.leased())
    @rule(steps=st.integers(0, 2 * LEASE_MS // STEP_MS))
    def leases_expire(self, steps: int) -> None:
        self.time_passes(steps)
        assert self.leases.expire() == self.model.take_away(lambda part: (part.deadline or 0) < self.model.now)

    @precondition(lambda self: not all(job.cancelling for job in self.model.unfinished()))
    @rule(back=BACK)
    def cancel(self, back: int) -> None:
        job = _counted_back(self.model.unfinished(), back)
        with self.store.write() as connection:
            assert lifecycle.cancel_job(connection, job.id)
        self.model.cancel(job)

    @precondition(lambda self: self.model.lost())
    @rule(back=BACK)
    def retry(self, back: int) -> None:
        job = _counted_back(self.model.lost(), back)
        refusal = self.model.refuses_to_retry(job)
        with _refused(refusal), self.store.write() as connection:
            retried = lifecycle.retry_job(connection, job.id)
        if not refusal:
            assert retried.parts == len(self.model.retry(job))
            self.seen["retried"] += retried.parts

    @precondition(lambda self: len(self.model.jobs) > len(self.model.unfinished()))
    @rule(back=BACK)
    def delete(self, back: int) -> None:
        job = _counted_back(self.model.all(), back)
        refusal = self.model.refuses_to_delete(job)
        with _refused(refusal), self.store.write() as connection:
            begin_deletion(connection, job.id)
        if not refusal:
            self.model.delete(job)

    @rule()
    def idle_submitters_are_forgotten(self) -> None:
        turns.forget_idle(self.store)
        self.model.forget_idle()

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        with self.store.read() as connection:
            now = connection.execute(select(NOW)).scalar_one()
            found_jobs = connection.execute(select(jobs).order_by(jobs.c.id)).all()
            found_parts = connection.execute(select(parts).order_by(parts.c.job, parts.c.number)).all()
            epochs = connection.execute(select(metrics.c.job, metrics.c.epoch, metrics.c.step)).all()
            submitted = connection.execute(select(submitters)).all()
            numbers = connection.execute(select(versions.c.version).order_by(versions.c.version)).scalars().all()
        assert {tuple(row[:3]): row.turn for row in submitted} == self.model.turns
        self.check_promises(found_jobs, found_parts)
        known = sorted(self.model.jobs.values(), key=lambda job: job.id)
        assert [_facts(job) for job in found_jobs] == [_expected_facts(job) for job in known]
        assert [_part_facts(part) for part in found_parts] == [facts for job in known for facts in _expected_parts(job)]
        self.check_deadlines(now, found_parts)
        assert set(map(tuple, epochs)) == {(job.id, *epoch) for job in known for epoch in job.epochs.items()}
        assert numbers == list(range(1, self.model.num_versions + 1))
        waiting = Counter(job.kind for job in known if job.ready for _ in job.within("queued"))
        assert self.leases.waiting(BELLS) == waiting
        assert [queue for queue in QUEUES if self.leases.waits(queue)] == [
            queue for queue in QUEUES if queue in waiting
        ]

    def check_promises(self, found_jobs: Sequence[Row[Any]], found_parts: Sequence[Row[Any]]) -> None:
        """Check the promises about the store's rows that do not depend on the model."""
        for job in found_jobs:
            its_parts = [part for part in found_parts if part.job == job.id]
            _check_counters(job, its_parts)
            _check_end(job, its_parts)
        for part in found_parts:
            # Only one result of a part is ever accepted: a retry does not repeat done parts.
            assert self.model.jobs[part.job].parts[part.number].commits == (part.state == "done")

    def check_deadlines(self, now: int, found: Sequence[Row[Any]]) -> None:
        for part in found:
            deadline = self.model.jobs[part.job].parts[part.number].deadline
            assert (part.lease_until is None) == (deadline is None)
            if deadline is not None:
                assert abs((part.lease_until - now) - (deadline - self.model.now)) < TOLERANCE_MS


def _check_counters(job: Row[Any], its_parts: Sequence[Row[Any]]) -> None:
    rows: Counter[str] = Counter()
    for part in its_parts:
        rows[part.state] += part.rows
    assert (job.rows_done, job.rows_failed) == (rows["done"], rows["failed"])
    assert job.rows_done + job.rows_failed + sum(rows[state] for state in (*LEFT, "cancelled")) == job.rows_total
    assert job.parts_left == sum(part.span for part in its_parts if part.state in LEFT)
    reorder = sorted((part.first_row, part.rows) for part in its_parts)
    assert [first for first, _ in reorder] == [0, *accumulate(rows for _, rows in reorder)][:-1]  # each row once


def _check_end(job: Row[Any], its_parts: Sequence[Row[Any]]) -> None:
    states = {part.state for part in its_parts}
    assert (job.state in ENDED) == (job.parts_left == 0) == states.isdisjoint(LEFT) == (job.finished_at is not None)
    assert job.state != "done" or states <= {"done", "failed"}
    assert not job.cancel_requested or "queued" not in states
    assert all((part.state == "leased") == (part.lease_until is not None) for part in its_parts)


def _facts(job: Row[Any]) -> dict[str, Any]:
    same = ("id", "kind", "priority", "state", "after", "version", "error", "parts_total", "parts_left", "rows_total")
    counters = ("rows_done", "rows_failed", "characters", "cancel_requested")
    return {name: getattr(job, name) for name in same + counters} | {
        "started": job.started_at is not None,
        "spec_version": job.spec.get("version"),
    }


def _expected_facts(job: ModelJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "priority": job.priority,
        "state": job.state,
        "after": job.after,
        "version": job.version,
        "error": job.error,
        "parts_total": len(job.parts),
        "parts_left": job.spans(*LEFT),
        "rows_total": job.rows(*LEFT, *ENDED),
        "rows_done": job.rows("done"),
        "rows_failed": job.rows("failed"),
        "characters": 0 if job.kind == "train" else CHARACTERS * job.count("done"),
        "cancel_requested": job.cancelling,
        "started": job.started,
        "spec_version": job.version if job.kind == "generate" else None,
    }


PART_FACTS = (
    "first_row",
    "rows",
    "span",
    "state",
    "token",
    "attempts",
    "owner",
    "progress",
    "checkpoint",
    "output",
    "error",
)


def _part_facts(part: Row[Any]) -> dict[str, Any]:
    return {name: getattr(part, name) for name in ("job", "number", *PART_FACTS)}


def _expected_parts(job: ModelJob) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(job.parts):
        if part.state == JOINED:
            continue
        yield {"job": job.id, "number": number, **{name: getattr(part, name) for name in PART_FACTS}}


def _counted_back(found: list[ModelJob], back: int) -> ModelJob:
    return found[-1 - back % len(found)]


def _refused(refusal: type[Exception] | None) -> AbstractContextManager[Any]:
    return pytest.raises(refusal) if refusal else nullcontext()


def _new_job(num_parts: int, priority: Priority, person: str, after: int | None) -> NewJob:
    spec = generate_spec(num_seeds=PART_ROWS * (num_parts - 1) + LAST_ROWS, gpu_rows=GPU_ROWS)
    spec = spec if after is None else replace(spec, version=None)
    return NewJob(spec=spec, priority=priority, submitted_by=person, after=after)


def _move_clock(store: Store, ms: int) -> None:
    """Let time pass by ending leases sooner: the clock is the database's own, and only leases are compared with it."""
    with store.write() as connection:
        connection.execute(update(parts).values(lease_until=parts.c.lease_until - ms))


def _file(claim: Part, kind: str) -> FileRef:
    """Return a file of this lease alone: that of another lease would have another name."""
    return FileRef(name=f"{kind}/{claim.job}/{claim.number}-{claim.token}", size=1, sha256="1")


def _version(claim: Part) -> NewVersion:
    return NewVersion(
        model=MODEL,
        files=_file(claim, "version"),
        characters="ab",
        network=NetworkOptions(units=1),
        val_loss=1.0,
        precision="float32",
    )


def _epoch(epoch: int, step: int) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, step=step, learning_rate=0.1, train_loss=2.0, val_loss=2.5)


# Catches: no token, or no state, in Leases._change's condition; a claim that raises no token or counts no attempt; a
# release that counts one; a checkpoint, or a retry, that keeps them; one attempt too many in Leases._end_leases,
# which forgets cancel_requested, as does fail; requeue of all owners; a heartbeat that does not extend; end_parts
# that counts twice; a quarantine without its rows; a retry that keeps rows_failed or cancel_requested, or does done
# parts again; a job that is done although a part was canceled; a cancel that counts no parts; dependents that are not
# told; a turn that is passed by nobody, or to the end of all queues; a job that becomes ready, or is retried, without
# a turn of its submitter; parts that stay joined after a lost lease, lose rows or come back with other numbers.
@pytest.mark.hypothesis
@pytest.mark.timeout(900)  # Hypothesis shrinks a failure for up to five minutes
def test_no_order_of_verbs_breaks_a_promise(store: Store) -> None:
    seen: Counter[str] = Counter()
    examples = settings().max_examples
    run_state_machine_as_test(
        lambda: LeaseMachine(store, seen),  # type: ignore[arg-type]  # it accepts any factory
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            phases=set(Phase) - {Phase.explain},  # explaining takes some minutes more
        ),
    )
    assert min(seen[kind] for kind in ("accepted", "refused", "retried", "joined")) >= LEAST_SEEN * examples, seen
