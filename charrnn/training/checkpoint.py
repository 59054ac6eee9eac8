"""All that a training needs to go on, in one file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from charrnn.network import backend as ops
from charrnn.network.backend import Array
from charrnn.network.network import State
from charrnn.training.progress import EpochMetrics


@dataclass(kw_only=True)
class Checkpoint:
    """A training after `step` steps.

    Attributes:
        weights, averages, best: by name; `best` is of the epoch with the lowest validation loss, or empty.
        moments: of the optimizer, each by the weight's name.
        state: of the network, after the last character read.
        precision: of the matrix products, once it is chosen.
        seconds: spent on it.
        epoch_loss: summed over the steps of this epoch.
        ended: no step is to follow.
    """

    weights: dict[str, Array]
    averages: dict[str, Array]
    moments: list[dict[str, Array]]
    state: State
    precision: str
    best: dict[str, Array] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    ended: bool = False
    history: list[EpochMetrics] = field(default_factory=list)

    def save(self, path: Path) -> None:
        groups = {"weights": self.weights, "averages": self.averages, "best": self.best}
        for number, moments in enumerate(self.moments):
            groups[f"moments.{number}"] = moments
        for layer, state in enumerate(self.state):
            groups[f"state.{layer}"] = {str(number): array for number, array in enumerate(state)}
        tensors = {f"{group}/{name}": np.asarray(a) for group, arrays in groups.items() for name, a in arrays.items()}
        progress = {name: getattr(self, name) for name in PROGRESS}
        progress["history"] = [asdict(metrics) for metrics in self.history]
        save_file(tensors, path, metadata={"progress": json.dumps(progress)})

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        groups: dict[str, dict[str, Array]] = {"best": {}, "averages": {}}
        with safe_open(path, framework="numpy") as file:
            progress = json.loads(file.metadata()["progress"])
            for key in file.keys():
                group, name = key.split("/")
                groups.setdefault(group, {})[name] = ops.array(file.get_tensor(key))
        return cls(
            weights=groups["weights"],
            averages=groups["averages"],
            best=groups["best"],
            moments=_numbered(groups, "moments"),
            state=[tuple(arrays[key] for key in sorted(arrays)) for arrays in _numbered(groups, "state")],
            history=[EpochMetrics.from_dict(metrics) for metrics in progress.pop("history")],
            **progress,
        )


PROGRESS = ("step", "precision", "seconds", "epoch_loss", "ended")


def _numbered(groups: dict[str, dict[str, Array]], name: str) -> list[dict[str, Array]]:
    found = {
        int(group.removeprefix(f"{name}.")): arrays for group, arrays in groups.items() if group.startswith(f"{name}.")
    }
    return [found[number] for number in sorted(found)]
