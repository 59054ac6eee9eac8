"""The templates, and what they can call."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from charrnn.errors import counted
from charrnn.jobs.job.requests import with_options
from charrnn.jobs.job.tallies import SKETCH
from charrnn.jobs.rows.formats import FORMATS
from charrnn.release import release
from producer.output import console
from producer.output import jobs as facts
from producer.records.time import time as iso
from producer.web.views import texts

HERE = Path(__file__).parent
STATIC = HERE / "static"


class Limits(IntEnum):
    """How much of a list a page shows that is not turned: the rest is counted, or left out."""

    CHOICES = 200  # of a field
    LINES = 500  # of a table
    PARTS = 20  # in work at the same time


def page(request: Request, template: str, /, *, status_code: int = 200, **values: Any) -> Response:
    """Return a page made from a template."""
    site = {"path": request.url.path, "allow_writes": request.app.state.allow_writes}
    return HTMLResponse(render(template, **site, **values), status_code)


def render(template: str, /, **values: Any) -> str:
    """Return a template's text with these values."""
    text = environment().get_template(template).render(**values)
    return text.encode(errors="replace").decode()  # half a surrogate pair, as of a damaged cell, has no bytes


@cache
def environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "bytes": console.size,
        "counted": counted,
        "duration": console.duration,
        "loss": facts.loss_text,
        "printable": console.printable,
        "shaded": texts.shaded,
        "shown": texts.shown,
        "number": "{:g}".format,
        "thousands": lambda number: f"{number:,}",
        "time": time,
        "urlencode": quoted,
        "with_options": with_options,
    }
    found.globals |= {
        "asset": asset,
        "engine_lines": facts.engine_lines,
        "formats": FORMATS,
        "legend": texts.legend,
        "lengths": texts.Lengths,
        "limits": Limits,
        "progress_line": facts.progress_line,
        "release": release,
        "sketch": SKETCH,
        "sampling_line": facts.sampling_line,
        "style": style,
        "training_line": facts.training_line,
        "query": query,
    }
    return found


def time(milliseconds: int | None) -> Markup:
    """Return a database time as HTML: the server's local time for people, and UTC for programs."""
    shown, machine = console.when(milliseconds), iso(milliseconds)
    return Markup('<time datetime="{}">{}</time>').format(machine, shown) if machine else escape(shown)


def query(**values: Any) -> str:
    """Return a query string of the values that are not None, False or empty."""
    # A number 0 is a value, although it equals False.
    left_out = {name for name, value in values.items() if value is None or value is False or value == ""}
    given = {name: 1 if value is True else value for name, value in values.items() if name not in left_out}
    return f"?{urlencode(given, errors='replace')}" if given else ""


def quoted(text: str) -> str:
    """Return a text as a part of an address."""
    return quote(text, safe="", errors="replace")


@cache
def asset(name: str) -> str:
    """Return the address of a static file. It changes with the file, which browsers keep for a year."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"


@cache
def style() -> Markup:
    """Return all style sheets, to put into a page that is a single file."""
    sheets = ("vendor/pico.min.css", "style.css")
    # They are this project's own files, and have no "</style>".
    return Markup("\n".join((STATIC / sheet).read_text(encoding="utf-8") for sheet in sheets))  # noqa: S704
