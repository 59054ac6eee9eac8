"""The commands of models: list, show, compare, promote, rollback, delete, export, import."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated

import typer

from charrnn.options import SamplingOptions
from producer.commands.jobs import whole_or_not
from producer.options import (
    JsonOption,
    RngSeedOption,
    TimeoutOption,
    drawn_rng_seed,
    follow,
    open_client,
    parse_timeout,
)

VERSION_HELP = "NAME, NAME@VERSION or NAME@ALIAS."
VersionArgument = Annotated[str, typer.Argument(metavar="MODEL", help=VERSION_HELP)]

models = typer.Typer(help="List models and their versions; choose the one in use.")


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, json: JsonOption = False) -> None:
    """List models and their versions; choose the one in use."""
    from producer.output import console
    from producer.output import models as render_models

    if context.invoked_subcommand is not None:
        return
    with open_client() as client:
        found = client.models()
    console.records(found) if json else render_models.models(found)


@models.command("show")
def show(model: VersionArgument, json: JsonOption = False) -> None:
    """Everything about a version: what it came from, and what the gate made of it."""
    from producer.output import console
    from producer.output import models as render_models

    with open_client() as client:
        found = client.version(model)
    console.records(found) if json else render_models.version(found)


@models.command("compare")
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=VERSION_HELP)],
    second: Annotated[str, typer.Argument(metavar="B", help=VERSION_HELP)],
    count: Annotated[int, typer.Option("-n", "--samples", help="Texts of each, from openings of held-out text.")] = 3,
    temperature: Annotated[float, typer.Option("-t", "--temperature")] = 0.5,
    length: Annotated[int, typer.Option("-l", "--length", help="Characters of each text.")] = 200,
    rng_seed: RngSeedOption = None,
    json: JsonOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Losses and texts of two versions side by side. A worker writes the texts."""
    from producer.output import console
    from producer.output import models as render_models

    rng_seed, timeout_s = drawn_rng_seed() if rng_seed is None else rng_seed, parse_timeout(timeout)
    sampling = SamplingOptions(temperatures=(temperature,), length=length, unknown="replace", rng_seed=rng_seed)
    with open_client() as client:
        versions = [client.version(name) for name in (first, second)]
        names = [f"{version['model']}@{version['version']}" for version in versions]
        openings = list(client.held_out_openings(names[0], count, rng_seed))
        jobs: list[int] = []
        try:
            jobs.extend(client.submit(name, openings, sampling, label="compare").id or 0 for name in names)
            for job in jobs:
                follow(client, job, timeout_s)
            compared = [
                {
                    "version": name,
                    "held_out_nats": version["held_out_nats"],
                    "texts": [loads(line) for line in client.results(job)],
                }
                for name, version, job in zip(names, versions, jobs, strict=True)
            ]
        finally:
            for job in jobs:
                if not client.cancel(job):  # else it ends in a moment, and stays in the list as cancelled
                    client.delete(job)
    console.records(compared) if json else render_models.comparison(compared)
    if any(versions[0][fact] != versions[1][fact] for fact in ("held_out", "skipped")):
        console.note("the losses are of different texts: no measure of which is better")


@models.command("promote")
def promote(
    model: VersionArgument,
    alias: Annotated[str, typer.Option("--alias", help="What is to mean it; champion is the one in use.")] = "champion",
) -> None:
    """Put a version into use, or give it an alias. Jobs that were submitted keep theirs."""
    from producer.output import console

    with open_client() as client:
        name = client.promote(model, alias)
    console.note(f"{name.partition('@')[0]}@{alias} is {name}")


@models.command("rollback")
def rollback(name: Annotated[str, typer.Argument(help="The model's name.")]) -> None:
    """Go back to the champion of before; again, and it is the one before that."""
    from producer.output import console

    with open_client() as client:
        version = client.rollback(name)
    console.note(f"{name}@champion is {version}")


@models.command("delete")
def delete(
    model: VersionArgument,
    keep: Annotated[
        int | None, typer.Option(help="Of the model NAME, delete all but the newest so many and those in use.")
    ] = None,
) -> None:
    """Delete a version for good, unless an alias means it or a job needs it."""
    from producer.output import console

    with open_client() as client:
        if keep is None:
            deleted = [client.delete_version(model)]
        else:
            deleted = client.delete_older_versions(model, keep)
    kept = "nothing to delete: older versions have an alias, or a job or a rollback needs them"
    console.note(f"deleted: {', '.join(deleted)}" if deleted else kept)


@models.command("export")
def export_model(
    model: VersionArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
) -> None:
    """Write a version as one file. Prints the file's sha256."""
    from producer.output import console

    with open_client() as client, whole_or_not(output) as file:
        sha256 = client.export_model(model, file)
    console.value(sha256)


@models.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What models export wrote.")],
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="The model's name here.")] = None,
) -> None:
    """Add an exported version as the next one of its model. Prints its name."""
    from producer.output import console

    with open_client() as client:
        console.value(client.import_model(path, name))
