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
    "jobs": "select id from jobs where {fitting} and cast(id as varchar(10)) like ? order by id desc",
    "models": (  # not those whose versions were deleted
        "select name from models where name like ? and (newest = 0 or name in (select model from versions)) "
        "order by name"
    ),
    "schedules": "select name from schedules where name like ? order by name",
    "labels": (
        "select distinct label from (select label from jobs where label like ? order by id desc limit 1000) "
        "as newest order by label"
    ),
    "users": (
        "select distinct submitted_by from (select submitted_by from jobs where submitted_by like ? "
        "order by id desc limit 1000) as newest order by submitted_by"
    ),
    "aliases": "select distinct alias from aliases where alias like ? order by alias",
    "versions": (
        "select name from (select model || '@' || cast(version as varchar(10)) as name, model, version from versions "
        "union all select model || '@' || alias, model, 0 from aliases) as named where name like ? "
        "order by model, version desc"
    ),
}
"""The names that begin with a word, whose last character is a %. A _ in it stands for any character, and the caller
looks again."""


def find_names(kind: str, command: str, word: str) -> Sequence[str]:
    """Return names of a kind, such as jobs that fit a command, that begin with `word`, or nearly so."""
    if kind == "references":
        kind = "versions" if "@" in word else "models"
    query = QUERIES[kind].format(fitting=FITTING.get(command, "1 = 1"))
    return [str(name) for (name,) in _rows(f"{query} limit {MOST}", f"{word}%")]


def _rows(query: str, pattern: str) -> list[Any]:
    url = Settings.from_env(os.environ).database_url
    on_file = url.startswith(SQLITE)
    with closing(_sqlite(url) if on_file else _postgresql(url)) as connection:
        # The mark of a parameter is that of the driver.
        rows: list[Any] = connection.execute(query if on_file else query.replace("?", "%s"), (pattern,)).fetchall()
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
