"""Fuzz targets for seeds files: lines of text, and JSON Lines."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from tests.fixtures.processes import Home
from tests.fixtures.refusals import stored
from tests.fuzz.exploration import Check, Exploration, check_said
from tests.fuzz.mutations import ODD_BYTES, lines, mutated_bytes

RECORDS = (
    {"seed": "the "},
    {"id": "a", "seed": "every child", "temperature": 0.5, "length": 20},
    {"id": "b", "seed": "", "temperature": [0.2, 1], "stop": ["\n", "."], "top_k": 5, "top_p": 0.9},
    {"seed": "a small lamp", "stop": "."},
)
OPTIONS: tuple[list[str], ...] = (
    [],
    ["--unknown", "drop"],
    ["--unknown", "replace"],
    ["--stop", "."],
    ["-n", "1000000", "-l", "1000000"],
)

Input = tuple[bytes, list[str]]


def check_submit(home: Home, path: Path) -> Check[Input]:
    """Return a check that a dry run with these seeds stores nothing."""

    def check(value: Input) -> None:
        data, options = value
        path.write_bytes(data)
        before = stored(home)
        done = home.call("submit", "-m", "tiny", "--seeds", str(path), "--dry-run", *options)
        check_said(done)
        assert stored(home) == before

    return check


def test_seed_lines(exploration: Exploration, fuzz_home: Home, text: bytes, folder: Path) -> None:
    files = mutated_bytes(text) | mutated_bytes(text[:40]) | st.sampled_from(ODD_BYTES) | st.binary(max_size=100)
    exploration.run(
        st.tuples(files, st.sampled_from(OPTIONS)),
        check_submit(fuzz_home, folder / "seeds.txt"),
    )


def test_seed_json_lines(exploration: Exploration, fuzz_home: Home, folder: Path) -> None:
    exploration.run(
        st.tuples(lines(RECORDS), st.sampled_from(OPTIONS)),
        check_submit(fuzz_home, folder / "seeds.jsonl"),
    )
