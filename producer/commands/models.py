"""The commands of models: list, show, compare, promote, rollback, delete, export, import."""

from __future__ import annotations

from collections.abc import Sequence
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.requests import GenerateRequest, draw_rng_seed
from charrnn.options import SamplingOptions
from producer.follow import follow
from producer.options import JsonOption, RngSeedOption, TimeoutOption, open_client, parse_timeout
from producer.output import console
from producer.output import models as render
from producer.output.destination import whole_or_not

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

VERSION_HELP = "NAME, NAME@VERSION or NAME@ALIAS."
VersionArgument = Annotated[str, typer.Argument(metavar="MODEL", help=VERSION_HELP)]

app = typer.Typer()
models = typer.Typer()
app.add_typer(models, name="models")


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, json: JsonOption = False) -> None:
    """List models and their versions; choose the one in use."""
    if context.invoked_subcommand is not None:
        return
    with open_client() as client:
        found = client.models.list()
    console.records(found) if json else render.models(found)


@models.command()
def show(model: VersionArgument, json: JsonOption = False) -> None:
    """Everything about a version: what it came from, and what the gate made of it."""
    with open_client() as client:
        found = client.models.show(model)
    console.records(found) if json else render.version(found)


@models.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=VERSION_HELP)],
    second: Annotated[str, typer.Argument(metavar="B", help=VERSION_HELP)],
    count: Annotated[int, typer.Option("-n", "--samples", help="Texts of each, from openings of validation text.")] = 3,
    temperature: Annotated[float, typer.Option("-t", "--temperature")] = 0.5,
    length: Annotated[int, typer.Option("-l", "--length", help="Characters of each text.")] = 200,
    rng_seed: RngSeedOption = None,
    json: JsonOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Losses and texts of two versions side by side. A worker writes the texts."""
    timeout_s = parse_timeout(timeout)
    rng_seed = draw_rng_seed() if rng_seed is None else rng_seed
    sampling = SamplingOptions(temperatures=(temperature,), length=length, unknown="replace")
    with open_client() as client:
        versions = [client.models.show(name) for name in (first, second)]
        openings = list(client.validation_openings(versions[0].name, count, rng_seed))
        requests = [
            GenerateRequest(model=version.name, sampling=sampling, rng_seed=rng_seed, label="compare")
            for version in versions
        ]
        sampled = _sampled(client, requests, openings, timeout_s)
    compared = [
        render.Compared(version=version.name, val_loss=version.val_loss, texts=texts)
        for version, texts in zip(versions, sampled, strict=True)
    ]
    console.records(compared) if json else render.comparison(compared)
    if len({(version.validation, version.skipped) for version in versions}) > 1:
        console.note("the losses are of different texts: no measure of which is better")


def _sampled(
    client: Client, requests: Sequence[GenerateRequest], openings: Sequence[str], timeout_s: float | None
) -> list[tuple[JsonObject, ...]]:
    """Return the result lines of each request, by jobs that are deleted afterwards."""
    jobs: list[int] = []
    try:
        jobs.extend(client.submit(request, openings).id or 0 for request in requests)
        for job in jobs:
            follow(client, job, timeout_s)
        return [tuple(map(loads, client.results(job))) for job in jobs]
    finally:
        for job in jobs:
            if not client.cancel(job):  # else it ends in a moment, and stays in the list as cancelled
                client.delete(job)


@models.command()
def promote(
    model: VersionArgument,
    alias: Annotated[str, typer.Option("--alias", help="What is to mean it; champion is the one in use.")] = "champion",
) -> None:
    """Put a version into use, or give it an alias. Jobs that were submitted keep theirs."""
    with open_client() as client:
        name = client.models.promote(model, alias)
    console.note(f"{name.partition('@')[0]}@{alias} is {name}")


@models.command()
def rollback(name: Annotated[str, typer.Argument(help="The model's name.")]) -> None:
    """Go back to the champion of before; again, and it is the one before that."""
    with open_client() as client:
        version = client.models.rollback(name)
    console.note(f"{name}@champion is {version}")


@models.command()
def delete(
    model: VersionArgument,
    keep: Annotated[
        int | None,
        typer.Option(help="Keep this many of the newest versions of NAME and those in use; delete the rest."),
    ] = None,
) -> None:
    """Delete a version for good, unless an alias means it or a job needs it."""
    with open_client() as client:
        if keep is None:
            deleted: Sequence[str] = [client.models.delete(model)]
        else:
            deleted = client.models.delete_older(model, keep)
    kept = "nothing to delete: older versions have an alias, or a job or a rollback needs them"
    console.note(f"deleted: {', '.join(deleted)}" if deleted else kept)


@models.command("export")
def export_model(
    model: VersionArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
) -> None:
    """Write a version as one file. Prints the file's sha256."""
    with open_client() as client, whole_or_not(output) as file:
        sha256 = client.models.export_version(model, file)
    console.value(sha256)


@models.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What models export wrote.")],
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="The model's name here.")] = None,
) -> None:
    """Add an exported version as the next one of its model. Prints its name."""
    with open_client() as client:
        console.value(client.models.import_version(path, name))
