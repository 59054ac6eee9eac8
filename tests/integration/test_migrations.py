"""Stores of earlier releases are migrated without a loss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, inspect, select, text, update

from charrnn.errors import InputError
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import migrations, store
from charrnn.jobs.store.database import Database
from charrnn.jobs.store.migrations import latest
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import store as store_table
from tests.fixtures.store import AddJob, each_database

pytestmark = each_database

SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"
VERSIONS = sorted({int(path.name.split("-")[0]) for path in SCHEMAS.glob("*.sql")})


def schema_of(database: Database) -> dict[str, Any]:
    """Return all that the database reports about its tables."""
    inspector = inspect(database.engine)
    return {
        name: [
            [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted(
                (key["constrained_columns"], key["referred_table"], key["referred_columns"])
                for key in inspector.get_foreign_keys(name)
            ),
            sorted(unique["column_names"] for unique in inspector.get_unique_constraints(name)),
            sorted((str(index["name"]), index["column_names"]) for index in inspector.get_indexes(name)),
            sorted(str(check["name"]) for check in inspector.get_check_constraints(name)),
        ]
        for name in sorted(inspector.get_table_names())
        if not name.startswith("sqlite_")
    }


def empty(database: Database) -> None:
    metadata = MetaData()
    metadata.reflect(database.engine)
    metadata.drop_all(database.engine)


def make_old(database: Database, version: int) -> None:
    """Make an empty store as that release made it."""
    path = SCHEMAS / f"{version}-{database.engine.dialect.name}.sql"
    with database.write() as connection:
        for statement in filter(str.strip, re.split(r";\n", path.read_text())):
            connection.execute(text(statement))
        connection.execute(
            text("insert into store (id, schema_version) values ('old', :version)"), {"version": version}
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_store_becomes_as_a_new_one(settings: Settings, version: int) -> None:
    assert VERSIONS[-1] == latest(), "freeze the schema: python -m tests.data.schemas"
    new = Store.open(settings)
    expected = schema_of(new)
    empty(new)
    make_old(new, version)
    assert store.upgrade(settings) == (version, latest())
    # Catches: a change of a table without a migration
    assert schema_of(new) == expected, "add a migration, then: python -m tests.data.schemas"
    new.close()


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a release that adds a column."""

    def add_a_column(connection: Any) -> None:
        connection.execute(text("alter table jobs add column owner varchar"))

    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, add_a_column])


def test_an_older_store_is_refused_until_it_is_upgraded(
    settings: Settings, add_job: AddJob, request: pytest.FixtureRequest
) -> None:
    job = add_job()
    request.getfixturevalue("next_release")
    with pytest.raises(InputError, match=r"this release needs version 2\. Stop .*charrnn-jobs store upgrade"):
        Store.open(settings)
    assert store.upgrade(settings) == (1, 2)
    upgraded = Store.open(settings)
    assert upgraded.job(job).id == job  # nothing is lost
    assert "owner" in {column["name"] for column in inspect(upgraded.engine).get_columns("jobs")}
    assert store.upgrade(settings) == (2, 2)
    upgraded.close()


def test_a_migration_that_breaks_off_changes_nothing(
    settings: Settings, add_job: AddJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_job()

    def break_off(connection: Any) -> None:
        connection.execute(text("alter table jobs add column owner varchar"))
        raise InputError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [break_off])
        with pytest.raises(InputError, match="the power went"):
            store.upgrade(settings)
    unchanged = Store.open(settings)
    assert "owner" not in {column["name"] for column in inspect(unchanged.engine).get_columns("jobs")}
    unchanged.close()


def test_a_newer_store_is_not_upgraded(settings: Settings) -> None:
    newer = Store.open(settings)
    with newer.write() as connection:
        connection.execute(update(store_table).values(schema_version=latest() + 1))
    with pytest.raises(InputError, match="Upgrade charrnn-jobs on this host"):
        store.upgrade(settings)
    with newer.read() as connection:
        assert connection.execute(select(store_table.c.schema_version)).scalar_one() == latest() + 1
    newer.close()


def test_a_database_without_a_store_is_not_upgraded(settings: Settings) -> None:
    with pytest.raises(InputError, match="no store in this database"):
        store.upgrade(settings)


def test_a_database_of_somebody_else_is_refused(settings: Settings) -> None:
    database = Database(settings.database_url)
    with database.write() as connection:
        connection.execute(text("create table jobs (id integer)"))
    with pytest.raises(InputError, match="has a table jobs of another program"):
        Store.open(settings)
    database.close()
