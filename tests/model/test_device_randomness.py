"""Random numbers that a device hashes: those of the host, bit for bit, so texts do not show who made them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.backend import JAX, choose_backend, ops
from charrnn.model import Model
from charrnn.sampling import sampler as sampling
from charrnn.sampling.randomness import counters, split_words, uniforms, uniforms_of_words
from charrnn.sampling.slots import Report
from tests.model.test_sampling import BATCH, PRECISIONS, rows_of, texts

pytestmark = pytest.mark.skipif(choose_backend() != JAX, reason="only JAX samples on a device that hashes")

COUNT, WORD = 16, 2**64 - 1
KEYS = st.lists(st.one_of(st.integers(0, WORD), st.integers(WORD - 999, WORD)), min_size=COUNT, max_size=COUNT)
TIMES = st.lists(st.integers(0, 2**40), min_size=COUNT, max_size=COUNT)

compiled = ops.compile_graph(uniforms_of_words)


@given(KEYS, TIMES)
@example([WORD] * COUNT, [0] * COUNT)
def test_a_device_makes_the_numbers_of_the_host(keys: list[int], times: list[int]) -> None:
    made = np.array(keys, np.uint64), np.array(times)
    # Catches: a carry that is lost between the words, a shift that keeps the sign
    np.testing.assert_array_equal(np.asarray(compiled(split_words(counters(*made)))), uniforms(*made))


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
