"""Copies of a training text in sampled texts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from charrnn.text.comparison import copies as module
from charrnn.text.comparison.copies import MAX_PLACES, SHORTEST, Copies, Copy, build_index
from tests.fixtures.model import longest_copy

WORDS = ("the", "of", "a", "in", "people", "nation", "united", "states", "congress", "war", "peace", "must", "will")


def prose(number: int, words: int) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=words))  # not cryptographic


def copies_of(text: str, more: str = "", *, lines: bool = False) -> Copies:
    data, further = text.encode(), more.encode()
    return Copies(build_index(data, further, lines=lines), data, further, lines=lines)


@pytest.mark.parametrize("chunk", [1 << 20, 64])  # Catches: a window at the end of a chunk that has no neighbors
def test_the_longest_copy_is_found_to_the_byte(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    known = prose(0, 3_000)
    copies, texts = copies_of(known), [prose(number, 40) for number in range(1, 200)]
    texts += [known[500 + number : 540 + 7 * number] for number in range(60)]  # Catches: an end that is not compared
    texts += [text[:50] + known[900 : 900 + number] for number, text in enumerate(texts[:80])]
    found = copies.find(texts)
    assert [len(copy.longest) for copy in found] == [longest_copy(text, known) for text in texts]
    for text, copy in zip(texts, found, strict=True):
        assert copy.longest in text
        assert known[copy.place :].startswith(copy.longest)
        assert copy.novel == (text not in known if len(text) >= SHORTEST else None)
    assert sum(bool(copy.longest) for copy in found) > 100


@pytest.mark.parametrize("chunk", [1 << 20, 40])  # Catches: windows that are chosen without neighbors in other chunks
def test_every_stretch_of_a_text_is_a_copy(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    known = prose(0, 500)
    for size in (SHORTEST, SHORTEST + 1, 100):
        texts = [known[start : start + size] for start in range(len(known) - size)]
        assert [copy.longest for copy in copies_of(known).find(texts)] == texts


def test_what_a_text_has_copied_does_not_depend_on_its_neighbors() -> None:
    # Catches: windows over the edge of two texts, which decide what is chosen. Rows would depend on the size of parts
    templates = [prose(number, 6) for number in range(5)]
    known = " ".join(random.Random(1).choices(templates, k=900))  # each more than 32 times
    texts = [
        " ".join(random.Random(number).choices(templates, k=1 + number % 7))[number % 30 :] for number in range(400)
    ]
    copies = copies_of(known)
    found = copies.find(texts)
    assert found == [copies.find([text])[0] for text in texts]
    # Catches: a copy that is hidden by windows with many places, and called novel
    assert [copy.novel for copy in found] == [text not in known if len(text) >= SHORTEST else None for text in texts]


def test_what_is_shared_by_two_neighbors_in_a_call_is_no_copy() -> None:
    # Catches: texts that are joined before they are searched
    known = prose(0, 300)
    assert copies_of(known).find([known[40:60], known[60:80]]) == [Copy(None), Copy(None)]


def test_letters_of_several_bytes_are_whole() -> None:
    known = "Фокс прыгает через ленивую собаку, и ещё раз."
    # In UTF-8, ѿ ends with the byte that п ends with, and begins with that of ю.
    [copy] = copies_of(known).find(["ѿ" + known[6:25] + "ѿ"])
    assert (known[5], known[25]) == ("п", "ю")
    assert (copy.longest, copy.novel) == (known[6:25], True)
    assert known.encode()[copy.place :].decode(errors="ignore").startswith(copy.longest)


def test_further_text_counts_too() -> None:
    known, more = prose(0, 100), prose(1, 100)
    [first, second, both] = copies_of(known, more).find([known[-60:], more[:60], known[-30:] + more[:40]])
    assert (first.novel, first.place) == (False, len(known) - 60)
    assert (second.novel, second.place) == (False, len(known))
    assert (both.novel, both.longest) == (True, more[:40])  # Catches: a copy over the seam of the two


def test_a_line_of_a_list_is_no_new_text() -> None:
    names = [f"name{number}" for number in range(300)]
    copies = copies_of("".join(f"\n{name}" for name in names), "\nreserved", lines=True)
    texts = ["name7", "name299", "name300", "name2999", "ame7", "reserved", "", "name1\nname2", "name1\nnew", "é"]
    expected = [False, False, True, True, True, False, None, False, True, True]
    assert [copy.novel for copy in copies.find(texts)] == expected


def test_a_piece_of_a_line_is_no_new_text() -> None:
    # Catches: a text that was cut by its length and counts as new, since it is no line
    copies = copies_of("\n" + prose(0, 50) + "\n" + prose(1, 50), lines=True)
    assert [copy.novel for copy in copies.find([prose(0, 50)[:60], prose(1, 50)[9:80], prose(2, 50)])] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("chunk", [1 << 20, 8])  # Catches: a line over the end of a chunk
def test_every_line_of_a_list_is_found(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    lines = [prose(number, 1 + number % 9) for number in range(400)]
    copies = copies_of("".join(f"\n{line}" for line in lines), lines=True)
    assert {copy.novel for copy in copies.find(lines)} == {False}
    assert {copy.novel for copy in copies.find([f"{line}s" for line in lines])} == {True}


def test_a_text_of_one_character_needs_a_small_index_and_ends() -> None:
    known = "-" * 100_000
    copies = copies_of(known)
    assert len(build_index(known.encode(), b"", lines=False)) <= MAX_PLACES
    text = random.Random(0).randbytes(100_000).hex()
    assert 1.5 < build_index(text.encode(), b"", lines=False).nbytes / len(text) < 1.7  # as the documents say
    [copy] = copies.find(["-" * 5_000])
    assert copy.longest == "-" * 5_000


def test_places_that_an_index_makes_up_are_no_copies() -> None:
    # Catches: hashes that are believed. An index is a file, which may be of another text
    known, other = prose(0, 300), random.Random(1).randbytes(9_000).hex()
    index = build_index(known.encode(), b"", lines=False)
    wrong = Copies(index, other.encode(), b"", lines=False)
    assert wrong.find([known[:200]]) == [Copy(True)]
    names = b"\nnames of a kind"
    assert Copies(build_index(b"\nnames", b"", lines=True), names, b"", lines=True).find(["names"]) == [Copy(True)]
    outside = Copies(index | np.uint64(0xFFFFFFFF), other.encode(), b"", lines=False)
    assert outside.find([known[:200]]) == [Copy(True)]


def test_texts_that_are_empty_or_short_have_no_copies() -> None:
    assert copies_of("short").find(["", "short"]) == [Copy(None), Copy(None)]
    assert copies_of("short").find([]) == []
    assert copies_of("").find(["short"]) == [Copy(None)]
