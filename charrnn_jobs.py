"""The entry point of `charrnn-jobs`: refuse a system or an installation on which it cannot work, then run the command.

Other distributions may have packages named `worker`, `producer` or `charrnn` too. The name of this module is of this
distribution alone, and it looks for the packages before it imports them.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent
PACKAGES = ("charrnn", "producer", "worker")
STARTING = ("up", "worker", "scheduler")  # commands that run for long; they alone wait 70 ms to read what is installed
BAD_INSTALLATION = 2
FEW_COLLECTIONS = (
    50_000  # new objects between two; with Python's 700, they are 8% of the time of `jobs`, and find nothing
)


def main() -> None:
    """Run the command line, or end with one sentence and exit code 2."""
    with _ending_at_once():
        _run()


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """End at Ctrl-C and SIGTERM without a word before the block has set handlers of its own, and when it has ended.

    Python would print a traceback of the import, of 0.2 s, or of its own end, that the signal met. A signal that the
    caller has told to ignore, as a shell does in a script's background, stays ignored.
    """
    ends = {number: _end for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN}
    for number, end in ends.items():
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, end in ends.items():
            signal.signal(number, end)


def _end(number: int, _frame: object) -> None:
    os._exit(128 + number)


def _run() -> None:
    problem = _system() or _shadow() or (_intruder() if sys.argv[1:2] and sys.argv[1] in STARTING else None)
    if problem:
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(BAD_INSTALLATION)
    gc.set_threshold(FEW_COLLECTIONS)
    from producer import main as run

    run()


def _system() -> str | None:
    """Say why this system cannot run the programs, or return None."""
    return "charrnn-jobs runs on Linux and macOS. On Windows, use WSL" if sys.platform == "win32" else None


def _shadow() -> str | None:
    """Name a module that Python finds before the package of that name here, or return None."""
    for name in PACKAGES:
        spec = find_spec(name)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        found = next((place for place in places if place), "nothing")
        if Path(found).resolve() != (ROOT / name / "__init__.py").resolve():
            return (
                f"Python finds {found} as {name}. Expected {ROOT / name}. Remove it from PYTHONPATH, or install "
                f"charrnn-jobs in an environment of its own"
            )
    return None


def _intruder() -> str | None:
    """Name another distribution that has installed files into a package here, or return None."""
    from importlib.metadata import distributions

    for distribution in distributions():
        found = re.search(rf"^({'|'.join(PACKAGES)})/", distribution.read_text("RECORD") or "", re.MULTILINE)
        if not found or distribution.name == "charrnn-jobs":
            continue
        if Path(str(distribution.locate_file(found[1]))).resolve() == (ROOT / found[1]).resolve():
            return (
                f"{distribution.name} {distribution.version} has installed files into {ROOT / found[1]}. Install "
                f"charrnn-jobs again, in an environment of its own"
            )
    return None
