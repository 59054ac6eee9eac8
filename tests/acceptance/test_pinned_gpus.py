"""Each child of a worker computes on its GPU or not at all. The GPUs are fake, all processes are real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from charrnn.release import MODULE
from tests.fixtures.gpus import VISIBLE, Machine, make_machine
from tests.fixtures.processes import until
from worker import device_lock

GPU_UUID, MIG_UUID = f"GPU-{uuid4()}", f"MIG-{uuid4()}"  # of this run: locks on GPUs are those of the host
PAUSE_S = 1.0  # before a child without its GPU ends
LOST = "device 1: the backend finds no GPU, so no work is claimed"


def submit(machine: Machine, parts: int = 1) -> str:
    rows = ("-n", str(parts), "--part-rows", "1", "-l", "20", "--rng-seed", "3")
    return machine.ok("submit", "-m", "tiny", *rows).strip()


def submit_and_wait(machine: Machine, parts: int = 1) -> str:
    job = submit(machine, parts)
    machine.ok("wait", job, "--timeout", "100s")
    return job


def keep_busy(machine: Machine) -> dict[int, str]:
    """Submit work until both children have done some, and return their devices by pid."""
    until(lambda: submit_and_wait(machine, parts=8) and len(machine.devices()) == 2, "both children at work")
    return machine.devices()


def children(machine: Machine) -> list[tuple[str, str]]:
    """Return each child's place and device, as doctor shows them."""
    lines = [check["detail"].split(", ") for check in json.loads(machine.call("doctor", "--json").stdout)]
    return [(line[0], line[1]) for line in lines if line[0].startswith("child ")]


@pytest.fixture(scope="module")
def machine(untrained: str) -> Iterator[Machine]:
    """A running worker on two of three GPUs, with a model, and work that both children have done."""
    visible = f"{GPU_UUID},{MIG_UUID}"
    with make_machine("0", GPU_UUID, MIG_UUID, visible=visible) as machine, machine.up("--devices", "auto"):
        machine.ok("models", "import", untrained)
        keep_busy(machine)
        yield machine


def test_each_child_is_pinned_to_another_gpu_before_it_imports_tensorflow(machine: Machine) -> None:
    # Catches: a device that is pinned too late, or the same for all; a list widened by the driver; ids instead of UUIDs
    assert sorted(machine.devices().values()) == [GPU_UUID, MIG_UUID]
    assert {line["CUDA_DEVICE_ORDER"] for line in machine.told("import")} == {"PCI_BUS_ID"}


def locks_of(pid: int) -> list[str]:
    """Return the GPUs that a process has locked."""
    prefix = "@charrnn-jobs/"
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    locks = {f"socket:[{row[6]}]": row[7].removeprefix(prefix) for row in rows if row[-1].startswith(prefix)}
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            found.append(str(link.readlink()))
    return sorted(locks[name] for name in found if name in locks)


def test_the_parent_has_locked_all_gpus_and_each_child_its_own(machine: Machine) -> None:
    devices = machine.devices()
    # Catches: a child that does not end, as on a GPU that was lost, and keeps all GPUs of its killed worker
    assert {pid: locks_of(pid) for pid in devices} == {pid: [device] for pid, device in devices.items()}
    (parent,) = {line["ppid"] for line in machine.told("imported") if line["pid"] in devices}
    assert locks_of(parent) == sorted(devices.values())


def test_the_parent_never_imports_tensorflow(machine: Machine) -> None:
    # Catches: an import before the fork, after which child processes hang
    imports = machine.told("import")
    (parent,) = {line["ppid"] for line in imports}
    assert parent not in {line["pid"] for line in imports}
    assert all(f"-{parent}-" in place for place, _ in children(machine))


def test_memory_growth_is_on_in_each_process(machine: Machine) -> None:
    # Catches: a child that allocates a whole GPU although others use it
    def grown() -> dict[int, tuple[str, bool]]:
        return {line["pid"]: (line["gpu"], line["on"]) for line in machine.told("growth")}

    until(lambda: machine.devices().keys() <= grown().keys(), "memory growth in both children")
    assert set(grown().values()) == {("/physical_device:GPU:0", True)}


