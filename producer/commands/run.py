"""The commands `up`, `worker` and `scheduler`, which run until Ctrl-C. The last two replace this process."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from charrnn.jobs.programs import (
    DEVICES,
    DEVICES_HELP,
    LOG_FORMAT,
    LOG_FORMAT_HELP,
    METRICS,
    METRICS_HELP,
    QUEUES,
    QUEUES_HELP,
)
from charrnn.jobs.upkeep import health
from charrnn.release import MODULE
from producer.options import flag, option, read_settings

WORKER = "Worker"

DevicesOption = Annotated[str, option("--devices", metavar="DEVICES", help=DEVICES_HELP, default=DEVICES, panel=WORKER)]
LogFormatOption = Annotated[
    str, option("--log-format", metavar="FORMAT", help=LOG_FORMAT_HELP, default=LOG_FORMAT, panel=WORKER)
]
QueuesOption = Annotated[str, option("--queues", metavar="QUEUES", help=QUEUES_HELP, default=QUEUES, panel=WORKER)]

app = typer.Typer()


@app.command()
def up(
    devices: DevicesOption = DEVICES, queues: QueuesOption = QUEUES, log_format: LogFormatOption = LOG_FORMAT
) -> None:
    """Start a broker, a worker and the web interface on this machine. Stops at Ctrl-C."""
    from producer.stack import run_stack  # SQLAlchemy and redis, which --help does not need

    raise typer.Exit(run_stack(read_settings(), ["--devices", devices, "--queues", queues, "--log-format", log_format]))


@app.command()
def worker(
    devices: DevicesOption = DEVICES,
    queues: QueuesOption = QUEUES,
    log_format: LogFormatOption = LOG_FORMAT,
    check_health: Annotated[
        bool, flag("--check-health", help="Check that the workers of this host respond, then exit.", panel=WORKER)
    ] = False,
) -> None:
    """Start a worker: one process per device. Stops gracefully at SIGTERM or Ctrl-C."""
    if check_health:
        health.check(read_settings())
    else:
        _replace_process("worker", "--devices", devices, "--queues", queues, "--log-format", log_format)


@app.command()
def scheduler(
    log_format: LogFormatOption = LOG_FORMAT,
    metrics: Annotated[str, option(METRICS, metavar="HOST:PORT", help=METRICS_HELP, panel=WORKER)] = "",
) -> None:
    """Run schedules and maintenance, but no jobs. Every worker does both as well."""
    _replace_process("worker.scheduler", "--log-format", log_format, METRICS, metrics)


def _replace_process(module: str, *arguments: str) -> None:
    os.execv(sys.executable, [*MODULE, module, *arguments])
