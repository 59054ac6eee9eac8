"""Random numbers that a device hashes: those of the host, bit for bit, so texts do not show who made them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.backend import choose_backend, ops
from charrnn.model import Model
from charrnn.sampling import sampler as sampling
from charrnn.sampling.randomness import counters, row_key, seed_name, split_words, uniforms, uniforms_of_words
from charrnn.sampling.slots import Report
from tests.model.test_sampling import BATCH, PRECISIONS, rows_of, texts

COUNT, WORD = 16, 2**64 - 1
KEYS = st.lists(st.one_of(st.integers(0, WORD), st.integers(WORD - 999, WORD)), min_size=COUNT, max_size=COUNT)
TIMES = st.lists(st.integers(0, 2**40), min_size=COUNT, max_size=COUNT)

STEPS = [0, 1, 2, 63, 64, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1]
EDGES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63, WORD - 1, WORD]


@ops.compile_xla
def compiled(words: ops.Array) -> ops.Array:
    """Return random numbers as a program for a GPU makes them."""
    return uniforms_of_words(words, ops.cast)


def check(keys: np.ndarray, times: np.ndarray) -> None:
    found = np.asarray(compiled(split_words(counters(keys, times))))
    np.testing.assert_array_equal(found, uniforms(keys, times), strict=True)


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let functions be compiled as for a GPU: by TensorFlow as one program of XLA."""
    monkeypatch.setattr(import_module(f"charrnn.backend.{choose_backend()}"), "on_gpu", True)
    sampling._compiled.cache_clear()
    yield
    sampling._compiled.cache_clear()


@given(KEYS, TIMES)
@example([WORD] * COUNT, [0] * COUNT)
def test_a_device_makes_the_numbers_of_the_host(keys: list[int], times: list[int]) -> None:
    # Catches: a carry that is lost between the words, a shift that keeps the sign
    check(np.array(keys, np.uint64), np.array(times))


def test_a_device_makes_the_numbers_of_many_names_and_steps() -> None:
    names = [row_key(seed, seed_name(None, "a" * seed, seed), 0.5, 3) for seed in range(1000)]
    # Catches: another constant, on one side alone, and a half of a number that is taken for a signed one
    check(np.array(names + EDGES, np.uint64)[:, None], np.array(STEPS))


@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("limits", [{}, {"top_k": 5, "top_p": 0.9}])
def test_texts_do_not_depend_on_who_makes_the_numbers(
    untrained_model: Model, monkeypatch: pytest.MonkeyPatch, precision: str, limits: dict[str, float]
) -> None:
    rows, found = rows_of([(n % 7 + 1, 3 * n + 1) for n in range(40)], **limits), {}
    for hashed in (False, True):
        monkeypatch.setattr(sampling, "HASHED_ON_DEVICE", hashed)
        sampled = texts(untrained_model, rows, precision=precision, report=(report := Report(BATCH)))
        found[hashed] = {key: (text.ids.tobytes(), text.nats.tobytes()) for key, text in sampled.items()}
        assert report.depends_on == frozenset()  # Catches: a self-check whose rows are moved without their numbers
    assert found[True] == found[False]  # Catches: words in the wrong order, a program that is compiled for both
