"""The library that computes: TensorFlow on CPUs, JAX on GPUs.

`ops` has the operations of the chosen one, `tensorflow` and `jax` those of each. This module is light, so that a
program can tell which backend it will use without importing it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from charrnn.checks import check_choice, check_integer
from charrnn.errors import InputError

SETTING = "CHARRNN_BACKEND"
MEMORY_LIMIT = "TENSORFLOW_GPU_MEMORY_MIB"  # limits TensorFlow's memory of a GPU. Workers set it to share one
MOST_MIB = 10_000_000
TENSORFLOW, JAX = "tensorflow", "jax"
BACKENDS = {TENSORFLOW: "TensorFlow", JAX: "JAX"}
"""The name of each. The first that is installed is used: a CPU samples fastest with TensorFlow."""


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
