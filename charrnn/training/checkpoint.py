"""Checkpoints: everything that a training run needs to resume, in one file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.network.network import State
from charrnn.training.progress import EpochMetrics


@dataclass(kw_only=True)
class Checkpoint:
    """The state of a training run after `step` steps.

    Attributes:
        weights: the weights being trained, by name.
        averages: the running averages of the weights, by name, or empty without weight averaging.
        moments: the moments of the optimizer, each by the name of the weight.
        state: the hidden state of the network after the last character that was read.
        precision: of matrix multiplication, "float32" or "bfloat16".
        best: the weights of the epoch with the lowest validation loss, by name, or empty before the first epoch ends.
        step: number of steps taken.
        seconds: training time so far.
        epoch_loss: training loss summed over the steps of the current epoch, in nats per character.
        ended: whether training has ended, so that no step follows.
        history: the metrics of the epochs so far.
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
        """Write the checkpoint to a safetensors file."""
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
        """Return the checkpoint that `save` wrote."""
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
            moments=_list_groups(groups, "moments"),
            state=[tuple(arrays[key] for key in sorted(arrays)) for arrays in _list_groups(groups, "state")],
            history=[EpochMetrics.from_dict(metrics) for metrics in progress.pop("history")],
            **progress,
        )


PROGRESS = ("step", "precision", "seconds", "epoch_loss", "ended")
"""Attributes that are stored as JSON in the metadata of the file, together with `history`."""


def _list_groups(groups: dict[str, dict[str, Array]], name: str) -> list[dict[str, Array]]:
    """Return the groups NAME.0, NAME.1 and so on, in this order."""
    numbered = {
        int(group.removeprefix(f"{name}.")): arrays for group, arrays in groups.items() if group.startswith(f"{name}.")
    }
    return [numbered[number] for number in sorted(numbered)]
