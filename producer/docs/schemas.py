"""The JSON Schemas in docs/schemas, written from the records themselves: `make docs`."""

from __future__ import annotations

import json
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, with_config

from charrnn.jobs.rows.row import Row
from charrnn.jobs.upkeep.inspection import Finding
from charrnn.jobs.upkeep.pruning import Pruned
from producer.commands.doctor import Check
from producer.output.models import Compared
from producer.records import config, jobs, models, schedules

DIALECT = "https://json-schema.org/draft/2020-12/schema"

RECORDS: dict[str, Any] = {
    "check": Check,
    "compared": Compared,
    "config": config.ConfigRecord,
    "event": jobs.EventRecord,
    "export": models.ExportRecord,
    "finding": Finding,
    "job": jobs.JobRecord,
    "job-details": jobs.StatusRecord,
    "pruned": Pruned,
    "row": Row,
    "run": schedules.SlotRecord,
    "schedule": schedules.ListedScheduleRecord,
    "schedule-details": schedules.ScheduleDetailsRecord,
    "submitted-generate": jobs.SubmittedGenerateRecord,
    "submitted-train": jobs.SubmittedTrainRecord,
    "trouble": schedules.TroubleRecord,
    "version": models.VersionRecord,
    "version-details": models.VersionDetailsRecord,
}


def main(folder: Path) -> None:
    """Write a file for each record into a folder, which has no others."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for name in RECORDS:
        (folder / f"{name}.json").write_text(json.dumps(schema(name), indent=1) + "\n")


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a record."""
    for module in (config, jobs, models, schedules):
        for found in vars(module).values():
            if is_dataclass(found) and isinstance(found, type) and found.__module__ == module.__name__:
                with_config(ConfigDict(use_attribute_docstrings=True))(found)
    return {"$schema": DIALECT, **_plain(TypeAdapter(RECORDS[name]).json_schema(mode="serialization"))}


def _plain(found: Any) -> Any:
    """Return a schema without titles, which repeat the names, and without what a description says to programmers."""
    if isinstance(found, list):
        return [_plain(item) for item in found]
    if not isinstance(found, dict):
        return found
    plain = {name: _plain(item) for name, item in found.items() if name != "title"}
    if "description" in plain:
        plain["description"] = plain["description"].partition("\n\nRaises:")[0]
    return plain


if __name__ == "__main__":
    main(Path(sys.argv[1]))
