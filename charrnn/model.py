"""A trained model: its folder on disk, and sampling from it in this process.

The folder holds `config.json` (the network), `vocabulary.json`, `model.safetensors` (the weights), `metrics.json`, and
`metrics.csv` with one line per epoch. All of it is untrusted: shapes are checked against the configuration before any
weight is read, and nothing in it is ever executed.
"""

from __future__ import annotations

import csv
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from charrnn.backend import ops
from charrnn.checks import check_path, check_strings
from charrnn.errors import InputError, ModelFileError, SeedError, counted
from charrnn.model_files import (
    CONFIG,
    CONFIG_FORMAT,
    HISTORY,
    METRICS,
    SHOWN,
    VOCABULARY,
    WEIGHTS,
    about,
    check_weights,
    read_metrics,
    read_network,
    read_vocabulary,
)
from charrnn.network.network import Weights
from charrnn.options import FLOAT32, NetworkOptions, SamplingOptions, no_option
from charrnn.sampling.defaults import CPU, GPU, choose_batch, choose_precision
from charrnn.sampling.limits import ALL
from charrnn.sampling.randomness import row_key, seed_name
from charrnn.sampling.sampler import sample
from charrnn.sampling.stops import to_string
from charrnn.sampling.tasks import Row
from charrnn.sampling.texts import Text, Texts, reorder
from charrnn.text.vocabulary import NEW_LINE, Vocabulary

