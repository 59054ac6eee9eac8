"""Compile a program for a GPU that is not there, and print what XLA made of it as JSON.

    PYTHONPATH=.cache/xla python tests/programs/cross_compile.py CARD sampling|limits|training jax|tensorflow

It needs JAX's CUDA plugin, but neither a driver nor CUDA's libraries, and without a card XLA measures nothing: matrix
products are those of cuBLASLt. TensorFlow's program is compiled by JAX's XLA, which is newer than its own. The
estimates are XLA's own, made from the facts below, and no measurement.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

FACTS = """
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  core_count: {cores} fpus_per_core: 128 clock_rate_ghz: {ghz}
  memory_bandwidth: {bandwidth} l2_cache_size: {l2} device_memory_size: {memory}
  shared_memory_per_block: 49152 shared_memory_per_core: {shared} shared_memory_per_block_optin: {shared_of_block}
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: {threads}
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
  device_vendor: "NVIDIA Corporation"
}}
platform_name: "CUDA"
device_description_str: "{name}"
"""
CARDS: dict[str, dict[str, Any]] = {
    "H200": {
        "name": "NVIDIA H200", "major": 9, "minor": 0, "cores": 132, "ghz": 1.98, "threads": 2048,
        "bandwidth": 4_800_000_000_000, "l2": 50 << 20, "memory": 141 << 30,
        "shared": 233_472, "shared_of_block": 232_448,
    },
    "A10": {
        "name": "NVIDIA A10", "major": 8, "minor": 6, "cores": 72, "ghz": 1.695, "threads": 1536,
        "bandwidth": 600_000_000_000, "l2": 6 << 20, "memory": 24 << 30,
        "shared": 102_400, "shared_of_block": 101_376,
    },
}  # fmt: skip
"""A card of 2024 and one of 2021, by NVIDIA's data sheets and the limits of their compute capability."""

ESTIMATED = {"H200"}  # XLA has the speeds of instructions for few kinds of cards
VOCABULARY, BATCH, STEPS, UNROLL, STREAMS = 90, 8192, 64, 64, 128
KERNELS = {"kCublasLtMatmul", "kCustomKernel", "kKernel"}


def main(card: str, work: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as dump:
        flags = f"--xla_dump_to={dump} --xla_dump_hlo_as_text"
        if card in ESTIMATED:
            flags += " --xla_gpu_collect_cost_model_stats=true"
        os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "CHARRNN_BACKEND": name}
        if name == "jax":
            os.environ["XLA_FLAGS"] = flags
        backend = import_module(f"charrnn.backend.{name}")
        backend.on_gpu = True  # type: ignore[attr-defined]
        function, arguments = training() if work == "training" else sampling(limited=work == "limits")
        if name == "jax":
            compile_for(card, function, arguments)
        else:
            hlo = export(backend, function, arguments)
            os.environ["XLA_FLAGS"] += f" {flags}"  # TensorFlow, which has other flags, has read its own by now
            compile_hlo(card, hlo)
        print(json.dumps(describe(Path(dump))), flush=True)  # noqa: T201
    os._exit(0)  # the plugin waits for a device that is not there


def sampling(*, limited: bool) -> tuple[Any, tuple[Any, ...]]:
    """Return the function of a sampler's call, with its arguments."""
    import numpy as np

    from charrnn.backend import ops
    from charrnn.network.network import cast_kernels, first_state, initial_weights
    from charrnn.options import NetworkOptions
    from charrnn.sampling.limits import Limits
    from charrnn.sampling.sampler import HASHED_ON_DEVICE, _compiled

    network = NetworkOptions()
    weights = {name: ops.array(value) for name, value in initial_weights(network, VOCABULARY, 0).items()}
    floats, ids = np.zeros((STEPS, BATCH), np.float32), np.zeros((STEPS, BATCH), np.int32)
    call, _ = _compiled(network, None, HASHED_ON_DEVICE)
    return call, (
        cast_kernels(network, weights, "bfloat16"),
        first_state(network, BATCH, "bfloat16"),
        ids[0],
        ids,
        floats,
        floats,
        np.zeros((STEPS, BATCH, 2), np.uint32) if HASHED_ON_DEVICE else floats,
        Limits(ids, floats) if limited else None,
    )


