"""Lists of jobs, by what a person may look for."""

from __future__ import annotations

from typing import TypedDict, Unpack

from charrnn.checks import check_choice, check_flag, check_keywords
from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.specs import QUEUES
from charrnn.jobs.job.states import JobState
from charrnn.jobs.job.views import Job, check_page
from charrnn.jobs.store import registry
from charrnn.text.documents import check_storable


class JobFilter(TypedDict, total=False):
    """Which jobs to list. All of them by default.

    Attributes:
        state: queued, running, done, failed or cancelled.
        kind: train or generate.
        model: `name` or `name@3`.
        label: the label that they were given.
        user: who submitted them, or added the schedule that did.
        schedule: name of the schedule that submitted them; it may have been removed since.
        with_failures: only jobs that failed or have failed rows.
    """

    state: str | None
    kind: str | None
    model: str | None
    label: str | None
    user: str | None
    schedule: str | None
    with_failures: bool


def list_jobs(
    connections: Connections, limit: int, before: int | None = None, **filters: Unpack[JobFilter]
) -> list[Job]:
    """Return the newest jobs, the newest first, before the job `before`.

    Raises:
        InputError: the state or kind does not exist, the model is not of that form, a text is empty, or a value has the
            wrong type.
    """
    check_page(limit, before)
    check_keywords("jobs", filters, JobFilter.__annotations__)
    state, kind = filters.get("state"), filters.get("kind")
    for name, value, choices in (("state", state, list(JobState)), ("kind", kind, QUEUES)):
        if value is not None:
            check_choice(name, value, choices)
    model = filters.get("model")
    for what, text in (
        ("The model's name", model),
        ("The label", filters.get("label")),
        ("The user's name", filters.get("user")),
        ("The schedule's name", filters.get("schedule")),
    ):
        if text is not None:
            _check_text(what, text)
    name, at, version = (model or "").partition("@")
    number = registry.version_number(version)
    if at and (not name or number is None):
        raise InputError(f"The model must be NAME or NAME@VERSION, such as speeches@3. Received: {model!r}")
    equal = {
        "state": state,
        "kind": kind,
        "model": name or None,
        "version": number,
        "label": filters.get("label"),
        "submitted_by": filters.get("user"),
        "schedule": filters.get("schedule"),
    }
    with_failures = filters.get("with_failures", False)
    check_flag("with_failures", with_failures)
    return connections.store.jobs(limit, before, with_failures=with_failures, **equal)


def _check_text(what: str, text: str) -> None:
    """Check a text to look for. An empty one, as of a variable that is not set, would look like no condition."""
    check_storable(what, text)
    if not text.strip():
        raise InputError(f"{what} to look for is empty. Name one, or leave it out. Received: {text[:80]!r}")
