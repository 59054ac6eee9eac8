"""Sampled texts: their characters and figures are what a loop over characters gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.sampling.texts import Text, Texts, reorder

FLOATS = st.floats(0, 100, width=32)
VOCABULARY = "\0\n aé\ud800\uffff😀"


def make_texts(nats: list[list[float]], cut: list[int]) -> Texts:
    """Return texts with these nats, and after each some characters that are cut off."""
    ends = np.cumsum([len(text) + after for text, after in zip(nats, cut, strict=True)], dtype=np.int64)
    sizes = np.array([len(text) for text in nats], np.int64)
    flat = [number for text, after in zip(nats, cut, strict=True) for number in (*text, *[7.0] * after)]
    starts = ends - sizes - np.array(cut, np.int64)
    ids = np.arange(len(flat), dtype=np.uint16) % len(VOCABULARY)
    return Texts(np.arange(len(nats)), ids, np.array(flat, np.float32), starts, starts + sizes, sizes > 2)


@given(st.lists(st.tuples(st.lists(FLOATS, max_size=30), st.integers(0, 3)), max_size=8))
def test_figures_and_characters_are_those_of_each_text_alone(parts: list[tuple[list[float], int]]) -> None:
    texts = make_texts([nats for nats, _ in parts], [after for _, after in parts])
    for (nats, _), text, string in zip(parts, texts, texts.decode(VOCABULARY), strict=True):
        # Catches: the mean of a text and what is cut off behind it; the neighbor's mean for an empty text
        assert text.nats_per_char == (pytest.approx(np.mean(nats), abs=1e-4) if nats else None)
        assert text.nats.tolist() == [np.float32(number) for number in nats]
        assert string == "".join(VOCABULARY[index] for index in text.ids)
        assert text.finish_reason == ("stop" if len(nats) > 2 else "length")


@given(st.lists(FLOATS, min_size=1, max_size=20), st.lists(FLOATS, max_size=20))
def test_the_mean_of_a_text_does_not_depend_on_its_neighbors(nats: list[float], others: list[float]) -> None:
    alone, beside = make_texts([nats], [0]), make_texts([others, nats, others], [1, 0, 2])
    assert alone.nats_per_char()[0] == beside.nats_per_char()[1]


@given(st.lists(FLOATS | st.integers(0, 2**20).map(lambda n: n / 2**15), max_size=50))
def test_log_probabilities_are_rounded_as_python_rounds(nats: list[float]) -> None:
    # Catches: a product that is not exact, and minus zero
    text = Text(0, np.zeros(len(nats), np.uint16), np.array(nats, np.float32), False, None)
    assert str(text.logprobs) == str([round(-number, 4) + 0.0 for number in text.nats.tolist()])


def test_a_text_is_given_when_all_before_it_were() -> None:
    assert list(reorder([(1, "b"), (0, "a"), (3, "d"), (2, "c")])) == ["a", "b", "c", "d"]
