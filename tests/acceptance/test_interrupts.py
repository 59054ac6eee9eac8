"""Ctrl-C and SIGTERM at moments at which nothing of ours handles them yet, or any more. Real processes."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.test_killed_up import exists
from tests.fixtures.processes import COMMAND, Home, until

STOPS = 'import signal\nprint("here", flush=True)\nsignal.pause()\n'
AT_THE_END = """
import atexit
import signal

@atexit.register
def stop():
    print("here", flush=True)
    signal.pause()
"""
PRINTED = "here\n"
ENDED_BY = (-signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "module", "code"),
    [
        ("config", "typer", STOPS),
        ("config", "sitecustomize", AT_THE_END),
        ("worker", "celery", STOPS),
        ("scheduler", "redis", STOPS),
    ],
)
def test_a_signal_during_imports_and_at_the_end_is_no_traceback(
    home: Home, tmp_path: Path, command: str, module: str, code: str, number: signal.Signals
) -> None:
    # Catches: a traceback of twenty lines after Ctrl-C in the first half second
    (tmp_path / f"{module}.py").write_text(code)
    home.settings = {"PYTHONPATH": str(tmp_path)}
    with home.start(command) as process:
        assert process.stdout
        assert PRINTED in iter(process.stdout.readline, "")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode in ENDED_BY, errors) == (True, "")


def test_a_signal_that_a_script_ignores_stays_ignored(home: Home, tmp_path: Path) -> None:
    """A shell that runs a script starts its commands in the background with Ctrl-C ignored."""
    environment = {**home.environment, "PYTHONPATH": str(tmp_path)}
    script = f"trap '' INT; exec {COMMAND[0]} config"
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(7)\n")
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_killed_while_it_checks_its_broker_leaves_no_process(
    home: Home, number: signal.Signals
) -> None:
    # Catches: a process of the check that waits for ever, and with it the lock that the next `up` needs
    with socket.create_server(("127.0.0.1", 0)) as silent:
        home.settings = {"CHARRNN_REDIS_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"}
        with home.start("worker", "--devices", "cpu") as worker, closing(silent.accept()[0]):
            (check,) = _children(worker.pid)
            worker.send_signal(number)
            worker.wait(60)
            until(lambda: not exists(check), "the end of the check")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
