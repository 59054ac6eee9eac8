"""The page in a real browser: it goes on without a reload, changes only what it may, and everybody can use it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from charrnn.jobs.client import Client
from charrnn.options import SamplingOptions
from producer.web.access import COOKIE, Token
from tests.fixtures import web
from tests.fixtures.browser import Watched
from tests.fixtures.client import DoPart, submit
from tests.fixtures.desk import USER
from tests.fixtures.kills import stopped_at
from tests.fixtures.processes import COMMAND, Home, make_home, until

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
SMALL = ("--units", "48", "--layers", "1", "--rng-seed", "1")
ENDLESS = (*SMALL, "--epochs", "10000", "--patience", "10000")  # many minutes
TOKEN = "a-token-of-this-test"  # noqa: S105

KEY = {"name": COOKIE, "value": Token(TOKEN).cookie, "url": "http://127.0.0.1"}

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "\u202eright to left\u202c שלום",
    "{{7*7}} {% raw %}",
    "👩\u200d🚀 a\x1b[31mb",
    "x" * 100_000,
)


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """An empty tab of a browser that has the token."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.add_cookies([KEY])  # type: ignore[list-item]  # its type is private
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@contextmanager
def served(home: Home, *options: str) -> Iterator[str]:
    """Run `charrnn-jobs web` and yield its address."""
    environment = home.environment | {"CHARRNN_WEB_TOKEN": TOKEN}
    words = [*COMMAND, "web", "--port", "0", *options]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            found = re.search(r"http://\S+(?=;)", line)
            assert found, line + process.stderr.read()
            yield found[0]
        finally:
            process.terminate()
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def desk() -> Iterator[Home]:
    """A running stack with two versions of a model of names, a job of each kind, and a schedule."""
    for home in make_home(CHARRNN_HEARTBEAT_S="0.2", CHARRNN_MAINTAIN_S="2", CHARRNN_USER=USER):
        names = subprocess.run([sys.executable, ROOT / "examples" / "names.py"], capture_output=True, check=True).stdout
        text, seeds = home.path / "names.txt", home.path / "seeds.txt"
        text.write_bytes(b"".join(names.splitlines(keepends=True)[::20]))
        seeds.write_text("Ma\nJo\nEl\n")
        with home.up():
            for epochs in ("4", "8"):
                home.ok("train", "names", str(text), *SMALL, "--epochs", epochs, "--wait")
            four = ("-t", "0.2,0.5,0.8,1.1", "-n", "4", "--label", "four temperatures")
            home.ok("submit", "names", "--seeds", str(seeds), *four, "--wait")
            home.ok("submit", "names", "--seed", "Ka", "-n", "5", "--logprobs", "--label", "probabilities", "--wait")
            home.ok("schedules", "add", "nightly", "--cron", "0 3 * * *", "--", "train", "names", str(text), *SMALL)
            yield home


@pytest.fixture(scope="module")
def address(desk: Home) -> Iterator[str]:
    with served(desk) as address:
        yield address


@pytest.fixture(scope="module")
def writable(desk: Home) -> Iterator[str]:
    with served(desk, "--allow-writes") as address:
        yield address


def stay(tab: Page) -> None:
    """Mark the page, so that `stayed` can tell whether it was loaded again."""
    tab.evaluate("window.stayed = true")


def stayed(tab: Page) -> bool:
    return bool(tab.evaluate("window.stayed === true"))


def listens(tab: Page) -> bool:
    """Return whether the page is connected to the server, or would connect again."""
    return bool(tab.evaluate("document.querySelector('[hx-sse\\\\:connect]')?._htmx?.sse !== undefined"))


def test_a_training_goes_on_on_an_open_page(desk: Home, address: str, tab: Page) -> None:
    watched = Watched(tab, address)
    tab.goto(address)
    stay(tab)
    training = ("train", "open", str(desk.path / "names.txt"), *SMALL, "--epochs", "30", "--patience", "30")
    job = desk.ok(*training, "-q").strip()
    row = tab.get_by_role("row").filter(has=tab.get_by_role("link", name=f"Job {job}", exact=True))
    with stopped_at(desk, job, 0.1):  # so that it is still running, however slow the browser is
        expect(row).to_be_visible()
        assert stayed(tab)
        row.get_by_role("link").click()
        tab.wait_for_url(f"**/jobs/{job}")
        stay(tab)
        expect(tab.get_by_role("img")).to_be_visible()  # the curve
        expect(tab.get_by_role("progressbar")).to_be_visible()
        expect(tab).to_have_title(re.compile("^running · Job"))
        until(lambda: listens(tab), "a connection")
    expect(tab.get_by_role("status")).to_contain_text("done")
    expect(tab.get_by_text("passed: the first version")).to_be_visible()
    expect(tab).to_have_title(re.compile("^done · Job"))
    assert stayed(tab)
    until(lambda: not listens(tab), "the end of the connection")  # Catches: a page that asks for ever after the end
    assert watched.wrong == []


