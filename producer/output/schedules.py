"""Schedules and their runs as tables and facts for people."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.text import Text

from charrnn.jobs.job.schedule import ListedSchedule, ScheduleDetails, ShownSlot, StoredSchedule, StoredSlot
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
                _requested(s),
                console.state("paused") if s.paused else "never" if s.unreadable else console.when(s.next_at),
                console.when(s.last.at if s.last else None),
                s.last and _slot(s.last),
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
    """Yield the row of a run, and that of the job that follows its training."""
    job = "" if slot.job is None else str(slot.job)
    yield console.when(slot.at), console.state(slot.state), job, *_outcome(slot)
    if slot.then_job is not None:
        name, why = _sampled(slot)
        yield console.when(slot.at), "then", str(slot.then_job), name, None, why


def _sampled(slot: ShownSlot) -> tuple[str | None, Text | None]:
    """Return the version that the job after the training samples from, and how that goes."""
    if (sampled := slot.then_outcome) is None:
        return None, None
    why, made = str(sampled.job_state), slot.outcome.name if slot.outcome else None
    if made and sampled.name not in (None, made):
        why += f": from the champion, since {made} did not replace it"
    return sampled.name, console.state(why)


def _outcome(slot: ShownSlot) -> tuple[str | Text | None, str | None, str | None]:
    """Return the version, its loss, and the reason."""
    if (outcome := slot.outcome) is None:
        return None, None, slot.reason
    loss = None if outcome.val_loss is None else render.loss_text(outcome.val_loss)
    return outcome.name or console.state(outcome.job_state), loss, outcome.gate or slot.reason


def _requested(schedule: StoredSchedule) -> str:
    if schedule.unreadable:
        return schedule.unreadable
    verb = "train" if schedule.kind == TrainSpec.QUEUE else "submit"
    return f"{verb} {schedule.model}{', then submit' if schedule.then else ''}"


def _slot(slot: StoredSlot) -> Text:
    if slot.jobs:
        return Text(f"job {' and '.join(map(str, slot.jobs))}")
    return console.state(f"{slot.state}: {slot.reason or ''}")
