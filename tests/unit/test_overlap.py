"""Stretches that two texts have in common."""

from __future__ import annotations

import random

import pytest

from charrnn.text.comparison import overlap
from charrnn.text.comparison.overlap import WINDOW, Fingerprint, WholePieces


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


def test_all_of_a_text_that_repeats_a_long_stretch_is_common() -> None:
    repeated = noise(0, WINDOW)
    assert Fingerprint(repeated * 3).stretches(repeated * 100) == [(0, 100 * WINDOW)]


@pytest.mark.parametrize(
    "empty", [b"-" * 300, b"abc" * 100, b" " * 70 + b"SMITH" + b" " * 90 + b"NEW YORK" + b" " * 99]
)
def test_windows_of_little_content_are_not_common(empty: bytes) -> None:
    known = noise(0, 500) + empty + noise(1, 500)
    assert Fingerprint(known).stretches(noise(2, 500) + empty * 3 + noise(3, 500)) == []
    # Catches: a stretch with a separator in it that is found in two halves
    assert Fingerprint(known).stretches(known[:500] + b"+" * 70 + known[-500:]) == [(0, 500), (570, 1070)]


def test_whole_pieces_are_found_whatever_their_content() -> None:
    dashes, text = b"-" * 500, noise(0, 3000)
    pieces = WholePieces([dashes, text, b"short"])
    assert pieces.stretches(b"a" + dashes + b"b" + text + b"c" + text[:-1] + b"short") == [(1, 501), (502, 3502)]
    assert pieces.stretches(b"") == []
    assert WholePieces([]).stretches(text) == []


def test_a_search_for_pieces_in_a_similar_text_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a comparison of every place of a file of dashes with every piece
    monkeypatch.setattr(overlap, "MAX_TRIES", 3)
    piece = b"-" * 300 + b"+"
    assert WholePieces([piece]).stretches(b"-" * 5000 + b"|" + piece) == []
