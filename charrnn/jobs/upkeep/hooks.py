"""Hooks: a shell command or the URL of a POST, which a schedule names for the end of its runs.

The database says which hook a schedule has, and whoever can write to it could name any command, or any address of the
worker's network. A process therefore runs only hooks that a person has allowed on its host: files in a private folder
(`Settings.hooks`), which is no part of the database, are named after the digests of store and hook. `schedules add`
and `edit` allow what they are given; on other hosts, `schedules allow` does. The facts that a hook is told come from
jobs and are not trusted: they are passed in variables or as JSON, and never as a part of the command or the address.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from charrnn.errors import CharrnnError
from charrnn.jobs import private
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.schedule import is_url
from charrnn.jobs.store.scheduled import events
from charrnn.jobs.store.scheduled.events import EndedRun, Event
from charrnn.jobs.upkeep.submissions import Submissions

logger = logging.getLogger(__name__)

VARIABLE = "RUN_"  # how the variables of a command begin: CHARRNN_ is for settings, which a command may use too
COMMAND_S, URL_S = 60.0, 10.0  # time limits; both are shorter than a claim, so that no other process begins meanwhile
SHOWN_OUTPUT = 400  # characters of a failed command's output
READ_SIZE = 65_536  # bytes that are read at once
POLL_S = 0.02  # between two looks at a command


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
        self._folder = connections.settings.hooks

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
        return isinstance(hook, str) and self._path(hook).is_file()  # a damaged cell may be of another type

    def _path(self, hook: str) -> Path:
        named = f"{self._connections.store.id} {hook}"  # another store that names the same command is another one
        return self._folder / hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest()

    def ended(self) -> list[EndedRun]:
        """Return the runs that have ended and were not told yet."""
        with self._connections.store.read() as connection:
            return events.ended(connection, self._now())

    def tell(self, run: EndedRun) -> None:
        """Run the hook of a run in a thread, after the other hooks of its schedule, unless this host does not allow it
        or another process was quicker."""
        event, hook = run.event, run.hook
        if event is None or hook is None:
            self._forget(run)
        elif run.attempts >= events.ATTEMPTS:
            self._forget(run, f"its process ended in each of {events.ATTEMPTS} attempts")
        elif not self.allowed(hook):
            if self._now() - run.slot.at > events.UNTOLD_MS:
                self._forget(run, "no host has allowed it. To allow it there: charrnn-jobs schedules allow")
        elif not self._submissions.unfinished(run.slot.schedule):
            with self._connections.store.write() as connection:
                claimed = events.claim(connection, run, self._now())
            if claimed:
                self._submissions.start(run.slot, partial(self._tell, run, hook, event))

    def _forget(self, run: EndedRun, error: str | None = None) -> None:
        with self._connections.store.write() as connection:
            events.forget(connection, run, error)

    def _tell(self, run: EndedRun, hook: str, event: Event) -> None:
        """Run the hook of a claimed event, and store how that ended."""
        error = None
        try:
            run_hook(hook, event, self._connections.settings.home)
            told = {"event": "hook", "schedule": run.slot.schedule}
            logger.info("schedule %s: its hook ran: %s", run.slot, event.state, extra=told)
        except Exception as failure:
            error = str(failure) if isinstance(failure, HookError) else type(failure).__name__
            failed = {"event": "hook_failed", "schedule": run.slot.schedule}
            attempt = f"attempt {run.attempts + 1} of {events.ATTEMPTS}"
            logger.error("schedule %s: its hook failed, %s: %s", run.slot, attempt, error, extra=failed)
        try:
            with self._connections.store.write() as connection:
                events.mark(connection, run, self._now(), error)
        except CharrnnError as failure:  # nobody waits for this thread
            again = "schedule %s: its hook will run again, since this cannot be stored: %s"
            logger.warning(again, run.slot, failure, extra={"schedule": run.slot.schedule})


def run_hook(hook: str, event: Event, home: Path) -> None:
    """Run a command in `home`, or POST to a URL, with an event.

    Raises:
        HookError: it failed, or took too long.
    """
    if is_url(hook):
        _post(hook, event.to_dict())
    else:
        _execute(hook, event.to_dict(), home)


def _post(url: str, facts: Mapping[str, Any]) -> None:
    """POST facts to a URL. A redirect is an answer like others: it could lead to an address that nobody allowed."""
    parts, late = urlsplit(url), threading.Event()
    kind = HTTPSConnection if parts.scheme.lower() == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=URL_S)
    # That timeout is for each read, and a server may send a byte from time to time.
    timer = threading.Timer(URL_S, _cut, (connection, late))
    timer.start()
    try:
        place = parts._replace(scheme="", netloc="", fragment="", path=parts.path or "/").geturl()
        connection.request("POST", place, json.dumps(facts), {"Content-Type": "application/json"})
        code = connection.getresponse().status  # the rest of the answer does not matter, and may be of any size
    except (HTTPException, OSError, ValueError) as error:  # the messages of some of them quote the URL
        if late.is_set():
            raise HookError(f"the server did not answer within {URL_S:g} s") from error
        raise HookError(f"the server could not be reached ({type(error).__name__})") from error
    finally:
        timer.cancel()
        connection.close()
    if not 200 <= code < 300:
        raise HookError(f"the server answered {code}. Expected a code from 200 to 299")


def _cut(connection: HTTPConnection, late: threading.Event) -> None:
    late.set()
    if connection.sock:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _execute(command: str, facts: Mapping[str, Any], home: Path) -> None:
    variables = {VARIABLE + name.upper(): _variable(value) for name, value in facts.items() if value is not None}
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        bufsize=0,
        env={**os.environ, **variables},
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that it can be ended together with what it started
    ) as process:
        output = _follow(process)
    if process.returncode:
        shown = f": {output}" if output else ""
        raise HookError(f"the command ended with exit code {process.returncode}{shown}")


def _follow(process: subprocess.Popen[bytes]) -> str:
    """Wait for the end of a process, whatever it leaves behind, and return the end of what it wrote, of any size.

    Raises:
        HookError: it took too long, and was ended.
    """
    assert process.stdout  # noqa: S101
    os.set_blocking(process.stdout.fileno(), False)  # what it started may keep this open for days
    ends, output, ended = time.monotonic() + COMMAND_S, b"", False
    while not ended:
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
        ended = process.returncode is not None
        while (data := process.stdout.read(READ_SIZE)) and time.monotonic() < ends:
            output = (output + data)[-4 * SHOWN_OUTPUT :]
        if not ended and time.monotonic() > ends:
            os.killpg(process.pid, signal.SIGKILL)
            raise HookError(f"the command took longer than {COMMAND_S:g} s and was ended")
    return output.decode(errors="replace").strip()[-SHOWN_OUTPUT:]


def _variable(value: object) -> str:
    """Return a value for the environment, which takes no NUL and nothing that is not UTF-8."""
    return str(value).replace("\0", "�").encode(errors="replace").decode()
