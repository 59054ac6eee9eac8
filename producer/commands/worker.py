"""`worker` and `scheduler`: this process becomes one of them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from charrnn.jobs.programs import DEVICES, DEVICES_HELP, LOG_FORMAT, LOG_FORMAT_HELP, QUEUES, QUEUES_HELP
from charrnn.jobs.upkeep import health
from charrnn.release import MODULE
from producer.options import read_settings

DevicesOption = Annotated[str, typer.Option("--devices", help=DEVICES_HELP)]
LogFormatOption = Annotated[str, typer.Option("--log-format", help=LOG_FORMAT_HELP)]
QueuesOption = Annotated[str, typer.Option("--queues", help=QUEUES_HELP)]

app = typer.Typer()


@app.command()
def worker(
    devices: DevicesOption = DEVICES,
    queues: QueuesOption = QUEUES,
    log_format: LogFormatOption = LOG_FORMAT,
    check_health: Annotated[
        bool, typer.Option("--check-health", help="See whether the workers of this host hang, and start none.")
    ] = False,
) -> None:
    """Do the work of jobs: one process for each device, until SIGTERM or Ctrl-C."""
    if check_health:
        health.check(read_settings())
    else:
        _become("worker", "--devices", devices, "--queues", queues, "--log-format", log_format)


@app.command()
def scheduler(log_format: LogFormatOption = LOG_FORMAT) -> None:
    """Do nothing but maintenance: give dead workers' parts back, ring lost doorbells, submit what is scheduled."""
    _become("worker.scheduler", "--log-format", log_format)


def _become(module: str, *arguments: str) -> None:
    os.execv(sys.executable, [*MODULE, module, *arguments])
