"""Fuzz target for corpora: the text to train on, and the validation text."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from tests.fixtures.model import make_text
from tests.fixtures.processes import Home
from tests.fixtures.refusals import stored
from tests.fuzz.exploration import Exploration, check_said
from tests.fuzz.mutations import ODD_BYTES, mutated_bytes

TEXT = make_text(300).encode()  # enough for a batch of the smallest size
ENCODINGS = ("utf-8", "latin-1", "utf-16", "cp1252")
OPTIONS: tuple[list[str], ...] = (
    [],
    ["--batch", "1", "--unroll", "8"],
    ["--units", "8", "--layers", "1"],
    ["--from", "tiny"],
)

Input = tuple[list[bytes], bytes | None, str, list[str]]


def test_corpora(exploration: Exploration, fuzz_home: Home, folder: Path) -> None:
    def check(value: Input) -> None:
        documents, validation, encoding, options = value
        paths = [folder / f"{number}.txt" for number in range(len(documents))]
        for path, data in zip(paths, documents, strict=True):
            path.write_bytes(data)
        if validation is not None:
            (folder / "validation").write_bytes(validation)
            options = [*options, "--validation", str(folder / "validation")]
        before = stored(fuzz_home)
        check_said(
            fuzz_home.call("train", "good", *map(str, paths), "--encoding", encoding, "--dry-run", *options),
        )
        assert stored(fuzz_home) == before

    changed = mutated_bytes(TEXT)
    document = changed | changed | st.just(TEXT) | st.sampled_from(ODD_BYTES) | st.binary(max_size=100)
    encoding = st.sampled_from(["utf-8", *ENCODINGS])
    exploration.run(
        st.tuples(
            st.lists(document, min_size=1, max_size=3),
            st.none() | mutated_bytes(TEXT[:2000]),
            encoding,
            st.sampled_from(OPTIONS),
        ),
        check,
    )
