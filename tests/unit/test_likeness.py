"""Baselines of n-grams, and warnings about validation texts that are unlike the training text."""

from __future__ import annotations

import math
import random
from pydoc_data.topics import topics

import pytest

from charrnn.text.comparison.likeness import baseline
from charrnn.text.comparison.ngrams import NGrams
from charrnn.text.validation import PIECE_END

REFERENCE = "\n".join(topics[name] for name in sorted(topics))
PASSAGES = [REFERENCE[place : place + 3000] for place in range(0, 240_000, 3000)]
VALIDATION = PIECE_END.join(PASSAGES[5::10])
TRAINING = "".join(passage for passage in PASSAGES if passage not in VALIDATION)


def test_a_fair_coin_has_the_entropy_of_a_coin() -> None:
    text = "".join(random.Random(1).choices("ab", k=50_000))  # not cryptographic
    assert NGrams(text[:40_000]).cross_entropy(text[40_000:]) == pytest.approx(math.log(2), rel=0.01)


def test_what_always_follows_costs_nearly_nothing() -> None:
    assert NGrams("abc" * 1000).cross_entropy("abc" * 100) < 0.01


def test_counts_by_hand() -> None:
    # "ab" twice, so after a: 2 of 2 are b, and 1 distinct character; a 2 of 4, b 2 of 4, 2 distinct, 1/3 for each
    first = (2 + 2 / 3) / (4 + 2)
    second = (2 + 1 * first) / (2 + 1)
    assert NGrams("abab").cross_entropy("ab") == pytest.approx(-(math.log(first) + math.log(second)) / 2)


def test_probabilities_sum_to_one() -> None:
    model, context = NGrams("abracadabra"), "abr"
    known = [math.exp(-4 * model.cross_entropy(context + c) + 3 * model.cross_entropy(context)) for c in "abcdrx"]
    assert sum(known) == pytest.approx(1.0)


def test_longer_contexts_lower_the_loss() -> None:
    # Catches: contexts that are off by one, which would tell nothing
    frequencies = [TRAINING.count(c) / len(TRAINING) for c in set(TRAINING)]
    entropy = -sum(share * math.log(share) for share in frequencies)
    assert NGrams(TRAINING).cross_entropy(VALIDATION) < 0.6 * entropy


@pytest.mark.parametrize("text", ["x", "xy", "a", "ab" * 3])
def test_short_and_unknown_texts_have_a_finite_loss(text: str) -> None:
    assert 0.0 < NGrams("ab").cross_entropy(text) < 3.0
    assert math.isfinite(baseline(["ab"], 2, text))


def test_like_texts_cause_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    nats = baseline([TRAINING], len(TRAINING), VALIDATION)
    assert nats == pytest.approx(NGrams(TRAINING).cross_entropy(VALIDATION.replace(PIECE_END, "\n")), rel=0.05)
    assert not caplog.records


def test_an_unlike_validation_text_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    baseline([TRAINING], len(TRAINING), VALIDATION.upper().replace("E", "\u00e9"))
    assert "The validation text is unlike the training text: a simple n-gram model reaches" in caplog.text
    assert "end too early" in caplog.text
    assert "Common in the training text and rare in the validation text:" in caplog.text
    assert "Common in the validation text and rare in the training text:" in caplog.text


def test_a_validation_text_that_is_easier_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    baseline([TRAINING], len(TRAINING), (TRAINING[:9000] * 3))
    assert "end too late" in caplog.text


def test_many_small_files_are_sampled_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a sample of the headers of files alone, or of nothing
    monkeypatch.setattr("charrnn.text.comparison.likeness.SAMPLE", 20_000)
    chunks = ["the same header\n" + TRAINING[place : place + 40] for place in range(0, len(TRAINING), 40)]
    nats = baseline(chunks, sum(map(len, chunks)), VALIDATION)
    assert nats == pytest.approx(NGrams(TRAINING[:20_000]).cross_entropy(VALIDATION), rel=0.25)


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_any_number_of_chunks_is_sampled(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.text.comparison.likeness.SAMPLE", 100)
    assert math.isfinite(baseline(["a"] * count, count, "ab"))
