"""Names in the store for completion: read with one query, and nothing is created, locked or reported.

The store's own code would import SQLAlchemy, which takes longer than a person waits for a completion.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import quote, unquote

from charrnn.jobs.settings import Settings

SQLITE, POSTGRESQL = "sqlite:///", "postgresql"
LOCK_S, LONGEST_S = 0.5, 1.0  # for a lock, and for the whole query; a person waits
MOST = 1_000  # names

FITTING = {
    "wait": "finished_at is null",
    "cancel": "finished_at is null",
    "retry": "state in ('failed', 'cancelled')",
    "results": "kind = 'generate'",
    "delete": "finished_at is not null",
    "submit": "kind = 'train'",
}
"""The jobs that fit a command, as SQL. Others take any."""

QUERIES = {
    "models": (  # not those whose versions were deleted
        "select name from models where newest = 0 or name in (select model from versions) order by name"
    ),
    "schedules": "select name from schedules order by name",
    "labels": (
        "select distinct label from (select label from jobs where label is not null order by id desc limit 1000) "
        "as newest order by label"
    ),
    "aliases": "select distinct alias from aliases order by alias",
    "versions": (
        "select model, cast(version as varchar), version from versions union all "
        "select model, alias, 0 from aliases order by 1, 3 desc"
    ),
}


def find_names(kind: str, command: str, word: str) -> Sequence[str]:
    """Return names of a kind, such as jobs that fit a command, of which some begin with `word`."""
    if kind == "jobs":
        fitting = FITTING.get(command, "1 = 1")
        return _column(f"select id from jobs where {fitting} order by id desc")  # noqa: S608  # no value is in it
    if kind == "references":
        return (
            [f"{model}@{name}" for model, name, _ in _rows(QUERIES["versions"])]
            if "@" in word
            else _column(QUERIES["models"])
        )
    return _column(QUERIES[kind])


def _column(query: str) -> list[str]:
    return [str(name) for name, *_ in _rows(query)]


def _rows(query: str) -> list[Any]:
    url = Settings.from_env(os.environ).database_url
    with closing(_sqlite(url) if url.startswith(SQLITE) else _postgresql(url)) as connection:
        rows: list[Any] = connection.execute(f"{query} limit {MOST}").fetchall()
        return rows


def _limit_wait() -> None:
    """End this process without an answer if the store keeps it waiting, wherever that is."""
    watchdog = Timer(LONGEST_S, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()


def _sqlite(url: str) -> Any:
    import sqlite3

    _limit_wait()
    path = Path(unquote(url.removeprefix(SQLITE))).absolute()
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=LOCK_S)
    connection.text_factory = lambda data: data.decode(errors="replace")
    return connection


def _postgresql(url: str) -> Any:
    import psycopg  # takes twice as long as all the rest

    _limit_wait()
    plain = url.replace("postgresql+psycopg:", "postgresql:", 1)
    return psycopg.connect(plain, options="-c default_transaction_read_only=on", autocommit=True)
