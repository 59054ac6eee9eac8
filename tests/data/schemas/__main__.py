"""Write the current schema of the package `tables`, for each database, under the number of the latest migration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from charrnn.jobs.store.migrations import latest
from charrnn.jobs.store.tables import add_details, metadata


def statements(dialect: Dialect) -> Iterator[str]:
    for table in metadata.sorted_tables:
        lines = str(CreateTable(table).compile(dialect=dialect)).strip().splitlines()
        yield "\n".join(map(str.rstrip, lines))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(CreateIndex(index).compile(dialect=dialect)).strip()


add_details()
for dialect in (sqlite.dialect(), postgresql.dialect()):  # type: ignore[no-untyped-call]
    path = Path(__file__).with_name(f"{latest()}-{dialect.name}.sql")
    path.write_text("".join(f"{statement};\n\n" for statement in statements(dialect)))
