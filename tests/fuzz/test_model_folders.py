"""Fuzz target for model folders, as `charrnn.load` reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.model import load
from charrnn.model_files import CONFIG, HISTORY, LENGTH, METRICS, VOCABULARY, WEIGHTS
from charrnn.options import NetworkOptions
from charrnn.text.vocabulary import Vocabulary
from tests.fixtures.model import make_text
from tests.fixtures.versions import make_version
from tests.fuzz.exploration import Exploration, check_error
from tests.fuzz.mutations import documents, mutated_bytes

Input = tuple[str, bytes]  # the name of a file, and its content


def weights(whole: bytes) -> st.SearchStrategy[bytes]:
    """Return safetensors with changed bytes, or with another header of the right length."""
    begin = LENGTH + int.from_bytes(whole[:LENGTH], "little")
    header: Any = json.loads(whole[LENGTH:begin])
    described = documents(header).map(lambda text: len(text).to_bytes(LENGTH, "little") + text + whole[begin:])
    return described | described | mutated_bytes(whole) | mutated_bytes(whole[:begin])


def contents(folder: Path) -> st.SearchStrategy[Input]:
    """Return a changed file of a model's folder."""
    whole = {name: (folder / name).read_bytes() for name in (CONFIG, VOCABULARY, METRICS, WEIGHTS, HISTORY)}
    changed = {name: documents(json.loads(whole[name])) for name in (CONFIG, VOCABULARY, METRICS)}
    changed |= {WEIGHTS: weights(whole[WEIGHTS]), HISTORY: mutated_bytes(whole[HISTORY])}
    return st.one_of([st.tuples(st.just(name), content) for name, content in changed.items()])


def test_model_folders(exploration: Exploration, folder: Path) -> None:
    characters = Vocabulary.of(make_text(100)).characters
    genuine = make_version(folder, "tiny", NetworkOptions(units=8, layers=1), characters).folder
    damaged = shutil.copytree(genuine, folder / "damaged")
    load(damaged)  # imports TensorFlow, so that the first input is not charged for its memory

    def check(value: Input) -> None:
        name, content = value
        (damaged / name).write_bytes(content)
        try:
            load(damaged)
        except CharrnnError as error:
            check_error(error)
        finally:
            shutil.copy(genuine / name, damaged / name)

    exploration.run(contents(genuine), check)
