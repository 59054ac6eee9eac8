"""`--log-format json`: real processes write one line for each state change, and no line has a secret."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.fixtures.broker import StartBroker
from tests.fixtures.processes import COMMAND, Home, until

Line = dict[str, Any]
SEED = "the neighbour"  # its characters are known to the model, and no log contains it otherwise
PASSWORD = secrets.token_hex(12)


@pytest.fixture
def guarded(home: Home, start_broker: StartBroker) -> Home:
    """A home folder with a broker that has a password."""
    home.settings["CHARRNN_HEARTBEAT_S"] = "0.1"
    home.settings["CHARRNN_REDIS_URL"] = f"redis://:{PASSWORD}@{start_broker('--requirepass', PASSWORD)}/0"
    return home


@pytest.fixture
def log(guarded: Home) -> Path:
    return guarded.path / "worker.log"


@pytest.fixture
def worker(guarded: Home, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = ("worker", "--devices", "cpu", "--log-format", "json")
    with open(log, "wb") as file:
        process = subprocess.Popen([*COMMAND, *words], env=guarded.environment, stdout=file, stderr=file)
    until(lambda: events(log, "ready"), "a ready worker")
    yield process
    process.kill()
    process.wait()


def lines(log: Path) -> list[Line]:
    # Catches: lines that are no JSON, such as TensorFlow's own
    return [json.loads(line) for line in log.read_text().splitlines()]


def events(log: Path, *names: str, job: str | None = None) -> list[Line]:
    return [line for line in lines(log) if line.get("event") in names and job in (None, str(line.get("job")))]


def test_each_state_change_is_a_line_and_no_secret_is_in_one(
    guarded: Home, log: Path, worker: subprocess.Popen[bytes], untrained: str
) -> None:
    guarded.ok("models", "import", untrained)
    seeds = ("--seeds", "-", "-n", "8000", "-l", "400", "--part-rows", "8000")  # one part of 2 s or more
    job = guarded.ok("submit", "-m", "tiny", *seeds, stdin=SEED).strip()
    part = until(lambda: guarded.part_in_work(job), "work")
    killed = guarded.pid_of(part["owner"])
    os.kill(killed, signal.SIGKILL)
    guarded.ok("wait", job)
    texts = [json.loads(line)["text"] for line in guarded.ok("results", job, "--limit", "3").splitlines()]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0

    states = [line["event"] for line in events(log, "claimed", "done", "failed", "released", job=job)]
    assert states == ["claimed", "claimed", "done"]
    (done,) = events(log, "done", job=job)
    assert (done["part"], done["attempt"], done["rows"], done["device"]) == (0, 2, 8000, "cpu")
    assert done["worker"] == part["owner"]
    assert done["seconds"] > 0
    assert [line["event"] for line in events(log, "started", "requeued", "draining", "stopped")] == [
        "started",
        "started",
        "requeued",
        "draining",
        "stopped",
    ]
    life = done["worker"].partition("/")[0]
    recorded = reversed(json.loads(guarded.ok("events", "--json")))
    told = [(event["actor"], event["action"]) for event in recorded if event["actor"].startswith(life)]
    # Catches: a process that does not join the fleet, or does so again; a worker that ends without an event
    assert told == [(f"{life}/0", "joined"), (f"{life}/0", "attempt failed"), (life, "drained")]
    (died,) = events(log, "died")  # Catches: a traceback of Celery, or no line at all
    assert died["message"] == f"child process {killed} ended (signal 9 (SIGKILL)); another one takes its place"
    assert not [line for line in lines(log) if "exception" in line]
    assert all({"time", "level", "logger", "pid", "message"} <= line.keys() for line in lines(log))
    assert not [secret for secret in (PASSWORD, SEED, *texts) if secret in log.read_text()]


def test_a_hang_up_ends_the_worker(log: Path, worker: subprocess.Popen[bytes]) -> None:
    # Catches: Celery's behavior, which starts a second process without standard output
    worker.send_signal(signal.SIGHUP)
    assert worker.wait(60) == 0
    assert events(log, "stopped")


def test_a_broker_that_revokes_rights_is_reported_and_waited_for(
    guarded: Home, log: Path, worker: subprocess.Popen[bytes]
) -> None:
    with redis.Redis.from_url(guarded.settings["CHARRNN_REDIS_URL"]) as broker:
        for taken, given, named in (
            (f"<{PASSWORD}", f">{PASSWORD}", "invalid username-password pair"),
            ("-brpop", "+brpop", "NoPermissionError"),
        ):
            begun = len(lines(log))
            broker.execute_command("ACL", "SETUSER", "default", taken)
            broker.client_kill_filter(_type="normal", skipme=True)
            until(partial(_names, log, begun, named), named)
            broker.execute_command("ACL", "SETUSER", "default", given)
            # Catches: a worker that ends, or does not return to its queues
            until(lambda: _is_listening(broker), "a worker at its queues")
    assert worker.poll() is None


def _names(log: Path, begun: int, reason: str) -> bool:
    return reason in str(lines(log)[begun:])


def _is_listening(broker: redis.Redis) -> bool:
    return any(client["cmd"] == "brpop" and client["flags"] == "b" for client in broker.client_list())


def test_a_worker_that_cannot_start_reports_it_in_json(guarded: Home) -> None:
    # Catches: an error that is printed beside the log
    done = guarded.run("worker", "--devices", "cpu", "--queues", "print", "--log-format", "json")
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, line["level"]) == (2, "error")
    assert "Unknown queue 'print'" in line["message"]


@pytest.mark.parametrize("command", ["worker", "scheduler"])
def test_an_invalid_setting_is_reported_in_json(home: Home, command: str) -> None:
    # Catches: a format that is chosen after the settings are read
    home.settings |= {"CHARRNN_LEASE_S": "never", "CHARRNN_LEESE_S": "1"}
    done = home.run(command, "--log-format", "json")
    warning, error = map(json.loads, done.stderr.splitlines())
    assert "CHARRNN_LEESE_S is not a setting" in warning["message"]
    assert (done.returncode, error["level"], "CHARRNN_LEASE_S must be" in error["message"]) == (2, "error", True)


def test_a_scheduler_s_log_is_json_too(guarded: Home, log: Path) -> None:
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "scheduler", "--log-format", "json"], env=guarded.environment, stdout=file, stderr=file
        )
    try:
        until(lambda: events(log, "ready"), "a ready scheduler")
    finally:
        process.terminate()
        process.wait()


def test_an_unknown_format_is_refused(home: Home) -> None:
    done = home.run("scheduler", "--log-format", "xml")
    assert (done.returncode, "choose from" in done.stderr) == (2, True)
