"""The command `train`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from charrnn.jobs.job.requests import TrainRequest
from charrnn.options import AUTO, GROW, TrainingOptions
from charrnn.sizes import AUTO_SIZE
from charrnn.text.encodings import UTF_8
from charrnn.text.plain import LF
from producer.options import (
    DryRunOption,
    JsonOption,
    LabelOption,
    QuietOption,
    RngSeedOption,
    TimeoutOption,
    WaitOption,
    decimal,
    integer,
    option,
    parse_temperatures,
    parse_timeout,
)
from producer.submission import Submission, make_submit_command

app = typer.Typer()


TEXT, NETWORK, TRAINING, VERSION = "Text", "Network", "Training", "Version"
BY_LENGTH = "by the length of the text"


def train(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Text files, folders of *.txt files, patterns, or s3:// URLs."),
    ],
    validation: Annotated[
        list[str] | None,
        option(
            "--validation",
            metavar="PATH",
            help="Validation text: files, folders or patterns that are never trained on, or none. Repeatable.",
            default="the model's; about 5% of the text for a new model",
            panel=TEXT,
        ),
    ] = None,
    encoding: Annotated[
        str,
        option(
            metavar="NAME",
            help="Encoding of files without a byte order mark, such as cp1252 or shift_jis.",
            default=UTF_8,
            panel=TEXT,
        ),
    ] = UTF_8,
    newlines: Annotated[
        Literal["lf", "keep"],
        option(help="Convert CRLF and CR line ends to LF, or keep them.", default=LF, panel=TEXT),
    ] = "lf",
    lines: Annotated[
        bool | None,
        option(
            "--lines/--no-lines",
            metavar="",
            help="Train on each line as a text of its own, or on all lines as one text.",
            default="lines if the text is a list",
            panel=TEXT,
        ),
    ] = None,
    start: Annotated[
        str | None,
        option(
            "--from", metavar="MODEL", help="Fine-tune this version, such as speeches or speeches@3.", panel=TRAINING
        ),
    ] = None,
    unknown: Annotated[
        Literal["grow", "error", "drop", "replace"],
        option(
            help="Handling of characters outside the vocabulary of the version that --from names.",
            default=GROW,
            panel=TRAINING,
        ),
    ] = "grow",
    preset: Annotated[
        Literal["notebook"] | None,
        option(
            help="Named settings; notebook: shuffled windows of 20 characters and RMSprop, as in the Keras notebook.",
            panel=TRAINING,
        ),
    ] = None,
    size: Annotated[
        Literal["auto", "tiny", "small", "base", "large"],
        option(
            help="Size of the network: 128, 192, 256 or 512 units; auto chooses it by the length of the text.",
            default=AUTO_SIZE,
            panel=NETWORK,
        ),
    ] = "auto",
    cell: Annotated[
        Literal["lstm", "gru"] | None, option(help="Recurrent cell.", default="lstm", panel=NETWORK)
    ] = None,
    units: Annotated[
        int | None, integer(help="Units per layer.", default=f"{BY_LENGTH}; 512 with windows", panel=NETWORK)
    ] = None,
    layers: Annotated[int | None, integer(help="Recurrent layers.", default=2, panel=NETWORK)] = None,
    dropout: Annotated[
        float | None,
        decimal(
            metavar="RATE",
            help="Dropout rate of the outputs of each layer.",
            default=f"{BY_LENGTH}; 0.1 with windows, 0.2 with --preset notebook",
            panel=NETWORK,
        ),
    ] = None,
    recurrent_dropout: Annotated[
        float | None,
        decimal(
            metavar="RATE",
            help="Dropout rate of the recurrent kernels.",
            default=f"{BY_LENGTH}; 0 with windows",
            panel=NETWORK,
        ),
    ] = None,
    max_len: Annotated[
        int | None,
        integer(
            help="Window length in characters, instead of parallel streams of text.",
            default="20 with --preset notebook",
            panel=NETWORK,
        ),
    ] = None,
    epochs: Annotated[
        int | None, integer(help="Maximum number of epochs.", default=f"{BY_LENGTH}; 10 with windows", panel=TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        integer(
            help="Early stopping: epochs without a lower validation loss before training stops.",
            default=f"{BY_LENGTH}; 2 with windows",
            panel=TRAINING,
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, decimal(metavar="N", help="Maximum training time in minutes.", default="no limit", panel=TRAINING)
    ] = None,
    batch: Annotated[
        int | None,
        integer(
            help="Batch size: streams or windows per step.",
            default=f"{BY_LENGTH}; 128 with windows",
            panel=TRAINING,
        ),
    ] = None,
    unroll: Annotated[
        int | None,
        integer(
            help="Length of truncated backpropagation through time in characters.",
            default=BY_LENGTH,
            panel=TRAINING,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        integer(
            help="Characters from one window to the next. Requires --max-len or --preset notebook.",
            default=TrainingOptions().stride,
            panel=TRAINING,
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"] | None,
        option(help="Precision of matrix multiplication.", default=AUTO, panel=TRAINING),
    ] = None,
    preview_temperature: Annotated[
        str | None,
        option(
            metavar="T[,T...]",
            help="Temperatures of the preview texts after each epoch.",
            default="0.2,0.5,1.0,1.2",
            panel=TRAINING,
        ),
    ] = None,
    rng_seed: RngSeedOption = None,
    margin: Annotated[
        float,
        decimal(
            metavar="NATS",
            help="Improvement in validation loss (nats per character) needed to replace the champion.",
            default=0,
            panel=VERSION,
        ),
    ] = 0.0,
    keep: Annotated[
        int | None,
        integer(
            help="Retention: keep the N newest versions and those in use, delete the rest.",
            default="keep all",
            panel=VERSION,
        ),
    ] = None,
    label: LabelOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> Submission:
    """Train a new version of a model on text files."""
    timeout_s = parse_timeout(timeout)
    options = {
        "cell": cell,
        "units": units,
        "layers": layers,
        "dropout": dropout,
        "recurrent_dropout": recurrent_dropout,
        "max_len": max_len,
        "lines": lines,
        "epochs": epochs,
        "patience": patience,
        "max_minutes": max_minutes,
        "batch": batch,
        "unroll": unroll,
        "stride": stride,
        "precision": precision,
        "preview_temperatures": preview_temperature
        and parse_temperatures("--preview-temperature", preview_temperature),
    }
    request = TrainRequest(
        model=name,
        paths=tuple(paths),
        options=options,
        size=size,
        preset=preset,
        rng_seed=rng_seed,
        validation=tuple(validation or ()),
        encoding=encoding,
        newlines=newlines,
        start=start,
        unknown=unknown,
        margin=margin,
        keep=keep,
        label=label,
    )
    return Submission(request, dry_run=dry_run, json=json, quiet=quiet, wait=wait, timeout_s=timeout_s)


app.command()(make_submit_command(train))
