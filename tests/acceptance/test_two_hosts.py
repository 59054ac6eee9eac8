"""Two hosts that share a store, a broker and a bucket over a network that fails."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.hosts import Host, Network, Place
from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY, until

# A host that is silent for 5 s loses its part. With the defaults that takes half a minute.
QUICK = {"CHARRNN_LEASE_S": "5", "CHARRNN_HEARTBEAT_S": "0.5", "CHARRNN_MAINTAIN_S": "1"}
# Six parts of 3 to 6 s. With the 16 units of TINY each takes 0.7 s: on a busy machine, `submit` returns after the last.
ROWS, PART_ROWS, LENGTH = 2700, 450, 2000
MODEL = (*TINY, "--units", "192")
NOTICE_S = 45  # 10 s for TCP to give up, 5 s for a new connection to fail, 20 s more if it waits for the broker
RETURN_S = 60  # measured: 0.5 to 4 s, also after a cut of 40 s
SUBMIT = ("submit", "-m", "tiny", "-l", str(LENGTH), "--part-rows", str(PART_ROWS), "--rng-seed", "3")


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(make_text(800))
    return str(path)


def start_worker(host: Host) -> str:
    """Start a worker with one child and return the beginning of its owner's name."""
    worker = host.start("worker", "--devices", "cpu")
    return f"{socket.gethostname()}-{worker.pid}-"


def owned(parts: list[dict[str, Any]], owner: str) -> list[dict[str, Any]]:
    return [part for part in parts if (part["owner"] or "").startswith(owner)]


def in_work(place: Place, owner: str, *jobs: str) -> dict[str, Any] | None:
    """Return the part of these jobs that the owner works on: its heartbeats have reported progress."""
    parts = owned(place.parts(*jobs), owner)
    return next((part for part in parts if part["state"] == "leased" and part["progress"]), None)


def held(place: Place, owner: str, job: str) -> dict[str, Any] | None:
    """Return the part that the owner works on, whose process stands still, so that it cannot end."""
    if part := in_work(place, owner, job):
        os.kill(place.pid_of(part["owner"]), signal.SIGSTOP)
        if (now := in_work(place, owner, job)) and now["token"] == part["token"]:
            return part
        os.kill(place.pid_of(part["owner"]), signal.SIGCONT)
    return None


# This takes two minutes of all processors.
@pytest.mark.slow(
    "test_no_order_of_verbs_breaks_a_promise",
    "test_a_connection_to_a_silent_server_times_out",
    "test_workers_outlive_a_store_that_is_away",
    "test_a_child_killed_in_a_part_loses_nothing",
)
def test_a_host_that_is_cut_off_loses_its_part_and_returns(network: Network, place: Place, text: str) -> None:
    for host in network.hosts:
        host.settings |= QUICK
    console, b = network.console, network.b
    owner_a, owner_b = start_worker(network.a), start_worker(b)
    console.ok("train", "tiny", text, *MODEL, "--wait")
    calm = console.ok(*SUBMIT, "-n", str(ROWS), "--wait").strip()
    assert all(owned(place.parts(calm), owner) for owner in (owner_a, owner_b))  # both hosts have worked

    # However fast the machine is, some work is left when b comes back. It is submitted first: a host takes its
    # next part from the job that the test is about, which is observed from its beginning.
    rest = console.ok(*SUBMIT, "-n", str(30 * ROWS), "--priority", "low").strip()
    until(lambda: in_work(place, owner_b, rest), "host b to be at work")
    job = console.ok(*SUBMIT, "-n", str(ROWS)).strip()
    lost = until(lambda: held(place, owner_b, job), "host b to be in a part")
    number, token = lost["number"], lost["token"]
    b.cut()
    os.kill(place.pid_of(lost["owner"]), signal.SIGCONT)
    until(lambda: owned([place.parts(job)[number]], owner_a), "host a to take the part over")
    assert not in_work(place, owner_b, job, rest)
    b.repair()
    until(lambda: in_work(place, owner_b, job, rest), "host b to work again", RETURN_S)
    console.ok("wait", job, "--timeout", "150s")

    # Catches: Leases._change without the token: b ends a part that a works on
    after = place.parts(job)[number]
    assert after["token"] > token
    assert after["output"]["name"] == f"jobs/{job}/{number}-{after['token']}.jsonl.zst"
    assert f"Part {number} of job {job}" in b.log  # its lease is lost, as b noticed
    status = console.json("status", job)
    assert (status["state"], status["rows_done"], status["rows_failed"]) == ("done", ROWS, 0)
    results = console.ok("results", job)
    assert [json.loads(line)["row"] for line in results.splitlines()] == list(range(ROWS))
    assert digest(results) == digest(console.ok("results", calm))

    until(lambda: in_work(place, owner_b, rest), "host b to be in the middle of a part")
    before = len(b.log)
    b.cut()
    # Catches: no tcp_user_timeout in databases.CONNECTION: the heartbeat waits a quarter of an hour for an answer
    until(lambda: "The store" in b.log[before:], "host b to find out", NOTICE_S)
    until(lambda: not in_work(place, owner_b, rest), "its lease to run out")
    b.repair()
    # Catches: a heartbeat thread that ends with its first error: parts are claimed, but no heartbeat follows
    until(lambda: in_work(place, owner_b, rest), "host b to work again", RETURN_S)
    console.ok("cancel", rest)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def waiting(network: Network, place: Place, text: str) -> str:
    """A training job that waits for a worker: its notification is in the broker, its corpus in the bucket."""
    return network.console.ok("train", "tiny", text, *TINY).strip()


def assert_refused(host: Host, text: str, *places: str) -> None:
    """Check that every command that adds work or does it ends at once, and names the two places that do not match."""
    for command in (
        ("worker", "--devices", "cpu"),
        ("train", "other", text, *TINY),
        ("submit", "-m", "tiny"),
    ):
        done = host.run(*command)
        assert done.returncode == 2, f"{command}: {done.stdout}\n{done.stderr}"
        said = "".join(done.stderr.split())  # messages are wrapped
        for place in places:
            assert "".join(place.split()) in said, f"{command}: {done.stderr}"


# Catches: Queue.claim_for that accepts any store; a worker that does not check before it listens
@pytest.mark.usefixtures("waiting")
def test_a_host_that_knows_only_the_broker_is_refused(network: Network, place: Place, text: str) -> None:
    store = network.b.settings.pop("CHARRNN_STORE_URL")
    shown = store.replace(store.split(":")[2].split("@")[0], "***")
    assert_refused(network.b, text, shown, f"sqlite:///{network.b.home}/store.sqlite")
    assert place.doorbells("train") == 1  # not consumed, and no second notification
    assert place.doorbells("generate") == 0


# Catches: Files.claim_for that accepts any place
@pytest.mark.slow("test_files_at_another_location_are_refused", "test_a_host_that_knows_only_the_broker_is_refused")
@pytest.mark.usefixtures("waiting")
def test_a_host_that_does_not_know_the_files_is_refused(network: Network, place: Place, text: str) -> None:
    files = network.b.settings.pop("CHARRNN_FILES_URL")
    assert_refused(network.b, text, files, f"{network.b.home}/files")
    assert place.doorbells("train") == 1
    assert [part["state"] for part in place.parts("1")] == ["queued"]
