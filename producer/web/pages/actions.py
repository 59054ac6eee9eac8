"""Actions that change something: each shows a question first, and does it when the answer is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from producer.web.requests import job_id
from producer.web.templates import page


@dataclass(frozen=True, kw_only=True)
class Action:
    """A verb with its question.

    Attributes:
        question: with {} for the name of the thing.
        consequence: what will be, and whether it can be undone.
    """

    question: str
    consequence: str
    button: str


JOB = {
    "cancel": Action(
        question="Cancel job {}?",
        consequence="Finished rows stay readable. A retry samples the others later.",
        button="Cancel the job",
    ),
    "retry": Action(
        question="Retry job {}?",
        consequence="Parts that failed or were cancelled run again. Results that exist stay.",
        button="Retry the job",
    ),
}
PROMOTE = Action(
    question="Promote {}?",
    consequence="New jobs that name the model without a version use this one. Jobs that were submitted keep theirs. To "
    "undo it, promote the other version.",
    button="Promote the version",
)
SCHEDULE = {
    "run": Action(
        question="Run schedule {} now?",
        consequence="Its job is submitted, even if the schedule is paused or its text has not changed.",
        button="Run it now",
    ),
    "pause": Action(
        question="Pause schedule {}?", consequence="It submits nothing until it is resumed.", button="Pause it"
    ),
    "resume": Action(
        question="Resume schedule {}?",
        consequence="It continues with its next time. Runs missed meanwhile are skipped.",
        button="Resume it",
    ),
}


async def job(request: Request) -> Response:
    """Cancel or retry a job."""
    client: Client = request.app.state.client
    number, verb = job_id(request), request.path_params["verb"]

    def cancel() -> None:
        if not client.cancel(number):
            raise InputError(f"Job {number} has ended already")

    def retry() -> None:
        if not client.retry(number):
            raise InputError(f"No part of job {number} failed or was cancelled")

    await run_in_threadpool(client.job, number)
    return await _act(request, JOB, verb, str(number), {"cancel": cancel, "retry": retry}, f"/jobs/{number}")


async def promote(request: Request) -> Response:
    """Make a version the champion of its model."""
    client: Client = request.app.state.client
    reference = request.path_params["reference"]
    await run_in_threadpool(client.models.show, reference)
    do = {"promote": lambda: client.models.promote(reference)}
    return await _act(request, {"promote": PROMOTE}, "promote", reference, do, f"/models/{reference}")


async def schedule(request: Request) -> Response:
    """Run, pause or resume a schedule."""
    client: Client = request.app.state.client
    name, verb = request.path_params["name"], request.path_params["verb"]

    def run() -> None:
        slot = client.schedules.run(name)
        if slot.job is None:
            raise InputError(
                f"The run is {slot.state}: {slot.reason or 'its job is submitted once broker and files answer'}"
            )

    await run_in_threadpool(client.schedules.show, name)
    do: dict[str, Callable[[], object]] = {
        "run": run,
        "pause": lambda: client.schedules.pause(name),
        "resume": lambda: client.schedules.resume(name),
    }
    return await _act(request, SCHEDULE, verb, name, do, f"/schedules/{name}")


async def _act(
    request: Request,
    actions: Mapping[str, Action],
    verb: str,
    name: str,
    do: Mapping[str, Callable[[], object]],
    target: str,
) -> Response:
    action = actions.get(verb)
    if action is None:
        raise HTTPException(404)
    if request.method == "POST":
        await run_in_threadpool(do[verb])
        return RedirectResponse(target, 303)
    return page(request, "question.html", action=action, question=action.question.format(name), target=target)
