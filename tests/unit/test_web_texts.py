"""Generated text in a page: markup stays text, what cannot be seen is shown, and nothing is endless."""

from __future__ import annotations

import math

import pytest

from producer.web.templates import render
from producer.web.views.texts import MAX_SHOWN, SHADES, shaded, shown

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
    assert shown("a" * (MAX_SHOWN + 1)) == "a" * MAX_SHOWN + ' <span class="rest">… 1 character more</span>'
    assert shown("a" * 10, limit=10) == "a" * 10
    assert "90 characters more" in shaded("a" * (MAX_SHOWN + 90), [0.0] * (MAX_SHOWN + 90))


def test_each_probability_has_its_shade() -> None:
    probabilities = [1.0, *(probability * 0.99 for probability in SHADES)]
    html = shaded("abcde", [math.log(probability) for probability in probabilities])
    assert html == "a" + "".join(f'<span class="shade-{n}">{c}</span>' for n, c in enumerate("bcde", start=1))


def test_half_a_surrogate_pair_does_not_break_a_page() -> None:
    html = render("error.html", title="\ud800", message="x", path="/", allow_writes=False)
    assert "<h1>?</h1>" in html