def test_a_job_goes_from_queued_to_done_on_an_open_page(desk: Home, writable: str, tab: Page) -> None:
    watched = Watched(tab, writable)
    tab.goto(f"{writable}/submit")
    tab.get_by_label("Model").fill("names")
    tab.get_by_label("Seeds, one per line").fill("Ma\nJo")
    tab.get_by_role("button", name="Preview").click()
    expect(tab.get_by_role("status")).to_contain_text("2 rows from names@2")
    tab.get_by_role("button", name="Submit", exact=True).click()
    tab.wait_for_url(re.compile(r"/jobs/\d+$"))
    stay(tab)
    expect(tab.get_by_role("status")).to_contain_text("done")
    assert stayed(tab)
    with tab.expect_download() as download:
        tab.get_by_role("link", name="Download as csv").click()
    job = tab.url.rsplit("/", 1)[1]
    assert Path(download.value.path()).read_text() == desk.ok("results", job, "-f", "csv")
    assert watched.wrong == []


def test_texts_are_found_by_seed_temperature_and_distinctness(desk: Home, address: str, tab: Page) -> None:
    job = desk.json("jobs", "--label", "four temperatures")[0]["id"]
    tab.goto(f"{address}/jobs/{job}")
    tab.get_by_role("link", name="Texts", exact=True).click()
    expect(tab.get_by_role("heading", name="Temperature 0.8")).to_have_count(3)
    tab.get_by_role("link", name="More like these: seed 2 at temperature 0.8").click()
    expect(tab.get_by_role("listitem").filter(has_text="temperature 0.8")).to_have_count(4)
    tab.get_by_label("Temperature").select_option("0.2")
    tab.get_by_label("Distinct only").check()
    tab.get_by_role("button", name="Show").click()
    tab.wait_for_url("**distinct=1**")
    expect(tab.get_by_role("listitem").filter(has_text="temperature 0.2").first).to_be_visible()
    texts = tab.locator(".text").all_inner_texts()
    assert texts
    assert len(set(texts)) == len(texts)
    assert all(text.startswith("Jo") for text in texts)


def test_a_viewer_can_change_nothing_and_a_writer_only_after_a_question(
    desk: Home, address: str, writable: str, tab: Page
) -> None:
    job = desk.ok("train", "long", str(desk.path / "names.txt"), *ENDLESS, "-q").strip()
    tab.goto(f"{address}/jobs/{job}")
    expect(tab.get_by_role("link", name="Cancel")).to_have_count(0)
    tab.goto(f"{writable}/jobs/{job}")
    tab.get_by_role("link", name="Cancel").click()
    expect(tab.get_by_role("heading")).to_have_text(f"Cancel job {job}?")
    assert desk.json("status", job)["state"] in ("queued", "running")
    tab.get_by_role("button", name="Cancel the job").click()
    expect(tab.get_by_role("status")).to_contain_text("cancelled")
    expect(tab.get_by_role("link", name="Retry")).to_be_visible()


def test_hostile_texts_are_texts(client: Client, model: str, do_part: DoPart, tab: Page, tmp_path: Path) -> None:
    job = submit(client, model, ["a"], SamplingOptions(samples=5), label=HOSTILE[0]).id
    do_part(texts=HOSTILE)
    with web.serve(client) as page:
        watched = Watched(tab, f"http://{page.name}")
        report = tmp_path / "report.html"
        report.write_text(page.ok(f"/jobs/{job}/report.html"))
        tab.set_viewport_size({"width": 320, "height": 800})
        addresses = [f"http://{page.name}{path}" for path in (f"/jobs/{job}", f"/jobs/{job}/texts?seed=0", "/")]
        for place in (*addresses, report.as_uri()):
            tab.goto(place)
            assert tab.locator("main script, main img[src]").count() == 0
            assert tab.evaluate("document.documentElement.scrollWidth") <= 320
        tab.goto(f"http://{page.name}/jobs/{job}/texts?seed=0")
        expect(tab.get_by_text(HOSTILE[0])).to_have_count(1)
        expect(tab.get_by_text("{{7*7}} {% raw %}")).to_have_count(1)
        expect(tab.get_by_text("98,000 characters more")).to_have_count(1)
        assert watched.wrong == []


def test_who_has_no_token_sees_nothing(desk: Home, browser: Browser) -> None:
    with served(desk) as address:
        tab = browser.new_context().new_page()
        tab.goto(f"{address}/models")
        tab.get_by_label("Token").fill("not this one at all")
        tab.get_by_role("button", name="Log in").click()
        expect(tab.get_by_role("alert")).to_have_text("The token is wrong.")
        tab.get_by_label("Token").fill(TOKEN)
        tab.get_by_role("button", name="Log in").click()
        expect(tab.get_by_role("link", name="names", exact=True)).to_be_visible()
        assert TOKEN not in tab.content()
        other = browser.new_context().new_page()
        other.goto(f"{address}/models")
        expect(other.get_by_role("heading")).to_have_text("Log in")
        expect(other.get_by_text("names")).to_have_count(0)
        for page in (tab, other):
            page.context.close()