GIVEN = {"temperatures", "logprobs"}  # options of jobs, in whose place `Model.sample` has others
COLUMNS = ("epoch", "step", "learning_rate", "train_loss", "val_loss")  # the columns of metrics.csv


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sampled text. `text` holds only the new characters; the seed has its own field."""

    seed: str
    temperature: float
    sample: int  # index among the texts of this seed and temperature, from 0
    text: str
    finish_reason: str  # "length", or "stop" if a stop string ended the text
    nats_per_char: float | None  # mean cross-entropy of the text at temperature 1; None for an empty text
    logprobs: list[float] = field(repr=False)  # natural log probability of each character at temperature 1


class Model:
    """A network's weights, together with its architecture and vocabulary.

    Attributes:
        network: the architecture.
        vocabulary: the characters that the model can read and write.
        weights: arrays by name; `network.weight_shapes` lists names and shapes.
        metrics: JSON-ready facts about its training, such as `val_loss` in nats per character.
    """

    def __init__(
        self,
        network: NetworkOptions,
        vocabulary: Vocabulary,
        weights: Weights,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.vocabulary = network, vocabulary
        self.weights, self.metrics = weights, dict(metrics or {})

    def __repr__(self) -> str:
        network = self.network
        return (
            f"<Model: {network.cell}, {counted(network.layers, 'layer')} of {counted(network.units, 'unit')}, "
            f"{counted(len(self.vocabulary), 'character')} in the vocabulary>"
        )

    @property
    def reset(self) -> int | None:
        """The id of the character that begins a text of its own: the newline, if the model was trained on a list."""
        return self.vocabulary.ids[NEW_LINE] if self.network.lines else None

    @property
    def size(self) -> int:
        """Size of the weights in bytes."""
        return sum(4 * int(np.prod(value.shape)) for value in self.weights.values())

    def save(self, path: str | Path) -> None:
        """Write the model's folder. Files of an existing one are overwritten.

        Raises:
            InputError: the folder cannot be created.
        """
        folder = Path(check_path("path", path))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise InputError(
                f"{folder}: the folder cannot be created: {error.strerror}. Expected a new folder, or that of a model"
            ) from error
        # safetensors writes the memory of an array in its order there, so a transposed one would be saved wrong.
        arrays = {name: np.ascontiguousarray(value) for name, value in self.weights.items()}
        save_file(arrays, folder / WEIGHTS)
        config = {"format": CONFIG_FORMAT, "network": self.network.to_dict()}
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (folder / VOCABULARY).write_text(self.vocabulary.to_json() + "\n", encoding="utf-8")
        (folder / METRICS).write_text(json.dumps(self.metrics, indent=1) + "\n", encoding="utf-8")
        with open(folder / HISTORY, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            table.writeheader()
            table.writerows(self.metrics.get("history", ()))

    def sample(
        self,
        seeds: str | Iterable[str] = "",
        *,
        temperature: float | Iterable[float] = 1.0,
        rng_seed: int | None = None,
        **options: Any,
    ) -> Iterator[Sample]:
        """Sample texts: `samples` texts for every seed at every temperature, together in one batch.

        Args:
            seeds: one or several texts to continue. An empty seed stands for a newline. Default: one empty seed.
            temperature: one or several numbers of at least 0. 0 is greedy decoding; 1 is the learned distribution.
            rng_seed: random seed; the same one gives the same texts. Random if None.
            **options: fields of `SamplingOptions`, such as length=400, samples=1, stop="\\n", top_k, top_p=0.9,
                unknown="replace".

        Yields:
            Samples in order: by seed, then temperature, then sample.

        Raises:
            InputError: a seed is no string or has unknown characters, or an option is unknown or out of range.
        """
        if taken := options.keys() & GIVEN:
            raise InputError(
                f"sample() has no option {', '.join(sorted(taken))}. Pass one or several numbers as temperature; every "
                f"Sample has logprobs"
            )
        if unknown := options.keys() - SamplingOptions.names():
            raise no_option("sample()", unknown, SamplingOptions.names() - GIVEN | {"temperature"})
        sampling = SamplingOptions.from_dict(
            {
                **options,
                "temperatures": temperature,
                "rng_seed": secrets.randbits(31) if rng_seed is None else rng_seed,
            }
        )
        plan = list(_plan_rows(check_strings("seeds", seeds), sampling))
        rows = [self.row(*entry, sampling) for entry in plan]  # checked before the first text is yielded
        return self._samples(plan, rows, sampling.precision)

    def _samples(self, plan: list[tuple[str, str, float, int]], rows: list[Row], precision: str) -> Iterator[Sample]:
        batch = choose_batch(len(rows), GPU if ops.on_gpu else CPU)
        precision = choose_precision(precision, self.metrics.get("sampling_precision", FLOAT32), batch)
        sampled = self.sample_rows(rows, batch, precision=precision)
        texts = reorder((text.index, text) for text in sampled)
        for (_, seed, temperature, k), text in zip(plan, texts, strict=True):
            yield Sample(
                seed=seed,
                temperature=temperature,
                sample=k,
                text=self.vocabulary.decode(text.ids.tolist()),
                finish_reason=text.finish_reason,
                nats_per_char=text.nats_per_char,
                logprobs=text.logprobs,
            )

    def row(self, name: str, seed: str, temperature: float, k: int, options: SamplingOptions) -> Row:
        """Return the sampler's row for one text.

        Args:
            name: the seed's name, from `seed_name`.
            seed: the text to continue.
            temperature: at least 0.
            k: index of the text among those of this seed and temperature, from 0.
            options: length, stop strings and limits.

        Raises:
            SeedError: the seed has characters outside the vocabulary.
        """
        prepared = self.vocabulary.prepare_seed(seed, options.unknown)
        if self.network.lines and not prepared.startswith(NEW_LINE):
            prepared = NEW_LINE + prepared  # as in training, where a newline stands before each line
        try:
            ids = self.vocabulary.encode(prepared)
        except InputError as error:
            raise SeedError(str(error)) from error
        return Row(
            seed=ids,
            temperature=temperature,
            length=options.length,
            key=row_key(options.rng_seed, name, temperature, k),
            stop=_encode_stops(self.vocabulary, options.stop or (NEW_LINE,) * self.network.lines),
            keep_stop=options.keep_stop,
            top_k=ALL if options.top_k is None else options.top_k,
            top_p=1.0 if options.top_p is None else options.top_p,
        )

    def sample_calls(self, rows: Iterable[Row], batch: int, **options: Any) -> Iterator[Texts]:
        """Sample rows with this model, and yield the texts that end in each call. See `charrnn.sampling.sampler.sample`
        for the options."""
        return sample(self.network, self.weights, rows, batch, reset=self.reset, **options)

    def sample_rows(self, rows: Iterable[Row], batch: int, **options: Any) -> Iterator[Text]:
        """Sample rows with this model, and yield each text as it ends. The options are those of `sample_calls`."""
        return chain.from_iterable(self.sample_calls(rows, batch, **options))


@lru_cache(maxsize=16)  # the rows of a job share their stop strings, which may be many and long
def _encode_stops(vocabulary: Vocabulary, stops: tuple[str, ...]) -> tuple[str, ...]:
    """Return stop strings as ids, without those that have characters outside the vocabulary: they can never match."""
    found = map(vocabulary.plain, stops)
    return tuple(to_string(vocabulary.encode(stop)) for stop in found if not vocabulary.unknown(stop))


def _plan_rows(seeds: Iterable[str], options: SamplingOptions) -> Iterator[tuple[str, str, float, int]]:
    """Yield (name, seed, temperature, k) for every row, in order."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        name = seed_name(None, seed, seen[seed])
        seen[seed] += 1
        for temperature, k in product(options.temperatures, range(options.samples)):
            yield name, seed, temperature, k


def load(path: str | Path) -> Model:
    """Load a model from a folder that `Model.save` wrote.

    Raises:
        InputError: the path is neither a string nor a Path.
        ModelFileError: a file is missing or damaged, or the weights do not match the network.
    """
    folder = Path(check_path("path", path))
    with about(folder / CONFIG):
        network = read_network(folder / CONFIG)
    with about(folder / VOCABULARY):
        vocabulary = read_vocabulary(folder / VOCABULARY)
        if network.lines and NEW_LINE not in vocabulary:
            raise ModelFileError("the vocabulary has no newline. Expected one, since the network reads lines")
    with about(folder / METRICS):
        metrics = read_metrics(folder / METRICS)
    with about(folder / WEIGHTS):
        weights = _read_weights(folder / WEIGHTS, network.weight_shapes(len(vocabulary)))
    return Model(network, vocabulary, weights, metrics)


def _read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    check_weights(path, shapes)
    try:
        # Read instead of mapped, which is the default: mapped pages count in addition to the tensors, so loading
        # would take three times the size of the file.
        with safe_open(path, framework="numpy", backend="pread") as file:
            return {name: ops.copy_array(file.get_tensor(name)) for name in shapes}
    except SafetensorError as error:
        raise ModelFileError(f"the file is damaged: {error!s:.{SHOWN}}. Copy or export it again") from error
