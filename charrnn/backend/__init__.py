"""The library that computes: TensorFlow on CPUs, JAX on GPUs.

`ops` has the operations of the chosen one, `tensorflow` and `jax` those of each. This module is light, so that a
program can tell which backend it will use without importing it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from importlib.util import find_spec

from charrnn.checks import check_choice, check_integer
from charrnn.errors import InputError

SETTING = "CHARRNN_BACKEND"
MEMORY_LIMIT = "TENSORFLOW_GPU_MEMORY_MIB"  # limits TensorFlow's memory of a GPU. Workers set it to share one
MOST_MIB = 10_000_000
TENSORFLOW, JAX = "tensorflow", "jax"
BACKENDS = {TENSORFLOW: "TensorFlow", JAX: "JAX"}
"""The name of each. The first that is installed is used: a CPU samples fastest with TensorFlow."""

BFLOAT16_CAPABILITY = (8, 0)  # compute capability from which GPUs multiply bfloat16 faster than float32: Ampere, 2020

# Matrix products by cuBLASLt's heuristics, and nothing chosen by timing: processes on the same card would otherwise
# choose different kernels, and texts would differ. --xla_gpu_deterministic_ops is not enough: it takes the first kernel
# that autotuning knows, which is one of Triton's for any shape.
FLAGS = "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0 --xla_gpu_exclude_nondeterministic_ops=true"


def choose_kernels(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let XLA choose the same kernels for a GPU in every process. Called before a backend is imported."""
    environ["XLA_FLAGS"] = f"{FLAGS} {environ.get('XLA_FLAGS', '')}".strip()  # of equal flags the last one holds


def choose_backend(environ: Mapping[str, str] = os.environ) -> str:
    """Return the backend that CHARRNN_BACKEND names, otherwise the first of BACKENDS that is installed.

    Raises:
        InputError: CHARRNN_BACKEND names no backend, or one that is not installed, or none is installed.
    """
    installed = [name for name in BACKENDS if find_spec(name)]
    wanted = environ.get(SETTING, "")
    if wanted:
        check_choice(SETTING, wanted, tuple(BACKENDS))
    if not installed or (wanted and wanted not in installed):
        missing = BACKENDS.get(wanted, " or ".join(BACKENDS.values()))
        raise InputError(
            f"{missing} is not installed. Install the cpu extra, with TensorFlow, or the gpu extra, with JAX: "
            f"pip install '.[cpu]'"
        )
    return wanted or installed[0]


def memory_limit(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the MiB of a GPU's memory that TensorFlow may take by TENSORFLOW_GPU_MEMORY_MIB, or None if it is not set.

    Raises:
        InputError: it is no number of MiB.
    """
    if not (text := environ.get(MEMORY_LIMIT, "")):
        return None
    short = text[: len(str(MOST_MIB)) + 1]
    check_integer(MEMORY_LIMIT, limit := int(short) if short.isdecimal() else short, 1, MOST_MIB)
    return int(limit)
