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
