"""Documents of every release are read as they were meant, and what is newer says since when: see tests/data/golden."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from charrnn.jobs.job.json_object import needed_version, stored
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.specs import SINCE, SPEC_VERSION, GenerateSpec, TrainSpec
from charrnn.jobs.job.version import Gate
from charrnn.options import SamplingOptions
from tests.data.golden import DOCUMENTS, GENERATE_SPEC, VERSIONS, known_names, read

KINDS: dict[str, Any] = {
    "train_spec": TrainSpec,
    "generate_spec": GenerateSpec,
    "train_request": TrainRequest,
    "generate_request": GenerateRequest,
    "report": Report,
    "gate": Gate,
}
FREEZE = "add what is new to SINCE, with the next version, then: python -m tests.data.golden"


def test_every_new_name_has_a_version_in_since() -> None:
    # Catches: a field, option or choice without the version that brought it, so that older workers fail its jobs
    assert VERSIONS[-1] == SPEC_VERSION, FREEZE
    frozen = {name: version for version in VERSIONS for name in read(version, "names")}
    assert known_names() == frozen.keys(), FREEZE
    newer = {name: version for name, version in frozen.items() if version > 1}
    assert newer == SINCE, FREEZE


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_of_any_release_is_read(name: str, version: int) -> None:
    document = read(version, name)
    value = KINDS[name].from_dict(document)
    again = json.loads(json.dumps(asdict(value) if name == "gate" else value.to_dict()))
    # Catches: a field that changed its name, form or meaning
    assert again == document
    if version == SPEC_VERSION and name != "report":
        assert value == DOCUMENTS[name]


def test_newer_fields_are_written_only_where_they_are_used() -> None:
    since = {"SamplingOptions.top_p": 2, "SamplingOptions.stop": 3, "GenerateSpec.batches": 4}
    plain = SamplingOptions()
    # Catches: values equal to their default that are written, and refused by older releases
    assert stored(plain, since).keys() == plain.to_dict().keys() - {"top_p", "stop"}
    assert needed_version(plain, since) == 1
    used = SamplingOptions(top_p=0.5, stop=("\n",))
    assert stored(used, since) == used.to_dict()
    assert needed_version(used, since) == 3  # Catches: the version of the last field instead of the highest
    # A field without a default is always written.
    assert stored(GENERATE_SPEC, since)["batches"] == {"cpu": 16, "gpu": 256}
    assert needed_version(GENERATE_SPEC, since) == 4


def test_fields_of_the_first_version_are_always_written() -> None:
    # Catches: a stored job that changes its meaning when a default changes
    assert stored(SamplingOptions(), {}) == SamplingOptions().to_dict()
