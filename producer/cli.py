"""The commands: parse, call the client, print. No SQL and no broker here.

Heavy modules are imported by the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.errors import CharrnnError, InputError, NotFinishedError, NotFoundError, UnreachableError
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions, chosen_options
from charrnn.text import UTF_8

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

JOB_FAILED = 1
BAD_INPUT = 2  # also Typer's own for usage
NOT_FOUND = 3
UNREACHABLE = 4
NOT_FINISHED = 5
INTERRUPTED = 130

EXIT_CODES: tuple[tuple[type[CharrnnError], int], ...] = (
    (InputError, BAD_INPUT),
    (NotFoundError, NOT_FOUND),
    (UnreachableError, UNREACHABLE),
    (NotFinishedError, NOT_FINISHED),
    (CharrnnError, JOB_FAILED),
)

EPILOG = (
    "Exit codes: 0 done; 1 the job failed, was cancelled or has failed rows; 2 usage or input; "
    "3 no such job or model; 4 broker or store unreachable; 5 not finished (timeout, or results of a "
    "running job); 130 Ctrl-C."
)

app = typer.Typer(
    help="Train character-level language models and sample them in bulk, on a fleet of workers.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MAX_ID = 2**63 - 1  # what a database's integer holds
JobArgument = Annotated[int, typer.Argument(help="The job's id.", show_default=False, min=1, max=MAX_ID)]
LabelOption = Annotated[str | None, typer.Option("--name", help="A label to find the job by.", show_default=False)]
RngSeedOption = Annotated[
    int | None, typer.Option("--rng-seed", help="Fixes chance; drawn, shown and stored if left out.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", help="With --wait: give up waiting after 90s, 10m or 2h.")
]


def _default(name: str) -> str:
    """As Typer shows a default, of an option that must tell "left out" from its default."""
    values = NetworkOptions().to_dict() | TrainingOptions().to_dict()
    return f"Default: {values[name]}."


DevicesOption = Annotated[str, typer.Option("--devices", help="auto, cpu, or GPU ids such as 0,1.")]
QueuesOption = Annotated[str, typer.Option("--queues", help="Out of train and generate.")]


def main() -> None:
    """The entry point: every expected error is one message and an exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        app(prog_name="charrnn-jobs")
    except CharrnnError as error:
        from producer import render

        render.fail(str(error))
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


@contextmanager
def _client() -> Iterator[Client]:
    from charrnn.jobs.client import Client
    from charrnn.jobs.settings import Settings

    client = Client(Settings.from_env(os.environ))
    try:
        yield client
    finally:
        client.close()


@app.command()
def up(devices: DevicesOption = "auto", queues: QueuesOption = "train,generate") -> None:
    """Run a broker and a worker here, until Ctrl-C."""
    from charrnn.jobs.settings import Settings
    from producer.local import run_stack

    arguments = ["--devices", devices, "--queues", queues]
    raise typer.Exit(run_stack(Settings.from_env(os.environ), arguments))


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Text files, folders of *.txt, patterns.")],
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", help="A file to measure the loss on; repeatable. Else about 5 % of the text."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="utf-8, or latin-1: every byte a character.")] = UTF_8,
    start: Annotated[str | None, typer.Option("--from", metavar="MODEL", help="A version to go on from.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="notebook: windows of 20 characters, RMSprop, as the Keras notebook.")
    ] = None,
    cell: Annotated[str | None, typer.Option(help=f"lstm or gru. {_default('cell')}")] = None,
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
    rng_seed: RngSeedOption = None,
    label: LabelOption = None,
    json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Train a new version of a model on text files."""
    from producer import render

    timeout_s = _seconds(timeout)
    network, training = chosen_options(
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
            "preview_temperatures": preview_temperature and _temperatures("--preview-temperature", preview_temperature),
            "rng_seed": _rng_seed(rng_seed),
        },
        continues=start is not None,
    )
    with _client() as client:
        job = client.train(
            name, paths, network, training, held_out=held_out or (), encoding=encoding, start=start, label=label
        )
        _print_submitted(job, json)
        render.submitted_train(job.id, job.spec)  # type: ignore[arg-type]
        if wait:
            _follow(client, job.id or 0, timeout_s)


@app.command()
def submit(
    model: Annotated[str, typer.Option("-m", "--model", help="NAME, NAME@VERSION or NAME@ALIAS.")],
    seeds: Annotated[
        str | None, typer.Option(help="A file, one seed a line, or .jsonl; - reads standard input. Else a new line.")
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
    part_rows: Annotated[int | None, typer.Option(help="Rows done under one lease. Default: 50 a slot.")] = None,
    rng_seed: RngSeedOption = None,
    label: LabelOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")] = False,
    json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Sample a model from many seeds at once. Prints the job's id."""
    from producer import render
    from producer.seeds import SeedFile, read_seeds

    timeout_s = _seconds(timeout)
    sampling = SamplingOptions(
        temperatures=_temperatures("--temperature", ",".join(temperature or ["1"])),
        samples=samples,
        length=length,
        stop=tuple(map(_unescaped, stop or ())),
        keep_stop=keep_stop,
        top_k=top_k,
        top_p=top_p,
        logprobs=logprobs,
        unknown=unknown,
        precision=precision,
        rng_seed=_rng_seed(rng_seed),
    )
    if seeds is not None and random_seeds is not None:
        raise InputError("--random-seeds stands in the place of --seeds. Leave one of them out")
    file = read_seeds(seeds) if seeds is not None else SeedFile([], 0)
    with _client() as client:
        if random_seeds is not None:
            file = SeedFile(client.random_seeds(model, random_seeds, sampling.rng_seed), 0)
        job = client.submit(model, file.seeds, sampling, part_rows=part_rows, label=label, dry_run=dry_run)
        _print_submitted(job, json)
        render.submitted_generate(job.id, job.spec, file.blank_lines)  # type: ignore[arg-type]
        if wait and job.id:
            _follow(client, job.id, timeout_s)


@app.command()
def wait(job: JobArgument, timeout: TimeoutOption = None) -> None:
    """Follow a job until it has ended."""
    timeout_s = _seconds(timeout)
    with _client() as client:
        _follow(client, job, timeout_s)


@app.command()
def status(
    job: Annotated[int | None, typer.Argument(help="The job's id; the newest if left out.", min=1, max=MAX_ID)] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a training's losses.")] = False,
    json: JsonOption = False,
) -> None:
    """Show a job: how far it is, why it waits, how it went."""
    from producer import render

    with _client() as client:
        found = client.status(job)
    if json:
        render.records(found)
    else:
        render.status(found)
        if plot:
            render.plot(found)


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MAX_ID)] = 20,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    from producer import render

    with _client() as client:
        found = client.jobs(limit)
    render.records(found) if json else render.jobs(found)


