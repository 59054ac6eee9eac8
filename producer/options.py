"""What the commands share: the client, exit codes, options that several have, and how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.errors import CharrnnError, InputError, NotFinishedError, NotFoundError, UnreachableError

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.job.views import JobStatus

JOB_FAILED = 1
BAD_INPUT = 2  # also Typer's own for usage
NOT_FOUND = 3
UNREACHABLE = 4
NOT_FINISHED = 5
INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES: tuple[tuple[type[CharrnnError], int], ...] = (
    (InputError, BAD_INPUT),
    (NotFoundError, NOT_FOUND),
    (UnreachableError, UNREACHABLE),
    (NotFinishedError, NOT_FINISHED),
    (CharrnnError, JOB_FAILED),
)

MAX_ID = 2**31 - 1  # what a database's integer holds

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobArgument = Annotated[int, typer.Argument(help="The job's id.", show_default=False, min=1, max=MAX_ID)]
LabelOption = Annotated[str | None, typer.Option("--name", help="A label to find the job by.", show_default=False)]
RngSeedOption = Annotated[
    int | None, typer.Option("--rng-seed", help="Fixes chance; drawn, shown and stored if left out.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", help="Give up waiting after 90s, 10m or 2h; the job goes on.")
]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # in seconds


@contextmanager
def open_client() -> Iterator[Client]:
    from charrnn.jobs.client import Client
    from charrnn.jobs.settings import Settings

    client = Client(Settings.from_env(os.environ))
    try:
        yield client
    finally:
        client.close()


class Keeper:
    """Stands behind a command whose request is not to be submitted now but kept."""

    request: Any = None


def kept(context: typer.Context, request: Any, **options: object) -> bool:
    """Whether the request of a command was kept; then options of a submit in person make no sense.

    Raises:
        InputError: one of these was given.
    """
    if not isinstance(context.obj, Keeper):
        return False
    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value]:
        raise InputError(f"{given[0]} is of a submit in person, and not of a schedule. Leave it out")
    context.obj.request = request
    return True


def print_submitted(job: Any, json: bool) -> None:
    from producer.output import console

    if json:
        estimate = vars(job.estimate) if job.estimate else None
        facts = {"job": job.id, "existed": job.existed, "parts": job.parts, "estimate": estimate}
        console.records(facts | job.spec.to_dict())
    elif job.id:
        console.value(job.id)


def follow(client: Client, job_id: int, timeout_s: float | None) -> None:
    """Show a job until it has ended; a job that did not do all it should is exit code 1."""
    from producer.output import console
    from producer.output import jobs as render
    from producer.output import progress as following

    job: JobStatus | None = None
    try:
        with following.follower(job_id) as show:
            for job in client.follow(job_id, timeout_s):
                show(job)
    except KeyboardInterrupt:
        console.note(f"job {job_id} goes on. Follow: charrnn-jobs wait {job_id}   end it: charrnn-jobs cancel {job_id}")
        raise typer.Exit(INTERRUPTED) from None
    if job is not None:
        render.ended(job)
        if not job.succeeded:
            raise typer.Exit(JOB_FAILED)


def parse_temperatures(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} must be numbers such as 0.2,0.5. Received: {text!r}") from None


def parse_seconds(option: str, text: str) -> float:
    """A time such as 90s, 10m, 2h or 30d."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd])", text)  # of "30", nobody knows whether days or seconds
    if not match:
        raise InputError(f"{option} must be a time such as 90s, 10m, 2h or 30d. Received: {text!r}")
    return float(match[1]) * UNITS[match[2]]


def parse_timeout(text: str | None) -> float | None:
    return None if text is None else parse_seconds("--timeout", text)
