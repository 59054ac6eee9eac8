"""Manage schedules, and submit the jobs that are due. Any number of processes may do so at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from charrnn.checks import check_keywords, check_number, check_strings, check_type
from charrnn.errors import CharrnnError, DamagedError, InputError, UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.schedule import (
    RULES,
    ListedSchedule,
    Outcome,
    Schedule,
    ScheduleDetails,
    ShownSlot,
    SkippedError,
    Slot,
    StoredSlot,
    WaitingSlot,
)
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import SlotState
from charrnn.jobs.job.views import Action
from charrnn.jobs.store import registry
from charrnn.jobs.store.events import record
from charrnn.jobs.store.scheduled import slots
from charrnn.jobs.submit.sampling import submit
from charrnn.jobs.submit.submitted import Submitted
from charrnn.jobs.submit.training import train
from charrnn.jobs.upkeep.hooks import Hooks
from charrnn.jobs.upkeep.submissions import Submissions
from charrnn.jobs.upkeep.troubles import find_troubles

logger = logging.getLogger(__name__)

# An unchanged text is a normal night, a run that came too late may be one; only a failed one needs a person.
LEVELS = {SlotState.EXPIRED: logging.WARNING, SlotState.FAILED: logging.ERROR}  # others: INFO

LATE_MS = 15 * 60_000  # another process takes over after ten minutes if one died while it submitted
PAUSE_MS = 30_000  # between two attempts to submit, while broker, store or files do not answer
SLOW = "its files are too large, or a disk or network does not answer"
SHOWN_SLOTS = 10
SHOWN_TIMES = 5


class Schedules:
    """The schedules of one store.

    Args:
        clock: returns the time in milliseconds since 1970. Default: the database's clock.
        submissions: the submissions that `tick` runs, with their time limits.
        hook_submissions: the threads in which it runs hooks. Default: nothing waits for a hook.

    Raises:
        NotFoundError: from every method with a name, if there is no schedule with that name.
    """

    def __init__(
        self,
        connections: Connections,
        clock: Callable[[], int] | None = None,
        submissions: Submissions | None = None,
        hook_submissions: Submissions | None = None,
    ) -> None:
        self._connections = connections
        self._person = connections.settings.person
        self._submissions = submissions or Submissions()
        self._now = clock or self._database_clock
        self.hooks = Hooks(connections, self._now, hook_submissions)
        self._logged_errors: dict[str, str] = {}  # schedule → its last error, which is logged once

    def _database_clock(self) -> int:
        return self._connections.store.now()

    def add(self, schedule: Schedule, *, replace: bool = False) -> None:
        """Store a schedule. Its request is checked first, as if it were submitted now.

        Processes of this host with this home may run its hooks from now on.

        Args:
            replace: change a schedule of that name, if there is one, as `edit` does.

        Raises:
            InputError: the request would be refused, or a schedule with that name exists.
            NotFoundError: the model does not exist.
            UnreachableError: broker, store or files do not answer.
        """
        check_type("schedule", schedule, Schedule, "a Schedule")
        self._request(schedule.request, schedule.then, dry_run=True)
        self.hooks.allow(schedule.on_success, schedule.on_failure)
        now = self._now()
        with self._connections.store.write() as connection:
            added = slots.add(connection, schedule, now, self._person, replace=replace)
            record(connection, self._person, Action.ADDED if added else Action.CHANGED, schedule=schedule.name)

    def edit(
        self, name: str, *, request: Request | None = None, then: GenerateRequest | None = None, **changes: Any
    ) -> None:
        """Change a schedule, which keeps its slots and stays paused. New hooks are allowed on this host.

        A slot whose job is being submitted keeps the old request. A text that did not change is trained on again after
        the request has changed.

        Args:
            request: the new request, checked as if it were submitted now.
            then: the sampling that follows the new request. The one that followed the old request is dropped.
            changes: new values, named as in `job.schedule.RULES`.

        Raises:
            InputError: a value is not valid, or the request would be refused.
            UnreachableError: broker, store or files do not answer.
        """
        check_keywords("edit", changes, RULES)
        if then is not None and request is None:
            raise InputError("`then` is the sampling that follows a new request. Set `request` too")
        with self._connections.store.read() as connection:
            stored = slots.get_schedule(connection, name)
        stored.schedule(request=request, then=then, **changes)  # checked before a hook is allowed
        if request is not None:
            self._request(request, then, dry_run=True)
        self.hooks.allow(changes.get("on_success"), changes.get("on_failure"))
        now = self._now()
        with self._connections.store.write() as connection:
            stored = slots.get_schedule(connection, name, locked=True)
            slots.change(connection, stored.schedule(request=request, then=then, **changes), now)
            record(connection, self._person, Action.CHANGED, schedule=name)

    def list(self) -> Sequence[ListedSchedule]:
        """Return all schedules, each with its `last` slot, if it had one."""
        with self._connections.store.read() as connection:
            return [
                ListedSchedule(
                    **vars(stored), last=next(map(self._shown, slots.newest(connection, stored.name, 1)), None)
                )
                for stored in slots.all_schedules(connection)
            ]

    def find_troubles(self, names: Collection[str] = (), late_ms: int = LATE_MS) -> dict[str, str]:
        """Return what is wrong, by schedule: the last run failed or is late, or the schedule cannot be read.

        The last run is the last slot that was neither skipped nor is due. One whose text is unchanged was read, and the
        last jobs for that text succeeded, so it counts as a run that succeeded. A cancelled job is no trouble. Paused
        schedules are left out.

        Args:
            names: the schedules to look at. Default: all.
            late_ms: milliseconds after its time at which a slot that has no job yet is late, unless it waits for the
                job before it.

        Raises:
            NotFoundError: one of the names is that of no schedule.
        """
        check_number("late_ms", late_ms)
        return find_troubles(self._connections.store, check_strings("names", names), self._now() - late_ms)

    def show(self, name: str) -> ScheduleDetails:
        """Return a schedule with its latest slots, latest first, the outcomes of their jobs, and its upcoming times."""
        now = self._now()
        with self._connections.store.read() as connection:
            stored = slots.get_schedule(connection, name)
            shown = tuple(map(self._shown, slots.newest(connection, name, SHOWN_SLOTS)))  # in the same transaction
        upcoming = (
            () if stored.paused or stored.unreadable else tuple(islice(stored.schedule().cron.after(now), SHOWN_TIMES))
        )
        return ScheduleDetails(**vars(stored), slots=shown, upcoming=upcoming)

    def _shown(self, slot: StoredSlot) -> ShownSlot:
        return ShownSlot(**vars(slot), outcome=self._outcome(slot.job), then_outcome=self._outcome(slot.then_job))

    def _outcome(self, job_id: int | None) -> Outcome | None:
        found = () if job_id is None else self._connections.store.jobs(1, id=job_id)
        if (job := next(iter(found), None)) is None:  # it may have been deleted
            return None
        outcome = Outcome.of(job)
        if job.kind != TrainSpec.QUEUE or job.version is None:
            return outcome
        try:
            with self._connections.store.read() as connection:
                made = registry.get_version(connection, job.model, job.version)
        except DamagedError as error:
            return replace(outcome, gate=str(error))
        if made is not None:
            return replace(outcome, val_loss=made.val_loss, gate=made.gate.reason(made.model))
        best = min(epoch.val_loss for epoch in self._connections.store.history(job.id))
        return replace(outcome, val_loss=best, gate="the version was deleted")

    def pause(self, name: str) -> None:
        """Stop a schedule from submitting jobs until it is resumed. `run` still works."""
        with self._connections.store.write() as connection:
            slots.pause(connection, name)
            record(connection, self._person, Action.PAUSED, schedule=name)

    def resume(self, name: str) -> None:
        """Resume a schedule at its next time. Times during the pause do not count as missed."""
        now = self._now()
        with self._connections.store.write() as connection:
            slots.resume(connection, name, now)
            record(connection, self._person, Action.RESUMED, schedule=name)

    def remove(self, name: str) -> None:
        """Delete a schedule. The jobs that it submitted stay."""
        with self._connections.store.write() as connection:
            slots.remove(connection, name)
            record(connection, self._person, Action.REMOVED, schedule=name)

    def run(self, name: str) -> StoredSlot:
        """Submit a schedule's job now, even if the schedule is paused or its text is unchanged.

        Returns:
            The slot, with `state`, `job` and `reason`. If broker or files do not answer, it stays due, and its job is
            submitted when they do.

        Raises:
            InputError: a job of the schedule has not ended.
            NotFoundError: there is no such schedule, or it was removed meanwhile.
        """
        now = self._now()
        with self._connections.store.write() as connection:
            slot = slots.add_by_hand(connection, name, now)
            schedule = slots.get_schedule(connection, name).schedule()
            slots.claim(connection, slot, now)
            record(connection, self._person, Action.RUN, schedule=name)
        self._submit(schedule, slot, now, level=logging.DEBUG)
        with self._connections.store.read() as connection:
            return slots.get_slot(connection, slot)

    def tick(self) -> None:
        """Decide on all slots whose time has come, submit the jobs of those that are due, and tell hooks of those that
        ended.

        A submission that takes more than a few seconds continues while this and later calls process other schedules.
        If it exceeds its limit, its slot fails.
        """
        self.give_up_late()
        now, store = self._now(), self._connections.store
        with store.read() as connection:
            names = slots.find_undecided(connection, now)
        for name in names:
            with self._isolated(name):
                self._decide(name, now)
        with store.read() as connection:
            waiting = slots.waiting(connection)
        for due in waiting:
            with self._isolated(due.stored.name):
                self._advance(due, self._now())  # read again: the previous job may have taken minutes to submit
        for run in self.hooks.ended():
            with self._isolated(run.slot.schedule):
                self.hooks.tell(run)

    def give_up_late(self) -> None:
        """Fail the slots whose submissions exceed their limit. Only the process that submits them knows."""
        for slot in self._submissions.give_up_late():
            self._settle(slot, SlotState.FAILED, f"given up after {self._submissions.limit_s:g} s: {SLOW}")

    def _decide(self, name: str, now: int) -> None:
        with self._connections.store.write() as connection:
            decided = slots.decide(connection, name, now)
        if decided is not None and decided.state != SlotState.DUE:
            _log(Slot(name, decided.at), decided.state, decided.reason)

    @contextmanager
    def _isolated(self, name: str) -> Iterator[None]:
        """Log errors of one schedule, so that it does not hold up the others.

        A schedule may be unreadable because a newer release wrote it, or because this host lacks its time zone.
        """
        try:
            yield
        except UnreachableError:
            raise
        except Exception as error:
            if self._logged_errors.get(name) != str(error):  # log it once, not in each round
                logger.exception("schedule %s cannot be processed", name, extra={"schedule": name})
            self._logged_errors[name] = str(error)

    def _advance(self, due: WaitingSlot, now: int) -> None:
        """Submit a slot's job, unless it waits for another job, another process submits it, or it is too late."""
        slot = due.slot
        if (earlier := self._submissions.unfinished(slot.schedule)) == slot:
            return
        reason = None if due.by_hand else due.stored.schedule().expired(slot, now)
        if due.blocked and not reason:
            return
        with self._connections.store.write() as connection:
            if not slots.claim(connection, slot, now):
                return
            schedule = slots.get_schedule(connection, slot.schedule).schedule()  # it may have been edited meanwhile
        if reason:
            self._settle(slot, SlotState.EXPIRED, reason)
        elif earlier:  # one thread for each schedule: they would fill the process
            self._settle(slot, SlotState.FAILED, f"the submission of {earlier} still hangs: {SLOW}")
        else:
            self._submissions.start(slot, partial(self._submit, schedule, slot, now))

    def _submit(self, schedule: Schedule, slot: Slot, now: int, level: int | None = None) -> None:
        """Submit the job of a claimed slot, and store the outcome with the slot.

        Args:
            level: that of the line about a refused job. Default: that of its state.
        """
        try:
            done = self._request(schedule.request, schedule.then, slot=slot)
            submitted = {"event": "submitted", "schedule": slot.schedule, "job": done.id}
            following = f", and job {done.then_job} after it" if done.then_job else ""
            logger.info("schedule %s: submitted job %d%s", slot, done.id, following, extra=submitted)
        except SkippedError as error:
            self._settle(slot, SlotState.UNCHANGED, str(error))
        except UnreachableError as error:
            about = {"schedule": slot.schedule}
            logger.warning(
                "schedule %s: not submitted, next try in %d s: %s", slot, PAUSE_MS // 1000, error, extra=about
            )
            with self._connections.store.write() as connection:
                slots.postpone(connection, slot, now + PAUSE_MS)
        except CharrnnError as error:
            self._settle(slot, SlotState.FAILED, str(error), level)
        except Exception as error:  # otherwise it would stay due forever and block all later slots
            logger.exception("schedule %s: unexpected error", slot, extra={"schedule": slot.schedule})
            self._settle(slot, SlotState.FAILED, f"{type(error).__name__}: {error}")

    def _request(
        self, request: Request, then: GenerateRequest | None, *, dry_run: bool = False, slot: Slot | None = None
    ) -> Submitted[TrainSpec] | Submitted[GenerateSpec]:
        """Submit a request, and what follows it."""
        if isinstance(request, TrainRequest):
            return train(self._connections, request, then=then, dry_run=dry_run, slot=slot, scheduled=True)
        return submit(self._connections, request, dry_run=dry_run, slot=slot, scheduled=True)

    def _settle(self, slot: Slot, state: SlotState, reason: str, level: int | None = None) -> None:
        with self._connections.store.write() as connection:
            if slots.settle(connection, slot, state, reason):
                _log(slot, state, reason, level)


def _log(slot: Slot, state: SlotState, reason: str | None, level: int | None = None) -> None:
    """Log that a slot gets no job."""
    settled = {"event": state.value, "schedule": slot.schedule}
    level = LEVELS.get(state, logging.INFO) if level is None else level
    logger.log(level, "schedule %s: %s: %s", slot, state, reason, extra=settled)
