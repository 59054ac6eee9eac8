"""The command `sample`: a few texts on the screen at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.errors import NotFoundError, UnreachableError
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.states import Priority
from charrnn.jobs.job.views import no_worker
from charrnn.jobs.programs import JOB_FAILED
from charrnn.jobs.rows.row import Row
from charrnn.text.vocabulary import Vocabulary
from producer.options import (
    DEFAULTS,
    JsonOption,
    LengthOption,
    ModelArgument,
    RngSeedOption,
    SamplesOption,
    StopOption,
    TemperatureOption,
    flag,
    open_client,
    parse_sampling,
)
from producer.output import console
from producer.temporary import submit, temporary

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

PART_ROWS = 64  # a part's texts are shown together, so parts are small
POLL_S = 0.02  # a text of 400 characters takes 0.2 seconds
SHOWN_UNKNOWN = 10  # characters
PATIENCE_S = 2.0  # seconds without a text after which the reason is shown

app = typer.Typer()


@app.command()
def sample(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    model: ModelArgument = None,
    seeds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SEED...]", help=r"Texts to continue. \[default: the start of a new line]", show_default=False
        ),
    ] = None,
    samples: SamplesOption = 1,
    temperature: TemperatureOption = None,
    length: LengthOption = DEFAULTS.length,
    stop: StopOption = None,
    rng_seed: RngSeedOption = None,
    json: JsonOption = False,
    keep: Annotated[bool, flag("--keep", help="Keep the job and its results.", panel="Job")] = False,
) -> None:
    """Generate a few texts and show them, ahead of waiting jobs. The job is deleted."""
    sampling = parse_sampling(temperature, stop, samples=samples, length=length, unknown="replace")
    request = GenerateRequest(
        model=model, sampling=sampling, rng_seed=rng_seed, priority=Priority.HIGH, part_rows=PART_ROWS, label="sample"
    )
    with open_client() as client:
        if not any(GenerateSpec.QUEUE in worker.queues for worker in client.workers()):
            raise UnreachableError(f"Nothing can be sampled: {no_worker(GenerateSpec.QUEUE)}")
        with nullcontext(partial(submit, client)) if keep else temporary(client) as submit_job:
            job = _submit(submit_job, request, seeds)
            if seeds:
                _note_replaced(client, job, seeds)
            succeeded = _show(client, job, json=json, several=len(sampling.temperatures) > 1)
    if keep:
        console.note(f"job {job}. Its results: charrnn-jobs results {job}")
    if not succeeded:
        raise typer.Exit(JOB_FAILED)


def _submit(submit_job: Callable[..., int], request: GenerateRequest, seeds: list[str] | None) -> int:
    """Submit the job, and explain that the first argument is the model, which people forget if there is only one."""
    try:
        return submit_job(request, seeds or None)
    except NotFoundError as error:
        if request.model is None or "no version" in str(error):  # a model that is known
            raise
        words = " ".join(map(repr, [request.model, *(seeds or ())]))
        raise NotFoundError(f"{error} The model comes first: charrnn-jobs sample MODEL {words}") from error


def _note_replaced(client: Client, job: int, seeds: list[str]) -> None:
    """Name the characters of the seeds that are replaced, since the model does not know them. A worker samples now."""
    name = client.job(job).name
    vocabulary = Vocabulary(client.models.show(name).characters)
    if unknown := vocabulary.unknown("".join(map(vocabulary.plain, seeds))):
        shown = ", ".join(map(repr, unknown[:SHOWN_UNKNOWN]))
        more = f" and {len(unknown) - SHOWN_UNKNOWN:,} more" if len(unknown) > SHOWN_UNKNOWN else ""
        console.note(
            f"replaced in the seeds, since {name} does not know {'it' if len(unknown) == 1 else 'them'}: {shown}{more}"
        )


def _show(client: Client, job: int, *, json: bool, several: bool) -> bool:
    """Print the texts of a job as they are made, with their temperatures if there are several; or rows as JSON Lines.

    Returns:
        Whether all texts were made.
    """
    _wait_for_first(client, job)
    failed = 0
    for line in client.results(job, follow=True):
        row = Row.from_line(line)
        if json:
            console.value(line.decode().rstrip("\n"))
        if row.text is None:
            failed += 1
            console.fail(f"row {row.row} was not sampled: {console.printable(str(row.error))}")
        elif not json:
            console.print_sampled(row.seed, row.text, f"{row.temperature:g}" if several else "")
    return not failed


def _wait_for_first(client: Client, job: int) -> None:
    """Return when a text of a job is there, and say why there is none if that takes long."""
    started, told = time.monotonic(), False
    while True:
        found = client.job(job)
        if found.ended or found.rows_done or found.rows_failed:
            return
        if not told and time.monotonic() - started > PATIENCE_S:
            status = client.status(job)
            console.note(f"waiting: {status.waiting_for or 'a worker loads or compiles the model'}")
            told = True
        time.sleep(POLL_S)
