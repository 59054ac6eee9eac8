"""The verbs of schedules; and what they ask for is submitted, by any number of processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select

from charrnn.errors import CharrnnError, UnreachableError
from charrnn.jobs.job.gate import Gate
from charrnn.jobs.job.requests import rng_seed_of
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.states import SlotState
from charrnn.jobs.store import registry
from charrnn.jobs.store import slots as schedules
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.slots import Schedule, SkippedError, Slot

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

logger = logging.getLogger(__name__)

PAUSE_MS = 30_000  # between two tries to submit, while broker, store or files are away
SHOWN_SLOTS = 10
SHOWN_TIMES = 5


class Schedules:
    """Of a client's store.

    Args:
        clock: tells the time in milliseconds since 1970; the database's if None.

    Raises:
        NotFoundError: of a name, where there is no such schedule.
    """

    def __init__(self, client: Client, clock: Callable[[], int] | None = None) -> None:
        self.client = client
        self._now = clock or self._database_clock
        self._told: dict[str, str] = {}  # of schedules that cannot be read

    def _database_clock(self) -> int:
        with self.client.store.read() as connection:
            return int(connection.execute(select(NOW)).scalar_one())

    def add(self, schedule: Schedule) -> None:
        """Store a schedule, after its request was checked as if it were submitted now.

        Raises:
            InputError: it would be refused, or there is a schedule of that name.
            NotFoundError: no such model.
            UnreachableError: broker, store or files.
        """
        schedule.request.submit(self.client, drawn=0, dry_run=True)
        now = self._now()
        with self.client.store.write() as connection:
            schedules.add(connection, schedule, now)

    def list(self) -> list[dict[str, Any]]:
        """Every schedule, each with its `last` slot, if it had one."""
        with self.client.store.read() as connection:
            rows = schedules.all_schedules(connection)
            newest = [schedules.newest(connection, row.name, 1) for row in rows]
        return [
            {**row._mapping, "last": dict(last[0]._mapping) if last else None}
            for row, last in zip(rows, newest, strict=True)
        ]

    def show(self, name: str) -> dict[str, Any]:
        """A schedule with its latest `slots`, latest first, and its `upcoming` times.

        A slot's job has `job_state` and `version`, and of a training's version there are `held_out_nats` and `gate`.
        """
        now = self._now()
        with self.client.store.read() as connection:
            row = schedules.found(connection, name)
            slots = [dict(slot._mapping) for slot in schedules.newest(connection, name, SHOWN_SLOTS)]
        shown = [{**slot, **self._outcome(slot["job"])} for slot in slots]
        upcoming = islice(Schedule.from_row(row).cron.after(now), SHOWN_TIMES)
        return {**row._mapping, "slots": shown, "upcoming": [] if row.paused else list(upcoming)}

    def _outcome(self, job_id: int | None) -> dict[str, Any]:
        job = next(iter(self.client.store.jobs(1, id=job_id)), None) if job_id is not None else None
        if job is None:  # perhaps deleted since
            return {}
        outcome = {"job_state": job["state"], "model": job["model"], "version": job["version"]}
        if job["kind"] == TrainSpec.QUEUE and job["version"] is not None:
            with self.client.store.read() as connection:
                made = registry.version(connection, job["model"], job["version"])
            if made is not None:
                outcome |= {"held_out_nats": made.held_out_nats, "gate": Gate.from_dict(made.gate).reason(made.model)}
            else:
                best = min(epoch["held_out_nats"] for epoch in self.client.store.history(job["id"]))
                outcome |= {"held_out_nats": best, "gate": "deleted since"}
        return outcome

    def pause(self, name: str) -> None:
        """Submit nothing for a schedule until it is resumed, but by hand."""
        with self.client.store.write() as connection:
            schedules.pause(connection, name)

    def resume(self, name: str) -> None:
        """Go on with a schedule's next time; those that came meanwhile were not missed."""
        now = self._now()
        with self.client.store.write() as connection:
            schedules.resume(connection, name, now)

    def remove(self, name: str) -> None:
        """Delete a schedule; the jobs that it submitted stay."""
        with self.client.store.write() as connection:
            schedules.remove(connection, name)

    def run(self, name: str) -> dict[str, Any]:
        """Submit now what a schedule asks for, also if it is paused or its text is unchanged -> the slot, with `state`,
        `job` and `reason`; while broker or files are away it is due, and submitted when they are back.

        Raises:
            InputError: a job of it has not ended.
            NotFoundError: also if it is removed meanwhile.
        """
        now = self._now()
        with self.client.store.write() as connection:
            slot = schedules.add_by_hand(connection, name, now)
            schedule = Schedule.from_row(schedules.found(connection, name))
            schedules.claim(connection, slot, now)
        self._submit(schedule, slot, now)
        with self.client.store.read() as connection:
            return dict(schedules.outcome(connection, slot)._mapping)

    def tick(self) -> None:
        """Decide on every slot that has come, and submit the jobs of those that are due."""
        now, store = self._now(), self.client.store
        with store.read() as connection:
            names = schedules.wanting(connection, now)
        for name in names:
            with self._alone(name), store.write() as connection:
                schedules.decide(connection, name, now)
        with store.read() as connection:
            waiting = schedules.waiting(connection)
        for row in waiting:
            with self._alone(row.name):
                self._advance(row, self._now())  # anew: to submit the one before may have taken minutes

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """One schedule that cannot be read, of a newer release or of a zone that this host lacks, holds up no other."""
        try:
            yield
        except UnreachableError:
            raise
        except Exception as error:
            if self._told.get(name) != str(error):  # once, and not at each look
                logger.exception("schedule %s", name)
            self._told[name] = str(error)

    def _advance(self, row: Row[Any], now: int) -> None:
        """Submit a slot's job, unless it waits for another one, somebody is at it, or it is too late."""
        schedule, slot = Schedule.from_row(row), Slot(row.name, row.at)
        reason = None if row.by_hand else schedule.expired(slot, now)
        if row.blocked and not reason:
            return
        with self.client.store.write() as connection:
            if not schedules.claim(connection, slot, now):
                return
        if reason:
            self._settle(slot, SlotState.EXPIRED, reason)
        else:
            self._submit(schedule, slot, now)

    def _submit(self, schedule: Schedule, slot: Slot, now: int) -> None:
        """Submit the job of a slot that was claimed; what becomes of it stands with the slot."""
        try:
            job = schedule.request.submit(self.client, rng_seed_of(str(slot)), slot=slot)
            submitted = {"event": "submitted", "schedule": slot.schedule, "job": job.id}
            logger.info("schedule %s: job %d", slot, job.id, extra=submitted)
        except SkippedError as error:
            self._settle(slot, SlotState.SKIPPED, str(error))
        except UnreachableError as error:
            logger.warning("schedule %s waits: %s", slot, error)
            with self.client.store.write() as connection:
                schedules.postpone(connection, slot, now + PAUSE_MS)
        except CharrnnError as error:
            self._settle(slot, SlotState.FAILED, str(error))
        except Exception as error:  # else it would be due for ever, and no later one be submitted
            logger.exception("schedule %s", slot)
            self._settle(slot, SlotState.FAILED, f"{type(error).__name__}: {error}")

    def _settle(self, slot: Slot, state: SlotState, reason: str) -> None:
        settled = {"event": state.value, "schedule": slot.schedule}
        logger.warning("schedule %s: %s: %s", slot, state, reason, extra=settled)
        with self.client.store.write() as connection:
            schedules.settle(connection, slot, state, reason)
