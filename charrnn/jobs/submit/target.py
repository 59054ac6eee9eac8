"""The version that a job samples from, and the fleet that samples it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.sizing import device_kind
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.store import lifecycle, registry
from charrnn.jobs.store.shown.readable import mean_short_length, only_model
from charrnn.jobs.store.store import Store
from charrnn.options import AUTO, NetworkOptions
from charrnn.sampling.defaults import CPU, GPU


@dataclass(frozen=True)
class Target:
    """The model and the version that a job samples from. The version is None until its training job has made it."""

    model: str
    version: int | None
    characters: str
    precision: str
    network: NetworkOptions


@dataclass(frozen=True)
class Fleet:
    """The live devices that can sample, the model's speed on them, and the mean length of its texts."""

    devices: Mapping[str, int]  # by kind, "cpu" or "gpu"
    speeds: Mapping[str, float]  # by kind: characters per second with a full batch, as far as they are known
    mean_length: float | None  # of the texts that a stop string could end; None if none is known

    @property
    def kind(self) -> str:
        """The kind of the slowest device, or of those that the model was sampled on if none is live."""
        return GPU if set(self.devices or self.speeds) == {GPU} else CPU

    @property
    def size(self) -> int:
        """The number of devices, at least 1."""
        return max(sum(self.devices.values()), 1)

    @property
    def characters_per_s(self) -> float | None:
        """The speed of the slowest device, or None if it is not known."""
        return self.speeds.get(self.kind)

    def expected_characters(self, rows: int, characters: int) -> int:
        """Return the expected characters of rows whose texts may end before `characters` are sampled."""
        return characters if self.mean_length is None else min(characters, max(rows, round(rows * self.mean_length)))


def find_target(connections: Connections, model: str | None, after: int | None) -> Target:
    """Return the version that `model` refers to, or that the training job `after` will make.

    Without either it is that of the settings' model, or of the only model.

    Raises:
        InputError: both are given and differ, `after` makes no version, or no model is given and there are several.
        NotFoundError: the model or the job does not exist.
    """
    if after is not None:
        return _awaited_target(connections.store, model, after)
    with connections.store.read() as connection:
        if model is None:
            model = connections.settings.model or only_model(connection)
        version = registry.resolve(connection, model)
    return Target(version.model, version.version, version.characters, version.precision, version.network)


def _awaited_target(store: Store, model: str | None, after: int) -> Target:
    with store.write() as connection:  # it locks the training job, as storing the new job does later
        lifecycle.awaited_version(connection, after)
    training = store.job(after).spec
    assert isinstance(training, TrainSpec)  # noqa: S101  # `awaited_version` has checked it
    if model not in (None, training.model):
        raise InputError(f"Job {after} trains {training.model}, not {model}. Leave out the model")
    return target_after(training)


def target_after(training: TrainSpec) -> Target:
    """Return the version that a training job with this spec will make."""
    return Target(training.model, None, training.vocabulary, AUTO, training.network)


def find_fleet(connections: Connections, model: str, training: TrainSpec | None = None) -> Fleet:
    """Return the live devices that sample, the model's speed on each kind, and its mean length.

    Args:
        connections: to the store and the broker.
        model: the model.
        training: its training job that is about to be stored, if there is one.
    """
    known, workers = connections.store.speeds(model), connections.workers()
    devices = Counter(device_kind(worker.device) for worker in workers if GenerateSpec.QUEUE in worker.queues)
    with connections.store.read() as connection:
        mean_length = mean_short_length(connection, model, training)
    return Fleet(devices, known, mean_length)
