"""Schedules and their slots, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from charrnn.jobs.job.specs import TrainSpec
from producer.output import console
from producer.output import jobs as render


def schedules(rows: Iterable[Mapping[str, Any]]) -> None:
    console.table(
        ("schedule", "cron", "time zone", "submits", "last", "", "next"),
        (
            (
                s["name"],
                s["cron"],
                s["timezone"],
                _requested(s),
                console.when(s["last"] and s["last"]["at"]),
                s["last"] and _slot(s["last"]),
                "paused" if s["paused"] else console.when(s["next_at"]),
            )
            for s in rows
        ),
    )


def schedule(found: Mapping[str, Any]) -> None:
    """One schedule, a fact a line, and a table of its slots."""
    arguments = found["request"]["arguments"]
    paths = arguments.get("paths") or filter(None, [arguments.get("seeds")])
    console.facts(
        [
            ("schedule", found["name"] + (" (paused)" if found["paused"] else "")),
            ("cron", f"{found['cron']} in {found['timezone']}"),
            ("submits", _requested(found)),
            ("reads", ", ".join(paths)),
            ("overlap", found["overlap"]),
            ("catch up", found["catch_up"]),
            ("deadline", found["deadline_s"] and console.duration(found["deadline_s"])),
            ("always", "also on an unchanged text" if found["always"] else None),
            *(("next", console.when(time)) for time in found["upcoming"]),
        ]
    )
    if found["slots"]:
        console.table(
            ("time", "state", "job", "version", "held out", "why"),
            (
                (
                    console.when(slot["at"]),
                    slot["state"],
                    "" if slot["job"] is None else str(slot["job"]),
                    render.model_name(slot) if slot.get("version") else slot.get("job_state"),
                    render.loss_text(slot["held_out_nats"]) if "held_out_nats" in slot else None,
                    slot.get("gate") or slot["reason"],
                )
                for slot in found["slots"]
            ),
        )


def _requested(schedule: Mapping[str, Any]) -> str:
    request = schedule["request"]
    verb = "train" if request["queue"] == TrainSpec.QUEUE else "submit"
    return f"{verb} {request['arguments']['model']}"


def _slot(slot: Mapping[str, Any]) -> str:
    return f"job {slot['job']}" if slot["job"] is not None else f"{slot['state']}: {slot['reason'] or ''}"
