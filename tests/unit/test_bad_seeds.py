"""Seeds that cannot be used are an error, or are skipped and counted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.rows.seed_file import SeedFile
from charrnn.jobs.rows.seeds import BadSeeds, Seed, StoredSeeds, store_seeds
from charrnn.options import SamplingOptions
from charrnn.text.vocabulary import Vocabulary

GOOD = '{"seed": "ab"}\n'
BAD = {
    "not JSON": "ab\n",
    "another type": "7\n",
    "no text": '{"seed": 7}\n',
    "an unknown field": '{"seed": "a", "text": "b"}\n',
    "half a character": '{"seed": "\\ud800"}\n',
    "an option out of range": '{"seed": "a", "length": 0}\n',
    "outside the vocabulary": '{"seed": "aX"}\n',
    "too long": '{"seed": "' + "a" * 100_001 + '"}\n',
}


def put(chunks: Iterable[bytes]) -> FileRef:
    return FileRef(name="seeds", size=sum(map(len, chunks)), sha256="")


def store(file: Path, bad: BadSeeds) -> StoredSeeds:
    return store_seeds(SeedFile(str(file), bad=bad), SamplingOptions(samples=2), Vocabulary("ab"), put, bad)


@pytest.mark.parametrize("kind", BAD)
def test_bad_seeds_are_skipped_and_counted(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "seeds.jsonl"
    file.write_text(GOOD + BAD[kind] + GOOD + BAD[kind])
    with pytest.raises(InputError) as refused:
        store(file, BadSeeds())
    bad = BadSeeds("skip")
    stored = store(file, bad)
    # Catches: rows or options of a skipped seed that are counted
    assert (stored.num_seeds, stored.rows, stored.options, bad.count) == (2, 4, frozenset(), 2)
    assert bad.first is not None
    assert bad.first.startswith(f"{file}: line 2")
    assert f"{file}: line 2" in str(refused.value)


def test_bad_seeds_alone_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "seeds.jsonl").write_text("x\ny\n")
    with pytest.raises(InputError, match=r"None of 2 seeds can be used\. The first: .*line 1 is not JSON"):
        store(tmp_path / "seeds.jsonl", BadSeeds("skip"))


NEWLINE = r"In a seed, a backslash is a character like others\. A seed with a newline needs a seeds file in JSON"


@pytest.mark.parametrize(
    ("seed", "characters", "hinted"),
    [(r"a\nb", "\nab", True), (r"a\nb", "abn", False), ("a\\b", "\nab", False), ("aX", "\nab", False)],
)
def test_a_newline_that_is_spelled_as_in_a_stop_string_is_explained(seed: str, characters: str, hinted: bool) -> None:
    with pytest.raises(InputError, match="outside the vocabulary") as refused:
        store_seeds([Seed(seed)], SamplingOptions(), Vocabulary(characters), put)
    assert bool(re.search(NEWLINE, str(refused.value))) == hinted


def test_limits_of_a_job_are_not_skipped() -> None:
    # Catches: a job of which all seeds beyond the limit are left out silently
    seeds = [Seed("a", where=f"line {number}") for number in (1, 2)]
    sampling = SamplingOptions(samples=1_000_000, length=1, temperatures=tuple(range(1000)))
    with pytest.raises(InputError, match="line 2: with this seed the job has 2,000,000,000 rows"):
        store_seeds(seeds, sampling, Vocabulary("ab"), put, BadSeeds("skip"))


def test_another_policy_is_refused() -> None:
    with pytest.raises(InputError, match="on_bad_seed must be one of error, skip"):
        BadSeeds("ignore")