@pytest.mark.parametrize(
    "device",
    ["GPU", pytest.param("MIG", marks=pytest.mark.slow("test_a_killed_child_s_replacement_has_its_device"))],
)
def test_a_killed_child_s_replacement_has_its_device(machine: Machine, device: str) -> None:
    before, places = machine.devices(), children(machine)
    (killed,) = [pid for pid, visible in before.items() if visible.startswith(device)]
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(names := machine.workers()) == 2 and f"worker {killed}" not in names, "another child")
    assert children(machine) == places
    after = keep_busy(machine)
    assert sorted(after.values()) == sorted(before.values())
    assert {pid for pid in after if pid not in before} == {
        pid for pid, visible in after.items() if visible.startswith(device)
    }


def test_a_second_worker_on_a_gpu_is_an_error_at_the_start(machine: Machine) -> None:
    # Catches: two children that share a GPU's memory, for example after a second `up` in another home
    begun = len(machine.told("import"))
    done = machine.run("worker", "--devices", MIG_UUID)
    assert done.returncode == 2
    assert f"error: Device {MIG_UUID} is in use by another worker of this host. Stop that worker" in done.stderr
    assert len(machine.told("import")) == begun


def test_a_lost_gpu_costs_one_attempt_and_nothing_is_done_on_the_cpu(untrained: str) -> None:
    with make_machine("0", "1", visible="0,1") as machine, machine.up("--devices", "1"):
        machine.ok("models", "import", untrained)
        calm = machine.ok("results", submit_and_wait(machine))
        begun = len(machine.told("imported"))
        machine.set_gpus("0")
        job = submit(machine)
        # Catches: a child that continues without its GPU, and fails the part three times
        until(lambda: machine.log().count(LOST) >= 2, "two children without a GPU")
        # Catches: a child that computes on the CPU; one that claims before it checks
        assert (machine.part(job)["state"], machine.part(job)["token"]) == ("queued", 1)
        machine.set_gpus("0", "1")
        machine.ok("wait", job, "--timeout", "100s")
        assert machine.ok("results", job) == calm
        assert machine.part(job)["token"] == 2  # held by the first child that found the GPU
        assert {line[VISIBLE] for line in machine.told("import")} == {"1"}
        looked = {line["pid"]: line["at"] for line in machine.told("imported")[begun:]}
        ended = {line["pid"]: line["at"] for line in machine.told("exit") if line["pid"] in looked}
        assert len(ended) >= 2
        # Catches: no pause before the next child, so that children start in a busy loop
        assert all(at - looked[pid] > PAUSE_S for pid, at in ended.items())


unfound = pytest.mark.slow("test_a_gpu_that_tensorflow_does_not_find_is_an_error_at_the_start")


@pytest.mark.parametrize("wanted", ["gpu", pytest.param("auto", marks=unfound), pytest.param("1", marks=unfound)])
def test_a_gpu_that_tensorflow_does_not_find_is_an_error_at_the_start(wanted: str) -> None:
    # Catches: a wrong driver, or TensorFlow for CPUs, which silently computes on the CPU
    with make_machine("0", "1") as machine:
        machine.set_gpus("0")
        done = machine.run("worker", "--devices", wanted)
        assert done.returncode == 2
        assert f"error: TensorFlow finds no GPU with {VISIBLE}=1 (a card, driver 1.2). Check that" in done.stderr
        looked = {line[VISIBLE] for line in machine.told("import")}
        assert looked == ({"1"} if wanted == "1" else {"0", "1"})


def test_a_gpu_that_does_not_compute_is_an_error_at_the_start() -> None:
    # Catches: a card that is newer than the library: it is found, and each part fails at the first operation
    with make_machine("0", "1") as machine:
        machine.break_gpu("CUDA_ERROR_INVALID_PTX: a PTX JIT compilation failed")
        done = machine.run("worker", "--devices", "1")
        assert done.returncode == 2
        expected = f"TensorFlow fails (CUDA_ERROR_INVALID_PTX: a PTX JIT compilation failed) with {VISIBLE}=1 (a card"
        assert f"error: {expected}" in done.stderr


def test_a_limit_of_memory_that_is_no_number_is_an_error_at_the_start() -> None:
    # Catches: a worker that starts, and whose children cannot
    with make_machine("0", "1") as machine:
        machine.settings["TENSORFLOW_GPU_MEMORY_MIB"] = "8 GB"
        done = machine.run("worker", "--devices", "1")
        assert done.returncode == 2
        assert "TENSORFLOW_GPU_MEMORY_MIB must be a whole number from 1 to 10,000,000. Received: '8 GB'" in done.stderr


