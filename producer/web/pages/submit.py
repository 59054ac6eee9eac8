"""The form that submits a generate job, with a preview of what it would take."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from charrnn.errors import CharrnnError, InputError
from charrnn.jobs.client import Client
from charrnn.jobs.handle import JobHandle
from charrnn.jobs.job.requests import GenerateRequest, with_options
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.views import MAX_ID
from charrnn.options import ERROR, UNKNOWN, SamplingOptions
from producer.options import parse_temperatures, unescape
from producer.web.requests import is_number, read_form
from producer.web.templates import page

MAX_BODY = 2_000_000  # bytes: about 600 kB of seeds, after their escapes; a file takes more
FIELDS = {
    "model": "",
    "seeds": "",
    "unknown": ERROR,
    "temperature": "0.5",
    "samples": "1",
    "length": "400",
    "stop": "",
    "label": "",
}


async def form(request: Request) -> Response:
    """Show the form, what it would take, or submit it."""
    client: Client = request.app.state.client
    models = sorted({version.model for version in await run_in_threadpool(client.models.list)})
    values: dict[str, Any] = {"models": models, "unknown": UNKNOWN, "preview": None, "warnings": [], "error": None}
    if request.method != "POST":
        given = {name: request.query_params.get(name, value) for name, value in FIELDS.items()}
        given["model"] = given["model"] or client.connections.settings.model or next(iter(models), "")
        return page(request, "submit.html", fields=given, **values)
    sent = await read_form(request, MAX_BODY, "Use: charrnn-jobs submit --seeds FILE")
    fields = FIELDS | {name: sent[name] for name in FIELDS if name in sent}
    submits = "submit" in sent
    try:
        job, warnings = await run_in_threadpool(_submit, client, fields, dry_run=not submits)
    except CharrnnError as error:
        return page(
            request, "submit.html", status_code=400, fields=fields, **values | {"error": with_options(str(error))}
        )
    if submits:
        return RedirectResponse(f"/jobs/{job.id}", 303)
    return page(request, "submit.html", fields=fields, **values | {"preview": job, "warnings": warnings})


def _submit(client: Client, fields: dict[str, str], *, dry_run: bool) -> tuple[JobHandle[GenerateSpec], Sequence[str]]:
    """Return the job, and the warnings about it."""
    with _Warnings() as warnings:
        return _checked(client, fields, dry_run=dry_run), warnings.messages


class _Warnings(logging.Handler):
    """Collects the warnings that this thread logs in a block."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(with_options(record.getMessage()))

    def __enter__(self) -> _Warnings:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


def _checked(client: Client, fields: dict[str, str], *, dry_run: bool) -> JobHandle[GenerateSpec]:
    sampling = SamplingOptions(
        temperatures=parse_temperatures("Temperatures", fields["temperature"]),
        samples=_number("Texts per seed and temperature", fields["samples"]),
        length=_number("Maximum characters per text", fields["length"]),
        stop=tuple(unescape(stop, "Stop string") for stop in fields["stop"].split()),
        unknown=fields["unknown"],
    )
    request = GenerateRequest(model=fields["model"] or None, sampling=sampling, label=fields["label"] or None)
    seeds = fields["seeds"].replace("\r\n", "\n").rstrip("\n")
    return client.submit(request, seeds.split("\n"), dry_run=dry_run)


def _number(label: str, text: str) -> int:
    if not is_number(text, MAX_ID):
        raise InputError(f"{label} must be a whole number up to {MAX_ID:,}. Received: {text[:80]!r}")
    return int(text)
