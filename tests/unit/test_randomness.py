"""One random stream per row: the values that its key depends on, and the numbers that it yields."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.sampling.randomness import counters, row_key, seed_name, split_words, uniforms, uniforms_of_words

WORD = 2**64 - 1
KEYS = st.integers(0, WORD)
POSITIONS = st.integers(0, 10**6)


def one(key: int, position: int) -> float:
    return float(uniforms(np.array([key], np.uint64), np.array([position]))[0])


def split_mix(key: int, position: int) -> float:
    """Compute the definition again, in Python's integers."""
    z = (key + (position + 1) * 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return (((z ^ (z >> 31)) >> 41) + 0.5) / 2**23


@given(KEYS, POSITIONS)
def test_a_number_is_split_mix_of_key_and_position(key: int, position: int) -> None:
    # Catches: any changed constant, which would change every text that was ever sampled
    assert one(key, position) == split_mix(key, position)


@given(st.one_of(KEYS, st.integers(WORD - 999, WORD)), st.integers(0, 2**40))
def test_words_of_32_bits_give_the_same_numbers(key: int, position: int) -> None:
    words = split_words(counters(np.array([key], np.uint64), np.array([position])))
    found = uniforms_of_words(words, np.ndarray.astype)
    # Catches: a carry that is lost between the words. Backends: tests/model/test_device_randomness.py
    assert (found.dtype, found.tolist()) == (np.float32, [split_mix(key, position)])


@given(KEYS, POSITIONS)
def test_a_number_is_strictly_between_zero_and_one(key: int, position: int) -> None:
    # Catches: the offset of one half left out, so that a character of probability 0 could be drawn
    assert 0.0 < one(key, position) < 1.0


@given(st.lists(st.tuples(KEYS, POSITIONS), min_size=1, max_size=20))
def test_a_number_does_not_depend_on_its_neighbours(pairs: list[tuple[int, int]]) -> None:
    keys, positions = np.array([k for k, _ in pairs], np.uint64), np.array([p for _, p in pairs])
    assert uniforms(keys, positions).tolist() == [one(key, position) for key, position in pairs]


def test_numbers_are_float32() -> None:
    assert uniforms(np.arange(3), np.arange(3)).dtype == np.float32


def test_numbers_of_a_stream_are_spread_evenly() -> None:
    numbers = uniforms(np.full(100_000, row_key(0, "a", 1.0, 0), np.uint64), np.arange(100_000))
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert np.abs(counts - 10_000).max() < 500  # five standard deviations


def test_a_key_is_the_same_in_every_process_and_release() -> None:
    # Catches: hash(), which each process salts, and a changed encoding of the identity
    assert row_key(7, "a", 0.5, 3) == 0xCB9DAEF6539FBC71


@pytest.mark.parametrize("other", [(8, "a", 0.5, 3), (7, "b", 0.5, 3), (7, "a", 0.6, 3), (7, "a", 0.5, 4)])
def test_a_key_depends_on_each_of_its_parts(other: tuple[int, str, float, int]) -> None:
    assert row_key(*other) != row_key(7, "a", 0.5, 3)


def test_a_temperature_is_the_same_as_a_whole_number_and_as_a_float() -> None:
    assert row_key(7, "a", 1, 3) == row_key(7, "a", 1.0, 3)


def test_a_seed_with_an_id_is_identified_by_it_alone() -> None:
    # Catches: the text of a seed in its name, so that fixing a typing error changes the random stream
    assert seed_name("x", "one", 0) == seed_name("x", "two", 5)


def test_equal_seeds_without_ids_are_distinguished_by_occurrence() -> None:
    assert seed_name(None, "one", 0) != seed_name(None, "one", 1)


def test_an_empty_id_is_an_id() -> None:
    # Catches: `if seed_id`
    assert seed_name("", "one", 0) == seed_name("", "two", 0)


def test_an_id_is_not_confused_with_a_seed() -> None:
    assert seed_name("one", "", 0) != seed_name(None, "one", 0)
