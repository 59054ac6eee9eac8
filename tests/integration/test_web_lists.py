"""Lists on the pages: filtered, and turned forwards and back."""

from __future__ import annotations

from pathlib import Path
from urllib.request import urlopen

import pytest

from charrnn.jobs.client import Client
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.options import SamplingOptions
from producer.web.report import job_report
from tests.fixtures.client import DoPart, do_parts, submit
from tests.fixtures.store import each_database
from tests.fixtures.web import Page, linked, visible

pytestmark = each_database

SAMPLING = SamplingOptions(temperatures=(0.5, 1.0), samples=4)


def test_jobs_are_listed_filtered_and_paged(client: Client, model: str, page: Page) -> None:
    assert "No job matches" in visible(page.ok("/?state=failed"))
    for number in range(60):
        submit(client, model, ["a"], SAMPLING, label=f"label {number}")
    first = page.ok("/")
    assert "/jobs/61" in first
    second = page.ok(linked(first, "Older jobs"))
    assert "/jobs/61" not in second
    assert '/jobs/2"' in second
    assert linked(second, "Newer jobs") == "/"  # the live page, and not this one again
    found = visible(page.ok("/?label=label+7&kind=generate&state=queued&model=speeches"))
    assert found.count("label 7") == 1
    assert "label 8" not in found
    person = client.connections.settings.person
    assert f"{person} 20" in visible(page.ok(f"/?user={person}"))  # the user before the time
    assert "No job matches" in visible(page.ok("/?user=nobody"))
    assert page.get("/?state=nothing").status == 400
    assert "No job matches" in visible(page.ok("/?with_failures=1"))
    assert page.get("/?before=-1").status == 400
    assert page.get(f"/?before={'9' * 5000}").status == 400


def test_the_live_list_is_the_first_page_for_all_who_look_at_it(client: Client, model: str, page: Page) -> None:
    for _ in range(3):
        submit(client, model, ["a"], SAMPLING)
    # Catches: a viewer of an older page whose list all others get, since they share what is read
    with urlopen(f"http://{page.name}/events/jobs?before=3&back=0", timeout=30) as stream:
        first = b"".join(iter(stream.readline, b"\n"))
    assert (b"/jobs/4" in first, b"Newer jobs" in first) == (True, False)


def test_seeds_whose_temperatures_add_up_make_no_grid(client: Client, model: str, page: Page, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"seed": "a", "temperature": 0.7}\n{"seed": "b", "temperature": [0.1, 0.2, 0.3]}\n')
    job = client.submit(GenerateRequest(model=model, sampling=SAMPLING, seeds=str(seeds))).id
    do_parts(client, "text ")
    shown = page.ok(f"/jobs/{job}/texts")
    # Catches: texts of one seed below the heading of another
    assert ("Seed 1" in visible(shown), "temperature 0.3" in visible(shown)) == (False, True)
    assert "More like these" not in shown
    assert "Seed 1" not in job_report(client, job or 0)


@pytest.mark.parametrize(("query", "words"), [("", "seeds"), ("?as_list=1", "texts"), ("?distinct=1", "texts")])
def test_lists_are_turned_forwards_and_back(client: Client, model: str, page: Page, query: str, words: str) -> None:
    job = submit(client, model, ["a" * number for number in range(45)], SAMPLING).id
    do_parts(client, "text ")
    visited, shown = [f"/jobs/{job}/texts{query}"], page.ok(f"/jobs/{job}/texts{query}")
    while f"Next {words}" in shown:
        visited.append(linked(shown, f"Next {words}"))
        shown = page.ok(visited[-1])
    assert len(visited) >= 5
    for address in reversed(visited[1:-1]):
        shown = page.ok(linked(shown, f"Previous {words}"))
        assert visible(shown) == visible(page.ok(address))  # Catches: a page of which some rows were left out
    first = page.ok(linked(shown, f"Previous {words}"))
    assert (visible(first) == visible(page.ok(visited[0])), "Previous" in first) == (True, False)
    for wrong in ("back=x.-1.0", f"back={'9' * 5000}", "back=" + ".".join(["7"] * 500)):
        assert page.get(f"/jobs/{job}/texts?{wrong}").status == 200


def test_texts_are_filtered_and_paged(client: Client, model: str, page: Page, do_part: DoPart) -> None:
    job = submit(client, model, ["a"], SamplingOptions(samples=120), part_rows=120).id
    do_part()  # three different texts
    shown = page.ok(f"/jobs/{job}/texts?distinct=1")
    assert [visible(shown).count(f"text {n}") for n in range(3)] == [1, 1, 1]
    first = page.ok(f"/jobs/{job}/texts?as_list=1")
    following = linked(first, "Next texts")
    assert "first=50" in following
    assert "row 50 " in visible(page.ok(following))
    unknown = page.get(f"/jobs/{job}/texts?novel=1")
    assert (unknown.status, "not known which texts" in visible(unknown.text)) == (400, True)


def test_a_list_is_searched_a_page_at_a_time(
    client: Client, model: str, page: Page, do_part: DoPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.web.pages.gallery.SCANNED_ROWS", 30)
    job = submit(client, model, ["a"], SamplingOptions(samples=120), part_rows=120).id
    do_part()
    first = page.ok(f"/jobs/{job}/texts?distinct=1")  # Catches: a million rows that are read for one page
    assert "first=30" in linked(first, "Next texts")
