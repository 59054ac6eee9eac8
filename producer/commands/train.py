"""`train`."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.jobs.job.requests import TrainRequest
from charrnn.network.cells import CELLS
from charrnn.options import NetworkOptions, TrainingOptions, chosen_options
from charrnn.text.documents import UTF_8
from producer.options import (
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


def _default(name: str) -> str:
    """As Typer shows a default, of an option that must tell "left out" from its default."""
    values = NetworkOptions().to_dict() | TrainingOptions().to_dict()
    return f"Default: {values[name]}."


def train(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    name: Annotated[str, typer.Argument(help="The model's name.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders of *.txt, patterns; s3://.")],
    validation: Annotated[
        list[str] | None,
        typer.Option("--validation", help="A file to measure the loss on; repeatable. Else about 5 % of the text."),
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
    stride: Annotated[
        int | None, typer.Option(help=f"Characters from window to window, with the preset. {_default('stride')}")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=f"Precision of matrix products: float32, bfloat16 or auto. {_default('precision')}"),
    ] = None,
    preview_temperature: Annotated[
        str | None, typer.Option(help="Of the texts shown after each epoch. Default: 0.2,0.5,1.0,1.2.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Nats per character by which it must be better than the champion to take its place.")
    ] = 0.0,
    keep: Annotated[
        int | None, typer.Option(help="Keep this many of the newest versions and those in use; delete the rest.")
    ] = None,
    rng_seed: RngSeedOption = None,
    label: LabelOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> Submission:
    """Train a new version of a model on text files."""
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
            "stride": stride,
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
        validation=tuple(validation or ()),
        encoding=encoding,
        start=start,
        margin=margin,
        keep=keep,
        label=label,
    )
    return Submission(request, dry_run=dry_run, json=json, wait=wait, timeout_s=timeout_s)


app.command()(in_person(train))
