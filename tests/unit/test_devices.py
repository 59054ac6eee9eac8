"""Devices of a worker: which are visible, chosen and pinned."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE

import pytest

from charrnn.errors import InputError
from worker.devices import choose_devices, label_of, pin, visible_gpus

GPU_UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
MIG_UUID = "MIG-1a2b3c4d-0000-1111-2222-333344445555"


def listed(*gpus: str) -> str:
    """Return the shell line that lists GPUs with these UUIDs as `nvidia-smi -L` does, those of parts below theirs."""
    numbers, lines = iter(range(len(gpus))), []
    for uuid in gpus:
        part = "  MIG 3g.20gb     Device  0:" if uuid.startswith("MIG") else f"GPU {next(numbers)}: A card (40 GB)"
        lines.append(f"echo '{part} (UUID: {uuid})'")
    return "; ".join(lines)


TWO = listed(GPU_UUID, "GPU-b")

Machine = Callable[[str], None]


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
    machine(TWO)
    assert choose_devices("auto", gpus(visible)) == ["cpu"]


def test_auto_is_cpu_without_a_driver(machine: Machine) -> None:
    assert choose_devices("auto", {}) == ["cpu"]


def test_auto_asks_the_driver_where_nothing_is_inherited(machine: Machine) -> None:
    machine(TWO)
    assert choose_devices("auto", {}) == ["0", "1"]


@pytest.mark.parametrize("wanted", ["auto", "gpu", "0"])
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("echo NVIDIA-SMI has failed; exit 9", "NVIDIA-SMI has failed"),
        (f"{TWO}; echo GPU 1 is lost >&2; exit 15", r".*\\nGPU 1 is lost"),
        ("echo No devices were found", "No devices were found"),
        (f"{TWO}; echo Unknown Error", r".*\\nUnknown Error"),
        (f"echo '  MIG 3g.20gb Device 0: (UUID: {MIG_UUID})'", f"MIG 3g.20gb Device 0: .UUID: {MIG_UUID}."),
        ("true", ""),
        (r"printf 'Erreur mat\351rielle'", "Erreur mat�rielle"),  # Catches: a traceback where bytes are no UTF-8
        (r"printf '%9999s' | /usr/bin/tr ' ' x", "x{200}"),  # Catches: all of a long output in one line
    ],
)
def test_a_failing_driver_is_an_error_with_its_output(machine: Machine, wanted: str, line: str, answer: str) -> None:
    # Catches: the CPU, or fewer GPUs, where the driver is faulty; its error text taken for GPUs
    machine(line)
    with pytest.raises(InputError, match=f"nvidia-smi -L returned '{answer}'. .*Repair the driver"):
        choose_devices(wanted, {})


def test_a_driver_that_does_not_answer_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.devices.ANSWER_S", 0.2)
    machine("exec /bin/sleep 60")
    with pytest.raises(InputError, match=r"nvidia-smi -L returned .* timed out after 0.2 seconds"):
        choose_devices("auto", {})


def test_a_driver_that_cannot_be_started_is_an_error(machine: Machine, tmp_path: Path) -> None:
    machine("")
    (tmp_path / "nvidia-smi").write_text("#!/no/such/shell\n")
    with pytest.raises(InputError, match=r"nvidia-smi -L returned .*No such file"):
        choose_devices("auto", {})


def test_the_cpu_needs_no_driver(machine: Machine) -> None:
    machine("exit 9")
    assert choose_devices("cpu", {}) == ["cpu"]


def test_gpu_is_every_visible_gpu(machine: Machine) -> None:
    machine(TWO)
    assert choose_devices("gpu", {}) == ["0", "1"]
    assert choose_devices("gpu", gpus("1")) == ["1"]


@pytest.mark.parametrize("visible", ["", "-1", "-1,0"])
def test_gpu_is_never_the_cpu(machine: Machine, visible: str) -> None:
    # Catches: a container with a GPU reservation that computes on the CPU because its GPUs are hidden
    machine(TWO)
    with pytest.raises(InputError, match="--devices gpu found no GPU"):
        choose_devices("gpu", gpus(visible))


def test_gpu_is_never_the_cpu_without_a_driver(machine: Machine) -> None:
    with pytest.raises(InputError, match="--devices gpu found no GPU"):
        choose_devices("gpu", {})


@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_an_inherited_choice_that_names_a_gpu_twice_is_refused(wanted: str) -> None:
    # Catches: two children on one GPU
    with pytest.raises(InputError, match="each once; .* Visible GPUs: 0, 0"):
        choose_devices(wanted, gpus("0,0"))


def test_an_inherited_choice_is_not_widened_by_the_driver(machine: Machine) -> None:
    machine(TWO)
    assert [gpu.name for gpu in visible_gpus(gpus("1"))] == ["1"]


def test_an_inherited_choice_ends_at_its_first_invalid_id() -> None:
    # CUDA sees only the devices before the invalid id. Catches: a hidden GPU taken for a visible one
    assert [gpu.name for gpu in visible_gpus(gpus("0,-1,1"))] == ["0"]


def test_an_inherited_choice_can_be_narrowed_in_any_order() -> None:
    assert choose_devices("3, 1", gpus("1,2,3")) == ["3", "1"]


@pytest.mark.parametrize("uuid", [GPU_UUID, MIG_UUID])
def test_a_uuid_is_passed_through(uuid: str) -> None:
    assert choose_devices("auto", gpus(f"{uuid},{GPU_UUID[:-1]}0")) == [uuid, f"{GPU_UUID[:-1]}0"]


NOT_SHARED = (
    "0*",
    "0*0",
    "0*-1",
    "0*17",
    "0*1e1",
    "0*03",
    "0**2",
    "*2",
    "0*2*2",
    "0*2,0",
    "cpu*2",
    "gpu*2",
    "4*2",
    "0*²",
)


@pytest.mark.parametrize("wanted", ["4", "0,4", "0,cpu", "", "0,", "00", *NOT_SHARED])
def test_an_invisible_gpu_is_refused(wanted: str) -> None:
    with pytest.raises(
        InputError, match=f"--devices {re.escape(wanted)} is not valid. .* each once; .* Visible GPUs: 0, 1"
    ):
        choose_devices(wanted, gpus("0,1"))


def test_a_gpu_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match="Visible GPUs: none"):
        choose_devices("0", gpus(""))


def test_each_gpu_is_assigned_to_one_child() -> None:
    # Catches: two children that share a GPU's memory
    with pytest.raises(InputError, match=r"--devices 0,0 is not valid. .* each once"):
        choose_devices("0,0", gpus("0,1"))


def test_children_that_share_a_gpu_have_places_on_it() -> None:
    devices = choose_devices("1*3, 0", gpus("0,1"))
    assert devices == ["1", "1", "1", "0"]
    # Catches: children with the same place, which doctor could not tell apart
    assert [label_of(devices, index) for index in range(4)] == ["1 (1 of 3)", "1 (2 of 3)", "1 (3 of 3)", "0"]


def test_sixteen_children_are_the_most_that_share_a_gpu() -> None:
    assert choose_devices("0*16", gpus("0")) == ["0"] * 16


def test_a_shared_gpu_s_memory_is_divided(machine: Machine, tmp_path: Path) -> None:
    machine('[ "$*" = "--id=1 --query-gpu=memory.total --format=csv,noheader,nounits" ] && echo 24000')
    environ: dict[str, str] = {}
    pin("1", tmp_path, environ, shares=3)
    # Catches: three processes that may each take all of it; JAX's old variable, which it refuses beside the new one
    assert (environ["XLA_CLIENT_MEM_FRACTION"], "XLA_PYTHON_CLIENT_MEM_FRACTION" in environ) == ("0.267", False)
    assert (environ["TENSORFLOW_GPU_MEMORY_MIB"], environ["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("6400", "true")


@pytest.mark.parametrize("memory", ["24000", "[N/A]"])
@pytest.mark.parametrize("shares", [1, 3])
def test_the_user_s_limit_of_tensorflow_s_memory_is_kept(
    machine: Machine, tmp_path: Path, memory: str, shares: int
) -> None:
    machine(f"echo '{memory}'")
    environ = {"TENSORFLOW_GPU_MEMORY_MIB": "1000"}
    pin("1", tmp_path, environ, shares=shares)
    # Catches: a limit of the worker instead; one that is taken at once by each process
    assert (environ["TENSORFLOW_GPU_MEMORY_MIB"], environ["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("1000", "true")


def test_an_empty_limit_of_tensorflow_s_memory_is_none(machine: Machine, tmp_path: Path) -> None:
    machine("echo 24000")
    environ = {"TENSORFLOW_GPU_MEMORY_MIB": ""}
    pin("1", tmp_path, environ, shares=3)
    assert environ["TENSORFLOW_GPU_MEMORY_MIB"] == "6400"  # Catches: three processes that may each take all of it


@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_the_user_s_share_of_memory_is_kept_and_an_unknown_size_sets_no_limit(
    machine: Machine, tmp_path: Path, name: str
) -> None:
    machine("echo '[N/A]'")
    environ = {name: "0.1"}
    pin(MIG_UUID, tmp_path, environ, shares=3)
    assert {key: value for key, value in environ.items() if "FRACTION" in key or "MIB" in key} == {name: "0.1"}


def test_an_answer_that_is_no_text_sets_no_limit(machine: Machine, tmp_path: Path) -> None:
    machine(r"printf '24000 \351'")
    environ: dict[str, str] = {}
    pin("1", tmp_path, environ, shares=3)
    assert not {key for key in environ if "MIB" in key}


def test_a_gpu_of_one_child_has_no_limit(machine: Machine, tmp_path: Path) -> None:
    machine("echo 24000")
    environ: dict[str, str] = {}
    pin("1", tmp_path, environ)
    assert not {key for key in environ if "FRACTION" in key or "MIB" in key}


def test_a_divided_gpu_is_its_parts(machine: Machine) -> None:
    others = [f"MIG-{number}" for number in range(3)]
    machine(listed(GPU_UUID, *others[:2], "GPU-b", "GPU-c", others[2]))
    # Catches: a divided GPU that is used as a whole, which CUDA refuses; parts after the first that are lost
    assert choose_devices("auto", {}) == [*others[:2], "1", others[2]]
    assert choose_devices(f"{others[2]},{others[0]}*2", {}) == [others[2], others[0], others[0]]
    with pytest.raises(InputError, match=f"--devices 0 is not valid. .*Visible GPUs: {others[0]}, {others[1]}, 1, "):
        choose_devices("0", {})


def test_a_uuid_that_the_driver_lists_is_the_gpu_with_its_number(machine: Machine) -> None:
    machine(TWO)
    assert choose_devices(f"GPU-b,{GPU_UUID}*2", {}) == ["1", "0", "0"]
    with pytest.raises(InputError, match="each once"):  # Catches: a GPU that is named in both ways
        choose_devices(f"0,{GPU_UUID}", {})


def test_a_pinned_gpu_is_the_only_visible_one(tmp_path: Path) -> None:
    environ = gpus("0,1")
    pin("1", tmp_path, environ)
    assert environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_gpus_are_numbered_as_the_driver_numbers_them(tmp_path: Path) -> None:
    # Catches: CUDA's own order, fastest first, in which `1` is another GPU
    environ: dict[str, str] = {}
    pin("1", tmp_path, environ)
    assert environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_child_on_the_cpu_sees_no_gpu(tmp_path: Path) -> None:
    environ = gpus("0,1")
    pin("cpu", tmp_path, environ)
    assert (environ["CUDA_VISIBLE_DEVICES"], environ["JAX_PLATFORMS"]) == ("-1", "cpu")


def test_what_is_compiled_for_a_gpu_is_kept_where_the_user_says_or_in_the_home(tmp_path: Path) -> None:
    environ = {"CUDA_CACHE_PATH": "/elsewhere"}
    pin("1", tmp_path, environ)
    assert environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "compiled" / "xla")
    assert environ["CUDA_CACHE_PATH"] == "/elsewhere"
    assert environ["JAX_PLATFORMS"] == "cuda"  # Catches: JAX that computes on the CPU if the GPU fails
    assert S_IMODE((tmp_path / "compiled").stat().st_mode) == 0o700


def test_programs_that_others_could_have_compiled_are_not_used(tmp_path: Path) -> None:
    # Catches: code of another user that a worker loads from a home such as /opt
    (tmp_path / "theirs").mkdir()
    (tmp_path / "compiled").symlink_to(tmp_path / "theirs")
    environ: dict[str, str] = {}
    pin("1", tmp_path, environ)
    assert environ.keys() & {"JAX_COMPILATION_CACHE_DIR", "CUDA_CACHE_PATH"} == set()
