"""Opening a store, and what people ask of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from charrnn.errors import InputError, NotFoundError, UnreachableError
from charrnn.jobs.migrations import MIGRATIONS
from charrnn.jobs.store import Store
from charrnn.jobs.tables import jobs
from charrnn.jobs.tables import store as store_table
from tests.fix_store import PART_ROWS, AddJob


def test_a_store_keeps_its_id(store: Store) -> None:
    again = Store(store.url)
    assert again.id == store.id
    again.close()


def test_a_store_of_a_newer_release_is_refused(store: Store) -> None:
    with store.write() as connection:
        connection.execute(update(store_table).values(schema_version=len(MIGRATIONS) + 1))
    with pytest.raises(InputError, match="Upgrade charrnn-jobs"):
        Store(store.url)


@pytest.mark.parametrize("url", ["postgresql://user:secret@host/db", "sqlite://", "nonsense"])
def test_an_url_that_is_no_sqlite_file_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError, match="CHARRNN_STORE_URL") as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_be_opened_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        Store(f"sqlite:///{tmp_path / 'no' / 'folder' / 'store.sqlite'}")


def test_a_file_that_is_no_database_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("not a database, but long enough to be read as one's header" * 10)
    with pytest.raises(UnreachableError):
        Store(f"sqlite:///{tmp_path / 'store.sqlite'}")


def test_the_newest_job_comes_first(store: Store, add_job: AddJob) -> None:
    first, second = add_job(), add_job()
    assert [job["id"] for job in store.jobs(10)] == [second, first]
    assert store.job()["id"] == second


def test_a_job_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(NotFoundError, match="No job was submitted yet"):
        store.job()
    with pytest.raises(NotFoundError, match="no job 41"):
        store.job(41)


def test_the_database_guards_the_states(store: Store, add_job: AddJob) -> None:
    job = add_job()
    with pytest.raises(IntegrityError, match="job_state"), store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(state="paused"))


def test_the_database_guards_the_counters(store: Store, add_job: AddJob) -> None:
    job = add_job()
    with pytest.raises(IntegrityError, match="job_counters"), store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(rows_done=PART_ROWS + 1))


def test_parts_of_other_jobs_that_wait_are_counted(store: Store, add_job: AddJob) -> None:
    ahead, job = add_job(parts=3), add_job()
    add_job(train=True)
    assert store.parts_ahead(job) == {ahead: 3}
