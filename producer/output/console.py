"""Everything that is printed: notes, tables, facts, records.

Results, ids and records go to standard output, everything else to standard error. Generated text is
untrusted: control characters never reach a terminal.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, BinaryIO

from rich.console import Console
from rich.text import Text

from charrnn.errors import shorten
from charrnn.jobs import tracing
from charrnn.jobs.job.json_object import to_document
from charrnn.jobs.streams import discard_output
from producer.output import layout

SIGNS = {"\n": "⏎", "\r": "␍", "\t": "⇥", "\u00a0": " ", "\u202f": " "}  # French is full of the last two
JOINERS = "\u200c\u200d"  # of emoji, Persian and Devanagari; they can neither move nor hide other text

STATES = {
    "done": "green",
    "ok": "green",
    "running": "yellow",
    "failed": "bold red",
    "expired": "bold red",
    "warning": "yellow",
    "invalid": "bold red",
    "unreadable": "bold red",
    "cancelled": "dim",
    "skipped": "dim",
    "paused": "dim",
}
"""The styles of words for states. A color never stands alone: the word beside it tells the same."""

err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
out = Console(highlight=False, emoji=False)


def is_terminal(console: Console) -> bool:
    """Return whether a person reads this at once. rich also says so if FORCE_COLOR asks for colors in a pipe."""
    return console.file.isatty() and not console.is_dumb_terminal


def note(message: str) -> None:
    """Print a line for people on standard error. A full disk there is no reason to stop."""
    with suppress(OSError):
        err.print(_printable_lines(shorten(message)))


def cut(line: str) -> str:
    """Return a line for standard error that fits the width of a terminal there."""
    return line if not is_terminal(err) or len(line) <= err.width else f"{line[: err.width - 1]}…"


def fail(message: str) -> None:
    with suppress(OSError):
        err.print(Text.assemble(("error: ", "bold red"), _printable_lines(shorten(message))))


class Notes(logging.Handler):
    """Prints what the library logs as notes."""

    def __init__(self, rename: Callable[[str], str] = str) -> None:
        super().__init__()
        self.rename = rename
        self.addFilter(tracing.plain)

    def emit(self, record: logging.LogRecord) -> None:
        note(f"{record.levelname}: {self.rename(record.getMessage())}")
        if record.exc_info:
            note(logging.Formatter().formatException(record.exc_info))


def value(text: object) -> None:
    """Print a line for the next program on standard output."""
    print(_printable_lines(str(text)) if sys.stdout.isatty() else text, flush=True)


def values(texts: Iterable[object]) -> None:
    """Print lines for the next program on standard output."""
    for text in texts:
        value(text)


def records(found: object) -> None:
    """Print values as JSON on standard output, converted by `to_document`."""
    text = json.dumps(to_document(found), ensure_ascii=False, indent=1, allow_nan=False)
    value(text.encode(errors="backslashreplace").decode())  # a lone surrogate, as of a damaged cell, stays escaped


def print_sampled(seed: str, text: str, remark: str = "") -> None:
    """Print a sampled text with its seed on standard output; on a terminal with a remark, and the seed dim.

    On a terminal, a text of several lines is followed by a dash, to tell it from the next one.
    """
    if not out.file.isatty():
        with standard_output() as file:
            file.write(f"{seed}{text}\n".encode())
        return
    shown = Text.assemble((f"{remark}  " if remark else "", "cyan"), (_printable_lines(seed).plain, "dim"))
    out.print(shown.append(_printable_lines(text)), soft_wrap=True)
    if "\n" in text:
        out.print(Text("—", "dim"))


def table(columns: Sequence[str], rows: Iterable[Iterable[object]], *, optional: Sequence[str] = ()) -> None:
    """Print a table on standard output. Columns of numbers are right-aligned.

    On a terminal that is too narrow, the `optional` columns are left out, the first one first. If it still does not
    fit, each row is shown as a card with all columns.
    """
    body = [list(row) for row in rows]
    numbers = {name for name, cells in zip(columns, zip(*body, strict=True), strict=False) if any(map(_number, cells))}
    _print(
        layout.table(
            list(map(printable, columns)), [list(map(_cell, row)) for row in body], numbers, optional, _width()
        )
    )


def facts(lines: Iterable[tuple[str, object]]) -> None:
    """Print one fact per line on standard output, without empty ones."""
    shown = [(Text(name, "bold"), _cell(fact)) for name, fact in lines if fact not in (None, "")]
    _print(layout.lines(shown, _width()))


def state(words: str) -> Text:
    """Return words about a state, such as "failed: no text", in the style of their first one."""
    return Text(printable(words), STATES.get(re.split(r"\W", words, maxsplit=1)[0], ""))


def _print(lines: Iterable[Text]) -> None:
    for line in lines:
        out.print(line, soft_wrap=True)


def _width() -> int | None:
    """Return the width of the terminal that is standard output, or None for a pipe or a file."""
    return out.width if out.file.isatty() else None


def _number(cell: object) -> bool:
    return isinstance(cell, int | float)


def _cell(cell: object) -> Text:
    if isinstance(cell, Text):
        cell.plain = printable(cell.plain)  # of the same length, so that its styles still fit
        return cell
    if cell is None:
        return Text()
    return Text(f"{cell:,}" if isinstance(cell, int) else printable(str(cell)))


def when(milliseconds: int | None) -> str:
    """Return a database time (milliseconds since 1970) as local time with its zone. A damaged one is shown as such."""
    try:
        local = datetime.fromtimestamp(milliseconds / 1000).astimezone() if milliseconds else None
        return f"{local:%Y-%m-%d %H:%M:%S %Z}" if local else ""
    except (OSError, OverflowError, TypeError, ValueError):
        return "unreadable"


def _printable_lines(message: str) -> Text:
    return Text("\n".join(map(printable, message.split("\n"))))


def printable(text: str) -> str:
    """Return text on one line, without characters that could control a terminal."""
    return "".join(SIGNS.get(c, c if c.isprintable() or c in JOINERS else "�") for c in text)


def counted_ids(noun: str, ids: Sequence[int]) -> str:
    """Return ids in words, such as "jobs 3 and 4"."""
    return f"{noun}{'s' * (len(ids) > 1)} {' and '.join(map(str, ids))}"


def duration(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds" if round(seconds) != 1 else "1 second"


def size(count: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} bytes"


@contextmanager
def standard_output(*, live: bool = False) -> Iterator[BinaryIO]:
    """Yield standard output for bytes: unchanged for programs, printable on a terminal; flushed per line if `live`."""
    try:
        if sys.stdout.isatty():
            with _Terminal() as terminal:
                yield terminal
        elif live:
            with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as file:
                yield file
        else:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has enough, as `head` does; what is buffered goes nowhere
        discard_output()


class _Terminal(io.BytesIO):
    """UTF-8 lines made printable for a terminal."""

    def write(self, data: Any) -> int:
        lines = bytes(data).decode(errors="replace").replace("\r\n", "\n")  # CSV's ends of lines
        print(_printable_lines(lines), end="", flush=True)
        return len(data)


def checks(rows: Iterable[tuple[str, str, str]]) -> None:
    """Print findings: ok, warning or failed, what it is about, and details."""
    _print(layout.lines([(state(outcome), Text(name), _cell(detail)) for outcome, name, detail in rows], _width()))
