"""A machine whose GPUs are faked: nvidia-smi tells of them, TensorFlow finds them, and computes on the CPU."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fix_processes import Home, make_home

FAKES = Path(__file__).with_name("fake_gpus")
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Machine(Home):
    """A home in which all commands find the fakes of tests/fake_gpus."""

    @property
    def environment(self) -> dict[str, str]:
        """Without the choice of the person who runs the tests."""
        return {name: text for name, text in super().environment.items() if name != VISIBLE or name in self.settings}

    def set_gpus(self, *ids: str) -> None:
        """What TensorFlow finds, in processes that import it from now on."""
        new = self.path / "gpus.new"
        new.write_text("\n".join(ids))
        new.replace(self.path / "gpus")  # at once, for those that read

    def set_driver(self, answer: str | None) -> None:
        """What nvidia-smi answers; None: it fails."""
        driver = self.path / "driver"
        driver.unlink(missing_ok=True) if answer is None else driver.write_text(answer)

    def told(self, event: str) -> list[dict[str, Any]]:
        """So far: when TensorFlow was about to be imported, was imported, had memory growth set for a GPU; os._exit."""
        log = self.path / "log"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [line for line in lines if line["event"] == event]

    def devices(self) -> dict[int, str]:
        """Of each pool child that has imported TensorFlow, by pid, what it could see when it began to."""
        children = {int(name.split()[1]) for name in self.workers()} & {line["pid"] for line in self.told("imported")}
        return {line["pid"]: line[VISIBLE] for line in self.told("import") if line["pid"] in children}


@contextmanager
def make_machine(*gpus: str, visible: str | None = None) -> Iterator[Machine]:
    """A machine with these GPUs, of which `visible` is what its processes inherit."""
    for home in make_home():
        settings = {
            "FAKE_GPUS": str(home.path),
            "PATH": f"{FAKES}:{os.environ['PATH']}",
            "PYTHONPATH": ":".join([str(FAKES), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "CHARRNN_HEARTBEAT_S": "0.5",
            "CHARRNN_MAINTAIN_S": "1",
        }
        machine = Machine(home.path, settings | ({} if visible is None else {VISIBLE: visible}))
        machine.set_gpus(*gpus)
        machine.set_driver("\n".join(map(str, range(len(gpus)))))
        yield machine
