"""A process of test_hostile_models.py that opens model files under an audit hook and reports what that touched.

    python -m tests.programs.opener DOOR GENUINE DAMAGED

A genuine and a damaged file are opened first, so that everything is imported and later events belong to the file.
Then each line of standard input is the path of a file. For each, a line of JSON on standard output has the error, the
events, and how far the peak of memory was above the level before the first file, including what earlier files left.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn.errors import InputError

WATCHED = (
    "compile",
    "ctypes.",
    "exec",
    "glob.",
    "import",
    "marshal.",
    "mmap.",
    "open",
    "os.",
    "pickle.",
    "pty.",
    "shutil.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "syslog.",
    "tempfile.",
    "urllib.",
)

TRIM = ctypes.CDLL(None).malloc_trim  # looked up before the hook is set, which would report it


def models_import(path: str) -> tuple[int, str]:
    """Run the real command line in this process."""
    from producer import cli

    said = io.StringIO()
    sys.argv = ["charrnn-jobs", "models", "import", path]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
    return 0, said.getvalue()


def load(path: str) -> tuple[int, str]:
    import charrnn

    return _tried(lambda: charrnn.load(path))


def worker(path: str) -> tuple[int, str]:
    """Load a version as a worker does. `path`: a file with the root of the files and the version's file reference."""
    from charrnn.jobs.files.files import Files
    from charrnn.jobs.job.file_ref import FileRef
    from worker.parts.model_cache import ModelCache

    def get() -> object:
        values = json.loads(Path(path).read_text())
        return ModelCache().get(Files(values.pop("root"), Path("none")), FileRef(**values))

    return _tried(get)


def _tried(open_it: Callable[[], object]) -> tuple[int, str]:
    try:
        open_it()
    except InputError as error:
        return 2, str(error)
    return 0, ""


def _peak_mb() -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _absolute(event: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments with a full path where the event has a name and an open folder, as in `shutil.rmtree`."""
    if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:
        return (Path(f"/proc/self/fd/{arguments[1]}").readlink() / arguments[0],)
    return arguments


def _plain(argument: Any) -> str:
    return str(getattr(argument, "co_filename", argument))[:300]  # for code: its file


def _settle() -> None:
    """Return free memory to the system and reset the peak."""
    gc.collect()
    TRIM(0)
    Path("/proc/self/clear_refs").write_text("5")


def main(door: str, genuine: str, damaged: str) -> None:
    open_it = {"import": models_import, "load": load, "worker": worker}[door]
    events = list[tuple[str, ...]]()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(WATCHED):
            events.append((event, *map(_plain, _absolute(event, arguments))))

    check(open_it, genuine, 0)
    sys.addaudithook(watch)
    check(open_it, damaged, 2)
    usual = {*events}  # such as Typer's evaluation of its annotations
    gc.freeze()  # or `_settle` would look through all objects of TensorFlow before each file
    _settle()
    before = _peak_mb()
    for line in sys.stdin:
        _settle()
        events.clear()
        code, message = open_it(line.rstrip("\n"))
        touched = [event for event in events if event not in usual]
        report = {"code": code, "message": message, "events": touched, "grown_mb": _peak_mb() - before}
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


def check(open_it: Callable[[str], tuple[int, str]], path: str, expected: int) -> None:
    if (opened := open_it(path))[0] != expected:
        raise SystemExit(f"{path}: {opened}")


if __name__ == "__main__":
    main(*sys.argv[1:])