def training() -> tuple[Any, tuple[Any, ...]]:
    """Return the function of a training step, with its arguments."""
    import numpy as np

    from charrnn.network.network import initial_weights, zero_state
    from charrnn.options import NetworkOptions
    from charrnn.training.optimizers import ADAM
    from charrnn.training.steps import training_step

    network, ids = NetworkOptions(), np.zeros((UNROLL, STREAMS), np.int32)
    weights = initial_weights(network, VOCABULARY, 0)
    step = training_step(network, ADAM, "bfloat16", VOCABULARY, ids.shape)
    state = zero_state(network, STREAMS)
    return step, (weights, weights, [weights, weights], state, ids, ids, np.zeros(2, np.int32), np.zeros(3, np.float32))


def export(backend: Any, function: Any, arguments: tuple[Any, ...]) -> bytes:
    """Return the program that TensorFlow gives XLA."""
    # As the import does on a GPU: otherwise the card would round float32.
    backend.tf.config.experimental.enable_tensor_float_32_execution(False)
    tensors = backend.tf.nest.map_structure(lambda each: each if each is None else backend.array(each), arguments)
    found: bytes = backend.compile_graph(function).experimental_get_compiler_ir(*tensors)(stage="hlo_serialized")
    return found


def topology_of(card: str) -> Any:
    from jax.experimental import topologies

    facts = FACTS.format(**CARDS[card])
    return topologies.get_topology_desc(platform="cuda", target_config=facts, topology="1x1x1")


def compile_for(card: str, function: Any, arguments: tuple[Any, ...]) -> None:
    import jax
    from jax.experimental import topologies
    from jax.sharding import NamedSharding, PartitionSpec

    topology = topology_of(card)
    mesh = topologies.make_mesh(topology, (1,), ("device",))
    place = NamedSharding(mesh, PartitionSpec())  # type: ignore[no-untyped-call]
    shape = partial(jax.ShapeDtypeStruct, sharding=place)
    shapes = jax.tree.map(lambda value: shape(value.shape, value.dtype), arguments)
    jax.jit(function).lower(*shapes).compile()


def compile_hlo(card: str, hlo: bytes) -> None:
    """Compile a program of another library. JAX has no public functions for it."""
    import numpy as np
    from jax._src.interpreters.mlir import make_ir_context
    from jaxlib import _jax, xla_client
    from jaxlib.mlir import ir

    (device,) = topology_of(card).devices
    options = xla_client.CompileOptions()
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[0]]))
    text = _jax.mlir.xla_computation_to_mlir_module(xla_client.XlaComputation(hlo))
    with make_ir_context():
        devices = xla_client.DeviceList((device,))
        device.client.compile(ir.Module.parse(text), executable_devices=devices, compile_options=options)


def describe(dump: Path) -> dict[str, Any]:
    """Return what a program does, by the files that XLA dumped for it."""
    thunks = max(dump.glob("*thunk_sequence_after_thunk_passes.txt"), key=lambda path: path.stat().st_size).read_text()
    hlo = max(dump.glob("*gpu_after_optimizations.txt"), key=lambda path: path.stat().st_size).read_text()
    return {
        "loops": [
            {
                "graphs": body.count("kCommandBuffer"),
                "kernels": sum(body.count(kind) for kind in KERNELS),
                "kinds": sorted(set(body) - KERNELS - {"kCommandBuffer"}),
            }
            for body in _bodies(thunks.splitlines())
        ],
        "trip_counts": sorted(map(int, re.findall(r'known_trip_count":\{"n":"(\d+)"\}', hlo))),
        "words": sorted(set(re.findall(r"u32\[([\d,]+)\]", hlo))),
        "kernels": sum(thunks.count(f" {kind} ") for kind in KERNELS),
        "estimates_us": _estimates(hlo),
    }


def _bodies(lines: list[str]) -> Iterator[list[str]]:
    """Yield the kinds of the thunks in the body of each loop, which are indented below it."""
    for number, line in enumerate(lines):
        if line.strip() == "body:":
            depth = len(line) - len(line.lstrip())
            inner = takewhile(lambda other, depth=depth: len(other) - len(other.lstrip()) > depth, lines[number + 1 :])  # type: ignore[misc]
            yield [match[1] for other in inner if (match := re.match(r"\s*\d+: (k\w+)", other))]


def _estimates(hlo: str) -> list[float]:
    """Return XLA's estimates of the instructions of each computation in us, added up: the longest computations first.

    Of several estimates of an instruction the least counts, which is that of the card's limits where there is one.
    """
    sums = []
    for computation in hlo.split("\n\n"):
        least = [
            min(map(float, re.findall(r'"exec_time_us":([0-9.e+-]+)', line)))
            for line in computation.splitlines()
            if '"exec_time_us"' in line
        ]
        if least:
            sums.append(round(sum(least), 1))
    return sorted(sums, reverse=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
