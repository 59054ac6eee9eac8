"""The command line of a stored schedule: what a person would type to add it again.

Options with their defaults are left out. `tests/unit/test_command_line.py` reads the command line of each option back.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest, option_name
from charrnn.jobs.job.schedule import Schedule, StoredSchedule
from charrnn.options import PRESETS, SamplingOptions

POSITIONAL = {"name", "model", "paths"}
ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\t": r"\t"})


def shell_line(words: list[str]) -> str:
    """Return words as a line to paste into a shell."""
    return shlex.join(["charrnn-jobs", *words])


def add_again(stored: StoredSchedule) -> list[str]:
    """Return the words after `charrnn-jobs` that would add a schedule again.

    Raises:
        DamagedError: the schedule cannot be read.
    """
    schedule = stored.schedule()
    facts = {"cron": stored.cron, "timezone": stored.timezone, "deadline": _seconds(schedule.deadline_s)}
    facts |= {name: getattr(schedule, name) for name in ("overlap", "catch_up", "always", "on_success", "on_failure")}
    defaults = {**_defaults(Schedule), "timezone": "UTC", "deadline": None}
    return ["schedules", "add", schedule.name, *_options(facts, defaults), "--", *command_words(schedule)]


def command_words(schedule: Schedule) -> list[str]:
    """Return the command that a schedule submits, word by word."""
    words = request_words(schedule.request)
    return words if schedule.then is None else [*words, "--then", *request_words(schedule.then)]


def request_words(request: Request) -> list[str]:
    """Return the `train` or `submit` command of a request, word by word."""
    if isinstance(request, TrainRequest):
        return ["train", request.model, *request.paths, *_train_options(request)]
    return ["submit", *filter(None, [request.model]), *_submit_options(request)]


def _train_options(request: TrainRequest) -> Iterator[str]:
    facts = {name: value for name, value in vars(request).items() if name not in (*POSITIONAL, "options")}
    yield from _options(facts, _defaults(TrainRequest))
    explicit = dict(request.options)
    if (lines := explicit.pop("lines", None)) is not None:
        yield "--lines" if lines else "--no-lines"
    yield from _options(explicit, PRESETS.get(request.preset or "", {}))


def _submit_options(request: GenerateRequest) -> Iterator[str]:
    facts = {name: value for name, value in vars(request).items() if name not in (*POSITIONAL, "sampling", "priority")}
    facts["priority"] = request.priority.name.lower()
    yield from _options(facts, {**_defaults(GenerateRequest), "priority": "normal"})
    sampling = request.sampling.to_dict() | {"stop": tuple(stop.translate(ESCAPES) for stop in request.sampling.stop)}
    yield from _options(sampling, SamplingOptions().to_dict())


def _options(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options that differ from their defaults."""
    for name, value in values.items():
        if value is None or value == defaults.get(name):
            continue
        option = option_name(name)
        if value is True:
            yield option
        elif isinstance(value, list | tuple) and not isinstance(value[0], str):
            yield from (option, ",".join(map(_text, value)))
        else:
            for item in value if isinstance(value, list | tuple) else (value,):
                yield from (option, _text(item))


def _text(value: object) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _seconds(deadline_s: float | None) -> str | None:
    return None if deadline_s is None else f"{_text(float(deadline_s))}s"


def _defaults(kind: type[Schedule | TrainRequest | GenerateRequest]) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind)}
