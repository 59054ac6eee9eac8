"""Generated text in a page: markup stays text, what cannot be seen is shown, and nothing is endless."""

from __future__ import annotations

import math
import re

import pytest

from producer.web.templates import HERE, render
from producer.web.views.texts import SHADES, Lengths, shaded, shown

HOSTILE = "<script>alert(1)</script>{{7*7}} &amp; \"'"


def test_markup_stays_text() -> None:
    assert shown(HOSTILE) == "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}} &amp;amp; &#34;&#39;"
    assert shaded("<b>", [math.log(0.001)] * 3) == '<span class="shade-4">&lt;b&gt;</span>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r\nc", "a\nb\nc"),
        ("a\x00\x1b[31m\u202eb", "a��[31m�b"),  # an override of the direction would hide what follows
        ("\u200d👩\u200d🚀", "\u200d👩\u200d🚀"),
        ("\ud800", "�"),
    ],
)
def test_characters_that_cannot_be_seen_are_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_long_text_ends_with_how_much_more_there_is() -> None:
    assert shown("a" * (Lengths.TEXT + 1)) == "a" * Lengths.TEXT + ' <span class="rest">… 1 character more</span>'
    assert shown("a" * 10, limit=10) == "a" * 10
    assert "90 characters more" in shaded("a" * (Lengths.TEXT + 90), [0.0] * (Lengths.TEXT + 90))


def test_templates_name_their_limits() -> None:
    literal = re.compile(r"shown\(\d|\[:\d|limit=\d|_(?:text|of)\([^)]*\b\d{2,}")
    # Catches: a limit that one page has and another has not
    assert [path.name for path in (HERE / "templates").iterdir() if literal.search(path.read_text())] == []


def test_each_probability_has_its_shade() -> None:
    probabilities = [1.0, *(probability * 0.99 for probability in SHADES)]
    html = shaded("abcde", [math.log(probability) for probability in probabilities])
    assert html == "a" + "".join(f'<span class="shade-{n}">{c}</span>' for n, c in enumerate("bcde", start=1))


def test_half_a_surrogate_pair_does_not_break_a_page() -> None:
    html = render("error.html", title="\ud800", message="x", path="/", allow_writes=False)
    assert "<h1>?</h1>" in html
