"""The import of TensorFlow prints no notices. In a worker it does not import JAX and pandas.

Each test runs a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from charrnn.backend import JAX, choose_backend

COMPUTE = "from charrnn.backend import ops; ops.compile_xla(ops.exp)(ops.ones((8,)))"
DIE = """
import os
from charrnn.backend.notices import without_notices
with without_notices():
    os.write(2, b"F0000 This processor has no AVX.\\n")
    os.abort()
"""


def run(code: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # oneDNN is on by default on processors with AVX-512 alone.
    wanted = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1", **environment}
    return subprocess.run(
        [sys.executable, *options, "-c", code], env=wanted, capture_output=True, text=True, check=False
    )


def test_computing_prints_nothing() -> None:
    done = run(COMPUTE, "-W", "error::ResourceWarning")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(choose_backend() == JAX, reason="JAX imports neither")
def test_a_worker_does_not_import_what_it_does_not_need() -> None:
    # Catches: a release of TensorFlow that cannot do without them
    code = f"import sys; from worker.devices import leave_out_unneeded; leave_out_unneeded(); {COMPUTE}"
    done = run(f"{code}; print([name for name in ('jax', 'pandas') if sys.modules[name]])")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("level", ["0", pytest.param("1", marks=pytest.mark.slow("test_computing_prints_nothing"))])
def test_the_users_log_level_holds(level: str) -> None:
    # Catches: a level that is overridden, and a test above that would see no notice
    done = run(COMPUTE, TF_CPP_MIN_LOG_LEVEL=level)
    assert ("oneDNN custom operations are on" in done.stderr) == (level == "0")


def test_an_error_that_ends_the_process_is_shown() -> None:
    # Catches: lines that are kept until the import is over
    done = run(DIE)
    assert (done.returncode, done.stderr) == (-signal.SIGABRT, "F0000 This processor has no AVX.\n")


def test_a_closed_stderr_is_no_obstacle() -> None:
    done = run(f"import os; os.close(2); {COMPUTE}; print('computed')")
    assert done.stdout == "computed\n"
