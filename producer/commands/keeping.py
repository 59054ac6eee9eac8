"""The commands that keep house: cancel, retry, delete, prune, store."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from producer.options import JobArgument, JsonOption, open_client, parse_seconds

store = typer.Typer(help="The store itself.", no_args_is_help=True)


def cancel(job: JobArgument) -> None:
    """End a job. Rows that are done stay readable."""
    from producer.output import console

    with open_client() as client:
        asked = client.cancel(job)
    console.note(f"job {job}: {'will end within seconds' if asked else 'had ended already'}")


def retry(job: JobArgument) -> None:
    """Do again what failed or was cancelled; a training goes on from its last checkpoint."""
    from producer.output import console

    with open_client() as client:
        count = client.retry(job)
    console.note(
        f"job {job}: "
        + (f"{console.counted(count, 'part')} to do again" if count else "nothing failed or was cancelled")
    )


def delete(job: JobArgument) -> None:
    """Delete an ended job and its results, for good."""
    from producer.output import console

    with open_client() as client:
        client.delete(job)
    console.note(f"job {job} was deleted")


def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="30d, 12h: jobs that ended so long ago.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete old jobs and their results, but no training that a version came from."""
    from producer.output import console
    from producer.output import jobs as render

    seconds = parse_seconds("--older-than", older_than)
    with open_client() as client:
        pruned = client.prune(seconds, dry_run=dry_run)
    console.records(vars(pruned)) if json else render.pruned(pruned, dry_run=dry_run)


@store.command()
def upgrade() -> None:
    """Bring the store's tables up to this release. Stop all workers first."""
    from charrnn.jobs.settings import Settings
    from charrnn.jobs.store.store import upgrade
    from producer.output import console

    before, after = upgrade(Settings.from_env(os.environ))
    console.note(f"the store has schema {after}" + (f"; it had {before}" if before != after else " already"))
