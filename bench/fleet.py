"""Benchmark of the database under a fleet: simulated workers that claim, beat, look and complete, without TensorFlow.

    python bench/fleet.py
    python bench/fleet.py --databases postgresql --workers 10,50
    python bench/fleet.py --smoke

Each simulated worker has one child with connections of its own, as a pod with one GPU has. `simulated.py` says what it
does. For each number of workers, on SQLite and on a PostgreSQL with fsync that is started as in the tests, it measures

- the real pace: parts of 20 seconds, a heartbeat every 5 seconds, looks for what is due. Efficiency is the share of
  their time in which workers work and do not wait for the database;
- full speed: parts that take no time, so that claims and completions follow each other.

It also times what reads the store, with a million parts that are done, 10,000 jobs of 100 people that wait, and 1,000
workers. Then it prints the arithmetic for larger fleets. The CPU use of other processes is printed: on a machine that
does other work, times are void, but CPU times, transactions and connections are valid. The last line is JSON.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from threading import Timer

import psycopg

from bench.cpu import CpuMeter, family_seconds
from bench.figures import say
from bench.harness import make_parser, print_result
from bench.parts import timed
from bench.simulated import Outcome, Pace, simulate
from bench.stack import together
from charrnn.jobs.connections import Connections
from charrnn.jobs.queue import BELLS
from charrnn.jobs.settings import CONNECTIONS, Settings
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.lifecycle import NewJob, add_job
from charrnn.jobs.store.store import Store
from charrnn.jobs.upkeep.metrics.definitions import Families
from charrnn.jobs.upkeep.metrics.readings import read_store
from charrnn.jobs.upkeep.status import job_status
from tests.fixtures.history import History, add_history
from tests.fixtures.postgres import PostgresServer, running_server
from tests.fixtures.store import PART_ROWS, generate_spec

WARM_S = 10.0  # in which workers connect. The server's cores are those between this and the end, at which they leave
OTHERS = 0.1  # share of the CPU; above it, the times say little
DATABASES = ("sqlite", "postgresql")
HISTORY = History(ended=10_000, parts=100, unended=10_000, waiting=10, people=100, leased=1000, workers=1000)
SERVER = {"max_connections": "500", "shared_buffers": "512MB"}
WALLS = {"connections": 500, "cores": 16}  # of one server; each connection takes 2.5 MB of it
LARGE = (1_000, 10_000)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Amounts of work to measure.

    Attributes:
        jobs: jobs that wait, each with `parts` parts.
        real_s, full_s: seconds at the real pace, with parts of about `part_s` seconds, and at full speed.
        processes: processes that share the simulated workers.
        calls: repetitions of calls that take milliseconds.
    """

    workers: tuple[int, ...] = (10, 50, 200)
    jobs: int = 20
    parts: int = 500
    real_s: float = 40.0
    part_s: float = 20.0
    full_s: float = 10.0
    processes: int = 2
    calls: int = 30
    history: History = HISTORY


SMOKE_HISTORY = History(ended=3, parts=10, unended=20, waiting=2, people=3, leased=5, workers=5)
SMOKE = Size(
    workers=(2, 4), jobs=2, parts=100, real_s=1.5, part_s=0.2, full_s=0.3, processes=1, calls=3, history=SMOKE_HISTORY
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A database server, or none for SQLite: the processes of its clients do its work, and their cores count as its."""

    new_url: Callable[[], str]
    server: PostgresServer | None = None

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the server's processes, also of those that have ended."""
        running = self.server and self.server.process
        return family_seconds(running.pid) if running else 0.0

    def count(self, url: str, query: str) -> int:
        """Return a number that the server knows about a database; 0 for SQLite."""
        if self.server is None:
            return 0
        with psycopg.connect(url) as connection:
            (number,) = connection.execute(query).fetchone() or (0,)
        return int(number)


@contextmanager
def open_server(database: str) -> Iterator[Server]:
    with ExitStack() as stack:
        if database == "sqlite":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="charrnn-")))
            yield Server(new_url=lambda: f"sqlite:///{folder / f'{len(list(folder.iterdir()))}.sqlite'}")
        else:
            server = stack.enter_context(running_server(options=SERVER))
            yield Server(new_url=server.new_database, server=server)


