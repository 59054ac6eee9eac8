"""Notifications through a real broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.files.files import Files
from charrnn.jobs.queue import BELLS, Queue
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from charrnn.jobs.upkeep.maintenance import maintain, ring_missing, tidy
from tests.fixtures.keys import KEY_PREFIX, STORE_KEY
from tests.fixtures.store import AddJob


def test_one_doorbell_per_part_up_to_a_limit(queue: Queue) -> None:
    # Catches: one notification for a whole job; 100,000 of them, which takes 50 s
    assert queue.ring("generate", 3) == 3
    assert queue.lengths() == {"train": 0, "generate": 3}
    assert queue.ring("train", 100_000) == BELLS
    assert queue.lengths() == {"train": BELLS, "generate": 3}


def test_a_broker_that_does_not_answer_is_asked_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a retry after a time limit, with which a command waits twice as long
    monkeypatch.setattr("charrnn.jobs.queue.ANSWER_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queue = Queue(replace(settings, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        with pytest.raises(UnreachableError):
            queue.ring("generate", 1)
        queue.close()
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_ctrl_c_while_notifications_are_sent_keeps_the_id_of_the_job(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    # Catches: a job that is stored and runs, while its submit ends as if it had stored nothing
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def interrupt() -> None:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)  # the process waits for the answer to this
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with pytest.raises(KeyboardInterrupt):
            Connections(replace(settings, redis_url=url)).ring("generate", 7, 1)
        thread.join()
    assert "job 7 is stored and starts soon. Cancel it with: charrnn-jobs cancel 7" in caplog.text


def test_a_message_is_small(queue: Queue, settings: Settings) -> None:
    queue.ring("generate", 1)
    with redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
        (message,) = client.lrange(f"{KEY_PREFIX}generate", 0, -1)
    assert len(message) < 1000


def test_commands_import_no_celery() -> None:
    # Catches: an import that takes 0.1 s of each command
    code = (
        "import sys, charrnn.jobs.client, charrnn.jobs.queue; assert not {'celery', 'kombu', 'numpy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_lost_doorbells_are_sent_again(queue: Queue, leases: Leases, add_job: AddJob) -> None:
    # Catches: notifications that pile up with every round, or in a queue without waiting parts
    add_job(parts=4)
    for _ in range(2):
        ring_missing(leases, queue)
        assert queue.lengths() == {"train": 0, "generate": 4}


def test_no_doorbell_is_sent_while_one_is_left(queue: Queue, leases: Leases, add_job: AddJob) -> None:
    # Catches: a round that notifies again for each part of a long job; one that counts the other queue's notifications
    add_job(parts=4)
    add_job(train=True)
    queue.ring("generate", 1)
    ring_missing(leases, queue)
    assert queue.lengths() == {"train": 1, "generate": 1}


def test_maintenance_sends_as_many_doorbells_for_a_long_job_as_submit(
    queue: Queue, leases: Leases, add_job: AddJob
) -> None:
    # Catches: a round that takes a minute, while no other process does one
    add_job(parts=2 * BELLS)
    ring_missing(leases, queue)
    assert queue.lengths()["generate"] == BELLS


def test_a_round_of_maintenance_sends_doorbells(store: Store, queue: Queue, leases: Leases, add_job: AddJob) -> None:
    # Catches: no ring_missing in maintain
    add_job()
    maintain(store, leases, queue, every_s=60)
    assert queue.lengths()["generate"] == 1


def test_one_of_many_processes_does_a_round(store: Store, queue: Queue, leases: Leases) -> None:
    # Catches: a round by each process
    assert [maintain(store, leases, queue, every_s=60) for _ in range(3)] == [True, False, False]


def test_leftovers_of_killed_processes_are_swept_once_a_day(store: Store, tmp_path: Path) -> None:
    # Catches: litter that stays until somebody prunes; a walk through all files in each round
    files = Files(str(tmp_path / "files"), tmp_path / "cache")
    files.claim_for(store.id, None)
    with files.storage.stage("models/a/1-1/config.json") as arriving:
        arriving.touch()
        os.utime(arriving, (0, 0))
        assert [tidy(store, files) for _ in range(3)] == [True, False, False]
        assert not arriving.exists()


def test_a_broker_serves_one_store(queue: Queue) -> None:
    # Catches: two stores whose workers consume each other's messages
    queue.claim_for("first", "sqlite:///first")
    queue.claim_for("first", "sqlite:///first")
    with pytest.raises(InputError, match="serves the store sqlite:///first, not sqlite:///second"):
        queue.claim_for("second", "sqlite:///second")


def test_a_broker_serves_a_store_for_each_prefix(settings: Settings) -> None:
    queues = {prefix: Queue(replace(settings, redis_prefix=prefix)) for prefix in ("charrnn", "team-a", "team-b")}
    for number, (prefix, queue) in enumerate(queues.items(), start=1):
        queue.claim_for(prefix, f"sqlite:///{prefix}")
        queue.ring("generate", number)
    # Catches: an owner, a notification or a length of a key that all stores share
    assert [queue.known_store() for queue in queues.values()] == [f"sqlite:///{prefix}" for prefix in queues]
    assert [queue.lengths()["generate"] for queue in queues.values()] == [1, 2, 3]
    for queue in queues.values():
        queue.close()


def test_a_large_value_of_another_program_is_not_read(queue: Queue, settings: Settings) -> None:
    with redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
        client.set(STORE_KEY, "x" * 20_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="The broker .* serves the store"):
            queue.claim_for("first", "sqlite:///first")
        assert queue.known_store() is None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5_000_000  # Catches: GET


def test_a_key_of_another_type_is_reported(queue: Queue, settings: Settings) -> None:
    # Catches: "does not answer. Start it", for a broker that answers
    with redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
        client.set(f"{KEY_PREFIX}train", "garbage")
    with pytest.raises(UnreachableError, match="refuses a command: WRONGTYPE .*delete those that begin with charrnn"):
        queue.lengths()


def test_an_unreachable_broker_is_reported_with_the_command_to_start(settings: Settings, tmp_path: Path) -> None:
    # Catches: redis-py's error, which names no broker
    queue = Queue(replace(settings, home=tmp_path))
    with pytest.raises(UnreachableError, match=r"broker\.sock.* does not answer\. Start it with: charrnn-jobs up"):
        queue.lengths()
    queue.close()


@pytest.mark.parametrize("password", ["secret", "secret:x", "x:secret", "x@secret", "secret@x"])
def test_a_password_is_not_shown(settings: Settings, password: str) -> None:
    # Catches: a URL that is shown with its password, or with a half of it
    queue = Queue(replace(settings, redis_url=f"redis://:{password}@127.0.0.1:1/0"))
    with pytest.raises(UnreachableError, match="CHARRNN_REDIS_URL") as caught:
        queue.ring("generate", 1)
    assert "secret" not in str(caught.value)
    queue.close()
