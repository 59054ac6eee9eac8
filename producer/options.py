"""What several commands share: options, how they are read, and the client."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.errors import InputError
from charrnn.jobs.settings import Settings

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

MAX_ID = 2**31 - 1  # what a database's integer holds

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobArgument = Annotated[int, typer.Argument(help="The job's id.", show_default=False, min=1, max=MAX_ID)]
LabelOption = Annotated[str | None, typer.Option("--label", help="A label to find the job by.", show_default=False)]
RngSeedOption = Annotated[
    int | None, typer.Option("--rng-seed", help="Fixes chance; drawn, shown and stored if left out.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", help="Give up waiting after 90s, 10m or 2h; the job goes on.")
]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # in seconds


def read_settings() -> Settings:
    """Return the settings of this environment."""
    return Settings.from_env(os.environ)


@contextmanager
def open_client() -> Iterator[Client]:
    """The client of this environment's settings, closed at the end of the block."""
    from charrnn.jobs.client import Client  # SQLAlchemy, Celery, NumPy: none of them for help or a misspelt option

    client = Client(read_settings())
    try:
        yield client
    finally:
        client.close()


def parse_temperatures(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} must be numbers such as 0.2,0.5. Received: {text!r}") from None


def parse_seconds(option: str, text: str) -> float:
    """A time such as 90s, 10m, 2h or 30d."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd])", text)  # of "30", nobody knows whether days or seconds
    if not match:
        raise InputError(f"{option} must be a time such as 90s, 10m, 2h or 30d. Received: {text!r}")
    return float(match[1]) * UNITS[match[2]]


def parse_timeout(text: str | None) -> float | None:
    return None if text is None else parse_seconds("--timeout", text)
