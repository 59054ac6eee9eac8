"""Promises of the store on every database: opening it, the life of jobs and parts, versions."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from charrnn.errors import InputError, LeaseLostError, NotFoundError, UnreachableError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import Part, PartProgress, SamplingProgress
from charrnn.jobs.job.specs import SPEC_VERSION, GenerateSpec
from charrnn.jobs.job.states import MAX_ATTEMPTS, JobState, PartState, Priority
from charrnn.jobs.job.version import Comparison, ListedVersion, NewVersion
from charrnn.jobs.queue import BELLS
from charrnn.jobs.store import lifecycle, registry
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.deletion.jobs import begin_deletion
from charrnn.jobs.store.deletion.models import delete_older, delete_version
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.migrations import latest
from charrnn.jobs.store.reports import MERGED
from charrnn.jobs.store.shown import queues
from charrnn.jobs.store.shown.readable import list_versions
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import engines, jobs, parts, reports
from charrnn.jobs.store.tables import store as store_table
from charrnn.options import NetworkOptions
from charrnn.release import release
from charrnn.training.progress import EpochMetrics, Preview
from tests.fixtures.plans import READS_ALL, add_many_jobs, plans
from tests.fixtures.store import NO_FILE, PART_ROWS, AddJob, each_database, resolve, sampled, train_spec

pytestmark = each_database

SMALL_SORT = re.compile(r"->  Sort .*\n +Sort Key: submitters\..*|Seq Scan on submitters .*")

AT_ROW_3 = PartProgress(work=SamplingProgress(rows=3, characters=40))
OUTPUT = FileRef(name="jobs/1/0-1.jsonl.zst", size=1, sha256="1")


def delete(store: Store, job: int) -> None:
    with store.write() as connection:
        begin_deletion(connection, job)


def cancel(store: Store, job: int) -> bool:
    with store.write() as connection:
        return lifecycle.cancel_job(connection, job)


def retry(store: Store, job: int) -> int:
    """Retry a job and return the number of retried parts."""
    with store.write() as connection:
        return lifecycle.retry_job(connection, job).parts


def complete(leases: Leases, part: Part, *, characters: int = 0) -> None:
    leases.complete_rows(part, OUTPUT, sampled(part, characters=characters), "cpu")


def all_versions(store: Store) -> list[ListedVersion]:
    with store.read() as connection:
        return list_versions(connection)


def test_a_store_keeps_its_id(store: Store, store_url: str) -> None:
    # Catches: an id that depends on the process
    again = Store(store_url)
    assert again.id == store.id
    again.close()


def test_a_store_of_a_newer_release_is_refused(store: Store, store_url: str) -> None:
    # Catches: work on a newer schema
    with store.write() as connection:
        connection.execute(update(store_table).values(schema_version=latest() + 1, serves=latest() + 1))
    with pytest.raises(InputError, match="Upgrade charrnn-jobs"):
        Store(store_url)


def test_the_newest_job_comes_first(store: Store, add_job: AddJob) -> None:
    # Catches: the oldest job first
    first, second = add_job(), add_job()
    assert [job.id for job in store.jobs(10)] == [second, first]
    assert store.job().id == second


def test_a_job_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(NotFoundError, match="No job has been submitted yet"):
        store.job()
    with pytest.raises(NotFoundError, match="no job 41"):
        store.job(41)


def test_the_database_guards_the_states(store: Store, add_job: AddJob) -> None:
    # Catches: a schema that accepts any state
    job = add_job()
    with pytest.raises(IntegrityError, match="job_state"), store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(state="paused"))


def test_the_database_guards_the_counters(store: Store, add_job: AddJob) -> None:
    # Catches: a schema that accepts rows counted twice
    job = add_job()
    with pytest.raises(IntegrityError, match="job_counters"), store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(rows_done=PART_ROWS + 1))


def test_parts_of_other_jobs_that_wait_are_counted(store: Store, add_job: AddJob) -> None:
    # Catches: a job that waits for itself
    ahead, job = add_job(parts=3), add_job()
    add_job(train=True)
    urgent = [add_job(parts=number, priority=Priority.HIGH) for number in (2, 3)]
    claim(Leases(store, 30))
    with store.read() as connection:
        # Catches: parts counted that come after one of this job, or that are in work; a job that is left out
        assert queues.parts_ahead(connection, store.job(job), 9) == queues.Ahead(
            {urgent[1]: 3, urgent[0]: 1, ahead: 1}, 0, 0
        )
        assert queues.parts_ahead(connection, store.job(job), 1) == queues.Ahead({urgent[1]: 3}, 2, 0)


def claim(leases: Leases, owner: str = "a", queue: str = "generate") -> Part:
    part = leases.claim(queue, owner, "cpu")
    assert part is not None
    return part


def run_out(store: Store, part: Part, ago_ms: int = 1) -> None:
    """Make a lease expire, by the database's clock."""
    with store.write() as connection:
        connection.execute(update(parts).where(parts.c.id == part.id).values(lease_until=NOW - ago_ms))


