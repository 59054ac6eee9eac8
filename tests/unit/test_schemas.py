"""The JSON Schemas in docs/schemas are those of the records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from producer.docs.schemas import RECORDS, schema

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def test_the_folder_has_a_schema_for_each_record() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_a_schema_is_that_of_its_record(name: str) -> None:
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    assert stored == schema(name), "Run: make docs"
    Draft202012Validator.check_schema(stored)
