"""Configuration of the test suite, whose levels are folders: unit (no server), integration (real server and database)
and acceptance (real processes and the real command line). Fixtures are plugins, one resource per file.

`unit` needs neither a server nor TensorFlow. CONTRIBUTING.md says which command runs which tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# A plugin comes after those that it imports: pytest rewrites asserts only in modules that are not imported yet.
pytest_plugins = [
    f"tests.fixtures.{name}"
    for name in (
        "model",
        "archive",
        "versions",
        "processes",
        "broker",
        "postgres",
        "pgbouncer",
        "s3",
        "store",
        "client",
        "desk",
        "web",
        "browser",
        "nights",
        "hosts",
        "containers",
        "charts",
        "traces",
        "pods",
    )
]

# Number of examples for each property test: `make test` uses dev, `make test-all` adds ci.
settings.register_profile("dev", max_examples=10, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None)
settings.load_profile("dev")


# In memory no commit waits for a disk, and an empty database costs PostgreSQL 25 ms, not 41. No test cuts the power.
MEMORY, NEEDED = Path("/dev/shm"), 6 << 30  # noqa: S108  # bytes of room; in a container it has 64 MiB


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--freeze", action="store_true", help="write tests/data/output anew from what commands print")
    parser.addoption("--minutes", type=float, help="of random faults, half on each database; or of each fuzz target")


def pytest_configure() -> None:
    """Restore the handler of SIGINT, which a shell that runs the suite in the background ignores. Hide the settings
    file of the person who runs the tests. Keep the files of the tests in memory, where it has room."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["XDG_CONFIG_HOME"] = os.devnull
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > NEEDED:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


class OneStack(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """All files whose tests use the running stack are for one process: each process that runs one of them starts a
    stack, trains a model, and compiles for each network and batch size again."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "stack" if "stack: Home" in (self.config.rootpath / file).read_text() else file


@pytest.hookimpl(optionalhook=True)  # only with xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneStack | None:
    return OneStack(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_report_header() -> list[str]:
    """Return the versions of the servers that the tests start."""
    from tests.fixtures import broker, postgres, s3

    return [f"servers: {broker.version()}, {postgres.version()}, {s3.version()}"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the person who runs the tests from the environment."""
    for name in os.environ:
        if name.startswith("CHARRNN_"):
            monkeypatch.delenv(name)
