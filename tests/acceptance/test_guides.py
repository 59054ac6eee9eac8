"""The tutorial and the guides: every block that is marked sh or python runs as it is written, in the page's order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.model import make_text
from tests.fixtures.processes import COMMAND, DEADLINE_S, TINY, Home, make_home

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALLER = {
    "tutorial.md": {"--size small --epochs 8": "--units 16 --layers 1 --unroll 16 --epochs 1"},
    "bulk.md": {"-n 1000 -l 200": "-n 3 -l 20"},
    "python.md": {
        "epochs=3": "units=16, layers=1, unroll=16, epochs=1",
        "256": "16",
        '"epochs": 4': '"layers": 1, "unroll": 16, "epochs": 1',  # as the desk's model: the worker has its graphs
        "length=200": "length=20",
    },
    "results.md": {"jobs/7/": "jobs/2/"},
    "schedules.md": {},
    "settings.md": {},
}
"""The pages, and what is replaced in them so that they run quickly. The job of results.md is the second one."""


@pytest.fixture(scope="module")
def desk() -> Iterator[Home]:
    """A running stack in a folder with the files, the model and the job that the guides name."""
    for home in make_home(CHARRNN_HEARTBEAT_S="0.2", CHARRNN_MAINTAIN_S="2"):
        (home.path / "examples").symlink_to(ROOT / "examples")
        (home.path / "speeches").mkdir()
        (home.path / "speeches" / "one.txt").write_text(make_text(800) + "Today, we My fellow citizens\n")
        (home.path / "texts").symlink_to(home.path / "speeches")
        (home.path / "seeds.txt").write_text("the old sailor\na small lamp\n")
        with home.up():
            home.ok("train", "speeches", str(home.path / "speeches"), *TINY, "--wait")
            home.ok("submit", "--seeds", str(home.path / "seeds.txt"), "-t", "0.5,1", "-l", "20", "--wait")
            yield home


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and content of the blocks of a page that run."""
    text = (ROOT / "docs" / page).read_text()
    for long, short in SMALLER[page].items():
        assert long in text
        text = text.replace(long, short)
    return BLOCK.findall(text)


@pytest.mark.parametrize("page", ["results.md", "settings.md", "schedules.md", "python.md", "bulk.md", "tutorial.md"])
def test_the_blocks_of_a_page_run(desk: Home, page: str) -> None:
    # Catches: an option in a guide that does not exist, or a file that no earlier command writes
    path = os.pathsep.join([str(Path(COMMAND[0]).parent), os.environ["PATH"]])
    found = blocks(page)
    assert found
    for language, block in found:
        program = ["sh", "-eu", "-c", block] if language == "sh" else [sys.executable, "-W", "error", "-c", block]
        done = subprocess.run(
            program,
            cwd=desk.path,
            env={**desk.environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    if page == "tutorial.md":
        assert len((desk.path / "thousand.txt").read_text().splitlines()) == 1000
        assert {version["version"] for version in desk.json("models")} >= {"names@1", "names@2"}
