"""The command `up`."""

from __future__ import annotations

import typer

from charrnn.jobs.programs import DEVICES, LOG_FORMAT, QUEUES
from producer.commands.worker import DevicesOption, LogFormatOption, QueuesOption
from producer.options import read_settings

app = typer.Typer()


@app.command()
def up(
    devices: DevicesOption = DEVICES, queues: QueuesOption = QUEUES, log_format: LogFormatOption = LOG_FORMAT
) -> None:
    """Start a broker and a worker on this machine. Stops at Ctrl-C."""
    from producer.stack import run_stack  # SQLAlchemy and redis, which --help does not need

    raise typer.Exit(run_stack(read_settings(), ["--devices", devices, "--queues", queues, "--log-format", log_format]))
