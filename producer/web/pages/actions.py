"""Actions that change something: each shows a question first, and does it when the answer is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.job.states import SlotState
from producer.web.requests import job_id
from producer.web.templates import page

Do = Callable[[Client, str], object]  # takes the name of a job, a version or a schedule


@dataclass(frozen=True, kw_only=True)
class Action:
    """A verb with its question.

    Attributes:
        question: with {} for the name of the thing.
        consequence: what will be, and whether it can be undone.
    """

    do: Do
    question: str
    consequence: str
    button: str


def _cancel(client: Client, job: str) -> None:
    if not client.cancel(int(job)):
        raise InputError(f"Job {job} has ended already")


def _retry(client: Client, job: str) -> None:
    if not client.retry(int(job)):
        raise InputError(f"No part of job {job} failed or was cancelled")


def _run(client: Client, schedule: str) -> None:
    slot = client.schedules.run(schedule)
    if slot.job is None and slot.state != SlotState.DUE:  # a due one is submitted when broker and files answer
        raise InputError(f"The run is {slot.state}: {slot.reason}")


JOB = {
    "cancel": Action(
        do=_cancel,
        question="Cancel job {}?",
        consequence="Finished rows stay readable. A retry samples the others later.",
        button="Cancel the job",
    ),
    "retry": Action(
        do=_retry,
        question="Retry job {}?",
        consequence="Parts that failed or were cancelled run again. Results that exist stay.",
        button="Retry the job",
    ),
}
PROMOTE = Action(
    do=lambda client, version: client.models.promote(version),
    question="Promote {}?",
    consequence="New jobs that name the model without a version use this one. Jobs that were submitted keep theirs. To "
    "undo it, promote the other version.",
    button="Promote the version",
)
SCHEDULE = {
    "run": Action(
        do=_run,
        question="Run schedule {} now?",
        consequence="Its jobs are submitted, even if the schedule is paused or its text has not changed.",
        button="Run it now",
    ),
    "pause": Action(
        do=lambda client, schedule: client.schedules.pause(schedule),
        question="Pause schedule {}?",
        consequence="It submits nothing until it is resumed.",
        button="Pause it",
    ),
    "resume": Action(
        do=lambda client, schedule: client.schedules.resume(schedule),
        question="Resume schedule {}?",
        consequence="It continues with its next time. Runs missed meanwhile are skipped.",
        button="Resume it",
    ),
}


async def job(request: Request) -> Response:
    """Cancel or retry a job."""
    number = job_id(request)
    await run_in_threadpool(request.app.state.client.job, number)
    return await _act(request, JOB.get(request.path_params["verb"]), str(number), f"/jobs/{number}")


async def promote(request: Request) -> Response:
    """Make a version the champion of its model."""
    reference = request.path_params["reference"]
    await run_in_threadpool(request.app.state.client.models.show, reference)
    return await _act(request, PROMOTE, reference, f"/models/{reference}")


async def schedule(request: Request) -> Response:
    """Run, pause or resume a schedule."""
    name = request.path_params["name"]
    await run_in_threadpool(request.app.state.client.schedules.show, name)
    return await _act(request, SCHEDULE.get(request.path_params["verb"]), name, f"/schedules/{name}")


async def _act(request: Request, action: Action | None, name: str, target: str) -> Response:
    if action is None:
        raise HTTPException(404)
    if request.method == "POST":
        await run_in_threadpool(action.do, request.app.state.client, name)
        return RedirectResponse(target, 303)
    return page(request, "question.html", action=action, question=action.question.format(name), target=target)
