"""A system or an installation on which nothing can work is refused in one sentence. Real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import charrnn_jobs
from tests.fixtures.processes import Home

ON_WINDOWS = """
import sys
sys.platform = "win32"
import charrnn_jobs
charrnn_jobs.main()
"""


def make_distribution(folder: Path, package: str) -> None:
    """Write what an installation of a distribution that has this package leaves in a folder, without the package."""
    information = folder / "crawler-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: crawler\nVersion: 1.2\n")
    (information / "RECORD").write_text(f"crawler-1.2.dist-info/METADATA,,\n{package}/__init__.py,,\n")


def test_windows_is_refused() -> None:
    # Catches: a traceback about fcntl
    done = subprocess.run([sys.executable, "-c", ON_WINDOWS, "jobs"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: charrnn-jobs runs on Linux and macOS. On Windows, use WSL\n"


@pytest.mark.parametrize("name", ["charrnn", "producer", "worker"])
@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py"])
def test_a_module_that_shadows_a_package_is_named(home: Home, tmp_path: Path, name: str, file: str) -> None:
    shadow = tmp_path / file.format(name)
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text("print('not ours')\n")
    home.settings["PYTHONPATH"] = str(tmp_path)
    done = home.run("worker", "--devices", "cpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Python finds {shadow} as {name}." in done.stderr


@pytest.mark.parametrize("name", ["charrnn", "producer", "worker"])
@pytest.mark.parametrize("command", ["up", "worker", "scheduler"])
def test_a_distribution_that_wrote_into_a_package_is_named(home: Home, tmp_path: Path, name: str, command: str) -> None:
    # Catches: half of another package in ours, as pip installs it without a word
    for each in ("charrnn_jobs.py", *charrnn_jobs.PACKAGES):
        (tmp_path / each).symlink_to(charrnn_jobs.ROOT / each)
    make_distribution(tmp_path, name)
    home.settings["PYTHONPATH"] = str(tmp_path)
    done = home.run(command)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"crawler 1.2 has installed files into {tmp_path / name}." in done.stderr


def test_a_distribution_in_another_folder_is_no_matter(home: Home, tmp_path: Path) -> None:
    make_distribution(tmp_path, "worker")
    home.settings["PYTHONPATH"] = str(tmp_path)
    assert home.run("worker", "--devices", "cpu").returncode == 4  # no broker
