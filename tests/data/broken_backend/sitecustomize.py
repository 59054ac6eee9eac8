"""A broken backend: TensorFlow's matrix products differ from slot to slot, as if a kernel split its tiles unevenly.

Python imports this at the start of every process that has its folder on PYTHONPATH.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

ERROR = 1e-3  # of a product, from one slot to the next


def break_products(backend: Any) -> None:
    """Replace the matrix product of the backend."""
    multiply = backend.matmul

    def matmul(a: Any, b: Any, transpose_a: bool = False) -> Any:
        product = multiply(a, b, transpose_a=transpose_a)
        slots = backend.tf.range(backend.tf.shape(product)[0])
        return product + ERROR * backend.cast(slots, product.dtype)[:, None]

    backend.matmul = matmul


class Finder(MetaPathFinder):
    """A finder that breaks the backend after its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "charrnn.backend.tensorflow":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            break_products(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())
