"""Fake GPUs: TensorFlow finds the visible ones among those in $FAKE_GPUS/gpus, and computes on the CPU.

Python imports this at the start of every process that has its folder on PYTHONPATH. $FAKE_GPUS/log records the
environment of a process when it began to import TensorFlow, the GPUs for which it set memory growth or a limit, and
os._exit.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

FOLDER = Path(os.environ["FAKE_GPUS"])
VISIBLE = "CUDA_VISIBLE_DEVICES"


def tell(event: str, **facts: object) -> None:
    line = {"event": event, "pid": os.getpid(), "ppid": os.getppid(), "at": time.monotonic(), **facts}
    with open(FOLDER / "log", "a") as log:  # one write of a short line is atomic
        log.write(json.dumps(line) + "\n")


def count_gpus() -> int:
    """Return the GPUs that this process may see: up to the first one that does not exist, as CUDA does."""
    there = (FOLDER / "gpus").read_text().split()
    return len(list(takewhile(lambda device: device in there, os.environ[VISIBLE].split(","))))


def install(tensorflow: ModuleType) -> None:
    """Replace TensorFlow's GPUs by the fake ones; a lost GPU is an error at the next step."""
    config, found = tensorflow.config, tensorflow.config.list_physical_devices

    def list_physical_devices(kind: str | None = None) -> list[Any]:
        if kind != "GPU":
            return list(found(kind))
        return [config.PhysicalDevice(f"/physical_device:GPU:{number}", "GPU") for number in range(count_gpus())]

    at_first, convert = count_gpus(), tensorflow.convert_to_tensor

    def convert_to_tensor(*arguments: Any, **options: Any) -> Any:
        if count_gpus() < at_first:
            raise tensorflow.errors.InternalError(None, None, "CUDA_ERROR_DEVICE_UNAVAILABLE")
        if (FOLDER / "broken").exists():
            raise tensorflow.errors.InternalError(None, None, (FOLDER / "broken").read_text())
        return convert(*arguments, **options)

    config.list_physical_devices = list_physical_devices
    config.experimental.get_device_details = lambda gpu: {"device_name": "a card"}
    config.set_logical_device_configuration = lambda gpu, parts: tell(
        "limit", gpu=gpu.name, mib=[part.memory_limit for part in parts]
    )
    config.experimental.set_memory_growth = lambda gpu, on: tell("growth", gpu=gpu.name, on=on)
    tensorflow.convert_to_tensor = convert_to_tensor  # type: ignore[attr-defined]  # mypy sees any module


class Finder(MetaPathFinder):
    """A finder that observes the import of TensorFlow. A mere search for TensorFlow imports nothing."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == "tensorflow" else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            tell("import", **{name: os.environ.get(name) for name in (VISIBLE, "CUDA_DEVICE_ORDER")})
            run(module)
            install(module)
            tell("imported")

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def exit_and_tell(code: int, end: Callable[[int], NoReturn] = os._exit) -> NoReturn:
    tell("exit")
    end(code)


sys.meta_path.insert(0, Finder())
os._exit = exit_and_tell  # type: ignore[assignment]  # it has one more argument
