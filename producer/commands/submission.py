"""The commands that submit: train and submit."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from charrnn.checks import check_choice
from charrnn.errors import InputError
from charrnn.network.cells import CELLS
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions, chosen_options
from charrnn.text.documents import UTF_8
from producer.options import (
    MAX_ID,
    DryRunOption,
    JsonOption,
    LabelOption,
    RngSeedOption,
    TimeoutOption,
    WaitOption,
    follow,
    kept,
    open_client,
    parse_temperatures,
    parse_timeout,
    print_submitted,
)


def _default(name: str) -> str:
    """As Typer shows a default, of an option that must tell "left out" from its default."""
    values = NetworkOptions().to_dict() | TrainingOptions().to_dict()
    return f"Default: {values[name]}."


def train(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The model's name.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders of *.txt, patterns; s3://.")],
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", help="A file to measure the loss on; repeatable. Else about 5 % of the text."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="utf-8, or latin-1: every byte a character.")] = UTF_8,
    start: Annotated[str | None, typer.Option("--from", metavar="MODEL", help="A version to go on from.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="notebook: windows of 20 characters, RMSprop, as the Keras notebook.")
    ] = None,
    cell: Annotated[str | None, typer.Option(help=f"{' or '.join(CELLS)}. {_default('cell')}")] = None,
    units: Annotated[int | None, typer.Option(help=f"Width of each layer. {_default('units')}")] = None,
    layers: Annotated[int | None, typer.Option(help=f"Recurrent layers. {_default('layers')}")] = None,
    dropout: Annotated[float | None, typer.Option(help=f"Share of outputs dropped. {_default('dropout')}")] = None,
    epochs: Annotated[int | None, typer.Option(help=f"Readings of the text, at most. {_default('epochs')}")] = None,
    patience: Annotated[
        int | None, typer.Option(help=f"Epochs without a lower loss before it ends. {_default('patience')}")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Train for so long at most.")] = None,
    batch: Annotated[int | None, typer.Option(help="Parallel streams; by the text's length if left out.")] = None,
    unroll: Annotated[
        int | None, typer.Option(help=f"Characters of truncated backpropagation. {_default('unroll')}")
    ] = None,
    max_len: Annotated[int | None, typer.Option(help="Characters of a window, with the preset. Default: 20.")] = None,
    step: Annotated[
        int | None, typer.Option(help=f"Characters from window to window, with the preset. {_default('stride')}")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help=f"Of products: float32, bfloat16 or auto. {_default('precision')}")
    ] = None,
    preview_temperature: Annotated[
        str | None, typer.Option(help="Of the texts shown after each epoch. Default: 0.2,0.5,1.0,1.2.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Nats per character by which it must be better than the champion to take its place.")
    ] = 0.0,
    keep: Annotated[
        int | None, typer.Option(help="Delete versions older than the newest so many, but those in use.")
    ] = None,
    rng_seed: RngSeedOption = None,
    label: LabelOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Train a new version of a model on text files."""
    from charrnn.jobs.job.requests import TrainRequest
    from producer.output import jobs as render

    timeout_s = parse_timeout(timeout)
    network, options = chosen_options(
        preset,
        {"cell": cell, "units": units, "layers": layers, "dropout": dropout, "max_len": max_len},
        {
            "epochs": epochs,
            "patience": patience,
            "max_minutes": max_minutes,
            "batch": batch,
            "unroll": unroll,
            "stride": step,
            "precision": precision,
            "preview_temperatures": preview_temperature
            and parse_temperatures("--preview-temperature", preview_temperature),
        },
        continues=start is not None,
    )
    request = TrainRequest(
        model=name,
        paths=tuple(paths),
        network=network,
        training=options,
        rng_seed=rng_seed,
        held_out=tuple(held_out or ()),
        encoding=encoding,
        start=start,
        margin=margin,
        keep=keep,
        label=label,
    )
    if kept(context, request, json=json, wait=wait, timeout=timeout, dry_run=dry_run):
        return
    with open_client() as client:
        job = client.train(request, dry_run=dry_run)
        print_submitted(job, json)
        render.submitted_train(job)
        if wait and job.id:
            follow(client, job.id, timeout_s)


def submit(
    context: typer.Context,
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
        int | None, typer.Option(help="In their place: so many openings of the training text.")
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
    keep_stop: Annotated[bool, typer.Option("--keep-stop", help="End it after that.")] = False,
    top_k: Annotated[int | None, typer.Option(help="Draw from the likeliest so many characters.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest that have so much of the probability.")
    ] = None,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="Tell each character's log probability.")] = False,
    unknown: Annotated[
        str, typer.Option(help="Characters in seeds that the model does not know: error, drop or replace.")
    ] = SamplingOptions().unknown,
    precision: Annotated[
        str, typer.Option(help="Of products: float32, bfloat16 or auto.")
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
) -> None:
    """Sample a model from many seeds at once. Prints the job's id."""
    from charrnn.jobs.job.requests import GenerateRequest
    from charrnn.jobs.job.states import Priority
    from producer.output import jobs as render

    timeout_s = parse_timeout(timeout)
    if model is None and after is None:
        raise InputError("Of which model? Name it with -m, or with --after the training that makes it")
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
    if kept(context, request, json=json, wait=wait, timeout=timeout, dry_run=dry_run, after=after, key=key):
        return
    with open_client() as client:
        job = client.submit(request, after=after, key=key, dry_run=dry_run)
        print_submitted(job, json)
        render.submitted_generate(job)
        if wait and not dry_run:
            follow(client, job.id or 0, timeout_s)


def _unescaped(stop: str) -> str:
    """A stop string as a shell lets it be written."""
    escapes = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
    _, backslash, rest = re.sub(r"\\[nt\\]", "", stop).partition("\\")
    if backslash:
        raise InputError(rf"--stop {stop!r}: \{rest[:1]} is not known. Expected \n, \t, or \\ for a backslash")
    return re.sub(r"\\[nt\\]", lambda match: escapes[match[0]], stop)
