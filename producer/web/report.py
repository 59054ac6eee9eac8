"""The report of a job: one HTML file without scripts, to send to somebody who cannot reach the web interface."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from charrnn.errors import CharrnnError
from charrnn.jobs.client import Client
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.version import VersionDetails
from producer.web.templates import render
from producer.web.views.curve import Curve
from producer.web.views.grid import grid_of, read_grid
from producer.web.views.job import loss_curve, view

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # its style sheet is inside it; it has no script
)
SHOWN_SEEDS = 12
SHOWN_ROWS = 30  # where there is no grid
SHOWN_FAILURES = 20  # rows


def job_report(client: Client, job_id: int) -> str:
    """Return the report of a job, which may still run, as HTML.

    Raises:
        NotFoundError: there is no such job.
        UnreachableError: store or files do not answer.
    """
    found = view(client, job_id)
    spec = found.spec
    values: dict[str, object] = {"grid": [], "rows": [], "failures": [], "version": None, "curve": None}
    if isinstance(spec, GenerateSpec):
        version = _version(client, spec)
        values |= {"version": version, "curve": _curve(client, version)}
        values |= _texts(client, job_id, spec)
    return render("report.html", view=found, policy=POLICY, now=client.connections.store.now(), **values)


def _texts(client: Client, job_id: int, spec: GenerateSpec) -> dict[str, Sequence[object]]:
    failures = list(client.rows(job_id, failed=True, limit=SHOWN_FAILURES))
    if grid := grid_of(spec):
        count = min(SHOWN_SEEDS, grid.seeds)
        chosen = [index * grid.seeds // count for index in range(count)]
        if (shown := read_grid(client, job_id, grid, chosen)) is not None:
            return {"grid": shown, "failures": failures}
    return {"rows": list(client.rows(job_id, limit=SHOWN_ROWS)), "failures": failures}


def _version(client: Client, spec: GenerateSpec) -> VersionDetails | None:
    """Return the version that a job samples from, unless it is not known yet or was deleted since."""
    if spec.version is not None:
        with suppress(CharrnnError):
            return client.models.show(spec.name)
    return None


def _curve(client: Client, version: VersionDetails | None) -> Curve | None:
    """Return the losses of the training that made a version, unless it was imported or its job was deleted."""
    if version is not None and version.job is not None:
        with suppress(CharrnnError):
            return loss_curve(client.status(version.job).history)
    return None