def test_a_claimed_part_cannot_be_claimed_again(leases: Leases, add_job: AddJob) -> None:
    add_job()
    claim(leases)
    assert leases.claim("generate", "b", "cpu") is None  # Catches: no state in WAITING


def test_a_claim_starts_the_job(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a claim that leaves the job queued
    job = add_job()
    assert store.job(job).state == JobState.QUEUED
    claim(leases)
    assert store.job(job).state == JobState.RUNNING


def test_queues_are_separate(leases: Leases, add_job: AddJob) -> None:
    # Catches: candidates from every queue
    add_job(train=True)
    assert leases.claim("generate", "a", "cpu") is None
    assert leases.claim("train", "a", "cpu") is not None


def test_a_small_job_does_not_wait_behind_a_large_one(leases: Leases, add_job: AddJob) -> None:
    large, small = add_job(parts=5), add_job(parts=2)
    # Catches: in_turn ordered by the job's id alone
    assert [claim(leases).job for _ in range(4)] == [large, small, large, small]


def test_a_small_job_does_not_wait_behind_a_large_one_for_the_only_worker(leases: Leases, add_job: AddJob) -> None:
    large, turns = add_job(parts=6), []
    for number in range(6):
        if number == 2:
            small = add_job(parts=2)
        part = claim(leases)
        turns.append(part.job)
        complete(leases, part)
    # Catches: turns by the parts in work, of which there are none when the only worker claims
    assert turns == [large, large, large, small, large, small]


def test_a_stream_of_small_jobs_does_not_keep_a_large_one_from_its_turns(leases: Leases, add_job: AddJob) -> None:
    large, turns = add_job(parts=9), []
    add_job()
    for _ in range(9):
        add_job()
        part = claim(leases)
        turns.append(part.job == large)
        complete(leases, part)
    assert sum(turns) >= 3  # Catches: a place before the others for each new job


def test_jobs_that_became_ready_or_were_retried_take_turns_with_the_others(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    first = add_job(parts=9)
    failed = claim(leases)
    leases.fail(failed, "an accident", permanent=True)
    second = add_job(parts=9)
    turns = [claim(leases).job for _ in range(4)]
    with store.write() as connection:
        lifecycle.cancel_job(connection, second)
        lifecycle.retry_job(connection, second)
    turns += [claim(leases).job for _ in range(4)]
    assert sorted(turns[:4]) == sorted(turns[4:]) == [first, first, second, second]


def test_a_higher_priority_comes_before_all_turns(leases: Leases, add_job: AddJob) -> None:
    normal = add_job(parts=2)
    high = add_job(parts=2, priority=Priority.HIGH)
    low = add_job(parts=1, priority=Priority.LOW)
    # Catches: turns before priorities
    assert [claim(leases).job for _ in range(5)] == [high, high, normal, normal, low]


@pytest.mark.parametrize("people", [1, 1000])
def test_a_claim_among_10_000_unfinished_jobs_reads_a_few(
    store: Store, leases: Leases, add_job: AddJob, people: int
) -> None:
    """Checks the plans and not the time, which other processes disturb: 5 to 10 ms, as among a few jobs."""
    add_many_jobs(store, add_job(), people)
    found = plans(store, lambda: claim(leases))
    if people == 1:  # PostgreSQL sorts a table of one row
        found = [SMALL_SORT.sub("", plan) for plan in found]
    # Catches: no index of turns, or one that the query cannot use; a query that counts something of every job; a claim
    # that moves the only submitter
    assert ["jobs_by_turn" in plan for plan in found] == [True, True, False, False][: 3 + (people > 1)]
    assert [plan for plan in found if READS_ALL.search(plan)] == []


def test_the_jobs_of_a_schedule_among_10_000_are_found_by_an_index(store: Store, add_job: AddJob) -> None:
    # Catches: a list that reads all other jobs
    add_many_jobs(store, add_job())
    with store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id <= 3).values(schedule="nightly"))
        connection.exec_driver_sql("analyze")
    (plan,) = plans(store, lambda: store.jobs(20, schedule="nightly"))
    assert ("jobs_by_schedule" in plan, "Seq Scan" in plan) == (True, False)
    assert [job.id for job in store.jobs(2, schedule="nightly")] == [3, 2]
    assert [job.id for job in store.jobs(2, before=2, schedule="nightly")] == [1]


