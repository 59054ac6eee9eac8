"""Training and sampling leave no files in the temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fixtures.model import make_text

PROGRAM = """
import os, sys, charrnn
model = charrnn.train(sys.argv[1], epochs=1, units=8, layers=1)
next(model.sample("a", length=20))
os._exit(0)
"""
"""A program that ends as the children of a worker's pool do, without exit handlers."""


def test_a_training_and_a_sampling_leave_no_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(make_text(120))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "text.txt"], env=environ, check=True)
    # Catches: the sources that AutoGraph writes, one for each compiled function
    assert list(temporary.iterdir()) == []
