"""Output of `charrnn-jobs doctor`: which child of which worker has which device."""

from __future__ import annotations

from charrnn.jobs.client import Client
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.tables import workers
from producer.commands.doctor import examine
from tests.fixtures.store import each_database

pytestmark = each_database


def record_heartbeat(
    client: Client, owner: str, pid: int, device: str, queues: list[str], self_check: str | None = None
) -> None:
    seen = {"host": owner.split("-")[0], "pid": pid, "device": device, "queues": queues, "seen_at": NOW}
    seen["self_check"] = self_check
    with client.connections.store.write() as connection:
        upsert(connection, workers, owner=owner, **seen)


def test_a_device_that_two_children_claim_is_reported(client: Client) -> None:
    # Catches: devices compared without their host
    for owner, pid, device in (("a-1-x/0", 11, "0"), ("a-2-y/0", 12, "0"), ("a-1-x/1", 13, "1"), ("b-1-z/0", 14, "0")):
        record_heartbeat(client, owner, pid, device, ["train", "generate"])
    (found,) = [check for check in examine(client) if check.name.startswith("device")]
    assert (found.name, found.ok, found.needed) == ("device 0", False, False)
    assert found.detail.startswith("claimed by 2 processes of host a, which slow each other down: 11, 12. Stop all but")


def test_a_gpu_that_one_worker_shares_is_reported_if_another_one_claims_it(client: Client) -> None:
    for index in range(2):
        record_heartbeat(client, f"a-1-x/{index}", 11 + index, f"0 ({index + 1} of 2)", ["generate"])
    assert not [check for check in examine(client) if check.name.startswith("device")]
    record_heartbeat(client, "a-2-y/0", 13, "0", ["generate"])  # in a container with a network of its own
    (found,) = [check for check in examine(client) if check.name.startswith("device")]
    assert (found.name, found.ok) == ("device 0", False)
    assert found.detail.startswith("claimed by 3 processes of host a, which slow each other down: 11, 12, 13. Stop all")


def test_children_are_listed_by_worker_and_number_with_their_devices(client: Client) -> None:
    # Catches: alphabetical order, in which child 10 comes before child 2
    for index in (10, 2):
        record_heartbeat(client, f"b-7-0123abcd/{index}", 100 + index, str(index), ["train", "generate"])
    record_heartbeat(client, "a-9-4567cdef/0", 1, "GPU-8932f937", ["generate"], "failed (a card): of a reason")
    record_heartbeat(client, "c-9-4567cdef/0", 2, "cpu", ["generate"], "passed")
    found = {check.name: check for check in examine(client) if check.name.startswith("worker")}
    assert list(found) == ["worker 1", "worker 102", "worker 110", "worker 2"]
    details = {name: check.detail for name, check in found.items()}
    assert details == {
        "worker 1": "child 0 of worker a-9-4567cdef, device GPU-8932f937, queues generate, release unknown, "
        "self-check failed (a card): of a reason",
        "worker 102": "child 2 of worker b-7-0123abcd, device 2, queues train, generate, release unknown, "
        "self-check not run yet",
        "worker 110": "child 10 of worker b-7-0123abcd, device 10, queues train, generate, release unknown, "
        "self-check not run yet",
        "worker 2": "child 0 of worker c-9-4567cdef, device cpu, queues generate, release unknown, self-check passed",
    }
    # Catches: a failed self-check that looks like all others, or with which doctor ends in an error
    assert {name for name, check in found.items() if check.outcome != "ok"} == {"worker 1"}
    assert found["worker 1"].outcome == "warning"
