"""The command `submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from charrnn.errors import InputError
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.states import Priority
from producer.options import (
    DEFAULTS,
    JOB_PANEL,
    SAMPLING_PANEL,
    DryRunOption,
    JsonOption,
    LabelOption,
    LengthOption,
    ModelArgument,
    QuietOption,
    RngSeedOption,
    SamplesOption,
    StopOption,
    TemperatureOption,
    TimeoutOption,
    WaitOption,
    decimal,
    flag,
    integer,
    option,
    parse_sampling,
    parse_timeout,
    positive_number,
)
from producer.submission import Submission, make_submit_command

app = typer.Typer()


MODEL, SEEDS = "Model", "Seeds"


def submit(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    name: ModelArgument = None,
    model: Annotated[
        str | None, option("-m", "--model", metavar="MODEL", help="Model, as the argument MODEL.", panel=MODEL)
    ] = None,
    after: Annotated[
        int | None,
        option(
            metavar="JOB",
            parser=positive_number,
            help="Wait for this training job and use the version that it produces.",
            panel=MODEL,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        option(
            metavar="FILE",
            help="Seed file: one seed per line, JSON Lines, JSON, CSV or Parquet. - reads standard input.",
            default="one seed, the start of a new line",
            panel=SEEDS,
        ),
    ] = None,
    seed: Annotated[
        list[str] | None, option(metavar="TEXT", help="A seed, instead of a file. Repeatable.", panel=SEEDS)
    ] = None,
    seeds_format: Annotated[
        Literal["text", "jsonl", "json", "csv", "parquet"] | None,
        option(help="Format of the seed file.", default="by the file's name", panel=SEEDS),
    ] = None,
    seed_column: Annotated[
        str | None,
        option(metavar="NAME", help="Column with the seeds in a CSV or Parquet file.", default="seed", panel=SEEDS),
    ] = None,
    id_column: Annotated[
        str | None,
        option(metavar="NAME", help="Column with the ids of the seeds.", default="id, if there is one", panel=SEEDS),
    ] = None,
    on_bad_seed: Annotated[
        Literal["error", "skip"],
        option(help="Handling of seeds that cannot be used.", default="error", panel=SEEDS),
    ] = "error",
    random_seeds: Annotated[
        int | None, integer(help="Use N random snippets of the training text as seeds.", panel=SEEDS)
    ] = None,
    unknown: Annotated[
        Literal["error", "drop", "replace"],
        option(help="Handling of seed characters outside the vocabulary.", default=DEFAULTS.unknown, panel=SEEDS),
    ] = "error",
    temperature: TemperatureOption = None,
    samples: SamplesOption = 1,
    length: LengthOption = DEFAULTS.length,
    stop: StopOption = None,
    keep_stop: Annotated[
        bool, flag("--keep-stop", help="Keep the stop string at the end of the text.", panel=SAMPLING_PANEL)
    ] = False,
    top_k: Annotated[
        int | None,
        integer(metavar="K", help="Top-k sampling: sample from the K most likely characters.", panel=SAMPLING_PANEL),
    ] = None,
    top_p: Annotated[
        float | None,
        decimal(
            metavar="P",
            help="Top-p (nucleus) sampling: sample from the most likely characters whose total probability reaches P.",
            panel=SAMPLING_PANEL,
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        option(help="Precision of matrix multiplication.", default=DEFAULTS.precision, panel=SAMPLING_PANEL),
    ] = "auto",
    rng_seed: RngSeedOption = None,
    logprobs: Annotated[
        bool, flag("--logprobs", help="Add the log probability of each character to the results.", panel="Output")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    key: Annotated[
        str | None,
        option(
            metavar="KEY",
            help="Idempotency key: submitting the same request again returns the existing job.",
            panel=JOB_PANEL,
        ),
    ] = None,
    priority: Annotated[
        Literal["low", "normal", "high"], option(help="Priority in the queue.", default="normal", panel=JOB_PANEL)
    ] = "normal",
    part_rows: Annotated[
        int | None,
        integer(
            help="Rows per part, the unit of work of a worker.", default="about 20 seconds of work", panel=JOB_PANEL
        ),
    ] = None,
    label: LabelOption = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            help="With --wait: write the results to this file at the end, in the format of its suffix.",
            panel="Output",
        ),
    ] = None,
) -> Submission:
    """Generate texts from seeds. Prints the job's id."""
    timeout_s = parse_timeout(timeout)
    if name is not None and model is not None:
        raise InputError(f"The model is given twice: {name} and -m {model}. Leave out one of them")
    if seed and (seeds is not None or random_seeds is not None):
        raise InputError("--seed cannot be combined with --seeds or --random-seeds. Leave out one of them")
    sampling = parse_sampling(
        temperature,
        stop,
        samples=samples,
        length=length,
        keep_stop=keep_stop,
        top_k=top_k,
        top_p=top_p,
        logprobs=logprobs,
        unknown=unknown,
        precision=precision,
    )
    request = GenerateRequest(
        model=model if name is None else name,
        sampling=sampling,
        rng_seed=rng_seed,
        seeds=seeds,
        seeds_format=seeds_format,
        seed_column=seed_column,
        id_column=id_column,
        on_bad_seed=on_bad_seed,
        random_seeds=random_seeds,
        priority=Priority[priority.upper()],
        part_rows=part_rows,
        label=label,
    )
    return Submission(
        request,
        seeds=seed,
        after=after,
        key=key,
        dry_run=dry_run,
        json=json,
        quiet=quiet,
        wait=wait,
        timeout_s=timeout_s,
        output=output,
    )


app.command()(make_submit_command(submit))