def test_children_that_share_a_gpu_have_a_place_and_a_part_of_its_memory_each(untrained: str) -> None:
    with make_machine("0", "1") as machine, machine.up("--devices", "1*2"):
        machine.ok("models", "import", untrained)
        places = [f"device 1 ({place} of 2)" for place in (1, 2)]
        until(lambda: [device for _, device in children(machine)] == places, "both children with their places")
        pids = keep_busy(machine)
        assert set(pids.values()) == {"1"}
        # Catches: two processes that each may take the whole memory
        assert {(line["gpu"], *line["mib"]) for line in machine.told("limit")} == {("/physical_device:GPU:0", 9600)}
        os.kill(min(pids), signal.SIGKILL)  # Catches: a child that takes the place of another
        until(lambda: len(names := machine.workers()) == 2 and f"worker {min(pids)}" not in names, "another child")
        assert [device for _, device in children(machine)] == places
        # Catches: a warning about processes that share a GPU on purpose
        assert "claimed by" not in machine.call("doctor").stdout
        for wanted in ("1", "1*2", "1*3"):
            done = machine.run("worker", "--devices", wanted)
            assert "error: Device 1 is in use by another worker of this host" in done.stderr


@pytest.mark.slow("test_a_second_worker_on_a_gpu_is_an_error_at_the_start")
def test_of_two_workers_that_start_at_once_on_a_gpu_one_is_refused() -> None:
    with make_machine("0", "1") as machine, machine.up():
        workers = {count: machine.start("worker", "--devices", f"1*{count}") for count in (2, 3)}
        try:
            # Catches: a lock that does not last from the check to the children, so that children of both are mixed and
            # the others try to start for ever
            refused = until(lambda: next((n for n, one in workers.items() if one.poll() is not None), None), "an end")
            first = workers.pop(refused)
            assert "error: Device 1 is in use by another worker of this host" in first.communicate()[1]
            assert first.returncode == 2
            ((count, kept),) = workers.items()
            expected = [f"device 1 ({place} of {count})" for place in range(1, count + 1)]
            until(
                lambda: sorted(device for _, device in children(machine)) == [*expected, "device cpu"], "its children"
            )
            kept.send_signal(signal.SIGTERM)
            assert "in use" not in kept.communicate(timeout=60)[1]
            assert kept.returncode == 0
        finally:
            for worker in workers.values():
                worker.kill()


def test_a_worker_that_restarts_waits_for_a_gpu_that_is_in_use() -> None:
    with make_machine("0", "1") as machine, machine.broker(), ExitStack() as stack:
        other = stack.enter_context(device_lock.hold([f"GPU-{machine.path.name}-1"]))
        log = stack.enter_context(open(machine.path / "worker.log", "w+"))
        words = [*MODULE, "worker", "--devices", "1", "--again"]
        worker = stack.enter_context(subprocess.Popen(words, env=machine.environment, stderr=log))
        stack.callback(worker.kill)
        until(lambda: "Device 1 is in use" in Path(log.name).read_text(), "a worker that waits")
        other.close()
        # Catches: a worker that ends while the children of the one that it replaces still end
        until(lambda: "device 1" in [device for _, device in children(machine)], "its child")
        worker.terminate()
        assert worker.wait(60) == 0


def test_a_worker_that_restarts_goes_on_without_a_gpu_that_stays_in_use() -> None:
    with make_machine("0", "1", "2") as machine, ExitStack() as stack:
        machine.settings["CHARRNN_LEASE_S"] = "3"
        stack.enter_context(machine.broker())
        stack.enter_context(device_lock.hold([f"GPU-{machine.path.name}-1"]))
        log = stack.enter_context(open(machine.path / "worker.log", "w+"))
        words = [*MODULE, "worker", "--devices", "1*2,0,2", "--again"]
        worker = stack.enter_context(subprocess.Popen(words, env=machine.environment, stderr=log))
        stack.callback(worker.kill)
        # Catches: GPUs that wait for ever for one of which a child does not end
        expected = ["device 0", "device 2"]
        until(lambda: sorted(device for _, device in children(machine)) == expected, "the children on other GPUs")
        assert "device 1 is left out until this worker restarts" in Path(log.name).read_text()
        health, now = machine.path / "health" / f"{socket.gethostname()}-{worker.pid}", time.time()
        # Catches: a worker that is taken for one that hangs, since children are missing
        until(lambda: health.stat().st_mtime > now, "a sign of life of all children")
        worker.terminate()
        assert worker.wait(60) == 0