def test_a_part_of_a_newer_spec_is_left_alone(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a claim that does not check the version of the spec's format
    add_job()
    with store.write() as connection:
        connection.execute(update(parts).values(spec_version=SPEC_VERSION + 1))
    assert leases.claim("generate", "a", "cpu") is None


def test_many_claimers_get_each_part_once(store: Store, add_job: AddJob) -> None:
    # Catches: transactions that read before they lock
    add_job(parts=40)
    taken: list[int] = []

    def take_all() -> None:
        own = Leases(store, 30)
        while part := own.claim("generate", threading.current_thread().name, "cpu"):
            taken.append(part.id)

    threads = [threading.Thread(target=take_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 40


def test_the_last_part_ends_the_job(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a job that ends one part too early
    job = add_job(parts=2)
    complete(leases, claim(leases), characters=7)
    assert store.job(job).state == JobState.RUNNING
    complete(leases, claim(leases), characters=5)
    ended = store.job(job)
    assert (ended.state, ended.rows_done, ended.characters) == (JobState.DONE, 2 * PART_ROWS, 12)
    assert (ended.finished_at or 0) >= (ended.started_at or 0) > 0


def test_a_stale_token_commits_nothing(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job()
    first = claim(leases)
    run_out(store, first)
    leases.expire()
    second = claim(leases, "b")
    assert second.token > first.token
    beat = partial(leases.heartbeat, progress=PartProgress())
    for commit in (partial(complete, leases), leases.release, beat):
        with pytest.raises(LeaseLostError):
            commit(first)  # Catches: no token in Leases._change's condition
    assert store.job(job).rows_done == 0
    complete(leases, second)
    with pytest.raises(LeaseLostError):
        complete(leases, second)
    assert store.job(job).rows_done == PART_ROWS


def test_a_valid_lease_is_not_revoked(leases: Leases, add_job: AddJob) -> None:
    # Catches: leases compared with a time in the future
    add_job()
    part = claim(leases)
    assert leases.expire() == 0
    leases.heartbeat(part, AT_ROW_3)


def test_a_lease_that_expires_implausibly_late_is_revoked(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: ignoring leases from before the clock was set back
    add_job()
    run_out(store, claim(leases), ago_ms=-2 * 3_600_000)
    assert leases.expire() == 1


def test_a_longer_lease_of_another_host_is_not_revoked(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a limit by this process's own lease length
    add_job()
    Leases(store, lease_s=1800).claim("generate", "another", "cpu")
    assert leases.expire() == 0


def test_a_heartbeat_extends_the_lease_and_shows_progress(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a heartbeat that extends nothing
    job = add_job()
    part = claim(leases)
    run_out(store, part)
    assert leases.heartbeat(part, AT_ROW_3) is False
    assert leases.expire() == 0
    assert store.parts(job)[0].progress == AT_ROW_3


def test_a_training_that_kills_its_workers_fails_after_three_attempts(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    # Catches: attempts that are not counted at the claim; a training part that is split
    job = add_job(train=True)
    for _ in range(MAX_ATTEMPTS):
        assert store.job(job).state != JobState.FAILED
        claim(leases, queue="train")
        assert leases.requeue("a") == 1
    assert (store.job(job).state, store.job(job).error) == (JobState.FAILED, "process died")


def test_a_release_does_not_count_as_an_attempt(leases: Leases, add_job: AddJob) -> None:
    add_job()
    for _ in range(2 * MAX_ATTEMPTS):
        part = claim(leases)
        assert part.attempt == 1  # Catches: release without attempts - 1
        leases.release(part)


def test_a_checkpoint_is_where_the_next_attempt_starts(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: attempts that progress does not reset
    job = add_job(train=True)
    first = claim(leases, queue="train")
    preview = Preview(temperature=0.5, seed="a", text="b")
    losses = {"learning_rate": 0.1, "train_loss": 2.0, "val_loss": 2.5}
    epoch = EpochMetrics(epoch=1, step=10, **losses, previews=(preview,))
    for _ in range(2):  # committing an epoch again changes nothing
        leases.checkpoint(first, OUTPUT, [epoch], "cpu", "float32")
    leases.requeue("a")
    second = claim(leases, queue="train")
    assert (second.checkpoint, second.attempt) == (OUTPUT, 1)
    assert store.history(job) == [epoch]


def test_a_job_lists_its_engines(store: Store, leases: Leases, add_job: AddJob) -> None:
    job, training = add_job(parts=3), add_job(train=True)
    for kind in ("gpu", "gpu", "cpu"):
        part = claim(leases)
        leases.complete_rows(part, OUTPUT, sampled(part), kind)
    assert store.job(job).state == JobState.DONE
    # Catches: a report in which the second kind of device is not seen; the last one first
    assert [(engine.device, engine.precision, engine.commits) for engine in store.engines(job)] == [
        ("gpu", "float32", 2),
        ("cpu", "float32", 1),
    ]
    assert {engine.release for engine in store.engines(job)} == {release()}
    part = claim(leases, queue="train")
    leases.checkpoint(part, OUTPUT, [], "gpu", "bfloat16")
    with store.write() as connection:  # as if another release had gone on
        connection.execute(update(engines).where(engines.c.job == training).values(release="0.0.9"))
    leases.checkpoint(part, OUTPUT, [], "gpu", "bfloat16")
    assert [engine.release for engine in store.engines(training)] == ["0.0.9", release()]
    delete(store, job)
    assert store.engines(job) == []


def test_a_failed_training_fails_its_job(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a training job that is done without a version
    job = add_job(train=True)
    assert leases.fail(claim(leases, queue="train"), "the loss became nan", permanent=True) == PartState.FAILED
    ended = store.job(job)
    assert (ended.state, ended.error) == (JobState.FAILED, "the loss became nan")


def test_cancel_ends_waiting_parts_now_and_leased_ones_at_release(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    # Catches: a heartbeat that does not report the cancellation
    job = add_job(parts=3)
    complete(leases, claim(leases))
    part = claim(leases)
    assert cancel(store, job) is True
    assert store.job(job).state == JobState.RUNNING
    assert leases.heartbeat(part, PartProgress()) is True
    leases.release(part)
    assert store.job(job).state == JobState.CANCELLED
    assert store.job(job).rows_done == PART_ROWS
    assert cancel(store, job) is False


def test_cancelling_a_job_that_has_not_started_ends_it(store: Store, add_job: AddJob) -> None:
    # Catches: a canceled job that waits for a worker to end it
    job = add_job()
    cancel(store, job)
    assert store.job(job).state == JobState.CANCELLED


def test_a_job_that_ended_in_its_last_part_is_done_although_cancelled(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    # Catches: a cancellation request taken for the state
    job = add_job()
    part = claim(leases)
    cancel(store, job)
    complete(leases, part)
    assert store.job(job).state == JobState.DONE


def test_attempts_are_counted_since_the_last_checkpoint(leases: Leases, add_job: AddJob) -> None:
    add_job(train=True)
    for _ in range(MAX_ATTEMPTS - 1):
        claim(leases, queue="train")
        leases.requeue("a")
    last = claim(leases, queue="train")
    assert last.attempt == MAX_ATTEMPTS
    leases.checkpoint(last, OUTPUT, [], "cpu", "float32")
    # Catches: the attempt number of the claim used instead of the store's count
    assert leases.fail(last, "an accident") == PartState.QUEUED


def test_a_training_job_that_yielded_its_device_waits_for_the_others(leases: Leases, add_job: AddJob) -> None:
    first, second = add_job(train=True), add_job(train=True)
    turns = []
    for _ in range(4):
        part = claim(leases, queue="train")
        turns.append(part.job)
        leases.release(part)
    assert turns == [first, second, first, second]  # Catches: a turn that leaves the job's place as it was


def test_a_cancelled_part_that_fails_is_cancelled(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: no check of the job when an attempt fails
    job = add_job()
    part = claim(leases)
    cancel(store, job)
    assert leases.fail(part, "an accident") == PartState.CANCELLED
    assert store.job(job).state == JobState.CANCELLED


def test_an_epoch_that_was_done_again_is_shown_as_it_ended_then(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job(train=True)
    part = claim(leases, queue="train")
    texts = (Preview(temperature=1.0, seed="a", text="b"),)
    losses = {"learning_rate": 0.1, "train_loss": 3.0, "val_loss": 2.0}
    first = EpochMetrics(epoch=1, step=100, **losses, previews=texts)
    again = replace(first, step=70, val_loss=2.5)
    leases.record(part, [first])
    leases.checkpoint(part, OUTPUT, [again], "cpu", "float32")  # Catches: the loss of an attempt that was killed
    assert [(epoch.step, epoch.val_loss) for epoch in store.history(job)] == [(70, 2.5)]
    assert store.history(job)[0].previews == texts


def new_version(val_loss: float, **values: Any) -> NewVersion:
    common = {"model": "speeches", "files": NO_FILE, "characters": "ab", "network": NetworkOptions(units=1)}
    return NewVersion(**{**common, **values}, val_loss=val_loss, precision="float32")


def add_version(store: Store, job: int | None, val_loss: float, **values: Any) -> int:
    new = new_version(val_loss, **values)
    with store.write() as connection:
        registry.freeze_validation(connection, new.model, NO_FILE)
        if job is None:
            return registry.import_version(connection, new)
        assert registry.add_version(connection, job, new) is None
        return max(version.version for version in list_versions(connection) if version.model == new.model)


def to_compare_with(store: Store, job: int, val_loss: float, **values: Any) -> int | None:
    """Return the champion with which a version must be compared before it is stored."""
    with store.write() as connection:
        champion = registry.add_version(connection, job, new_version(val_loss, **values))
    return None if champion is None else champion.version


def reason(store: Store, version: int) -> str:
    return resolve(store, f"speeches@{version}").gate.reason("speeches")


def test_a_better_version_becomes_champion_and_a_worse_one_stays_candidate(store: Store, add_job: AddJob) -> None:
    job = add_job(train=True)
    assert [add_version(store, job, nats) for nats in (1.5, 1.6, 1.4)] == [1, 2, 3]
    # Catches: the champion replaced regardless of the loss
    assert [version.aliases for version in all_versions(store)] == [(), ("candidate",), ("champion",)]
    assert resolve(store, "speeches").version == 3
    assert resolve(store, "speeches@candidate").version == 2
    assert resolve(store, "speeches@1").version == 1


def test_a_version_shows_why_it_is_or_is_not_champion(store: Store, add_job: AddJob) -> None:
    job = add_job(train=True)
    for nats in (1.5, 1.5, 1.49):
        add_version(store, job, nats, margin=0.0 if nats == 1.5 else 0.02)
    assert reason(store, 1) == "the first version"
    assert reason(store, 2) == "1.5000 nats, not better than 1.5000 of speeches@1"  # Catches: an equal loss is enough
    # Catches: an ignored margin
    assert reason(store, 3) == "1.4900 nats, not better than 1.5000 of speeches@1 by 0.02"
    add_version(store, job, 1.48, margin=0.01)
    assert reason(store, 4) == "1.4800 nats, better than 1.5000 of speeches@1 by 0.01"


def test_versions_that_lack_characters_of_the_text_are_compared_by_a_worker(store: Store, add_job: AddJob) -> None:
    job = add_job(train=True)
    lacks: dict[str, Any] = {"characters": "bc", "skipped": 7}
    add_version(store, job, 1.5)
    assert to_compare_with(store, job, 1.4, **lacks) == 1  # Catches: a comparison of losses on different texts
    assert len(all_versions(store)) == 1
    worse = Comparison(champion=1, nats=1.52, champion_nats=1.51, left_out=7)
    add_version(store, job, 1.4, **lacks, comparison=worse)
    assert reason(store, 2) == (
        "1.5200 nats, not better than 1.5100 of speeches@1; without 7 characters that one of them lacks"
    )
    add_version(store, job, 1.4, characters="abc")  # further characters do not change the text
    assert resolve(store, "speeches").version == 3
    # Catches: a comparison with the previous champion
    assert to_compare_with(store, job, 1.3, **lacks, comparison=worse) == 3
    add_version(store, None, 1.3, **lacks)  # imported: nobody can measure it
    assert reason(store, 4) == "not compared: this version or the champion lacks characters of the validation text"


def test_rollback_returns_to_earlier_champions(store: Store, add_job: AddJob) -> None:
    job = add_job(train=True)
    for nats in (1.5, 1.6, 1.4, 1.3):
        add_version(store, job, nats)

    def roll_back() -> int:
        with store.write() as connection:
            return registry.rollback(connection, "speeches")

    assert [roll_back(), roll_back()] == [3, 1]  # Catches: alternating rollbacks; the candidate 2, never a champion
    assert resolve(store, "speeches").version == 1
    with pytest.raises(InputError, match="speeches@1 has no previous champion to roll back to"):
        roll_back()
    with store.write() as connection:
        registry.promote(connection, "speeches", 2)
    assert (resolve(store, "speeches").version, roll_back()) == (2, 1)
    add_version(store, job, 1.45)  # better than 1, but not than 3 and 4, which were rolled back
    assert resolve(store, "speeches").version == 5


def test_a_custom_alias(store: Store, add_job: AddJob) -> None:
    # Catches: an alias that looks like a version number
    job = add_job(train=True)
    for nats in (1.5, 1.6):
        add_version(store, job, nats)
    with store.write() as connection:
        registry.promote(connection, "speeches", 2, "staging")
    assert resolve(store, "speeches@staging").version == 2
    assert resolve(store, "speeches").version == 1
    with store.write() as connection:
        for alias, why in (("7", "looks like a version number"), ("A b", "not valid")):
            with pytest.raises(InputError, match=why):
                registry.promote(connection, "speeches", 2, alias)
        with pytest.raises(NotFoundError, match="has no version '9'"):
            registry.promote(connection, "speeches", 9)


def test_a_version_that_is_needed_is_not_deleted(store: Store, add_job: AddJob) -> None:
    def delete(version: int) -> None:
        with store.write() as connection:
            delete_version(connection, "speeches", version)

    training = add_job(train=True)
    for nats in (1.5, 1.6, 1.4):
        add_version(store, training, nats)
    for version, alias in ((2, "candidate"), (3, "champion")):
        with pytest.raises(InputError, match=f"speeches@{version} is in use as speeches@{alias}"):
            delete(version)
    job = add_job()  # samples from speeches@1
    with pytest.raises(InputError, match=rf"speeches@1 is needed by job {job}, which has not ended"):
        delete(1)  # Catches: no check of the jobs
    cancel(store, job)
    delete(1)
    with pytest.raises(NotFoundError):
        resolve(store, "speeches@1")
    from_it = replace(train_spec(), start="speeches@1")
    with store.write() as connection:
        for spec in (GenerateSpec.from_dict(store.job(job).stored_spec), from_it):
            with pytest.raises(NotFoundError):
                registry.lock_needs(connection, spec)
        goes_on = lifecycle.add_job(connection, lifecycle.NewJob(spec=replace(from_it, start="speeches@2"))).id
        registry.promote(connection, "speeches", 3, "candidate")
        with pytest.raises(InputError, match=rf"speeches@2 is needed by job {goes_on}"):
            delete_version(connection, "speeches", 2)
        registry.promote(connection, "speeches", 2, "candidate")
    assert add_version(store, training, 1.3) == 4
    delete(3)
    with store.write() as connection:
        registry.promote(connection, "speeches", 2)
    delete(4)
    assert add_version(store, training, 1.2) == 5  # Catches: a number that is used twice


def test_older_versions_are_deleted_but_those_in_use(store: Store, add_job: AddJob) -> None:
    def all_but(keep: int) -> list[int]:
        with store.write() as connection:
            return list(delete_older(connection, "speeches", keep))

    training = add_job(train=True)
    for nats in (1.5, 1.6, 1.4, 1.7, 1.8):  # 1 and 3 become champions; 5 is the candidate
        add_version(store, training, nats)
    samples = replace(GenerateSpec.from_dict(store.job(add_job()).stored_spec), version=2)
    with store.write() as connection:
        job = lifecycle.add_job(connection, lifecycle.NewJob(spec=samples)).id
    assert all_but(2) == []  # Catches: the version of a job that has not ended
    cancel(store, job)
    cancel(store, job - 1)
    assert all_but(5) == []
    assert all_but(1) == [4, 2]  # Catches: the oldest kept; the previous champion, 1, deleted
    with store.write() as connection:
        assert registry.rollback(connection, "speeches") == 1
    assert all_but(1) == [3]
    assert [version.version for version in all_versions(store)] == [1, 5]


def test_an_unknown_model_names_the_nearest(store: Store, add_job: AddJob) -> None:
    add_version(store, add_job(train=True), 1.0)
    with pytest.raises(NotFoundError, match="Did you mean speeches"):
        resolve(store, "speaches")
    for number in ("9", "999999999999"):  # Catches: a number that is too large for PostgreSQL
        with pytest.raises(NotFoundError, match="has no version"):
            resolve(store, f"speeches@{number}")
    with pytest.raises(InputError, match="'speeches@' names no version"):  # Catches: the champion in its place
        resolve(store, "speeches@")


def test_without_models_the_error_explains_how_to_train_one(store: Store) -> None:
    with pytest.raises(NotFoundError, match="charrnn-jobs train NAME PATH"):
        resolve(store, "speeches")


def test_validation_text_is_frozen_at_the_first_training(store: Store, add_job: AddJob) -> None:
    other = replace(NO_FILE, name="other")
    job = add_job(train=True)
    with store.write() as connection:
        assert registry.freeze_validation(connection, "speeches", NO_FILE) == NO_FILE
        assert registry.freeze_validation(connection, "speeches", other) == NO_FILE
    cancel(store, job)
    with store.write() as connection:  # Catches: a name tied forever to the text of a canceled training job
        assert registry.freeze_validation(connection, "speeches", other) == other
        registry.add_version(connection, job, new_version(1.0))
        assert registry.freeze_validation(connection, "speeches", NO_FILE) == other


def test_parts_are_claimed_by_priority_then_job(leases: Leases, add_job: AddJob) -> None:
    low, normal = add_job(parts=2, priority=Priority.LOW), add_job(parts=2)
    high = add_job(parts=2, priority=Priority.HIGH)
    # Catches: a priority that counts only among jobs with as many parts leased
    assert [claim(leases).job for _ in range(6)] == [high, high, normal, normal, low, low]


def test_many_workers_end_a_job_once_and_count_every_row(store: Store, add_job: AddJob) -> None:
    job = add_job(parts=40)

    def work() -> None:
        own = Leases(store, 30)
        while part := own.claim("generate", threading.current_thread().name, "cpu"):
            own.heartbeat(part, AT_ROW_3)
            complete(own, part, characters=7)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = store.job(job)
    # Catches: a report or counter that is read without a lock and written back
    assert (ended.state, ended.rows_done, ended.characters) == (JobState.DONE, 40 * PART_ROWS, 280)
    report = store.report(job)
    assert report is not None
    assert report.parts == 40


def test_a_part_that_ended_meanwhile_is_not_requeued(store: Store, leases: Leases, add_job: AddJob) -> None:
    add_job(parts=200)
    held, some_ended = [claim(leases) for _ in range(100)], threading.Event()

    def complete_all() -> None:
        for number, part in enumerate(held):
            with contextlib.suppress(LeaseLostError):
                complete(leases, part)
            if number == 10:
                some_ended.set()

    thread = threading.Thread(target=complete_all)
    thread.start()
    assert some_ended.wait(60)
    while thread.is_alive():
        leases.requeue("a")
    thread.join()
    with store.read() as connection:
        done = select(func.count()).where(parts.c.state == PartState.DONE)
        # Catches: a part's state read before its job is locked, and written after
        assert store.job().rows_done == PART_ROWS * connection.execute(done).scalar_one() > 10 * PART_ROWS


def train_job(add_job: AddJob, leases: Leases) -> tuple[int, Part]:
    job = add_job(train=True)
    return job, claim(leases, queue="train")


def awaiting(add_job: AddJob, training: int) -> int:
    return add_job(awaits=training)


def test_a_job_after_a_training_job_uses_its_version(store: Store, leases: Leases, add_job: AddJob) -> None:
    training, part = train_job(add_job, leases)
    job = awaiting(add_job, training)
    assert leases.claim("generate", "a", "cpu") is None  # Catches: no READY in _candidates
    assert leases.waiting(BELLS) == {}  # Catches: notifications for parts that nobody may claim
    assert not leases.waits("generate")
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    leases.complete_training(part, new_version(1.0))
    assert leases.waiting(BELLS) == {"generate": 1}
    claimed = claim(leases)
    assert isinstance(claimed.spec, GenerateSpec)
    assert (claimed.job, claimed.spec.name) == (job, "speeches@1")
    assert claimed.spec.sampling.precision == "float32"  # the version's own precision
    assert store.job(job).version == 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_job_whose_training_makes_no_version_fails(store: Store, leases: Leases, add_job: AddJob, end: str) -> None:
    # Catches: jobs that wait forever for a version
    training, part = train_job(add_job, leases)
    job = awaiting(add_job, training)
    if end == "failed":
        leases.fail(part, "the loss became nan", permanent=True)
    else:
        cancel(store, training)
        leases.release(part)
    found = store.job(job)
    assert (found.state, found.parts_left) == (JobState.FAILED, 0)
    assert found.error == f"job {training}, the training job that it waited for, is {end}"
    with pytest.raises(InputError, match=f"Job {training} is {end} and made no version"):
        awaiting(add_job, training)


def test_a_job_that_waits_can_be_cancelled(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a training job that ends a job again
    training, part = train_job(add_job, leases)
    job = awaiting(add_job, training)
    assert cancel(store, job)
    leases.fail(part, "the loss became nan", permanent=True)
    assert store.job(job).state == JobState.CANCELLED


def test_only_a_training_can_be_waited_for(add_job: AddJob) -> None:
    # Catches: a job that waits for another sampling job
    with pytest.raises(InputError, match="is not a training job"):
        awaiting(add_job, add_job())
    with pytest.raises(NotFoundError, match="no job 999"):
        awaiting(add_job, 999)


def test_an_idempotency_key_identifies_one_job(store: Store, add_job: AddJob) -> None:
    # Catches: a key that hides another job
    first = add_job(key="k", request="a")
    assert add_job(key="k", request="a") == first
    assert add_job(key="other", request="a") != first
    with pytest.raises(InputError, match=f"The key 'k' belongs to job {first}, which has a different request"):
        add_job(key="k", request="b")
    assert len(store.jobs(10)) == 2
    assert add_job() == first + 2  # Catches: an insert that is refused and uses up an id


def test_one_of_racing_submits_with_one_key_is_stored(store: Store, add_job: AddJob) -> None:
    # Catches: a key that is not stored
    barrier, found = threading.Barrier(8), []

    def submit() -> None:
        barrier.wait()
        found.append(add_job(parts=3, key="k", request="a"))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (8, 1)
    assert [job.parts_total for job in store.jobs(10)] == [3]


def test_jobs_are_chosen_and_paged(store: Store, add_job: AddJob) -> None:
    # Catches: a page that begins with the last job of the previous one
    train, first, second = add_job(train=True), add_job(label="x"), add_job(label="x")
    cancel(store, first)
    assert [job.id for job in store.jobs(10, label="x")] == [second, first]
    assert [job.id for job in store.jobs(10, kind="train", model="speeches")] == [train]
    assert [job.id for job in store.jobs(10, state="cancelled")] == [first]
    assert [job.id for job in store.jobs(1, before=second)] == [first]


def test_the_number_of_a_deleted_job_is_not_reused(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job(parts=2)
    with pytest.raises(InputError, match=f"is queued. Cancel it first: charrnn-jobs cancel {job}"):
        delete(store, job)
    held = claim(leases)
    cancel(store, job)
    leases.release(held)
    delete(store, job)
    assert add_job() > job  # Catches: results of an old job under a new job's id
    with pytest.raises(NotFoundError):
        store.job(job)
    with pytest.raises(LeaseLostError, match="was deleted"):
        complete(leases, held)


def test_a_training_that_a_version_came_from_is_not_deleted(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a version without a record of its text
    training, part = train_job(add_job, leases)
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    leases.complete_training(part, new_version(1.0))
    with pytest.raises(InputError, match=r"cannot be deleted: it records on which text speeches@1 was trained"):
        delete(store, training)


def test_a_reason_with_unstorable_characters_is_stored(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a reason that is stored unchanged
    job = add_job()
    leases.fail(claim(leases), "half a name \udcff and a \0", permanent=True)
    assert store.job(job).error == "half a name ? and a �"


def test_the_speed_of_a_model_is_stored_when_it_changes(store: Store) -> None:
    kept = []
    for speed in (100.0, 108.0, 92.0, 120.0):
        store.record_speed("speeches", "cpu", speed)
        kept.append(store.speeds("speeches"))
    # Catches: a row that all workers of a model write at each part, and wait for each other
    assert kept == [{"cpu": 100.0}, {"cpu": 100.0}, {"cpu": 100.0}, {"cpu": 120.0}]
    assert store.speeds("other") == {}


def test_reports_of_parts_are_added_up_now_and_then(store: Store, leases: Leases, add_job: AddJob) -> None:
    job, total = add_job(parts=3 * MERGED), 0
    for number in range(1, 3 * MERGED + 1):
        complete(leases, claim(leases), characters=number)
        total += number
        report = store.report(job)
        assert report is not None
        assert (report.parts, report.characters) == (number, total)  # Catches: a row that is added up twice, or lost
        with store.read() as connection:
            rows = connection.execute(select(func.count()).where(reports.c.job == job)).scalar_one()
        assert rows <= MERGED  # Catches: a status that adds up all parts of a job
    assert rows == 1  # of a job that has ended


def test_a_part_is_committed_although_its_report_cannot_be_added_up(
    store: Store, leases: Leases, add_job: AddJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add_job()

    def go_away(*_: object) -> None:
        raise UnreachableError("the database went away")

    monkeypatch.setattr("charrnn.jobs.store.leases.merge_reports", go_away)
    complete(leases, claim(leases), characters=5)  # Catches: a commit that seems to have failed
    assert (store.job(job).state, store.report(job)) != (JobState.RUNNING, None)


def test_two_trainings_that_end_at_once_make_two_versions(store: Store, add_job: AddJob) -> None:
    job = add_job(train=True)
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    barrier, numbers = threading.Barrier(6), []

    def end() -> None:
        barrier.wait()
        numbers.append(add_version(store, job, 1.0))

    threads = [threading.Thread(target=end) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]  # Catches: no lock on the model before its highest number is read


def test_a_store_made_by_many_at_once_is_one(store_url: str) -> None:
    barrier, ids = threading.Barrier(6), []

    def open_store() -> None:
        barrier.wait()
        opened = Store(store_url)
        ids.append(opened.id)
        opened.close()

    threads = [threading.Thread(target=open_store) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids))) == (6, 1)  # Catches: no lock_schema


def test_retry_repeats_failed_parts_and_keeps_finished_ones(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job(parts=3)
    complete(leases, claim(leases))
    for _ in range(2):
        leases.fail(claim(leases), "a poisoned row", permanent=True)
    assert (store.job(job).state, store.job(job).rows_failed) == (JobState.DONE, 2 * PART_ROWS)
    assert retry(store, job) == 2
    again = store.job(job)
    assert (again.state, again.rows_failed, again.parts_left, again.error) == ("running", 0, 2, None)
    assert again.finished_at is None
    first = claim(leases)
    assert (first.number, first.attempt, first.token) == (1, 1, 2)  # Catches: a token used twice; attempts not reset
    complete(leases, first)
    complete(leases, claim(leases))
    ended = store.job(job)
    assert (ended.state, ended.rows_done, ended.rows_failed) == (JobState.DONE, 3 * PART_ROWS, 0)
    assert retry(store, job) == 0
    assert store.job(job).state == JobState.DONE  # Catches: a job that ends a second time, or never


def test_cancel_and_retry_is_pause_and_resume(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job(parts=3)
    part = claim(leases)
    cancel(store, job)
    assert retry(store, job) == 2
    assert leases.release(part) == PartState.QUEUED  # Catches: a cancellation that is not withdrawn
    for _ in range(3):
        complete(leases, claim(leases))
    assert (store.job(job).state, store.job(job).rows_done) == (JobState.DONE, 3 * PART_ROWS)


def test_a_retried_training_job_resumes_from_its_checkpoint(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a retry that starts over
    job, part = train_job(add_job, leases)
    leases.checkpoint(part, OUTPUT, [], "cpu", "float32")
    leases.fail(part, "the loss is no number", permanent=True)
    assert store.job(job).state == JobState.FAILED
    assert retry(store, job) == 1
    assert claim(leases, queue="train").checkpoint == OUTPUT


def test_a_job_whose_training_failed_can_be_retried_with_it(store: Store, leases: Leases, add_job: AddJob) -> None:
    training, part = train_job(add_job, leases)
    job = awaiting(add_job, training)
    leases.fail(part, "the loss is no number", permanent=True)
    assert store.job(job).state == JobState.FAILED
    with pytest.raises(InputError, match=f"Job {training} is failed and made no version"):
        retry(store, job)
    retry(store, training)
    assert retry(store, job) == 1
    assert leases.waiting(BELLS) == {"train": 1}  # Catches: a job that is claimed before its version is there
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    leases.complete_training(claim(leases, queue="train"), new_version(1.0))
    assert claim(leases).job == job


def test_the_last_reason_of_a_dead_process_is_reported(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: any reason replaced by the most common one
    job = add_job(train=True)
    for _ in range(MAX_ATTEMPTS):
        claim(leases, queue="train")
        leases.requeue("a", "out of memory")
    assert store.job(job).error == "out of memory"


def test_a_job_whose_training_was_deleted_is_not_retried(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a job that samples from whichever version is the champion by then
    training, part = train_job(add_job, leases)
    job = awaiting(add_job, training)
    leases.fail(part, "the loss is no number", permanent=True)
    delete(store, training)
    with pytest.raises(InputError, match="was deleted. Submit job"):
        retry(store, job)


def test_a_retried_job_takes_the_version_that_was_made_meanwhile(store: Store, leases: Leases, add_job: AddJob) -> None:
    training, part = train_job(add_job, leases)
    job = awaiting(add_job, training)
    leases.fail(part, "the loss is no number", permanent=True)
    retry(store, training)
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    leases.complete_training(claim(leases, queue="train"), new_version(1.0))
    assert retry(store, job) == 1
    assert store.job(job).version == 1  # Catches: a job that waits for a training job that has ended
    assert claim(leases).job == job
