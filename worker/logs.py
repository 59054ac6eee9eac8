"""The log of worker and scheduler on standard error: plain text, or one JSON object per line."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from billiard.exceptions import WorkerLostError
from billiard.util import get_logger

from charrnn.errors import CharrnnError, shorten
from charrnn.jobs import tracing
from charrnn.jobs.job.part import Part
from charrnn.jobs.programs import LOG_FORMAT, LOG_FORMAT_HELP
from charrnn.jobs.upkeep.submissions import SLOT

TEXT, JSON = "text", "json"
OURS = ("charrnn", "scheduler", "worker")  # loggers that log from level INFO; those of libraries, from WARNING
FIELDS = ("event", "job", "part", "attempt", "rows", "seconds", "schedule")
POOL_LINE = "Process %r pid:%r exited with %r"  # of billiard's pool, when a child ends otherwise than it should

_process: dict[str, str] = {}


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-format", default=LOG_FORMAT, choices=(TEXT, JSON), help=LOG_FORMAT_HELP)


def begin(form: str) -> None:
    """Write the log in this format from now on, in this process and its children."""
    handler = make_handler(form)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    get_logger().addHandler(handler)  # the pool's logger, which does not propagate, tells how a child ended
    if form == JSON:
        logging.captureWarnings(capture=True)
        sys.__stdout__ = open(os.devnull, "w")  # type: ignore[misc]  # noqa: SIM115  # Celery prints here as it ends
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def make_handler(form: str) -> logging.StreamHandler[TextIO]:
    """Return what writes the lines of a log to standard error in this format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == JSON else TextLines())
    handler.addFilter(tell_death_once)
    handler.addFilter(tracing.plain)
    handler.addFilter(name_schedule)
    return handler


def tell_death_once(record: logging.LogRecord) -> bool:
    """Let one line of ours tell that a child ended, in place of the pool's line and Celery's traceback."""
    if record.msg == POOL_LINE and isinstance(record.args, tuple):
        _, pid, how = record.args
        record.msg, record.args = "child process %s ended (%s); another one takes its place", (pid, how)
        record.event = "died"
    return not (isinstance(record.args, tuple) and any(isinstance(item, WorkerLostError) for item in record.args))


def name_schedule(record: logging.LogRecord) -> bool:
    """Let a line name the schedule that is submitted, such as a warning about its text."""
    slot = SLOT.get()
    if slot is not None and not hasattr(record, "schedule"):
        record.msg, record.args, record.schedule = f"schedule {slot}: {record.getMessage()}", (), slot.schedule
    return True


def fail(error: CharrnnError) -> None:
    """Report why a process does not start: as a line of a JSON log, or in text as the command line does."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, JsonLines) for handler in handlers):
        logging.getLogger("worker").error("%s", error)
    else:
        with suppress(OSError):  # a full disk; the exit code says the rest
            print(f"error: {_escaped(str(error))}", file=sys.stderr)


def identify(worker: str, device: str | None = None) -> None:
    """Add the names of worker and device to all further lines of this process."""
    _process.update({"worker": worker} | ({"device": device} if device else {}))


def about(part: Part, event: str, **facts: Any) -> dict[str, Any]:
    """Return the fields of a line about a part: `logger.info(..., extra=about(part, "claimed"))`."""
    return {"event": event, "job": part.job, "part": part.number, "attempt": part.attempt, **facts}


class TextLines(logging.Formatter):
    """A formatter whose lines nobody can forge.

    Messages quote names, paths and labels: what is not printable is escaped, and the lines of a traceback are indented.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        record.message = _escaped(shorten(record.message))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(_escaped, super().format(record).split("\n")))


def _escaped(text: str) -> str:
    """Return text on one line, with escapes for all characters that could control a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


class JsonLines(logging.Formatter):
    """A formatter that writes one object per line, in ASCII.

    Each has time, level, logger, pid and message, the known ones of FIELDS, and the exception if there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": shorten(record.getMessage()),
            **_process,
            **{name: value for name, value in vars(record).items() if name in FIELDS},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