def test_a_worker_that_restarts_and_gets_no_gpu_ends() -> None:
    with make_machine("0", "1") as machine, machine.broker(), device_lock.hold([f"GPU-{machine.path.name}-1"]):
        machine.settings["CHARRNN_LEASE_S"] = "2"
        words = [*MODULE, "worker", "--devices", "1", "--again"]
        done = subprocess.run(words, env=machine.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2  # Catches: a worker that computes on the CPU, or waits for ever
        assert "error: Device 1 is in use by another worker of this host. Stop that worker" in done.stderr


@pytest.mark.slow(
    "test_a_divided_gpu_is_its_parts", "test_each_child_is_pinned_to_another_gpu_before_it_imports_tensorflow"
)
def test_the_parts_of_a_divided_gpu_are_devices(untrained: str) -> None:
    part = f"MIG-{uuid4()}"
    with make_machine(part) as machine:
        gpu = "GPU 0: a card (UUID: GPU-whole)"
        machine.set_driver(f"{gpu}\n  MIG 3g.20gb     Device  0: (UUID: {part})\n")
        with machine.up("--devices", "gpu"):
            machine.ok("models", "import", untrained)
            submit_and_wait(machine)
            # Catches: the number of the whole GPU, which computes nothing while it is divided
            assert [device for _, device in children(machine)] == [f"device {part}"]
            assert set(machine.devices().values()) == {part}


refused = pytest.mark.slow("test_an_invisible_gpu_is_refused", "test_more_children_than_gpus_are_an_error_at_the_start")


@pytest.mark.parametrize("wanted", ["0,1,2", *(pytest.param(x, marks=refused) for x in ("0,0", "1,2", "0*x", "0*17"))])
def test_more_children_than_gpus_are_an_error_at_the_start(wanted: str) -> None:
    with make_machine("0", "1") as machine:
        done = machine.run("worker", "--devices", wanted)
        assert (done.returncode, machine.told("import")) == (2, [])
        assert (
            f"--devices {wanted} is not valid. Expected auto, cpu, gpu, or GPU ids, each once; 0*3 lets" in done.stderr
        )


failing = pytest.mark.slow("test_a_failing_driver_is_an_error_with_its_output")


@pytest.mark.parametrize("wanted", ["gpu", pytest.param("auto", marks=failing)])
def test_a_driver_that_fails_is_an_error_at_the_start(wanted: str) -> None:
    with make_machine("0") as machine:
        machine.set_driver(None)
        done = machine.run("worker", "--devices", wanted)
        assert (done.returncode, machine.told("import")) == (2, [])
        assert "nvidia-smi -L returned 'cat: " in done.stderr


def test_a_worker_on_the_cpu_does_not_query_gpus() -> None:
    # Catches: seconds and half a gigabyte wasted at each start
    with make_machine("0") as machine, machine.up():
        assert machine.told("import") == []
        assert [device for _, device in children(machine)] == ["device cpu"]


@pytest.mark.slow("test_an_attempt_that_ends_early_gives_back_the_parts")  # and the types: a claim names its device
def test_a_gpu_claims_several_parts_that_were_sized_for_a_cpu(untrained: str, tmp_path: Path) -> None:
    with make_machine("0", visible="0") as machine:
        machine.ok("models", "import", untrained)
        rows = ("-m", "tiny", "-n", "9000", "-l", "20", "--rng-seed", "3")
        with machine.up("--queues", "train"):  # no device samples yet: three parts of two seconds of a CPU
            killed, calm = (machine.ok("submit", *rows).strip() for _ in range(2))
        machine.settings["CHARRNN_CRASH_AT"] = f"written/0:kill:{tmp_path / 'crashed'}"
        with machine.up("--devices", "0"):
            for job in (killed, calm):
                machine.ok("wait", job, "--timeout", "100s")
        # Catches: a GPU that claims one part; parts that stay joined after a failure, and would keep a CPU for hours
        assert [machine.part(job)[name] for job in (killed, calm) for name in ("span", "rows", "token")] == [
            *(1, 3000, 2),  # cut into three of one size
            *(3, 9000, 1),
        ]
        for status in (machine.json("status", job) for job in (killed, calm)):
            assert (status["parts_total"], status["report"]["parts"]) == (3, 3)
        assert machine.ok("results", killed) == machine.ok("results", calm)
        assert machine.ok("results", calm).count("\n") == 9000
