"""The computation that tells whether a device computes."""

from __future__ import annotations

import pytest

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.backend.trial import DeviceError, check_device


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_device_that_computes_passes(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "fast_precision", lambda: precision)
    check_device()


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_a_wrong_product_is_an_error(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.matmul

    def matmul(a: Array, b: Array) -> Array:
        return right(a, b) + error

    monkeypatch.setattr(ops, "matmul", matmul)
    with pytest.raises(DeviceError, match="A product of matrices in .* is wrong by .* after 1 steps"):
        check_device()
