"""Pages of jobs whose specs are damaged: they say which job cannot be read, whatever the damage."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from sqlalchemy import update

from charrnn.jobs.client import Client
from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.store.tables import jobs
from charrnn.options import SamplingOptions
from tests.fixtures.client import DoPart, submit
from tests.fixtures.store import each_database
from tests.fixtures.web import Page

pytestmark = each_database

WRONG: tuple[Any, ...] = (None, "x", -1, 0, 1e300, True, [], {}, [None])
READS_SPEC = ("/texts", "/texts?temperature=0", "/texts?seed=0&temperature=0", "/results.jsonl")


def test_pages_of_a_damaged_job_name_it(client: Client, model: str, page: Page, do_part: DoPart) -> None:
    job = submit(client, model, ["a", "b"], SamplingOptions(temperatures=(0.5, 1.0))).id or 0
    do_part()
    whole = client.job(job).stored_spec
    named = f"job {job} cannot be read: it is damaged in the database"
    for what, spec in damaged(whole):
        with client.connections.store.write() as connection:
            connection.execute(update(jobs).values(spec=spec).where(jobs.c.id == job))
        # Catches: a number that is taken for what it should be until a template divides by it
        shown = page.get(f"/jobs/{job}")
        assert (shown.status, named in shown.text) == (200, True), what
        for path in READS_SPEC:
            refused = page.get(f"/jobs/{job}{path}")
            assert (refused.status, named in refused.text) == (500, True), (what, path)
        report = page.get(f"/jobs/{job}/report.html")
        assert named in report.text, what
    assert page.get("/").status == 200


def damaged(spec: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Yield a spec with each of its fields replaced by something else that JSON can say, with a name for it."""
    for name, value in spec.items():
        for wrong in WRONG:
            if fits(name, value, wrong):
                continue
            changed = deepcopy(spec)
            changed[name] = wrong
            yield f"{name}: {wrong!r}", changed


def fits(name: str, value: object, wrong: object) -> bool:
    """Return whether a value could be that of the field: it would be another job, and not a damaged one."""
    if name == "sampling":
        return wrong == {}  # all defaults
    return (name == "version" and (wrong is None or type(wrong) is int)) or (isinstance(value, str) and wrong == "x")
