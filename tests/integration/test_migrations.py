"""Stores of earlier releases are migrated without a loss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, inspect, select, text, update

from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import migrations
from charrnn.jobs.store.database import Database
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.migrations import Migration, latest
from charrnn.jobs.store.store import Store, upgrade
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
def test_an_upgraded_store_equals_a_new_one(settings: Settings, version: int) -> None:
    assert VERSIONS[-1] == latest(), "freeze the schema: python -m tests.data.schemas"
    new = Store.open(settings)
    expected = schema_of(new)
    empty(new)
    make_old(new, version)
    assert upgrade(settings) == (version, latest())
    # Catches: a change of a table without a migration
    assert schema_of(new) == expected, "add a migration, then: python -m tests.data.schemas"
    new.close()


def add_a_column(connection: Any) -> None:
    connection.execute(text("alter table jobs add column owner varchar"))


EXPAND = Migration(add_a_column, serves=latest())
CONTRACT = Migration(add_a_column, serves=latest() + 1)


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a release that changes the schema so that no older program can use it."""
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, CONTRACT])


def test_an_older_store_is_refused_until_it_is_upgraded(
    settings: Settings, add_job: AddJob, request: pytest.FixtureRequest
) -> None:
    job = add_job()
    request.getfixturevalue("next_release")
    with pytest.raises(
        InputError, match=r"needs version 2\. Run: charrnn-jobs store upgrade\. Stop the older workers first"
    ):
        Store.open(settings)
    assert upgrade(settings) == (1, 2)
    upgraded = Store.open(settings)
    assert upgraded.job(job).id == job  # nothing is lost
    assert "owner" in {column["name"] for column in inspect(upgraded.engine).get_columns("jobs")}
    assert upgrade(settings) == (2, 2)
    upgraded.close()


def test_a_migration_that_breaks_off_changes_nothing(
    settings: Settings, add_job: AddJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_job()

    def break_off(connection: Any) -> None:
        connection.execute(text("alter table jobs add column owner varchar"))
        raise InputError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [Migration(break_off, serves=1)])
        with pytest.raises(InputError, match="the power went"):
            upgrade(settings)
    unchanged = Store.open(settings)
    assert "owner" not in {column["name"] for column in inspect(unchanged.engine).get_columns("jobs")}
    unchanged.close()


@pytest.mark.parametrize("migration", [EXPAND, CONTRACT], ids=["expanded", "contracted"])
def test_an_older_program_uses_an_expanded_schema_and_no_other(
    settings: Settings,
    store: Store,
    leases: Leases,
    add_job: AddJob,
    monkeypatch: pytest.MonkeyPatch,
    migration: Migration,
) -> None:
    job = add_job()
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, migration])
        goes_on = "Older workers can continue" if migration is EXPAND else "Stop the older workers first"
        with pytest.raises(InputError, match=goes_on):
            Store.open(settings)
        assert upgrade(settings) == (1, 2)
    if migration is CONTRACT:
        with pytest.raises(InputError, match="Upgrade charrnn-jobs on this host"):
            Store.open(settings)  # Catches: a contracted schema that an older program opens
        return
    older = Store.open(settings)  # Catches: a rolling upgrade that stops the fleet
    part = leases.claim("generate", "a worker that went on", "cpu")
    assert part is not None
    assert part.job == job
    assert add_job() > job
    older.close()
    with pytest.raises(InputError, match="Upgrade charrnn-jobs on this host"):
        upgrade(settings)


def test_a_newer_store_is_not_upgraded(settings: Settings) -> None:
    newer = Store.open(settings)
    with newer.write() as connection:
        connection.execute(update(store_table).values(schema_version=latest() + 1))
    with pytest.raises(InputError, match="Upgrade charrnn-jobs on this host"):
        upgrade(settings)
    with newer.read() as connection:
        assert connection.execute(select(store_table.c.schema_version)).scalar_one() == latest() + 1
    newer.close()


def test_an_upgrade_of_an_empty_database_creates_the_schema(settings: Settings) -> None:
    new = Store.open(settings)
    expected = schema_of(new)
    empty(new)
    # Catches: a fresh installation whose first step is the upgrade, as that of an operator or of a cluster may be
    assert upgrade(settings) == (0, latest())
    assert schema_of(new) == expected
    assert upgrade(settings) == (latest(), latest())
    new.close()


def test_an_upgrade_of_an_empty_database_beside_the_files_of_a_store_is_refused(settings: Settings) -> None:
    connections = Connections(settings)
    connections.claim_files()
    empty(connections.store)
    later = Connections(settings)
    # Catches: a new store in a database that was truncated or lost
    with pytest.raises(InputError, match="The database .* is empty or missing, but the files belong to the store"):
        later.upgrade()
    assert not inspect(connections.store.engine).get_table_names()
    for each in (later, connections):
        each.close()


def test_a_database_of_another_program_is_refused(settings: Settings) -> None:
    database = Database(settings.database_url)
    with database.write() as connection:
        connection.execute(text("create table jobs (id integer)"))
    with pytest.raises(InputError, match="has a table jobs of another program"):
        Store.open(settings)
    with pytest.raises(InputError, match="has a table jobs of another program"):
        upgrade(settings)
    assert inspect(database.engine).get_table_names() == ["jobs"]
    database.close()