COMMITS = "select xact_commit from pg_stat_database where datname = current_database()"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run of simulated workers; CPU in cores, claims in milliseconds."""

    efficiency: float
    errors: int
    parts_per_s: float
    server_cores: float
    client_cores: float
    transactions_per_s: float
    connections: float  # of each worker
    claim_p50: float
    claim_p99: float


def measure(server: Server, size: Size, pace: Pace) -> Measured:
    """Run simulated workers on a new database."""
    url = server.new_url()
    store = Store(url)
    with store.write() as connection:
        for _ in range(size.jobs):
            add_job(connection, NewJob(spec=generate_spec(num_seeds=size.parts * PART_ROWS)))
    store.close()
    commits, cpu = server.count(url, COMMITS), list[float]()
    warm_s = min(WARM_S, pace.seconds / 4)
    readings = [Timer(at, lambda: cpu.append(server.cpu_seconds())) for at in (warm_s, pace.seconds)]
    for reading in readings:
        reading.start()
    found: list[Outcome] = together(simulate, size.processes, url, pace, size.processes)
    for reading in readings:
        reading.join()
    clients = sum(outcome.cpu_s for outcome in found) / pace.seconds
    cores = (cpu[1] - cpu[0]) / (pace.seconds - warm_s) if server.server else clients
    claims = [claim for outcome in found for claim in outcome.claims]
    return Measured(
        efficiency=sum(outcome.busy for outcome in found) / (pace.workers * pace.seconds),
        errors=sum(outcome.errors for outcome in found),
        parts_per_s=sum(outcome.parts for outcome in found) / pace.seconds,
        server_cores=cores,
        client_cores=clients,
        transactions_per_s=(server.count(url, COMMITS) - commits) / pace.seconds,
        connections=sum(outcome.connections for outcome in found) / pace.workers,
        claim_p50=1e3 * median(claims),
        claim_p99=1e3 * quantiles(claims, n=100)[98],
    )


def say_run(what: str, run: Measured, workers: int) -> None:
    facts = f"{run.connections:.2f} connections each; claim p50 {run.claim_p50:.1f}, p99 {run.claim_p99:.1f} ms"
    facts += f"; {run.errors} errors" if run.errors else ""
    say(f"{workers} workers, {what}: parts/s ({facts})", run.parts_per_s)
    per_worker = 1e3 * run.server_cores / workers
    if run.efficiency:
        say("  efficiency, %", 100 * run.efficiency)
    say(f"  cores of the server ({per_worker:.2f} ms per worker-second)", run.server_cores)
    say("  cores of the clients", run.client_cores)
    say("  transactions/s", run.transactions_per_s)


def query_figures(server: Server, size: Size) -> dict[str, float]:
    """Return the milliseconds of what is repeated, in a store with a long history."""
    url = server.new_url()
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home:
        # With a lease of 30 s the workers of the history would not count as alive by the time that `status` is timed.
        connections = Connections(Settings(home=Path(home), store_url=url, lease_s=600))
        store = connections.store
        with store.write() as connection:
            template = add_job(connection, NewJob(spec=generate_spec(num_seeds=PART_ROWS))).id
        add_history(store, template, size.history)
        leases, last = Leases(store, 30), store.jobs(1)[0].id
        actions: dict[str, Callable[[], object]] = {
            "expire_ms": leases.expire,
            "claim_ms": partial(leases.claim, "generate", "host-1-7-0123abcd/0", "cpu"),
            "waiting_ms": partial(leases.waiting, BELLS),
            "status_ms": partial(job_status, connections, last),
            "scrape_ms": lambda: read_store(connections, Families()),
        }
        figures = {name: 1e3 * median(timed(action) for _ in range(size.calls)) for name, action in actions.items()}
        connections.close()
    for name, figure in figures.items():
        say(
            f"{name.removesuffix('_ms')} with {size.history.ended * size.history.parts:,} parts that are done, ms",
            figure,
        )
    return figures


def say_arithmetic(run: Measured, workers: int, ceiling: float, pace: Pace) -> None:
    """Print what larger fleets need, from the costs of one worker."""
    for fleet in LARGE:
        needs = {"connections": CONNECTIONS * fleet, "cores": run.server_cores / workers * fleet}
        parts = fleet / pace.part_s
        walls = {name: needs[name] / wall for name, wall in WALLS.items()} | {"parts/s of claims": parts / ceiling}
        first = max(walls, key=lambda name: walls[name])
        wall = f"first wall: {first}" if walls[first] > 1 else "no wall"
        durable, soon = 2 * parts, fleet / pace.heartbeat_s
        print(
            f"  {fleet:,} workers: {needs['connections']:,} connections without PgBouncer, {durable:,.0f} commits/s "
            f"and {soon:,.0f} that need no disk, {needs['cores']:.1f} cores, {parts:,.0f} parts/s; {wall}",
            flush=True,
        )


def figures_of(database: str, size: Size) -> dict[str, float]:
    """Return all figures of one database."""
    print(f"{database}", flush=True)
    figures: dict[str, float] = {}
    with open_server(database) as server:
        meter = CpuMeter(family_seconds)
        for workers in size.workers:
            real = Pace(workers=workers, seconds=size.real_s, part_s=size.part_s)
            run = measure(server, size, real)
            say_run("real pace", run, workers)
            fast = measure(server, size, replace(real, seconds=size.full_s, part_s=0.0))
            say_run("full speed", fast, workers)
            figures |= {
                f"efficiency_{workers}": 100 * run.efficiency,
                f"errors_{workers}": run.errors,
                f"server_cores_{workers}": run.server_cores,
                f"transactions_per_s_{workers}": run.transactions_per_s,
                f"claim_p50_ms_{workers}": run.claim_p50,
                f"claim_p99_ms_{workers}": run.claim_p99,
                f"parts_per_s_{workers}": fast.parts_per_s,
            }
        figures["connections_per_child"] = run.connections
        figures |= query_figures(server, size)
        if server.server:
            say_arithmetic(run, size.workers[-1], figures[f"parts_per_s_{size.workers[-1]}"], real)
        others = meter.read().others
    print(f"  other processes used {others:.1%} of the CPU: {'valid' if others < OTHERS else 'void'}", flush=True)
    return {name: round(figure, 3) for name, figure in figures.items()} | {"cpu_share_of_others": round(others, 3)}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--databases", default=",".join(DATABASES))
    parser.add_argument("--workers", help="numbers of workers, such as 10,50,200")
    options = parser.parse_args()
    size = SMOKE if options.smoke else Size()
    if options.workers:
        size = replace(size, workers=tuple(map(int, options.workers.split(","))))
    print(f"{os.cpu_count()} CPUs, load average before the run {os.getloadavg()[0]:.1f}", flush=True)
    print_result({database: figures_of(database, size) for database in options.databases.split(",")})


if __name__ == "__main__":
    main()
