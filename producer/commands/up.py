"""`up`."""

from __future__ import annotations

import typer

from charrnn.jobs.programs import DEVICES, QUEUES
from producer.commands.worker import DevicesOption, QueuesOption
from producer.options import read_settings

app = typer.Typer()


@app.command()
def up(devices: DevicesOption = DEVICES, queues: QueuesOption = QUEUES) -> None:
    """Run a broker and a worker here, until Ctrl-C."""
    from producer.stack import run_stack  # SQLAlchemy and redis, which --help has no use for

    raise typer.Exit(run_stack(read_settings(), ["--devices", devices, "--queues", queues]))
