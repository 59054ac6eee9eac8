"""Troubles of schedules: failed runs, late ones, hooks that failed, and schedules that cannot be read."""

from __future__ import annotations

from collections.abc import Collection

from charrnn.jobs.job.schedule import Outcome, StoredSchedule, StoredSlot, decisive, utc
from charrnn.jobs.job.states import FAILED_SLOTS, JobState, SlotState
from charrnn.jobs.store.scheduled import slots
from charrnn.jobs.store.store import Store


def find_troubles(store: Store, names: Collection[str], late: int) -> dict[str, str]:
    """Return what is wrong, by schedule. Paused schedules are left out.

    Args:
        names: the schedules to look at; none stands for all.
        late: the time before which each slot should have a job by now.

    Raises:
        NotFoundError: one of the names is that of no schedule.
    """
    with store.read() as connection:
        known = [slots.get_schedule(connection, name) for name in names] or slots.all_schedules(connection)
        last = {stored.name: slots.last_tried(connection, stored.name) for stored in known}
        told = {  # the same one, unless its text is unchanged
            name: slots.last_tried(connection, name, told=True) if slot and slot.state == SlotState.UNCHANGED else slot
            for name, slot in last.items()
        }
        waiting = slots.waiting(connection)
        due = {slot.stored.name: slot.slot.at for slot in reversed(waiting) if not slot.blocked}
        found = {}
        for stored in known:  # reads jobs in the same transaction
            if not stored.paused:
                first = min(stored.next_at, due.get(stored.name, stored.next_at))
                runs = last[stored.name], told[stored.name]
                found[stored.name] = _trouble(store, stored, *runs, first, late)
    return {name: trouble for name, trouble in found.items() if trouble}


def _trouble(
    store: Store, stored: StoredSchedule, last: StoredSlot | None, told: StoredSlot | None, due: int, late: int
) -> str | None:
    if stored.unreadable:
        return f"it does not run: {stored.unreadable}"
    if due < late:
        return f"the run of {utc(due)} is late. Does a worker or scheduler run? See: charrnn-jobs doctor"
    failure = _failure(store, last) if last else None
    hook = f"the hook of the run of {utc(told.at)} failed: {told.hook_error}" if told and told.hook_error else None
    return "; ".join(filter(None, (failure, hook))) or None  # of a failure that no hook told, both matter


def _failure(store: Store, last: StoredSlot) -> str | None:
    """Return how a run failed, or None."""
    if last.state in FAILED_SLOTS:
        return f"the run of {utc(last.at)} {last.state}: {last.reason}"
    found: dict[int | None, Outcome] = {  # without jobs that were deleted
        number: Outcome.of(job) for number in last.jobs for job in store.jobs(1, id=number)
    }
    outcome = decisive(found.get(last.job), found.get(last.then_job))
    if outcome is None or outcome.verdict != JobState.FAILED:
        return None
    return f"job {outcome.job}, the run of {utc(last.at)}, failed{f': {outcome.reason}' if outcome.reason else ''}"
