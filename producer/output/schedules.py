"""Schedules and their runs as tables and facts for people."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.text import Text

from charrnn.jobs.job.requests import with_options
from charrnn.jobs.job.schedule import ListedSchedule, ScheduleDetails, ShownSlot, StoredSchedule
from charrnn.jobs.job.specs import TrainSpec
from producer.command_line import add_again, command_words, shell_line
from producer.output import console
from producer.output import jobs as render


def schedules(rows: Iterable[ListedSchedule]) -> None:
    console.table(
        ("schedule", "cron", "time zone", "command", "next run", "last run", "outcome"),
        (
            (
                s.name,
                s.cron,
                s.timezone,
                requested(s),
                console.state("paused") if s.paused else "never" if s.unreadable else console.when(s.next_at),
                console.when(s.last.at if s.last else None),
                s.last and _summary(s.last),
            )
            for s in rows
        ),
        optional=("time zone",),
    )


def schedule(found: ScheduleDetails, allowed: Callable[[str], bool]) -> None:
    """Print one schedule, one fact per line, a table of its runs, and the command that adds it again.

    Args:
        allowed: whether this host runs a hook.
    """
    console.facts(
        [
            ("schedule", found.name + (" (paused)" if found.paused else "")),
            ("added by", found.added_by),
            ("cron", f"{found.cron} in {found.timezone}"),
            ("command", found.unreadable or shlex.join(command_words(found.schedule()))),
            ("overlap", found.overlap),
            ("catch up", found.catch_up),
            ("deadline", found.deadline_s and console.duration(found.deadline_s)),
            ("always", "yes: trains even if the text is unchanged" if found.always else None),
            ("on success", _hook(found, found.on_success, allowed)),
            ("on failure", _hook(found, found.on_failure, allowed)),
            ("hook failed", next((slot.hook_error for slot in found.slots if slot.hook_error), None)),
            *(("next", console.when(time)) for time in found.upcoming),
        ]
    )
    if found.slots:
        console.table(
            ("time", "state", "job", "version", "val_loss", "why"),
            (row for slot in found.slots for row in _rows(slot)),
        )
    if not found.unreadable:
        console.value(f"\nTo add it again:\n{shell_line(add_again(found))}")  # in no table, whose cells are folded


def _hook(found: ScheduleDetails, hook: str | None, allowed: Callable[[str], bool]) -> str | None:
    if hook is None or allowed(hook):
        return hook
    return f"{hook} (not allowed on this host. To allow it: charrnn-jobs schedules allow {found.name})"


def _rows(slot: ShownSlot) -> Iterator[Sequence[object]]:
    """Yield the row of a run, and that of the job that samples after its training."""
    outcome, sampled = slot.outcome, slot.then_outcome
    loss = None if outcome is None or outcome.val_loss is None else render.loss_text(outcome.val_loss)
    state = console.state(outcome.verdict if outcome else slot.state)
    yield console.when(slot.at), state, _text(slot.job), outcome and outcome.name, loss, _reason(slot)
    if slot.then_job is not None:
        state = console.state(sampled.verdict if sampled else "deleted")
        yield console.when(slot.at), state, str(slot.then_job), sampled and sampled.name, None, _sampled(slot)


def _text(job: int | None) -> str:
    return "" if job is None else str(job)  # an id is no count, which would have commas


def _reason(slot: ShownSlot) -> str:
    """Return why a run has no job, why its job did not succeed, or whether its version became champion and why."""
    outcome = slot.outcome
    return with_options((outcome and (outcome.gate or outcome.reason)) or slot.reason or "")


def _sampled(slot: ShownSlot) -> str:
    """Return why the job after the training did not succeed, and what it samples from."""
    made = slot.outcome.name if slot.outcome else None
    source = f"samples after job {slot.job}"
    if made and slot.then_outcome and slot.then_outcome.name not in (None, made):
        source = f"samples from the champion, since {made} did not replace it"
    reason = slot.then_outcome and slot.then_outcome.reason
    return f"{with_options(reason)}; {source}" if reason else source


def requested(schedule: StoredSchedule) -> str:
    """Return the commands of a schedule with their models, such as "train names, then submit"."""
    if schedule.unreadable:
        return schedule.unreadable
    verb = "train" if schedule.kind == TrainSpec.QUEUE else "submit"
    return f"{verb} {schedule.model}{', then submit' if schedule.then else ''}"


def _summary(slot: ShownSlot) -> Text:
    """Return what became of a run, in one line."""
    reason = _reason(slot)
    if not slot.jobs:
        return console.state(f"{slot.state}: {reason}" if reason else slot.state)
    run = slot.decisive
    words = f"{run.verdict if run else 'deleted'}: {console.counted_ids('job', slot.jobs)}"
    if run and run.reason:
        words += f"; job {run.job}: {with_options(run.reason)}"
    made = slot.outcome.name if slot.outcome and slot.outcome.gate else None
    return console.state(f"{words}; {made}: {reason}" if made else words)
