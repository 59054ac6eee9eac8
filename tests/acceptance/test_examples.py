"""Every example of every command's help runs as it is written."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator

import pytest

from charrnn.jobs.settings import Settings
from producer.broker import local_broker
from producer.examples import EXAMPLES
from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY, Home, make_home, until

SMALL = (*TINY, "--margin", "9", "--wait")
SUBMIT = ("submit", "-m", "speeches", "-t", "0.5,1", "-n", "3", "-l", "5", "--wait")
STAYS = {"up": "ready: devices", "web": "web interface at", "worker": "worker ready", "scheduler": "ready"}
"""Commands that run until Ctrl-C, and what they log when they are ready."""


@pytest.fixture(scope="module")
def desk() -> Iterator[Home]:
    """A running stack in a folder with the files and versions that the examples name."""
    for home in make_home(CHARRNN_HEARTBEAT_S="0.2", CHARRNN_MAINTAIN_S="2"):
        (home.path / "speeches").mkdir()
        (home.path / "speeches" / "one.txt").write_text(make_text(30))  # one example trains a model of default size
        (home.path / "new.txt").write_text(make_text(100, rng_seed=1))
        (home.path / "seeds.txt").write_text("the old sailor\na small lamp\n")
        (home.path / "seeds.jsonl").write_text('{"id": "a", "seed": "the "}\n')
        with home.up():
            for _ in range(3):
                home.ok("train", "speeches", str(home.path / "speeches"), *SMALL)
            home.ok("models", "promote", "speeches@2")
            home.ok("models", "promote", "speeches@1")  # there must be a previous champion to roll back to
            home.ok("models", "export", "speeches", "-o", str(home.path / "speeches.zip"))
            yield home


@pytest.fixture(scope="module")
def waiting(desk: Home) -> Iterator[Home]:
    """A home with two versions and no worker: jobs for which no example waits would train for ten seconds or more."""
    for home in make_home():
        with local_broker(Settings(home=home.path)):
            for _ in range(2):
                home.ok("models", "import", str(desk.path / "speeches.zip"))
            yield home


@pytest.fixture
def prepared(desk: Home, request: pytest.FixtureRequest) -> Iterator[str]:
    """The example with the id of a job that has just ended; the schedule that it names exists, or not, as needed."""
    yield _prepare(desk, request.param)
    for job in desk.json("jobs", "--state", "queued") + desk.json("jobs", "--state", "running"):
        desk.ok("cancel", str(job["id"]))  # those for which the example does not wait


def _prepare(desk: Home, example: str) -> str:
    desk.call("schedules", "remove", "nightly")
    if " add " not in example:
        request_words = ("--", "submit", "-m", "speeches", "-l", "5")
        desk.ok("schedules", "add", "nightly", "--cron", "0 3 * * *", "--on-failure", "true", *request_words)
    training = ("train", "speeches", str(desk.path / "speeches"), *SMALL)
    if "speeches@3" in example:
        desk.ok(*training)
    if "delete copy" in example:
        desk.ok("models", "import", str(desk.path / "speeches.zip"), "--as", "copy")
    if " 12" not in example and not example.startswith("charrnn-jobs results"):  # which means the newest job
        return example
    job = desk.ok(*(training if "--after" in example else SUBMIT)).strip()
    return example.replace(" 12", f" {job}")


def lines() -> list[str]:
    """Return all examples, each once."""
    return list(dict.fromkeys(line for examples in EXAMPLES.values() for line in examples))


def is_server(example: str) -> bool:
    return example.split()[1] in STAYS and "--check-health" not in example


def is_left_waiting(example: str) -> bool:
    """Return whether an example submits a job for which it does not wait, and needs no version with its text."""
    needs = ("--wait", "--after", "--random-seeds")
    return example.split()[1] in ("train", "submit") and not any(option in example for option in needs)


def says(process: subprocess.Popen[str], words: str) -> bool:
    """Return whether the next line that it logs has these words."""
    assert process.stderr
    return words in process.stderr.readline()


@pytest.mark.parametrize("prepared", [line for line in lines() if not is_server(line)], indirect=True)
def test_example_runs(desk: Home, waiting: Home, prepared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: an example with a wrong option name, or with a file that nobody has
    monkeypatch.chdir(desk.path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(desk.path))
    (waiting if is_left_waiting(prepared) else desk).ok(*shlex.split(prepared)[1:])


@pytest.mark.parametrize("example", [line for line in lines() if is_server(line)])
def test_example_of_a_server_runs_until_ctrl_c(desk: Home, home: Home, example: str) -> None:
    _, command, *options = shlex.split(example)
    place = home if command == "up" else desk
    with place.start(command, *options) as process:
        try:
            until(lambda: says(process, STAYS[command]), "the server")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
