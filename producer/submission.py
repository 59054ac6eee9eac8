"""The request of `train` or `submit`, which is submitted at once or stored in a schedule."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import typer

from charrnn.errors import CharrnnError, DamagedError, InputError
from charrnn.jobs.job.requests import Request, TrainRequest
from charrnn.jobs.programs import JOB_FAILED
from charrnn.jobs.rows.formats import FORMATS, SUFFIXES, format_of
from producer.export import export, traced
from producer.follow import follow
from producer.options import open_client
from producer.output import console
from producer.output import submitted as output
from producer.output.busy import busy
from producer.output.destination import STANDARD_OUTPUT, check_writable

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
    from charrnn.jobs.submit.submitted import Submitted

Options = ParamSpec("Options")


@dataclass(frozen=True)
class Submission:
    """A request, with the options that apply only to a job that is submitted now."""

    request: Request
    json: bool
    quiet: bool
    wait: bool
    timeout_s: float | None
    dry_run: bool
    seeds: list[str] | None = None
    after: int | None = None
    key: str | None = None
    output: Path | None = None  # where to write the results after waiting for them

    def for_schedule(self) -> Request:
        """Return the request alone.

        Raises:
            InputError: an option was given that applies only to a job that is submitted now.
        """
        if self.output is not None:
            raise InputError(
                "--output cannot be used in a schedule. To export the results of each run, remove it and pass a hook "
                "before the --, such as: --on-success 'charrnn-jobs results \"$RUN_JOB\" -o /srv/texts.jsonl' "
                "($RUN_THEN_JOB after --then)"
            )
        if self.seeds:
            raise InputError("--seed cannot be used in a schedule. Write the seeds into a file, and pass --seeds FILE")
        given = {
            "--json": self.json,
            "--quiet": self.quiet,
            "--wait": self.wait,
            "--timeout": self.timeout_s is not None,
            "--dry-run": self.dry_run,
            "--after": self.after is not None,
            "--key": self.key is not None,
        }
        if option := next((option for option, is_given in given.items() if is_given), None):
            raise InputError(f"{option} cannot be used in a schedule. Remove it")
        return self.request


def make_submit_command(command: Callable[Options, Submission]) -> Callable[Options, None]:
    """Return a command with the options of `command` that submits what `command` returns."""

    @wraps(command)
    def run(*args: Options.args, **kwargs: Options.kwargs) -> None:
        _submit(command(*args, **kwargs))

    return run


def _submit(wanted: Submission) -> None:
    for name, given in ("--timeout", wanted.timeout_s), ("--output", wanted.output):
        if given is not None and not wanted.wait:
            raise InputError(f"{name} requires --wait. Add it, or leave out {name}")
    chosen = _format_of(wanted.output) if wanted.output else None
    with open_client() as client:
        job = _submitted(client, wanted)
        output.submitted(job, json=wanted.json, quiet=wanted.quiet, waits=wanted.wait)
        if wanted.wait and job.id:
            succeeded = _follow(client, job.id, wanted)
            if wanted.output and chosen:
                _export(client, job.id, wanted.output, chosen)
            if not succeeded:
                raise typer.Exit(JOB_FAILED)


def _follow(client: Client, job: int, wanted: Submission) -> bool:
    """Follow a job. If that is broken off, show the command that writes the file of its results later."""
    try:
        return follow(client, job, wanted.timeout_s, quiet=wanted.quiet)
    except (typer.Exit, CharrnnError):  # Ctrl-C, --timeout, and a store that does not answer
        if wanted.output:
            command = shlex.join(["charrnn-jobs", "results", str(job), "-o", str(wanted.output)])
            console.note(f"{wanted.output} is not written. When the job has ended: {command}")
        raise


def _export(client: Client, job: int, output: Path, format: str) -> None:
    try:
        export(traced(client, job, client.results(job)), format, output)
    except DamagedError:
        raise
    except InputError as error:  # the disk has become full meanwhile
        raise InputError(f"{error}. The texts are kept: charrnn-jobs results {job} -o FILE") from error


def _format_of(output: Path) -> str:
    """Return the format of a file to write after the work, which may take hours.

    Raises:
        InputError: its suffix names no format, its folder does not exist, or it cannot be written.
    """
    if output == STANDARD_OUTPUT:
        raise InputError("--output requires a file here. Leave it out, and use: charrnn-jobs results")
    if output.suffix.lower().removeprefix(".") not in SUFFIXES:
        raise InputError(f"--output: {output} names no format. Expected a name that ends with .{', .'.join(FORMATS)}")
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output: the folder {output.parent} does not exist. Create it first")
    check_writable(output)
    return format_of(output, None)


def _submitted(client: Client, wanted: Submission) -> Submitted[TrainSpec] | Submitted[GenerateSpec]:
    if isinstance(wanted.request, TrainRequest):
        with busy(lambda: "reading the text"):
            return client.train(wanted.request, dry_run=wanted.dry_run)
    with busy(lambda: "reading the seeds"):
        return client.submit(wanted.request, wanted.seeds, after=wanted.after, key=wanted.key, dry_run=wanted.dry_run)
