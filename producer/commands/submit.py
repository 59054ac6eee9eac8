"""`submit`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from charrnn.checks import check_choice
from charrnn.errors import InputError
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.states import Priority
from charrnn.options import SamplingOptions
from producer.options import (
    MAX_ID,
    DryRunOption,
    JsonOption,
    LabelOption,
    RngSeedOption,
    TimeoutOption,
    WaitOption,
    parse_temperatures,
    parse_timeout,
)
from producer.submission import Submission, in_person

app = typer.Typer()


def submit(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    model: Annotated[str | None, typer.Option("-m", "--model", help="NAME, NAME@VERSION or NAME@ALIAS.")] = None,
    after: Annotated[
        int | None,
        typer.Option(metavar="JOB", help="Wait for this training, and use its version.", min=1, max=MAX_ID),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="A file, one seed a line, or .jsonl; - reads standard input. Else a new line.")
    ] = None,
    seeds_format: Annotated[
        str | None, typer.Option(help="text or jsonl, such as of standard input; else by the file's name.")
    ] = None,
    random_seeds: Annotated[
        int | None, typer.Option(help="Instead of --seeds: start from this many random places of the training text.")
    ] = None,
    temperature: Annotated[
        list[str] | None, typer.Option("-t", "--temperature", help="0.2,0.5; repeatable. 0 is argmax. Default: 1.")
    ] = None,
    samples: Annotated[int, typer.Option("-n", "--samples", help="Texts for each seed and temperature.")] = 1,
    length: Annotated[
        int, typer.Option("-l", "--length", help="New characters of each text, at most.")
    ] = SamplingOptions().length,
    stop: Annotated[
        list[str] | None, typer.Option(help=r"End a text before this; repeatable. Reads \n, \t and \\.")
    ] = None,
    keep_stop: Annotated[
        bool, typer.Option("--keep-stop", help="Keep the stop string at the end of the text.")
    ] = False,
    top_k: Annotated[int | None, typer.Option(help="Sample from this many of the likeliest characters only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the likeliest characters with this total probability only.")
    ] = None,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="Add the log probability of each character.")] = False,
    unknown: Annotated[
        str, typer.Option(help="Characters in seeds that the model does not know: error, drop or replace.")
    ] = SamplingOptions().unknown,
    precision: Annotated[
        str, typer.Option(help="Precision of matrix products: float32, bfloat16 or auto.")
    ] = SamplingOptions().precision,
    part_rows: Annotated[
        int | None, typer.Option(help="Rows done under one lease. Default: about 20 seconds of work.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The same key and content are the same job, however often submitted.")
    ] = None,
    priority: Annotated[str, typer.Option(help="low, normal or high.")] = "normal",
    rng_seed: RngSeedOption = None,
    label: LabelOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> Submission:
    """Sample a model from many seeds at once. Prints the job's id."""
    timeout_s = parse_timeout(timeout)
    if model is None and after is None:
        raise InputError("no model given. Expected -m MODEL, or --after JOB for the version that a training makes")
    check_choice("priority", priority, [level.name.lower() for level in Priority])
    sampling = SamplingOptions(
        temperatures=parse_temperatures("--temperature", ",".join(temperature or ["1"])),
        samples=samples,
        length=length,
        stop=tuple(map(_unescaped, stop or ())),
        keep_stop=keep_stop,
        top_k=top_k,
        top_p=top_p,
        logprobs=logprobs,
        unknown=unknown,
        precision=precision,
    )
    request = GenerateRequest(
        model=model,
        sampling=sampling,
        rng_seed=rng_seed,
        seeds=seeds,
        seeds_format=seeds_format,
        random_seeds=random_seeds,
        priority=Priority[priority.upper()],
        part_rows=part_rows,
        label=label,
    )
    return Submission(request, after=after, key=key, dry_run=dry_run, json=json, wait=wait, timeout_s=timeout_s)


def _unescaped(stop: str) -> str:
    """A stop string as a shell lets it be written."""
    escapes = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
    _, backslash, rest = re.sub(r"\\[nt\\]", "", stop).partition("\\")
    if backslash:
        raise InputError(rf"--stop {stop!r}: \{rest[:1]} is not known. Expected \n, \t, or \\ for a backslash")
    return re.sub(r"\\[nt\\]", lambda match: escapes[match[0]], stop)


app.command()(in_person(submit))
