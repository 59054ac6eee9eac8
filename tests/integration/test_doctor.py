"""Output of `charrnn-jobs doctor`: which child of which worker has which device."""

from __future__ import annotations

from charrnn.jobs.client import Client
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.tables import workers
from producer.commands.doctor import Check, examine
from tests.fixtures.store import each_database

pytestmark = each_database


def record_heartbeat(client: Client, owner: str, pid: int, device: str, queues: list[str]) -> None:
    seen = {"host": owner.split("-")[0], "pid": pid, "device": device, "queues": queues, "seen_at": NOW}
    with client.connections.store.write() as connection:
        upsert(connection, workers, owner=owner, **seen)


def test_children_are_listed_by_worker_and_number_with_their_devices(client: Client) -> None:
    # Catches: alphabetical order, in which child 10 comes before child 2
    for index in (10, 2):
        record_heartbeat(client, f"b-7-0123abcd/{index}", 100 + index, str(index), ["train", "generate"])
    record_heartbeat(client, "a-9-4567cdef/0", 1, "GPU-8932f937", ["generate"])
    found = [check for check in examine(client) if check.name.startswith("worker")]
    assert found == [
        Check(
            "worker 1", True, "child 0 of worker a-9-4567cdef, device GPU-8932f937, queues generate, release unknown"
        ),
        Check("worker 102", True, "child 2 of worker b-7-0123abcd, device 2, queues train, generate, release unknown"),
        Check(
            "worker 110", True, "child 10 of worker b-7-0123abcd, device 10, queues train, generate, release unknown"
        ),
    ]
