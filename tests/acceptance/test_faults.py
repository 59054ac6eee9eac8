"""Kill, flush, stop and cancel in the middle of work: the results have the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis

from charrnn.jobs.settings import Settings
from tests.fixtures.kills import SLICES, standing_still, train_and_kill, train_calmly
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.processes import LIGHT, Home, until

# One part: of 2 s or more, which comes to its end, and of eight times that, which does not.
SAMPLES, MANY = 250, 2000
OPTIONS = ("-t", "0.5,1.0", "-l", "400", "--rng-seed", "3", "--part-rows", "60000")


@pytest.fixture(scope="module")
def seeds(stack: Home) -> str:
    path = stack.path / "fault-seeds.txt"
    path.write_text("the old sailor\na small lamp \nevery child\n" * 5)
    return str(path)


@pytest.fixture(scope="module")
def undisturbed(stack: Home, seeds: str) -> str:
    """The results of an undisturbed run."""
    job = begin(stack, seeds)
    stack.ok("wait", job)
    return stack.ok("results", job)


def begin(stack: Home, seeds: str, samples: int = SAMPLES) -> str:
    return stack.ok("submit", "-m", "tiny", "--seeds", seeds, "-n", str(samples), *OPTIONS).strip()


def test_a_child_killed_in_a_part_loses_nothing(stack: Home, seeds: str, undisturbed: str) -> None:
    job = begin(stack, seeds)
    before = until(lambda: stack.part_in_work(job), "progress")
    killed = stack.pid_of(before["owner"])
    os.kill(killed, signal.SIGKILL)
    stack.ok("wait", job, "--timeout", "150s")
    after = stack.part(job)
    assert after["token"] > before["token"]  # a second lease
    assert stack.pid_of(after["owner"]) != killed  # held by a second process
    assert after["owner"] == before["owner"]  # it replaced the first. Catches: no requeue
    assert stack.ok("results", job) == undisturbed


def test_an_emptied_broker_loses_nothing(stack: Home, seeds: str, undisturbed: str) -> None:
    running = begin(stack, seeds)
    until(lambda: stack.part_in_work(running), "progress")
    waiting = begin(stack, seeds)
    with redis.Redis(unix_socket_path=str(Settings(home=stack.path).broker_socket)) as client:
        client.flushall()  # the job's notification is gone. Catches: no ring_missing in maintain
    for job in (running, waiting):
        stack.ok("wait", job, "--timeout", "150s")
        assert stack.ok("results", job) == undisturbed


def test_a_broker_that_dies_is_started_again(home: Home, untrained: str) -> None:
    # Catches: a stack that cannot start again although a message advises to start it
    broker = redis.Redis(unix_socket_path=str(Settings(home=home.path).broker_socket))
    home.settings |= LIGHT
    with home.up(), broker:
        killed = broker.info("server")["process_id"]
        os.kill(killed, signal.SIGKILL)
        until(lambda: home.log().count("broker ready") == 2, "the second broker")
        assert broker.info("server")["process_id"] != killed
        assert "the broker died" in home.log()
        home.ok("models", "import", untrained)
        home.ok("submit", "-m", "tiny", "-l", "5", "--wait")


def test_workers_outlive_a_store_that_is_away(home: Home, postgres_server: PostgresServer, postgres_url: str) -> None:
    # Catches: a heartbeat thread that ends with its first error: parts are claimed, but no heartbeat follows
    def last_sign() -> int:
        with psycopg.connect(postgres_url) as store:
            (seen_at,) = store.execute("select max(seen_at) from workers").fetchone() or (0,)
        return int(seen_at)

    home.settings = {"CHARRNN_HEARTBEAT_S": "0.1", "CHARRNN_STORE_URL": postgres_url}
    with home.up():
        postgres_server.stop()
        until(lambda: "heartbeat" in home.log() or "does not answer" in home.log(), "the worker to find out")
        postgres_server.start()
        before = last_sign()
        until(lambda: last_sign() > before, "a sign of life")


@pytest.mark.parametrize(
    "method",
    [
        "stream",
        pytest.param(
            "window", marks=pytest.mark.slow("test_a_training_resumed_from_any_checkpoint_ends_in_the_same_weights")
        ),
    ],
)
def test_a_training_killed_between_checkpoints_ends_in_the_same_weights(
    home: Home, text_file: Path, method: str
) -> None:
    home.settings = SLICES
    with home.up():
        train_calmly(home, text_file, method, "calm")
        train_and_kill(home, text_file, method, 0.6, after_checkpoint=True)
    assert not list(home.path.glob("files/jobs/*/checkpoint-*"))  # useless once the version exists


def test_a_stopped_stack_requeues_its_work_and_the_next_one_continues(home: Home, text_file: Path) -> None:
    home.settings = {"CHARRNN_HEARTBEAT_S": "0.1", "CHARRNN_MAINTAIN_S": "1"}
    with home.up():
        job = home.ok(
            "train", "slow", str(text_file), "--units", "32", "--layers", "1", "--epochs", "8", "--rng-seed", "2"
        ).strip()
        before = until(lambda: home.part_in_work(job), "progress")
    stopped = home.part(job)
    assert (stopped["state"], stopped["token"], stopped["attempts"]) == ("queued", before["token"], 0)
    # Catches: a worker that seems to be alive for the length of a lease after it has stopped
    assert "no live worker serves train" in home.json("status", job)["waiting_for"]
    with home.up():
        home.ok("wait", job, "--timeout", "100s")


def test_a_cancelled_job_ends_within_seconds(stack: Home, seeds: str) -> None:
    # Catches: a heartbeat that does not check the job
    job = begin(stack, seeds, MANY)
    until(lambda: stack.part_in_work(job), "progress")
    stack.ok("cancel", job)
    done = stack.call("wait", job, "--timeout", "100s")
    assert (done.returncode, stack.json("status", job)["state"]) == (1, "cancelled")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_waiting_leaves_the_job_running(
    stack: Home, seeds: str, number: signal.Signals, code: int
) -> None:
    # Catches: a Ctrl-C that cancels the job; a SIGTERM after which nobody knows what becomes of it
    job = begin(stack, seeds, MANY)
    with standing_still(stack, until(lambda: stack.part_in_work(job), "progress")):
        waiting = stack.start("wait", job)
        assert waiting.stderr
        until(waiting.stderr.readline, "the first line of progress")
        waiting.send_signal(number)
        _, errors = waiting.communicate(timeout=60)
        assert waiting.returncode == code
        assert f"charrnn-jobs cancel {job}" in errors
        assert stack.json("status", job)["state"] == "running"
    stack.ok("cancel", job)


def test_a_file_that_was_not_waited_for_is_named_with_its_command(stack: Home, tmp_path: Path) -> None:
    output = tmp_path / "texts.csv"
    words = ("-n", "100000", "-l", "1000", "--wait", "--timeout", "0s", "-o", str(output))
    done = stack.call("submit", "tiny", *words)
    job = done.stdout.strip()
    assert (done.returncode, output.exists()) == (5, False)
    said = " ".join(done.stderr.split())
    assert f"{output} is not written. When the job has ended: charrnn-jobs results {job} -o {output}" in said
    stack.ok("cancel", job)


def _is_ready(worker: subprocess.Popen[str]) -> bool:
    assert worker.stderr
    return "worker ready" in worker.stderr.readline()


def test_ctrl_c_ends_a_worker(stack: Home) -> None:
    # Catches: Celery's exit code after Ctrl-C, 1, treated as an error after which the worker is restarted
    worker = stack.start("worker", "--devices", "cpu")
    until(partial(_is_ready, worker), "the worker to be ready")
    worker.send_signal(signal.SIGINT)
    _, errors = worker.communicate(timeout=60)
    assert (worker.returncode, "restarting the worker" in errors) == (0, False)
