"""Transfer of a version from one store to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import registry
from charrnn.model import Model, load
from charrnn.options import SamplingOptions
from tests.fixtures.client import submit, train
from tests.fixtures.store import each_database, resolve

pytestmark = each_database


@pytest.fixture
def version(client: Client, text_file: Path, untrained_model: Model, tmp_path: Path) -> str:
    """A version with files, as a worker stores it."""
    job = train(client, "speeches", [text_file])
    model, metrics = untrained_model, {"val_loss": 1.5}
    Model(model.network, model.vocabulary, model.weights, metrics).save(tmp_path / "version")
    new = NewVersion(
        model="speeches",
        files=client.connections.files.put_folder("models/speeches/1-1", tmp_path / "version"),
        characters=untrained_model.vocabulary.characters,
        network=untrained_model.network,
        val_loss=1.5,
        precision="bfloat16",
    )
    with client.connections.store.write() as connection:
        registry.add_version(connection, job.id or 0, new)
    return "speeches@1"


@pytest.fixture
def archive(client: Client, version: str, tmp_path: Path) -> Path:
    path = tmp_path / "speeches.zip"
    with open(path, "wb") as file:
        client.models.export_version(version, file)
    return path


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Iterator[Client]:
    """Another store, with its own database in the broker."""
    url = f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"
    broker = f"redis+socket://{settings.broker_socket}?virtual_host=1"
    with redis.Redis(unix_socket_path=str(settings.broker_socket), db=1) as server:
        server.flushdb()
    client = Client(replace(settings, store_url=url, redis_url=broker, files_url=str(tmp_path / "elsewhere")))
    yield client
    client.close()


def test_an_imported_version_can_be_sampled(elsewhere: Client, archive: Path, untrained_model: Model) -> None:
    assert elsewhere.models.import_version(archive) == "speeches@1"
    job = submit(elsewhere, "speeches", [Seed("the ")], SamplingOptions(), part_rows=1)
    assert job.spec.sampling.precision == "float32"  # the precision for a single text
    version = resolve(elsewhere.connections.store, "speeches")
    loaded = load(elsewhere.connections.files.verified_path(version.files))
    seeds, sampling = ["the "], {"length": 40, "rng_seed": 3}
    assert [s.text for s in loaded.sample(seeds, **sampling)] == [
        s.text for s in untrained_model.sample(seeds, **sampling)
    ]


def test_an_export_has_the_same_bytes_each_time(client: Client, version: str, archive: Path, tmp_path: Path) -> None:
    with open(tmp_path / "again", "wb") as file:
        client.models.export_version(version, file)
    assert (tmp_path / "again").read_bytes() == archive.read_bytes()


def test_an_import_is_the_next_version_and_measured_as_the_others(client: Client, archive: Path) -> None:
    assert client.models.import_version(archive) == "speeches@2"
    assert client.models.import_version(archive, "copied") == "copied@1"
    assert [version.aliases for version in client.models.list()] == [("champion",), ("champion",), ("candidate",)]
    assert resolve(client.connections.store, "copied").job is None


def test_a_model_with_another_validation_text_refuses_it(elsewhere: Client, archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("quite another text, which is long enough to be trained on\n" * 200)
    train(elsewhere, "speeches", [other])
    files = elsewhere.connections.files
    before = [file.name for file in files.list("validation")]
    with pytest.raises(InputError, match="another validation text in this store.*--as NAME"):
        elsewhere.models.import_version(archive)
    # Catches: the archive's validation text, written before the refusal
    assert [file.name for file in files.list("validation")] == before
    assert (elsewhere.models.list(), [*files.list("models")]) == ([], [])
    assert elsewhere.models.import_version(archive, "theirs") == "theirs@1"


def test_a_damaged_archive_leaves_nothing(elsewhere: Client, archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match="Bad CRC-32 for file 'model.safetensors'. Copy or export it again"):
        elsewhere.models.import_version(archive)
    assert elsewhere.models.list() == []
    assert list(elsewhere.connections.files.list("models")) == []


def test_an_imported_version_has_no_text_to_draw_seeds_from(elsewhere: Client, archive: Path) -> None:
    elsewhere.models.import_version(archive)
    with pytest.raises(InputError, match="imported without its training text"):
        elsewhere.submit(GenerateRequest(model="speeches", random_seeds=5))


def test_an_imported_version_can_be_fine_tuned(elsewhere: Client, archive: Path, text_file: Path) -> None:
    elsewhere.models.import_version(archive)
    assert train(elsewhere, "speeches", [text_file], start="speeches@1").spec.start == "speeches@1"


def test_missing_versions_cannot_be_exported(client: Client, version: str, tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb") as file, pytest.raises(NotFoundError, match="has no version"):
        client.models.export_version("speeches@9", file)