def paths(desk: Home) -> dict[str, str]:
    """Return every page by its name."""
    texts, probabilities, training = (
        desk.json("jobs", *words)[0]["id"]
        for words in (
            ["--label", "four temperatures"],
            ["--label", "probabilities"],
            ["-m", "names@2", "--kind", "train"],
        )
    )
    return {
        "jobs": "/",
        "job": f"/jobs/{texts}",
        "training": f"/jobs/{training}",
        "parts": f"/jobs/{texts}/parts",
        "grid": f"/jobs/{texts}/texts",
        "texts": f"/jobs/{texts}/texts?seed=0&temperature=3",
        "probabilities": f"/jobs/{probabilities}/texts?as_list=1",
        "models": "/models",
        "model": "/models/names",
        "version": "/models/names@2",
        "compare": "/compare?a=names@1&b=names@2",
        "schedules": "/schedules",
        "schedule": "/schedules/nightly",
        "workers": "/workers",
        "submit": "/submit",
        "question": "/models/names@1/promote",
        "missing": "/none",
    }


other = pytest.mark.slow("test_everybody_can_use_every_page")  # each color scheme stays, and each width; not each pair


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 320),
        ("dark", 1280),
        pytest.param("dark", 320, marks=other),
        pytest.param("light", 1280, marks=other),
    ],
)
def test_everybody_can_use_every_page(
    desk: Home, writable: str, browser: Browser, scheme: str, width: int, pytestconfig: pytest.Config
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        bypass_csp=True,  # axe is a script that is put into the page
    )
    context.add_cookies([KEY])  # type: ignore[list-item]  # its type is private
    tab = context.new_page()
    watched = Watched(tab, writable)
    report = desk.path / "report.html"
    desk.ok("report", "-o", str(report))
    places = {name: writable + path for name, path in paths(desk).items()} | {"report": report.as_uri()}
    for name, place in places.items():
        tab.goto(place)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
        expect(tab.get_by_role("heading", level=1)).to_have_count(1)
        violations = Axe().run(tab).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == [], name
        if pytestconfig.getoption("--freeze"):
            picture = PICTURES / f"{name}-{scheme}-{width}.jpeg"
            tab.screenshot(path=picture, type="jpeg", quality=70)
    context.close()
    assert [wrong for wrong in watched.wrong if "404" not in wrong] == []  # the page that is missing


def test_the_page_is_used_by_keyboard_and_keeps_its_focus(desk: Home, address: str, tab: Page) -> None:
    job = desk.ok("train", "focus", str(desk.path / "names.txt"), *ENDLESS, "-q").strip()
    tab.goto(address)
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("link", name="Skip to the content")).to_be_focused()
    tab.keyboard.press("Enter")
    link = tab.get_by_role("link", name=f"Job {job}", exact=True)
    expect(tab.get_by_role("row").filter(has=link)).to_contain_text("running")
    for _ in range(40):
        if link.evaluate("link => link === document.activeElement"):
            break
        tab.keyboard.press("Tab")
    expect(link).to_be_focused()
    desk.ok("cancel", job)
    expect(tab.get_by_role("row").filter(has=link)).to_contain_text("cancelled")
    expect(link).to_be_focused()  # Catches: a live part that is replaced instead of changed
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", level=1)).to_have_text(f"Job {job}")


def test_a_page_is_live_when_its_scripts_arrive_one_after_the_other(address: str, tab: Page) -> None:
    late: list[Route] = []
    tab.route("**/hx-sse.min.js**", lambda route: late.append(route))  # playwright cannot mark a built-in method
    tab.goto(address, wait_until="commit")
    until(lambda: tab.evaluate("'htmx' in window") and late, "the first script")
    tab.evaluate("new Promise(done => setTimeout(done, 10))")  # htmx would start in the next turn of the event loop
    late[0].continue_()
    until(lambda: listens(tab), "a connection")  # Catches: scripts with defer


@pytest.mark.parametrize("fails", [Route.abort, lambda route: route.fulfill(status=503, body="It stops.")])
def test_a_page_whose_first_connection_fails_says_so_and_tries_again(
    address: str, tab: Page, fails: Callable[[Route], None]
) -> None:
    tab.route("**/events/**", lambda route: fails(route))
    tab.goto(f"{address}/workers")
    expect(tab.get_by_role("alert")).to_contain_text("The server does not answer")
    expect(tab.get_by_role("row").filter(has_text="cpu")).to_have_count(1)  # Catches: an error in place of the page
    tab.unroute("**/events/**")
    expect(tab.get_by_role("alert")).to_have_count(0)
    until(lambda: listens(tab), "a connection")


def test_a_page_says_that_its_server_is_gone(desk: Home, tab: Page) -> None:
    with served(desk) as address:
        tab.goto(f"{address}/workers")
        expect(tab.get_by_role("row").filter(has_text="cpu")).to_have_count(1)
        expect(tab.get_by_role("alert")).to_have_count(0)
    expect(tab.get_by_role("alert")).to_contain_text("The server does not answer")


def test_up_serves_the_page_and_says_where(desk: Home, tab: Page) -> None:
    found = re.search(r"web interface at (http://\S+);", desk.log())
    assert found
    tab.goto(found[1])
    tab.get_by_role("link", name="Workers").click()
    expect(tab.get_by_role("row").filter(has_text="cpu")).to_have_count(1)
