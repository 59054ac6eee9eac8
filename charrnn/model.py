"""A trained model: its folder on disk, and sampling from it here and now.

The folder holds `config.json` (the network), `vocabulary.json`, `model.safetensors` (the weights),
`metrics.json`, and `metrics.csv` with a line an epoch. All of it is untrusted: shapes are checked against
the configuration before any weight is read, and nothing in it is ever executed.
"""

from __future__ import annotations

import csv
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from charrnn.errors import InputError, ModelFileError
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
from charrnn.network import backend as ops
from charrnn.network.network import Weights
from charrnn.options import FLOAT32, NetworkOptions, SamplingOptions
from charrnn.sampling.defaults import choose_batch, choose_precision
from charrnn.sampling.randomness import row_key, seed_name
from charrnn.sampling.sampler import sample
from charrnn.sampling.slots import ALL, Row, Text
from charrnn.text.vocabulary import Vocabulary

COLUMNS = ("epoch", "step", "learning_rate", "train_loss", "val_loss")  # of metrics.csv


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A text that a model wrote. `text` holds new characters only; the seed has its own field."""

    seed: str
    temperature: float
    sample: int  # the k-th text of this seed and temperature, from 0
    text: str
    finish_reason: str  # "length", or "stop" where a stop string ended it
    nats_per_char: float | None  # mean over the text, at temperature 1; None of an empty text
    logprobs: list[float] = field(repr=False)  # of each character, at temperature 1


class Model:
    """Weights with the network and vocabulary that they belong to.

    Attributes:
        network: the architecture.
        vocabulary: the characters it knows.
        weights: name -> array, as `network.weight_shapes` lists them.
        metrics: JSON-ready facts of its training, such as `val_loss` per character.
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

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return sum(4 * int(np.prod(value.shape)) for value in self.weights.values())

    def save(self, path: str | Path) -> None:
        """Write the model's folder; an existing one is overwritten."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        # safetensors writes an array's memory as it lies: a transposed one would be saved wrong.
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
        seeds: str | Iterable[str],
        *,
        temperature: float | Iterable[float] = 1.0,
        rng_seed: int | None = None,
        **options: Any,
    ) -> Iterator[Sample]:
        """Write texts: every seed at every temperature, `samples` times, all as one batch.

        Args:
            seeds: what each text starts from, one or several; an empty seed starts a new line.
            temperature: 0 always takes the likeliest character; 1 is what the model learned.
            rng_seed: drawn at random if None. The same number gives the same texts.
            **options: fields of `SamplingOptions`, such as length=400, samples=1, stop="\\n", top_k, top_p=0.9,
                unknown="replace".

        Yields:
            Samples in order: by seed, then temperature, then sample.

        Raises:
            InputError: a seed with characters the model does not know, or a number out of range.
        """
        if taken := options.keys() & {"temperatures", "logprobs"}:
            raise InputError(
                f"sample() has no option {', '.join(sorted(taken))}: temperature takes one or several, and every "
                f"Sample has its logprobs"
            )
        chosen = SamplingOptions.from_dict(
            {
                **options,
                "temperatures": temperature,
                "rng_seed": secrets.randbits(31) if rng_seed is None else rng_seed,
            }
        )
        wanted = list(_wanted([seeds] if isinstance(seeds, str) else seeds, chosen))
        rows = [self.row(*row, chosen) for row in wanted]  # checked before the first text is yielded
        return self._samples(wanted, rows, chosen.precision)

    def _samples(self, wanted: list[tuple[str, str, float, int]], rows: list[Row], precision: str) -> Iterator[Sample]:
        batch = choose_batch(len(rows))
        precision = choose_precision(precision, self.metrics.get("sampling_precision", FLOAT32), batch)
        texts = in_order(self.sample_rows(rows, batch, precision=precision))
        for (_, seed, temperature, k), text in zip(wanted, texts, strict=True):
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
        """The sampler's row for one text; `name` is `seed_name`'s."""
        return Row(
            seed=self.vocabulary.encode(self.vocabulary.prepare_seed(seed, options.unknown)),
            temperature=temperature,
            length=options.length,
            key=row_key(options.rng_seed, name, temperature, k),
            stop=_stops(self.vocabulary, options.stop),
            keep_stop=options.keep_stop,
            top_k=ALL if options.top_k is None else options.top_k,
            top_p=1.0 if options.top_p is None else options.top_p,
        )

    def sample_rows(self, rows: Iterable[Row], batch: int, **options: Any) -> Iterator[Text]:
        """`sampling.sample` on this model."""
        return sample(self.network, self.weights, rows, batch, **options)


@lru_cache(maxsize=16)  # rows of a job have the same, and these may be long
def _stops(vocabulary: Vocabulary, stops: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """As ids; those with characters that the model does not know never occur and are left out."""
    return tuple(tuple(vocabulary.encode(stop)) for stop in stops if not vocabulary.unknown(stop))


def _wanted(seeds: Iterable[str], options: SamplingOptions) -> Iterator[tuple[str, str, float, int]]:
    """(name, seed, temperature, k) of every row, in order."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        name = seed_name(None, seed, seen[seed])
        seen[seed] += 1
        for temperature, k in product(options.temperatures, range(options.samples)):
            yield name, seed, temperature, k


def in_order(texts: Iterable[Text]) -> Iterator[Text]:
    """Put texts back into the order of their rows, holding only those that came early."""
    early: dict[int, Text] = {}
    expected = 0
    for text in texts:
        early[text.index] = text
        while expected in early:
            yield early.pop(expected)
            expected += 1


def load(path: str | Path) -> Model:
    """Read a model's folder.

    Raises:
        ModelFileError: a file is missing, damaged, or its weights are not the network's.
    """
    folder = Path(path)
    with about(folder / CONFIG):
        network = read_network(folder / CONFIG)
    with about(folder / VOCABULARY):
        vocabulary = read_vocabulary(folder / VOCABULARY)
    with about(folder / METRICS):
        metrics = read_metrics(folder / METRICS)
    with about(folder / WEIGHTS):
        weights = _read_weights(folder / WEIGHTS, network.weight_shapes(len(vocabulary)))
    return Model(network, vocabulary, weights, metrics)


def _read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    check_weights(path, shapes)
    try:
        # Not mapped, as is the default: its pages count beside the tensors, three times the file in all.
        with safe_open(path, framework="numpy", backend="pread") as file:
            return {name: ops.loaded(file.get_tensor(name)) for name in shapes}
    except SafetensorError as error:
        raise ModelFileError(f"damaged: {error!s:.{SHOWN}}") from error