@app.command()
def models(json: JsonOption = False) -> None:
    """List models and their versions."""
    from producer import render

    with _client() as client:
        found = client.models()
    render.records(found) if json else render.models(found)


@app.command()
def results(
    job: JobArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write JSON Lines to a file; - is standard output.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="The first rows only.", min=1, max=MAX_ID)] = None,
    distinct: Annotated[bool, typer.Option("--distinct", help="Of equal texts the first row only.")] = False,
) -> None:
    """Read a job's rows: JSON Lines, or the first 20 for people on a terminal."""
    from charrnn.jobs.states import ENDED_JOBS
    from producer import render

    with _client() as client:
        state, rows_total = (client.store.job(job)[name] for name in ("state", "rows_total"))
        if output and str(output) != "-":
            _write(output, client.results(job, limit, distinct=distinct))
        elif sys.stdout.isatty() and not output:
            shown = render.results_table(client.results(job, limit or render.SHOWN_ROWS, distinct=distinct))
            render.note(f"{shown:,} of {rows_total:,} rows. All: charrnn-jobs results {job} -o FILE")
        else:
            render.lines(client.results(job, limit, distinct=distinct))
        if state not in ENDED_JOBS:
            raise NotFinishedError(f"Job {job} is {state}: these are the rows that were ready")


@app.command()
def cancel(job: JobArgument) -> None:
    """End a job. Rows that are done stay readable."""
    from producer import render

    with _client() as client:
        asked = client.cancel(job)
    render.note(f"job {job}: {'will end within seconds' if asked else 'had ended already'}")


@app.command()
def worker(devices: DevicesOption = "auto", queues: QueuesOption = "train,generate") -> None:
    """Do the work of jobs: one process for each device, until SIGTERM or Ctrl-C."""
    os.execv(sys.executable, [sys.executable, "-m", "worker", "--devices", devices, "--queues", queues])


@app.command()
def scheduler() -> None:
    """Do nothing but maintenance: give dead workers' parts back, ring lost doorbells."""
    os.execv(sys.executable, [sys.executable, "-m", "worker.scheduler"])


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Look at broker, store, files and workers, and say what is wrong."""
    from producer import render
    from producer.doctor import examine

    with _client() as client:
        checks = examine(client)
    if json:
        render.records([vars(check) for check in checks])
    else:
        render.checks((check.name, check.ok, check.detail) for check in checks)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(UNREACHABLE)


def _print_submitted(job: Any, json: bool) -> None:
    from producer import render

    if json:
        render.records({"job": job.id, "parts": job.parts, **job.spec.to_dict()})
    elif job.id:
        render.value(job.id)


def _follow(client: Client, job_id: int, timeout_s: float | None) -> None:
    """Show a job until it has ended; a job that did not do all it should is exit code 1."""
    from charrnn.jobs.client import succeeded
    from producer import render

    job: dict[str, Any] = {}
    try:
        with render.follower(job_id) as show:
            for job in client.follow(job_id, timeout_s):
                show(job)
    except KeyboardInterrupt:
        render.note(f"job {job_id} goes on. Follow: charrnn-jobs wait {job_id}   end it: charrnn-jobs cancel {job_id}")
        raise typer.Exit(INTERRUPTED) from None
    render.ended(job)
    if not succeeded(job):
        raise typer.Exit(JOB_FAILED)


def _write(path: Path, lines: Iterator[bytes]) -> None:
    try:
        with open(path, "wb") as file:
            file.writelines(lines)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _rng_seed(given: int | None) -> int:
    return secrets.randbelow(1_000_000) if given is None else given


def _temperatures(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} must be numbers such as 0.2,0.5. Received: {text!r}") from None


def _unescaped(stop: str) -> str:
    """A stop string as a shell lets it be written."""
    escapes = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
    _, backslash, rest = re.sub(r"\\[nt\\]", "", stop).partition("\\")
    if backslash:
        raise InputError(rf"--stop {stop!r}: \{rest[:1]} is not known. Expected \n, \t, or \\ for a backslash")
    return re.sub(r"\\[nt\\]", lambda match: escapes[match[0]], stop)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise InputError(f"--timeout must be a time such as 90s, 10m or 2h. Received: {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
