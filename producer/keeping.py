"""The commands that keep house: cancel, retry, delete, prune, models, store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from producer.reading import whole_or_not
from producer.shell import JobArgument, JsonOption, open_client, parse_seconds

models = typer.Typer(help="List models and their versions, or carry one to another store.")
store = typer.Typer(help="The store itself.", no_args_is_help=True)


def cancel(job: JobArgument) -> None:
    """End a job. Rows that are done stay readable."""
    from producer import render

    with open_client() as client:
        asked = client.cancel(job)
    render.note(f"job {job}: {'will end within seconds' if asked else 'had ended already'}")


def retry(job: JobArgument) -> None:
    """Do again what failed or was cancelled; a training goes on from its last checkpoint."""
    from producer import render

    with open_client() as client:
        count = client.retry(job)
    render.note(f"job {job}: " + (f"{count:,} parts wait again" if count else "nothing failed or was cancelled"))


def delete(job: JobArgument) -> None:
    """Delete an ended job and its results, for good."""
    from producer import render

    with open_client() as client:
        client.delete(job)
    render.note(f"job {job} was deleted")


def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="30d, 12h: jobs that ended so long ago.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete old jobs and their results, but no training that a version came from."""
    from producer import render

    seconds = parse_seconds("--older-than", older_than)
    with open_client() as client:
        pruned = client.prune(seconds, dry_run=dry_run)
    render.records(vars(pruned)) if json else render.pruned(pruned, dry_run=dry_run)


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, json: JsonOption = False) -> None:
    """List models and their versions, or carry one to another store."""
    from producer import render

    if context.invoked_subcommand is not None:
        return
    with open_client() as client:
        found = client.models()
    render.records(found) if json else render.models(found)


@models.command("export")
def export_model(
    model: Annotated[str, typer.Argument(help="NAME, NAME@VERSION or NAME@ALIAS.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
) -> None:
    """Write a version as one file. Prints the file's sha256."""
    from producer import render

    with open_client() as client, whole_or_not(output) as file:
        sha256 = client.export_model(model, file)
    render.value(sha256)


@models.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What models export wrote.")],
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="The model's name here.")] = None,
) -> None:
    """Add an exported version as the next one of its model. Prints its name."""
    from producer import render

    with open_client() as client:
        render.value(client.import_model(path, name))


@store.command()
def upgrade() -> None:
    """Bring the store's tables up to this release. Stop all workers first."""
    from charrnn.jobs.settings import Settings
    from charrnn.jobs.store import upgrade
    from producer import render

    before, after = upgrade(Settings.from_env(os.environ))
    render.note(f"the store has schema {after}" + (f"; it had {before}" if before != after else " already"))
