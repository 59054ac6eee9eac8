"""The cache of versions that a worker has loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.errors import ModelFileError
from charrnn.jobs.files.files import Files
from charrnn.jobs.job.file_ref import FileRef
from charrnn.model import Model
from charrnn.network.network import initial_weights
from charrnn.options import NetworkOptions
from charrnn.text.vocabulary import Vocabulary
from worker.parts.model_cache import ModelCache


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(str(tmp_path / "files"), tmp_path / "cache")
    files.claim_for("store-1", None)
    return files


def store_version(files: Files, folder: Path, rng_seed: int) -> FileRef:
    network, vocabulary = NetworkOptions(units=8), Vocabulary("\nab")
    Model(network, vocabulary, initial_weights(network, 3, rng_seed)).save(folder)
    return files.put_folder(f"models/m/{rng_seed}", folder)


def test_a_version_that_is_held_is_not_read_again(files: Files, tmp_path: Path) -> None:
    loaded, reference = ModelCache(), store_version(files, tmp_path / "m", 1)
    model = loaded.get(files, reference)
    files.delete_folder(reference.name)
    assert loaded.get(files, reference) is model


def test_the_least_recently_used_copy_is_deleted_first(files: Files, tmp_path: Path) -> None:
    first, second, third = (store_version(files, tmp_path / "m", seed) for seed in (1, 2, 3))
    size = ModelCache().get(files, first).size
    loaded = ModelCache(max_bytes=2 * size)
    for reference in (first, second, first, third):
        loaded.get(files, reference)
    # Catches: the oldest dropped, although it was used recently
    assert list(loaded.versions) == [first.sha256, third.sha256]


def test_a_version_larger_than_the_bound_is_held_alone(files: Files, tmp_path: Path) -> None:
    loaded = ModelCache(max_bytes=1)
    for seed in (1, 2):
        loaded.get(files, store_version(files, tmp_path / "m", seed))
    assert len(loaded.versions) == 1


def test_a_version_with_changed_bytes_is_refused_before_it_is_read(files: Files, tmp_path: Path) -> None:
    reference = store_version(files, tmp_path / "m", 1)
    with open((Path(files.url) / reference.name) / "model.safetensors", "ab") as file:
        file.write(b"x")
    with pytest.raises(ModelFileError, match="is not what was written"):
        ModelCache().get(files, reference)
