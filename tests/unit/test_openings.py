"""Random snippets of a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.text.documents import Document
from charrnn.text.openings import LENGTH, draw_openings
from charrnn.text.validation import PIECE_END


@pytest.mark.parametrize("text", ["naïve 😀 café\n" * 50, "ab" * 200])
def test_openings_are_pieces_of_the_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text(text)
    openings = list(draw_openings(Document(path), 100, 1))
    assert all(len(opening) == LENGTH and opening in text for opening in openings)  # Catches: half a character
    assert len(set(openings)) > 1
    assert openings == list(draw_openings(Document(path), 100, 1))
    assert openings != list(draw_openings(Document(path), 100, 2))


def test_an_opening_comes_from_one_piece_of_the_validation_text(tmp_path: Path) -> None:
    # Catches: the end of one file joined to the beginning of another, with a NUL between
    pieces = [letter * 30 for letter in "abcdefgh"]
    path = tmp_path / "validation.txt"
    path.write_text(PIECE_END.join(pieces))
    for opening in draw_openings(Document(path), 100, 1):
        assert len(opening) >= LENGTH // 2
        assert any(opening in piece for piece in pieces)


def test_a_short_text_is_its_own_opening(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("short")
    assert list(draw_openings(Document(path), 2, 1)) == ["short", "short"]


@pytest.mark.parametrize("text", ["\nAnna\nBo\nCyd", "\nAnna\nBo" + PIECE_END + "Cyd"])
def test_openings_of_a_list_are_the_first_halves_of_its_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text(text)
    # Catches: a list so small that only its first byte is drawn; an empty opening for the newline before a line
    assert set(draw_openings(Document(path), 200, 1, lines=True)) == {"An", "B", "Cy"}


def test_openings_of_long_lines_are_no_longer_than_others(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"\n{letter * 9000}" for letter in "aéz"))
    openings = set(draw_openings(Document(path), 50, 1, lines=True))
    assert openings <= {letter * LENGTH for letter in "aéz"}
    assert len(openings) > 1
