"""The sampler checks each compiled call at its first use, and reports what its texts depend on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from charrnn.backend import FLAGS, ops
from charrnn.backend.self_check import SLOT, STEP
from charrnn.model import Model
from charrnn.sampling import sampler as sampling
from charrnn.sampling.slots import Report
from charrnn.sampling.tasks import Row

BATCH = 16


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    """Let no call be compiled before a test, and none that it broke be used after it."""
    sampling._compiled.cache_clear()
    yield
    sampling._compiled.cache_clear()


def depends_on(model: Model, batch: int = BATCH, **options: Any) -> frozenset[str]:
    report = Report(batch)
    precision = options.pop("precision", "float32")
    rows = [Row([1, 2, 3], 1.0, 20, key, **options) for key in range(batch)]
    assert len(list(model.sample_rows(rows, batch, report=report, precision=precision))) == batch
    return report.depends_on


@pytest.mark.parametrize(
    ("batch", "options"),
    [(1, {}), (BATCH, {"precision": "bfloat16"}), (64, {"top_k": 3, "top_p": 0.7})],
)
def test_texts_depend_on_their_rows_alone(each_model: Model, batch: int, options: dict[str, Any]) -> None:
    assert depends_on(each_model, batch, **options) == frozenset()


def test_kernels_of_gpus_are_not_chosen_by_timing() -> None:
    # Catches: a backend that is imported without the flags, so that each process may choose other kernels
    assert FLAGS in os.environ["XLA_FLAGS"]


def test_a_product_that_differs_from_slot_to_slot_is_found(
    untrained_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ops.matmul

    def matmul(a: Any, b: Any, transpose_a: bool = False) -> Any:
        product = right(a, b, transpose_a=transpose_a)
        noise = np.where(np.arange(product.shape[0]) == 5, 1e-5, 0.0).astype(np.float32)
        return product + ops.cast(ops.array(noise), product.dtype)[:, None]

    monkeypatch.setattr(ops, "matmul", matmul)
    # Catches: no check, ids compared alone: so small an error hardly ever changes one
    assert depends_on(untrained_model) == {SLOT}
    # Catches: a result that is forgotten after the call that was compiled
    assert depends_on(untrained_model) == {SLOT}


def test_a_step_that_differs_from_the_others_is_found(untrained_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.scan

    def scan(body: Any, state: Any, inputs: Any, steps: int, **options: Any) -> Any:
        def uneven(state: Any, inputs: Any) -> Any:
            *own, error = inputs
            state, (ids, nats) = body(state, own)
            return state, (ids, nats + error)

        errors = np.where(np.arange(steps) == 0, 1e-5, 0.0).astype(np.float32)
        return right(uneven, state, (*inputs, ops.array(errors)), steps, **options)

    monkeypatch.setattr(ops, "scan", scan)
    assert depends_on(untrained_model) == {STEP}
