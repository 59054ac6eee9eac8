"""Stretches that two texts have in common."""

from __future__ import annotations

import random

import pytest

from charrnn.text import overlap
from charrnn.text.overlap import WINDOW, Fingerprint


def noise(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)  # not cryptographic


@pytest.mark.parametrize("chunk", [1 << 20, 100])  # Catches: a stretch that is split where a chunk ends
def test_common_stretches_are_found_to_the_byte(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "CHUNK", chunk)
    known = noise(0, 2000)
    data = noise(1, 77) + known[3:500] + noise(2, 1) + known[700 : 700 + WINDOW] + noise(3, 50)
    assert Fingerprint(known).stretches(data) == [(77, 574), (575, 575 + WINDOW)]


def test_shorter_stretches_do_not_count() -> None:
    known = noise(0, 2000)
    assert Fingerprint(known).stretches(known[: WINDOW - 1] + noise(1, 500) + known[200 : 200 + WINDOW - 1]) == []


def test_texts_shorter_than_a_window_have_nothing_in_common() -> None:
    assert Fingerprint(b"short").stretches(noise(0, 1000)) == []
    assert Fingerprint(noise(0, 1000)).stretches(b"short") == []
    assert Fingerprint(noise(0, 1000)).stretches(b"") == []


def test_one_changed_byte_splits_a_stretch() -> None:
    known = noise(0, 1000)
    for place in (WINDOW, 400, 999 - WINDOW):
        data = bytearray(known)
        data[place] ^= 1
        assert Fingerprint(known).stretches(bytes(data)) == [(0, place), (place + 1, 1000)]


def test_all_of_a_repeating_text_is_common() -> None:
    assert Fingerprint(b"abc" * 100).stretches(b"abc" * 5000) == [(0, 15_000)]
