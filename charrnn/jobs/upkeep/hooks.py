"""Hooks: a shell command or the URL of a POST, which a schedule names for the end of its runs.

The database says which hook a schedule has, and whoever can write to it could name any command, or any address of the
worker's network. A process therefore runs only hooks that a person has allowed on its host: files in its home, which is
private and no part of the database, are named after their digests. `schedules add` and `edit` allow what they are
given; on other hosts, `schedules allow` does. What a hook is told comes from jobs and is not trusted: it is passed in
variables or as JSON, and never as a part of the command or the address.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from charrnn.errors import CharrnnError
from charrnn.jobs import private
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.schedule import HOOK_URL, EndedRun, Event
from charrnn.jobs.store.scheduled import events
from charrnn.jobs.upkeep.submissions import Submissions

logger = logging.getLogger(__name__)

FOLDER = "hooks"  # in CHARRNN_HOME
VARIABLE = "RUN_"  # how the variables of a command begin: CHARRNN_ is for settings, which a command may use too
COMMAND_S, URL_S = 60.0, 10.0  # time limits; both are shorter than a claim, so that no other process begins meanwhile
SHOWN_OUTPUT = 400  # characters of a failed command's output
MAX_OUTPUT = 65_536  # bytes that are read at once


class HookError(CharrnnError):
    """A hook could not be run, or failed. The message names neither the command nor the URL, which may hold secrets."""


class Hooks:
    """The hooks of one store's schedules, and those that this host allows.

    Args:
        submissions: the threads in which they run.
    """

    def __init__(
        self, connections: Connections, now: Callable[[], int], submissions: Submissions | None = None
    ) -> None:
        self._connections, self._now = connections, now
        self._submissions = submissions or Submissions(wait_s=0)  # no schedule waits for a hook
        self._folder = connections.settings.home / FOLDER

    def allow(self, *hooks: str | None) -> None:
        """Let the processes of this host, with this home, run hooks.

        Raises:
            InputError: the home cannot be written to or is not private.
        """
        for hook in filter(None, hooks):
            private.make_folder(self._folder)
            with open(self._path(hook), "w", encoding="utf-8", opener=private.opener) as file:
                file.write(hook)  # for people: only the name counts

    def allowed(self, hook: str) -> bool:
        """Return whether a person allowed a hook on this host.

        Raises:
            InputError: others could have written to the folder.
        """
        private.check_folder(self._folder)
        return self._path(hook).is_file()

    def _path(self, hook: str) -> Path:
        return self._folder / hashlib.sha256(hook.encode(errors="surrogatepass")).hexdigest()

    def ended(self) -> list[EndedRun]:
        """Return the runs that have ended and were not told yet."""
        with self._connections.store.read() as connection:
            return events.ended(connection, self._now())

    def tell(self, run: EndedRun) -> None:
        """Run the hook of a run in a thread, after the other hooks of its schedule, unless this host does not allow it
        or another process was quicker."""
        event, hook = run.event, run.hook
        if event is None or hook is None:
            with self._connections.store.write() as connection:
                events.forget(connection, run)
        elif not self._submissions.unfinished(run.slot.schedule) and self.allowed(hook):
            with self._connections.store.write() as connection:
                claimed = events.claim(connection, run, self._now())
            if claimed:
                self._submissions.start(run.slot, partial(self._tell, run, hook, event))

    def _tell(self, run: EndedRun, hook: str, event: Event) -> None:
        """Run the hook of a claimed event, and store how that ended."""
        error = None
        try:
            run_hook(hook, event, self._connections.settings.home)
            logger.info("schedule %s: hook done", run.slot, extra={"event": "hook", "schedule": run.slot.schedule})
        except Exception as failure:
            error = str(failure) if isinstance(failure, HookError) else type(failure).__name__
            failed = {"event": "hook_failed", "schedule": run.slot.schedule}
            attempt = f"attempt {run.attempts + 1} of {events.ATTEMPTS}"
            logger.error("schedule %s: its hook failed, %s: %s", run.slot, attempt, error, extra=failed)
        with self._connections.store.write() as connection:
            events.mark(connection, run, self._now(), error)


def run_hook(hook: str, event: Event, home: Path) -> None:
    """Run a command in `home`, or POST to a URL, with an event.

    Raises:
        HookError: it failed, or took too long.
    """
    if re.match(HOOK_URL, hook):
        _post(hook, event.to_dict())
    else:
        _execute(hook, event.to_dict(), home)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it could lead to an address that nobody allowed."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, facts: Mapping[str, Any]) -> None:
    body, headers = json.dumps(facts).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310  # its scheme is HTTP: see HOOK_URL
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=URL_S):
            pass  # the answer does not matter, and may be of any size
    except HTTPError as error:
        error.close()
        raise HookError(f"the server answered {error.code}. Expected a code from 200 to 299") from error
    except (HTTPException, OSError, ValueError) as error:  # the messages of some of them quote the URL
        raise HookError(f"the server could not be reached ({type(error).__name__})") from error


def _execute(command: str, facts: Mapping[str, Any], home: Path) -> None:
    variables = {VARIABLE + name.upper(): _variable(value) for name, value in facts.items() if value is not None}
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        env={**os.environ, **variables},
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that it can be ended together with what it started
    ) as process:
        late = threading.Event()
        timer = threading.Timer(COMMAND_S, _end, (process.pid, late))
        timer.start()
        try:
            output = _read(process)
        finally:
            timer.cancel()
    if late.is_set():
        raise HookError(f"the command took longer than {COMMAND_S:g} s and was ended")
    if process.returncode:
        shown = f": {output[-SHOWN_OUTPUT:]}" if output else ""
        raise HookError(f"the command ended with exit code {process.returncode}{shown}")


def _end(group: int, late: threading.Event) -> None:
    late.set()
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _read(process: subprocess.Popen[bytes]) -> str:
    """Return the end of what a process writes, which may be of any size."""
    assert process.stdout  # noqa: S101
    end = b""
    while data := process.stdout.read(MAX_OUTPUT):
        end = (end + data)[-SHOWN_OUTPUT * 4 :]
    return end.decode(errors="replace").strip()


def _variable(value: object) -> str:
    """Return a value for the environment, which takes no NUL and nothing that is not UTF-8."""
    return str(value).replace("\0", "�").encode(errors="replace").decode()
