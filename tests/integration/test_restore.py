"""Restoring a database from a backup, and comparing it with the files."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from charrnn.errors import LeaseLostError
from charrnn.jobs.client import Client
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.tables import models, parts
from charrnn.options import SamplingOptions
from tests.fixtures.client import DoPart, submit
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.store import each_database, sampled


def submit_one(client: Client, model: str) -> int:
    return submit(client, model, [Seed("a")], SamplingOptions()).id or 0


class Sqlite:
    """SQLite's own way to back up and restore, as docs/store.md says."""

    def __init__(self, url: str, folder: Path) -> None:
        self.store, self.copy = Path(url.removeprefix("sqlite:///")), folder / "backup.sqlite"

    def back_up(self) -> None:
        with closing(sqlite3.connect(self.store)) as old, closing(sqlite3.connect(self.copy)) as new:
            old.backup(new)

    def restore(self) -> None:
        for path in self.store.parent.glob("store.sqlite*"):
            path.unlink()
        shutil.copy(self.copy, self.store)


class Postgresql:
    """PostgreSQL's programs for it, as deploy/README.md says."""

    def __init__(self, url: str, folder: Path, server: PostgresServer) -> None:
        self.url, self.dump, self.programs = url, folder / "store.dump", server.programs

    def back_up(self) -> None:
        self._run("pg_dump", "--format=custom", f"--file={self.dump}", self.url)

    def restore(self) -> None:
        server, _, name = self.url.rpartition("/")
        self._run("dropdb", "--force", f"--maintenance-db={server}/postgres", name)
        self._run("createdb", f"--maintenance-db={server}/postgres", name)
        self._run("pg_restore", "--exit-on-error", f"--dbname={self.url}", self.dump)

    def _run(self, program: str, *words: str | Path) -> None:
        subprocess.run([self.programs / program, *words], check=True, capture_output=True)


@pytest.fixture
def backup(request: pytest.FixtureRequest, store_url: str, tmp_path: Path) -> Sqlite | Postgresql:
    if store_url.startswith("sqlite"):
        return Sqlite(store_url, tmp_path)
    return Postgresql(store_url, tmp_path, request.getfixturevalue("postgres_server"))


@each_database
def test_a_restored_database_continues_and_rejects_older_commits(
    client: Client, model: str, do_part: DoPart, settings: Settings, backup: Sqlite | Postgresql
) -> None:
    done, waiting = submit_one(client, model), submit_one(client, model)
    do_part()
    backup.back_up()
    cut_off = Leases(client.connections.store, 30)
    old = cut_off.claim("generate", "cut off", "cpu")
    lost = submit_one(client, model)
    assert old is not None
    client.close()

    backup.restore()
    restored = Client(settings)
    restored.recover()
    new = Leases(restored.connections.store, 30).claim("generate", "new", "cpu")
    assert new is not None
    assert (old.job, new.job) == (waiting, waiting)
    output = restored.connections.files.put("jobs/x", [])
    with pytest.raises(LeaseLostError):  # Catches: tokens that go back in time, so that both may commit
        Leases(restored.connections.store, 30).complete_rows(old, output, sampled(old), "cpu")
    Leases(restored.connections.store, 30).complete_rows(new, output, sampled(new), "cpu")
    assert submit_one(restored, model) > lost  # Catches: an id that means two jobs
    assert len(list(restored.results(done))) == 1
    unnamed = [finding.problem for finding in restored.inspect() if not finding.loss]
    assert len([problem for problem in unnamed if "/seeds/" in problem]) == 1  # those of the lost job
    restored.close()


@pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)
def test_numbers_that_were_used_since_are_skipped(client: Client, model: str, do_part: DoPart) -> None:
    done, before = submit_one(client, model), submit_one(client, model)
    do_part()
    client.recover()
    assert submit_one(client, model) == before + 1001
    with client.connections.store.read() as connection:
        tokens = dict(connection.execute(select(parts.c.job, parts.c.token)).all())
        newest = connection.execute(select(func.max(models.c.newest))).scalar_one()
    assert (tokens[done], tokens[before], newest) == (1, 1_000_000, 101)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "is missing": Path.unlink,
    "is not what was written": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
}


@each_database
@pytest.mark.parametrize("problem", DAMAGES)
def test_a_check_names_what_is_lost_or_changed_and_what_has_no_row(
    client: Client, model: str, do_part: DoPart, problem: str
) -> None:
    # Catches: files whose size alone is checked; part files left out; a check that ends at the first problem
    job = submit_one(client, model)
    do_part()
    files = client.connections.files
    no_version = [finding for finding in client.inspect() if not finding.problem.startswith(f"{files.url}/none ")]
    assert no_version == []  # the model's version was made up by the fixture
    spec = client.job(job).generate_spec
    output = client.connections.store.parts(job)[0].output
    assert spec is not None
    assert output is not None
    for reference in (spec.seeds, output):
        DAMAGES[problem](Path(files.url) / reference.name)
    files.put("models/speeches/9-1/config.json", [b"{}"])
    found = [finding for finding in client.inspect() if not finding.problem.startswith(f"{files.url}/none ")]
    assert [finding.loss for finding in found] == [True, True, False]
    for finding, name in zip(found, (spec.seeds.name, output.name, "models/speeches/9-1/config.json"), strict=True):
        assert name in finding.problem
        assert problem in finding.problem or not finding.loss


def test_a_check_of_a_bucket_does_not_fill_the_cache(client: Client, bucket: str, tmp_path: Path) -> None:
    from charrnn.jobs.files.files import Files

    files = Files(bucket, tmp_path / "cache")
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    for reference in (files.put("a", [b"abc"]), files.put_folder("models/a/1", source)):
        files.verify(reference)
    files.set_aside("a")
    assert [aside.original for aside in files.aside()] == ["a"]
    assert not (tmp_path / "cache").exists()
