"""The suite's levels are folders: unit (no server), integration (real server and database),
acceptance (real processes and the real command line). Fixtures are plugins, one resource a file."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tests.fix_broker", "tests.fix_model", "tests.fix_processes", "tests.fix_store"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in os.environ:
        if name.startswith("CHARRNN_"):
            monkeypatch.delenv(name)
