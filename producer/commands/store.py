"""The commands `store upgrade`, `store check` and `store recover`."""

from __future__ import annotations

import typer

from charrnn.errors import counted
from charrnn.jobs.programs import JOB_FAILED
from producer.options import JsonOption, open_client, read_settings
from producer.output import console
from producer.output.busy import busy

app = typer.Typer()
store = typer.Typer(help="Maintain, check and restore the database and its files.", no_args_is_help=True)
app.add_typer(store, name="store")


@store.command()
def upgrade() -> None:
    """Upgrade the database schema to this release, or create it. Do this before the first worker of this release
    starts."""
    from charrnn.jobs.connections import Connections  # SQLAlchemy, which help does not need

    before, after = Connections(read_settings()).upgrade()
    if before == after:
        console.note(f"the schema is up to date: {after}")
    else:
        console.note(f"upgraded the schema from {before} to {after}" if before else f"created the schema: {after}")


@store.command()
def check(json: JsonOption = False) -> None:
    """Check that every file that the database names exists unchanged, and that every file has a row."""
    with open_client() as client, busy(lambda: "reading all files"):
        found = list(client.inspect())
    if json:
        console.records([vars(finding) for finding in found])
    else:
        console.checks(("failed", "problem", f.problem) if f.loss else ("ok", "unnamed", f.problem) for f in found)
    lost = sum(finding.loss for finding in found)
    console.note(f"{counted(lost, 'problem')}, and {counted(len(found) - lost, 'file')} without a row in the database")
    if lost:
        raise typer.Exit(JOB_FAILED)


@store.command()
def recover() -> None:
    """Make a database that was restored from a backup safe to use. Stop all workers and schedulers first."""
    with open_client() as client:
        client.recover()
    console.note("fencing tokens are raised, and numbers of jobs and versions skipped. Next: charrnn-jobs store check")
