"""Devices of a worker: which are visible, chosen and pinned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.errors import InputError
from worker.devices import choose_devices, pin, visible_gpus

GPU_UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
MIG_UUID = "MIG-1a2b3c4d-0000-1111-2222-333344445555"

Machine = Callable[[str], None]

HOME = Path("/home")


def gpus(visible: str) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": visible}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Put an nvidia-smi on PATH that runs a line of shell. Without a call there is none."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(line: str) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{line}\n")
        tool.chmod(0o755)

    return install


def test_cpu_is_cpu_even_beside_gpus() -> None:
    assert choose_devices("cpu", gpus("0,1")) == ["cpu"]


def test_auto_is_every_visible_gpu() -> None:
    assert choose_devices("auto", gpus("2,3")) == ["2", "3"]


@pytest.mark.parametrize("visible", ["", "-1"])
def test_auto_is_cpu_where_all_gpus_are_hidden(machine: Machine, visible: str) -> None:
    # Catches: an empty variable treated as missing, which would use GPUs that somebody hid
    machine("echo 0; echo 1")
    assert choose_devices("auto", gpus(visible)) == ["cpu"]


def test_auto_is_cpu_without_a_driver(machine: Machine) -> None:
    assert choose_devices("auto", {}) == ["cpu"]


def test_auto_asks_the_driver_where_nothing_is_inherited(machine: Machine) -> None:
    machine("echo 0; echo 1")
    assert choose_devices("auto", {}) == ["0", "1"]


@pytest.mark.parametrize("wanted", ["auto", "gpu", "0"])
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("echo NVIDIA-SMI has failed; exit 9", "NVIDIA-SMI has failed"),
        ("echo 0; echo GPU 1 is lost >&2; exit 15", r"0\\nGPU 1 is lost"),
        ("echo No devices were found", "No devices were found"),
        ("echo 0; echo Unknown Error", r"0\\nUnknown Error"),
        ("true", ""),
    ],
)
def test_a_failing_driver_is_an_error_with_its_output(machine: Machine, wanted: str, line: str, answer: str) -> None:
    # Catches: the CPU, or fewer GPUs, where the driver is faulty; its error text taken for GPUs
    machine(line)
    with pytest.raises(InputError, match=f"nvidia-smi returned '{answer}'. .*Repair the driver"):
        choose_devices(wanted, {})


def test_a_driver_that_does_not_answer_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.devices.ANSWER_S", 0.2)
    machine("exec /bin/sleep 60")
    with pytest.raises(InputError, match=r"nvidia-smi returned .* timed out after 0.2 seconds"):
        choose_devices("auto", {})


def test_a_driver_that_cannot_be_started_is_an_error(machine: Machine, tmp_path: Path) -> None:
    machine("")
    (tmp_path / "nvidia-smi").write_text("#!/no/such/shell\n")
    with pytest.raises(InputError, match=r"nvidia-smi returned .*No such file"):
        choose_devices("auto", {})


def test_the_cpu_needs_no_driver(machine: Machine) -> None:
    machine("exit 9")
    assert choose_devices("cpu", {}) == ["cpu"]


def test_gpu_is_every_visible_gpu(machine: Machine) -> None:
    machine("echo 0; echo 1")
    assert choose_devices("gpu", {}) == ["0", "1"]
    assert choose_devices("gpu", gpus("1")) == ["1"]


@pytest.mark.parametrize("visible", ["", "-1", "-1,0"])
def test_gpu_is_never_the_cpu(machine: Machine, visible: str) -> None:
    # Catches: a container with a GPU reservation that computes on the CPU because its GPUs are hidden
    machine("echo 0; echo 1")
    with pytest.raises(InputError, match="--devices gpu found no GPU"):
        choose_devices("gpu", gpus(visible))


def test_gpu_is_never_the_cpu_without_a_driver(machine: Machine) -> None:
    with pytest.raises(InputError, match="--devices gpu found no GPU"):
        choose_devices("gpu", {})


@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_an_inherited_choice_that_names_a_gpu_twice_is_refused(wanted: str) -> None:
    # Catches: two children on one GPU
    with pytest.raises(InputError, match="each once. Visible GPUs: 0, 0"):
        choose_devices(wanted, gpus("0,0"))


def test_an_inherited_choice_is_not_widened_by_the_driver(machine: Machine) -> None:
    machine("echo 0; echo 1")
    assert visible_gpus(gpus("1")) == ["1"]


def test_an_inherited_choice_ends_at_its_first_invalid_id() -> None:
    # CUDA sees only the devices before the invalid id. Catches: a hidden GPU taken for a visible one
    assert visible_gpus(gpus("0,-1,1")) == ["0"]


def test_an_inherited_choice_can_be_narrowed_in_any_order() -> None:
    assert choose_devices("3, 1", gpus("1,2,3")) == ["3", "1"]


@pytest.mark.parametrize("uuid", [GPU_UUID, MIG_UUID])
def test_a_uuid_is_passed_through(uuid: str) -> None:
    assert choose_devices("auto", gpus(f"{uuid},{GPU_UUID[:-1]}0")) == [uuid, f"{GPU_UUID[:-1]}0"]


@pytest.mark.parametrize("wanted", ["4", "0,4", "0,cpu", "", "0,", "00"])
def test_an_invisible_gpu_is_refused(wanted: str) -> None:
    with pytest.raises(InputError, match=f"--devices {wanted} is not valid. .* each once. Visible GPUs: 0, 1"):
        choose_devices(wanted, gpus("0,1"))


def test_a_gpu_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match="Visible GPUs: none"):
        choose_devices("0", gpus(""))


def test_each_gpu_is_assigned_to_one_child() -> None:
    # Catches: two children that share a GPU's memory
    with pytest.raises(InputError, match=r"--devices 0,0 is not valid. .* each once"):
        choose_devices("0,0", gpus("0,1"))


def test_a_pinned_gpu_is_the_only_visible_one() -> None:
    environ = gpus("0,1")
    pin("1", HOME, environ)
    assert environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_gpus_are_numbered_as_the_driver_numbers_them() -> None:
    # Catches: CUDA's own order, fastest first, in which `1` is another GPU
    environ: dict[str, str] = {}
    pin("1", HOME, environ)
    assert environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_child_on_the_cpu_sees_no_gpu() -> None:
    environ = gpus("0,1")
    pin("cpu", HOME, environ)
    assert (environ["CUDA_VISIBLE_DEVICES"], environ["JAX_PLATFORMS"]) == ("-1", "cpu")


def test_what_is_compiled_for_a_gpu_is_kept_where_the_user_says_or_in_the_home() -> None:
    environ = {"CUDA_CACHE_PATH": "/elsewhere"}
    pin("1", HOME, environ)
    assert environ["JAX_COMPILATION_CACHE_DIR"] == "/home/compiled/xla"
    assert environ["CUDA_CACHE_PATH"] == "/elsewhere"
    assert environ["JAX_PLATFORMS"] == "cuda"  # Catches: JAX that computes on the CPU if the GPU fails
