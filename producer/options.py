"""Options that several commands share, how all options look, how they are read, and the client."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.errors import InputError
from charrnn.jobs.job.views import MAX_ID
from charrnn.jobs.settings import Setting, Settings, survey
from charrnn.options import SamplingOptions

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

logger = logging.getLogger(__name__)

RANDOM_TEMPERATURE = 2.0  # above it, letters that the model thinks unlikely are sampled as often as likely ones
JOB_PANEL = "Job"
SAMPLING_PANEL = "Sampling"
DEFAULTS = SamplingOptions()
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # in seconds


def option(
    *names: str,
    help: str,
    panel: str,
    metavar: str | None = None,
    default: object = None,
    parser: Callable[[object], Any] | None = None,
) -> Any:
    """Return a Typer option with its default at the end of its help.

    Args:
        names: such as "-o", "--output"; the parameter's own name if left out.
        metavar: a word for the value; choices stand for themselves.
        default: shown only: several parameters must tell "left out" from a default that a preset may change.
    """
    shown = "" if default is None else rf" \[default: {default}]"
    return typer.Option(
        *names, help=help + shown, rich_help_panel=panel, metavar=metavar, show_default=False, parser=parser
    )


def integer(*names: str, help: str, panel: str, metavar: str = "N", default: object = None) -> Any:
    """Return a Typer option whose value is a whole number."""
    return option(*names, help=help, panel=panel, metavar=metavar, default=default, parser=whole_number)


def decimal(*names: str, help: str, panel: str, metavar: str, default: object = None) -> Any:
    """Return a Typer option whose value is a number."""
    return option(*names, help=help, panel=panel, metavar=metavar, default=default, parser=number)


def flag(*names: str, help: str, panel: str) -> Any:
    """Return a Typer option that takes no value."""
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar="")


def optional_job(default: str) -> Any:
    """Return a Typer argument for a job's id.

    Args:
        default: which job is meant without an id.
    """
    shown = rf"Job id. \[default: {default}]"
    return typer.Argument(metavar="[JOB]", help=shown, show_default=False, parser=positive_number)


def whole_number(value: object) -> int:
    """Read a whole number: a text, or a default, which Typer passes through here too."""
    text = str(value)
    if not re.fullmatch(r"[+-]?\d{1,4000}", text, re.ASCII):
        raise typer.BadParameter(f"expected a whole number. Received: {text[:80]!r}")
    return int(text)


def number(value: object) -> float:
    """Read a number: a text, or a default."""
    try:
        return float(str(value))
    except ValueError:
        raise typer.BadParameter(f"expected a number. Received: {str(value)[:80]!r}") from None


def positive_number(value: object) -> int:
    """Read a job's id, or a number of rows or jobs, within the range of a database's integer."""
    found = whole_number(value)
    if not 1 <= found <= MAX_ID:
        raise typer.BadParameter(f"expected a whole number from 1 to {MAX_ID:,}. Received: {str(value)[:80]}")
    return found


QuietOption = Annotated[bool, flag("-q", "--quiet", help="Print ids alone, one per line.", panel="Output")]
JsonOption = Annotated[bool, flag("--json", help="Print JSON.", panel="Output")]
JobArgument = Annotated[int, typer.Argument(metavar="JOB", help="Job id.", show_default=False, parser=positive_number)]
TemperatureOption = Annotated[
    list[str] | None,
    option(
        "-t",
        "--temperature",
        metavar="T[,T...]",
        help="Sampling temperatures. Repeatable. 0 is greedy decoding.",
        default=1,
        panel=SAMPLING_PANEL,
    ),
]
SamplesOption = Annotated[
    int, integer("-n", "--samples", help="Texts per seed and temperature.", default=1, panel=SAMPLING_PANEL)
]
LengthOption = Annotated[
    int,
    integer(
        "-l",
        "--length",
        help="Maximum number of new characters per text.",
        default=DEFAULTS.length,
        panel=SAMPLING_PANEL,
    ),
]
StopOption = Annotated[
    list[str] | None,
    option(
        metavar="TEXT",
        help=r"Stop string: ends a text, and is not part of it. Repeatable. Escapes: \n, \t, \\.",
        panel=SAMPLING_PANEL,
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help=r"Model: NAME, NAME@VERSION or NAME@ALIAS. \[default: the only one, or that of models default]",
        show_default=False,
    ),
]
LabelOption = Annotated[
    str | None, option("--label", metavar="TEXT", help="Label to find the job by: jobs --label TEXT.", panel=JOB_PANEL)
]
RngSeedOption = Annotated[
    int | None,
    integer(
        "--rng-seed",
        help="Random seed: the same seed gives the same bytes.",
        default="random; stored with the job",
        panel=JOB_PANEL,
    ),
]
WaitOption = Annotated[bool, flag("--wait", help="Follow the job until it ends.", panel=JOB_PANEL)]
DryRunOption = Annotated[
    bool, flag("--dry-run", help="Check everything and show what would be submitted; store nothing.", panel=JOB_PANEL)
]
TimeoutOption = Annotated[
    str | None,
    option(
        "--timeout",
        metavar="TIME",
        help="Stop waiting after this time, such as 90s, 10m or 2h. The job continues.",
        panel=JOB_PANEL,
    ),
]


def read_settings() -> Settings:
    """Return the settings of this environment."""
    return Settings.from_env(os.environ)


def find_setting(name: str) -> Setting:
    """Return a setting with its source."""
    return next(setting for setting in survey(os.environ).settings if setting.name == name)


@contextmanager
def open_client() -> Iterator[Client]:
    """Yield a client with the settings of this environment, and close it at the end of the block."""
    from charrnn.jobs.client import Client  # SQLAlchemy, Celery, NumPy: not for help or a misspelled option

    client = Client(read_settings())
    try:
        yield client
    finally:
        client.close()


def parse_temperatures(option: str, text: str) -> tuple[float, ...]:
    """Read numbers with commas between them. Warn of high ones, which a decimal comma makes: 0,6 is 0 and 6."""
    try:
        temperatures = tuple(float(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} must be numbers such as 0.2,0.5. Received: {text!r}") from None
    if high := [temperature for temperature in temperatures if temperature > RANDOM_TEMPERATURE]:
        logger.warning(
            "%s %s: at a temperature of %g texts are nearly random. Commas separate numbers; a decimal has a point",
            option,
            text[:80],
            max(high),
        )
    return temperatures


def parse_sampling(temperature: list[str] | None, stop: list[str] | None, **options: Any) -> SamplingOptions:
    """Return the options of sampling. Those left out have their defaults."""
    temperatures = parse_temperatures("--temperature", ",".join(temperature or ["1"]))
    return SamplingOptions(temperatures=temperatures, stop=tuple(map(unescape, stop or ())), **options)


def parse_seconds(option: str, text: str) -> float:
    """Read a time such as 90s, 10m, 2h or 30d."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd])", text)  # "30" alone could be days or seconds
    if not match:
        raise InputError(f"{option} must be a time such as 90s, 10m, 2h or 30d. Received: {text!r}")
    return float(match[1]) * UNITS[match[2]]


def parse_timeout(text: str | None) -> float | None:
    return None if text is None else parse_seconds("--timeout", text)


def unescape(stop: str, option: str = "--stop") -> str:
    """Return a stop string without the escapes that a shell needs. Messages about it name `option`."""
    escapes = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
    _, backslash, rest = re.sub(r"\\[nt\\]", "", stop).partition("\\")
    if backslash:
        raise InputError(rf"{option} {stop!r}: unknown escape \{rest[:1]}. Expected \n, \t, or \\ for a backslash")
    return re.sub(r"\\[nt\\]", lambda match: escapes[match[0]], stop)
