"""Random openings of a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.openings import LENGTH, draw_openings
from charrnn.text import LATIN_1, Document


@pytest.mark.parametrize("text", ["naïve 😀 café\n" * 50, "ab" * 200])
def test_openings_are_pieces_of_the_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text(text)
    openings = list(draw_openings(Document(path), 100, 1))
    assert all(len(opening) == LENGTH and opening in text for opening in openings)  # Catches: half a character
    assert len(set(openings)) > 1
    assert openings == list(draw_openings(Document(path), 100, 1))
    assert openings != list(draw_openings(Document(path), 100, 2))


def test_a_short_text_is_its_own_opening(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("short")
    assert list(draw_openings(Document(path, LATIN_1), 2, 1)) == ["short", "short"]
