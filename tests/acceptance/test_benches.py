"""Each bench runs to its last line in a short form that takes seconds; the figures of that form mean nothing.

PyTorch is not installed beside the product, so its peers are left out, as is `plot.py`, which needs Matplotlib.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

TRAINING = """
    ratio_keras_float32 ratio_torch_float32 ratio_torch_bfloat16 ceiling_share_float32 ceiling_share_bfloat16
    torch_share_of_ceiling_float32 cpu_share_of_others ceiling_gflops_float32 ceiling_gflops_bfloat16 valid
    characters_per_second rounds steps work
"""
SAMPLING = """
    ceiling_share_float32_b1024 ceiling_share_bfloat16_b1024 torch_share_of_ceiling_float32_b1024
    torch_share_of_ceiling_bfloat16_b1024 ratio_torch_bfloat16_b1024 ratio_best_peer_b1 ratio_torch_b1 ratio_notebook
    ragged_share ragged_vs_static ragged_share_geometric ragged_vs_static_geometric equal_rows_float32
    equal_rows_bfloat16 cpu_share_of_others valid characters_per_second ragged_characters_per_second forms
"""
PIPELINE = """
    share_of_sampler equal_rows characters_per_second sampler_characters_per_second load_seconds rounds rows length
"""
NOTEBOOK = """
    method val_loss train_loss epoch_seconds seconds windows steps batch precision characters_per_second
    peak_memory_mb
"""
CHECK_KERAS = "windows means largest_relative_difference"
TERMINAL = """
    python_s help_s jobs_s completion_s sample_first_s sample_400_characters_s cpu_share_of_others
"""
PAGE = """
    jobs_ms jobs_filtered_ms job_ms texts_ms cell_ms parts_ms report_ms core_share_1_viewers core_share_100_viewers
"""
GPU = "characters_per_s equal share_bfloat16 training"
HOST = """
    plan_collect_chars_per_s plan_collect_stop_chars_per_s random_numbers_chars_per_s counters_chars_per_s
    rows_chars_per_s lines_chars_per_s
"""
STORE = """
    submit_rows_per_s submit_peak_mb message_bytes export_rows_per_s export_peak_mb progress_ms bookkeeping_share
"""

FLEET = """
    connections_per_child expire_ms claim_ms waiting_ms status_ms scrape_ms cpu_share_of_others
"""
OF_FLEET = "efficiency errors server_cores transactions_per_s claim_p50_ms claim_p99_ms parts_per_s"  # for each size


def last_line(bench: str, *options: str) -> dict[str, Any]:
    """Run a bench as people do and return the JSON at its end."""
    command = [sys.executable, str(ROOT / "bench" / f"{bench}.py"), "--smoke", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


# The one that stays shares the harness with the others, and mypy compares all benches with the code that they call.
beside = pytest.mark.slow("test_bench_runs_to_its_last_line")


# Catches: a bench that no longer fits the code that it measures; a renamed key.
@pytest.mark.parametrize(
    ("bench", "options", "keys"),
    [
        pytest.param("training", (), TRAINING, marks=beside),
        pytest.param("notebook", (), NOTEBOOK, marks=beside),
        pytest.param("sampling", (), SAMPLING, marks=beside),  # 17 s of CPU, and 25 s
        pytest.param("pipeline", (), PIPELINE, marks=beside),
        pytest.param("terminal", (), TERMINAL, marks=beside),
        ("host", (), HOST),
        pytest.param("gpu", (), GPU, marks=beside),
        pytest.param("notebook", ("--method", "window", "--check-keras", "2"), CHECK_KERAS, marks=beside),
    ],
    ids=["training", "notebook", "sampling", "pipeline", "terminal", "host", "gpu", "notebook beside Keras"],
)
def test_bench_runs_to_its_last_line(bench: str, options: tuple[str, ...], keys: str) -> None:
    assert sorted(last_line(bench, *options)) == sorted(keys.split())


@beside
def test_bench_of_the_page_runs_to_its_last_line() -> None:
    found = last_line("page", "--databases", "sqlite")
    assert sorted(found["sqlite"]) == sorted(PAGE.split())


@beside
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_bench_of_the_store_runs_to_its_last_line(database: str) -> None:
    found = last_line("store", "--databases", database)
    assert list(found) == [database]
    assert sorted(found[database]) == sorted(STORE.split())


@beside
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_bench_of_the_fleet_runs_to_its_last_line(database: str) -> None:
    found = last_line("fleet", "--databases", database)
    of_sizes = [f"{name}_{workers}" for name in OF_FLEET.split() for workers in (2, 4)]
    assert sorted(found[database]) == sorted([*FLEET.split(), *of_sizes])
    # Catches: simulated workers that do nothing
    assert found[database]["parts_per_s_4"] > 0
    assert found[database]["efficiency_4"] > 0
