"""The suite's levels are folders: unit (no server), integration (real server and database),
acceptance (real processes and the real command line). Fixtures are plugins, one resource a file."""

from __future__ import annotations

import os
import signal

import pytest

# A plugin after those that it imports: pytest rewrites the asserts of what is not imported yet.
pytest_plugins = [
    f"tests.fixtures.{name}"
    for name in ("model", "processes", "broker", "postgres", "s3", "store", "client", "nights", "hosts", "containers")
]


def pytest_configure() -> None:
    """Where a shell runs the suite in the background it ignores Ctrl-C, and what we start would too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in os.environ:
        if name.startswith("CHARRNN_"):
            monkeypatch.delenv(name)
