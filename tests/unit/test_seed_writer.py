"""The seeds' file of a job: seeds are checked, numbered, and can be read from the middle."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InputError, ModelFileError
from charrnn.jobs.files.zstd import zstd
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import START, Frame, frame_of
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.rows import seeds as module
from charrnn.jobs.rows.seeds import Seed, SeedWriter, StoredSeed, read_seeds, store_seeds
from charrnn.jobs.submit.sampling import Plan
from charrnn.jobs.submit.target import Fleet, Target
from charrnn.options import NetworkOptions, SamplingOptions
from charrnn.text.vocabulary import Vocabulary

CHARACTERS = "\n abcdefghij"
FILE = {"name": "seeds/a", "sha256": "aa"}
SAMPLING = SamplingOptions(temperatures=(0.5, 1.0), samples=2, length=10)

TEXTS = st.text(CHARACTERS, max_size=9)
OPTIONS = st.fixed_dictionaries({}, optional={"length": st.integers(1, 9), "stop": st.lists(TEXTS.filter(bool))})


def written(seeds: list[Seed], sampling: SamplingOptions = SAMPLING) -> tuple[SeedWriter, bytes]:
    writer = SeedWriter(sampling, Vocabulary(CHARACTERS))
    return writer, b"".join(writer.write(seeds))


def stored(seeds: list[Seed]) -> list[StoredSeed]:
    return list(read_seeds(io.BytesIO(written(seeds)[1])))


@given(st.lists(st.tuples(TEXTS, OPTIONS), min_size=1, max_size=10))
def test_written_values_are_read_back(given: list[tuple[str, dict[str, Any]]]) -> None:
    found = stored([Seed(text, options=options) for text, options in given])
    assert [(seed.seed, seed.options) for seed in found] == given


def test_a_job_records_the_options_of_its_seeds() -> None:
    given = [Seed("a", options={"length": 3}), Seed("b"), Seed("c", options={"stop": ["d"], "length": 4})]
    seeds = store_seeds(given, SAMPLING, Vocabulary(CHARACTERS), lambda frames: FileRef(**FILE, size=len([*frames])))
    assert seeds.options == {"length", "stop"}  # Catches: the options of the last seed alone
    target = Target(model="speeches", version=1, characters=CHARACTERS, precision="float32", network=NetworkOptions())
    facts = {
        "request": GenerateRequest(model="speeches"),
        "after": None,
        "key": None,
        "fleet": Fleet({"cpu": 1}, {}, None),
    }
    plan = Plan(**facts, sampling=SAMPLING, target=target)  # type: ignore[arg-type]
    # Catches: a job that is given to workers that do not know an option of its seeds
    assert plan.new_job(seeds).seed_options == {"length", "stop"}


def test_no_seed_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="No seeds given. Expected at least one"):
        stored([])


def test_the_file_is_json_lines_for_every_zstd() -> None:
    data = written([Seed("a"), Seed("b", id="x")])[1]
    lines = zstd.decompress(data).splitlines()  # as `zstd -dc` does, frame after frame
    assert lines[1] == b'{"id": "x", "seed": "b", "occurrence": 0, "options": {}}'


def test_rows_and_characters_are_counted() -> None:
    writer, _ = written([Seed("a"), Seed("b", options={"temperature": 0.1, "length": 3})])
    assert (writer.num_seeds, writer.rows, writer.characters) == (2, 4 + 2, 4 * 10 + 2 * 3)


def test_equal_seeds_are_counted_from_zero() -> None:
    found = stored([Seed("a"), Seed("b"), Seed("a"), Seed("a")])
    assert [(seed.seed, seed.occurrence) for seed in found] == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]


def test_seeds_with_ids_are_not_counted_among_equal_ones() -> None:
    # Catches: adding a seed with an id changes the texts of seeds without
    found = stored([Seed("a", id="x"), Seed("a"), Seed("a", id="y"), Seed("a")])
    assert [seed.occurrence for seed in found] == [0, 0, 0, 1]


def test_a_repeated_id_is_refused_with_its_line() -> None:
    seeds = [Seed("a", id="x", where="line 2"), Seed("b", id="y", where="line 3"), Seed("c", id="x", where="line 5")]
    with pytest.raises(InputError, match="line 5: the id .x. appears twice"):
        written(seeds)


@pytest.mark.usefixtures("small_frames")
def test_an_id_repeated_in_another_frame_is_refused() -> None:
    seeds = [Seed("a", id=str(number % 40)) for number in range(41)]
    with pytest.raises(InputError, match="The id '0' appears twice"):
        written(seeds)


def test_seeds_too_large_for_a_worker_are_refused_at_their_line() -> None:
    # Catches: a job of 2e12 rows, which kills every worker that claims one of its parts
    many = {"temperature": [number / 10 for number in range(1000)]}
    lines = [Seed("a", where=f"line {line}", options=many) for line in range(1, 4)]
    with pytest.raises(InputError, match=r"^line 2: with this seed the job has 2,000,000,000 rows\. Expected at"):
        written(lines, SamplingOptions(samples=1_000_000, length=1))
    for seed, wrong in (
        (Seed("a" * 100_001, where="line 7"), "a seed"),
        (Seed("a", id="x" * 1001, where="line 7"), "an id"),
    ):
        with pytest.raises(InputError, match=f"^line 7: {wrong} must have at most 1.*,000 characters. Received: 1"):
            written([seed])


def test_more_seeds_than_a_job_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SEEDS", 2)
    with pytest.raises(InputError, match=r"^line 3: with this seed the job has 3 seeds\. Expected at most 2 "):
        written([Seed("a", where=f"line {line}") for line in range(1, 5)])


def test_the_memory_of_the_largest_row_is_returned() -> None:
    small, large = (written([Seed("a", options={"length": length}), Seed("b")])[0] for length in (10, 1000))
    assert large.row_memory - small.row_memory == 16 * 990 + 10 * 2  # Catches: the job's length, or the last seed's
    assert written([Seed("a", id="x" * 500)])[0].row_memory - written([Seed("a")])[0].row_memory >= 10 * 498


@pytest.fixture
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_SIZE", 200)  # three or four seeds


@pytest.mark.usefixtures("small_frames")
def test_a_part_begins_to_read_at_the_frame_of_its_first_row() -> None:
    seeds = [Seed(f"a{'b' * (number % 7)}") for number in range(50)]
    writer, data = written(seeds)
    assert len(writer.frames) > 5
    assert writer.frames[0] == START
    for row in range(writer.rows):
        frame = frame_of(writer.frames, row)
        found = next(read_seeds(io.BytesIO(data), frame.offset))
        # Catches: a frame's first row counted in seeds; an offset in the text instead of the file
        assert found.seed == seeds[frame.row // 4].text
        assert frame.row <= row


@pytest.mark.usefixtures("small_frames")
def test_no_flipped_bit_changes_a_seed() -> None:
    # Catches: frames without checksums: a flipped bit in a literal changes a letter and nothing else
    seeds = [Seed(f"{letter} b{letter}") for letter in "abcdefgh"]
    data = written(seeds)[1]
    expected = list(read_seeds(io.BytesIO(data)))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        found = []
        try:
            for seed in read_seeds(io.BytesIO(damaged)):
                found.append(seed)
        except ModelFileError:
            pass
        else:
            assert len(found) == len(expected), bit
        assert found == expected[: len(found)], bit


@pytest.mark.usefixtures("small_frames")
def test_seeds_that_break_off_inside_a_frame_are_refused() -> None:
    data = written([Seed("a"), Seed("b")])[1]
    with pytest.raises(ModelFileError, match="cut off"):
        list(read_seeds(io.BytesIO(data[:-5])))


def test_a_row_at_a_border_belongs_to_the_frame_that_begins_there() -> None:
    frames = [START, Frame(4, 100), Frame(9, 200)]
    assert [frame_of(frames, row).offset for row in (0, 3, 4, 8, 9, 99)] == [0, 0, 100, 100, 200, 200]


def test_the_hash_is_of_the_content_and_not_of_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [Seed(f"a{'b' * number}") for number in range(20)]
    first = written(seeds)[0].sha256
    monkeypatch.setattr(module, "FRAME_SIZE", 100)
    assert written(seeds)[0].sha256 == first
    assert written(seeds[1:])[0].sha256 != first


def test_the_first_of_many_wrong_seeds_are_named_and_the_others_counted() -> None:
    seeds = [Seed("aX", where=f"line {line}") for line in range(1, 10)]
    with pytest.raises(InputError, match=r"^9 seeds contain .*\n  line 1: 'X'\n(.*\n){4}  and 4 more\n"):
        written(seeds)
