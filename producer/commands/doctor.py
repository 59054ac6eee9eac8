"""The command `doctor`: checks of the installation."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charrnn.errors import CharrnnError, UnreachableError, counted
from charrnn.jobs.files.layout import ASIDE, MODELS
from charrnn.jobs.job.report import is_failure
from charrnn.jobs.job.requests import with_options
from charrnn.jobs.job.specs import SPECS
from charrnn.jobs.job.views import WorkerInfo, no_release, no_worker
from charrnn.jobs.programs import UNREACHABLE
from producer.options import JsonOption, open_client
from producer.output import console

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

app = typer.Typer()


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Check broker, store, files and workers, and say how to fix what is wrong."""
    with open_client() as client:
        checks = examine(client)
    if json:
        console.records([vars(check) for check in checks])
    else:
        console.checks((check.outcome, check.name, check.detail) for check in checks)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(UNREACHABLE)


@dataclass(frozen=True)
class Check:
    """One finding. Something that is not `needed`, such as a worker, may be missing for now."""

    name: str
    ok: bool
    detail: str
    needed: bool = True

    @property
    def outcome(self) -> str:
        """The finding in one word. A warning does not change the exit code."""
        return "ok" if self.ok else "failed" if self.needed else "warning"


def examine(client: Client) -> list[Check]:
    """Check everything and repair nothing. As with any command, a new store, broker or file store is tied to the others
    at first use."""
    checks = [
        _check("python", lambda: f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _check("home", lambda: str(client.connections.settings.home)),
        _check("broker", lambda: _broker(client)),
        _check(
            "store",
            lambda: f"{client.connections.store.url}, {counted(len(client.models.list()), 'model version')}",
        ),
    ]
    if all(check.ok for check in checks if check.name == "store"):  # which knows where the files are
        checks.append(_check("files", lambda: _files(client)))
    failed = {check.name for check in checks if not check.ok}
    if "broker" not in failed:
        with suppress(UnreachableError):  # it went away just now
            warnings = client.connections.queue.warnings()
            checks += [Check(warning.name, False, warning.advice, needed=False) for warning in warnings]
    if not failed & {"broker", "store", "files"}:
        checks.append(_check("pair", lambda: _pair(client)))
    if not failed & {"store", "files"}:
        checks += _aside(client)
    return checks + (_connections(client) + _workers(client) + _schedules(client) if "store" not in failed else [])


def _check(name: str, find: Callable[[], str]) -> Check:
    try:
        return Check(name, True, find())
    except CharrnnError as error:
        return Check(name, False, str(error))


def _broker(client: Client) -> str:
    server = client.connections.queue.server()
    waiting = sum(client.connections.queue.lengths().values())
    return f"{client.connections.queue.url}, {server.kind} {server.version}, {counted(waiting, 'notification')} waiting"


def _pair(client: Client) -> str:
    client.connections.probe()
    return "broker, store and files belong together"


def _files(client: Client) -> str:
    client.connections.claim_files()
    root = Path(client.connections.files.url)
    if not root.is_absolute():  # a bucket
        count = sum(1 for _ in client.connections.files.list(MODELS))
        return f"{client.connections.files.url}, {counted(count, 'model file')}"
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        raise CharrnnError(f"{root} cannot be written. Make it writable or set CHARRNN_FILES_URL")
    stat = os.statvfs(nearest)
    return f"{root}, {stat.f_bavail * stat.f_frsize / 1e9:.1f} GB free"


def _aside(client: Client) -> list[Check]:
    """Return what prune has set aside, if anything."""
    from charrnn.jobs.upkeep.pruning import ASIDE_S  # SQLAlchemy, which help does not need

    files = client.connections.files
    found = list(files.aside())
    if not found:
        return []
    first = console.when(1000 * round(min(file.at_s for file in found) + ASIDE_S))
    size = console.size(sum(file.size for file in found))
    detail = f"{counted(len(found), 'file')} of {size} in {files.url}/{ASIDE}; prune deletes them from {first} on"
    return [Check("set aside", True, detail)]


def _connections(client: Client) -> list[Check]:
    """Compare the connections that live workers may open with those that the database accepts."""
    limit, workers = client.connections.store.connection_limit(), len(client.workers())
    if limit is None:
        return []
    each = client.connections.settings.store_connections
    needed = f"workers may open {workers * each:,} connections to the store ({each} for each of {workers:,} processes)"
    if workers * each <= limit:
        return [Check("connections", True, f"{needed}; it accepts {limit:,}")]
    advice = f"{needed}, but it accepts {limit:,}. Raise max_connections, or use PgBouncer: see docs/store.md"
    return [Check("connections", False, advice, needed=False)]


def _workers(client: Client) -> list[Check]:
    alive = client.workers()
    checks = [_child(worker) for worker in sorted(alive, key=_place)]
    checks += _shared_devices(alive)
    unserved = [queue for queue in SPECS if not any(queue in worker.queues for worker in alive)]
    if unserved:
        checks.append(Check("workers", False, no_worker(*unserved), needed=False))
    return checks + [Check("releases", False, unread, needed=False) for unread in _unread(client, alive)]


def _unread(client: Client, alive: Sequence[WorkerInfo]) -> Iterator[str]:
    """Yield what waits for a worker of a newer release."""
    from charrnn.jobs.store.shown.queues import waiting_versions  # SQLAlchemy, which help does not need

    with client.connections.store.read() as connection:
        waiting = waiting_versions(connection)
    for (queue, version), count in waiting.items():
        serving = [worker for worker in alive if queue in worker.queues]
        newest = max(serving, key=lambda worker: worker.spec_version, default=None)
        if newest and (reason := no_release(queue, version, newest)):
            yield f"{counted(count, 'job')} waiting: {reason}"


def _shared_devices(alive: Sequence[WorkerInfo]) -> Iterator[Check]:
    """Yield a finding for each device of a host that several workers claim. Children of one may share a GPU."""
    claims = defaultdict[tuple[str, str], list[WorkerInfo]](list)
    for worker in alive:
        claims[worker.host, worker.device.partition(" (")[0]].append(worker)
    for (host, device), workers in sorted(claims.items()):
        if len({_place(worker)[0] for worker in workers}) > 1:
            pids = ", ".join(str(worker.pid) for worker in workers)
            yield Check(
                f"device {device}",
                False,
                f"claimed by {len(workers)} processes of host {host}, which slow each other down: {pids}. Stop all "
                f"but one, unless they share it on purpose; one that was killed is listed for the length of a lease",
                needed=False,
            )


def _schedules(client: Client) -> list[Check]:
    """Return a finding for each schedule whose last run failed or is late, or that cannot be read."""
    return [
        Check(f"schedule {name}", False, with_options(trouble), needed=False)
        for name, trouble in client.schedules.find_troubles().items()
    ]


def _place(worker: WorkerInfo) -> tuple[str, int]:
    """Return the worker of a pool child (host, pid and a random name) and the child's number in it."""
    life, _, index = worker.owner.rpartition("/")
    return life, int(index)


def _child(worker: WorkerInfo) -> Check:
    life, index = _place(worker)
    queues = ", ".join(worker.queues)
    return Check(
        f"worker {worker.pid}",
        not is_failure(worker.self_check),
        f"child {index} of worker {life}, device {worker.device}, queues {queues}, "
        f"release {worker.release or 'unknown'}, self-check {worker.self_check or 'not run yet'}",
        needed=False,
    )
