"""The command `store upgrade`."""

from __future__ import annotations

import typer

from producer.options import read_settings
from producer.output import console

app = typer.Typer()
store = typer.Typer(help="Maintain the database.", no_args_is_help=True)
app.add_typer(store, name="store")


@store.command()
def upgrade() -> None:
    """Upgrade the database schema to this release. Do this before the first worker of this release starts."""
    from charrnn.jobs.store.store import upgrade as upgrade_store  # SQLAlchemy, which help does not need

    before, after = upgrade_store(read_settings())
    console.note(
        f"upgraded the schema from {before} to {after}" if before != after else f"the schema is up to date: {after}"
    )
