"""Benchmark of the store on each of its databases: submit, progress, claims, heartbeats, results.

    python bench/store.py
    python bench/store.py --quick --databases sqlite
    python bench/store.py --smoke

Each database gets a stack of its own in a temporary home: a real broker, an empty SQLite file or a PostgreSQL server
started as in the tests, and a model without weights, since nothing is sampled. It measures

- `charrnn-jobs submit` of a million distinct seeds, as whole processes from start to end, and their peak memory, which
  the kernel reports for exactly this process (`ru_maxrss` of a small process's only child);
- `charrnn-jobs results` of a million rows of 400 characters. Their part files are written as a worker writes them, with
  random words instead of sampled text;
- the bookkeeping that one part of 20 seconds costs a worker, with 100,000 parts in the store: claim, four beats,
  complete. A beat is the work that a worker's threads do in the database every 5 seconds (CHARRNN_HEARTBEAT_S): its
  sign of life, the lease, and a look for what is due;
- eight processes at once, which claim and complete as fast as they can, or five parts per second while all of them
  beat.

`commands.py` has the first two, `parts.py` the others, and `stack.py` the stack that they run on.

--quick uses a tenth of the rows. Its rates are lower, because the start of the commands counts. The CPU use of other
processes is printed: on a machine that does other work the times are void, but CPU times and memory are valid. The last
line is JSON.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.commands import export_figures, submit_figures, write_seeds
from bench.cpu import CpuMeter, family_seconds
from bench.harness import make_parser, print_result
from bench.parts import part_figures
from bench.stack import DATABASES, Size, open_stack
from charrnn.jobs.store.store import Store

OTHERS = 0.1  # share of the CPU; above it, the times say little
QUICK = Size(rows=100_000)
SMOKE = Size(rows=4_000, rounds=1, calls=3, costed_parts=5, words=1 << 18, processes=2, claim_s=0.25, beat_s=1.0)


def say_durability(store: Store) -> None:
    """Print the database's settings for the durability of commits."""
    sqlite_names, postgresql_names = ("journal_mode", "synchronous"), ("synchronous_commit", "fsync")
    kind = store.engine.dialect.name
    names, verb = (sqlite_names, "PRAGMA") if kind == "sqlite" else (postgresql_names, "SHOW")
    with store.read() as connection:
        facts = [f"{name}={connection.exec_driver_sql(f'{verb} {name}').scalar_one()}" for name in names]
    print(f"  {', '.join(facts)}{' (2 is FULL)' if kind == 'sqlite' else ''}", flush=True)


def measure(database: str, size: Size, seeds: Path, formats: Sequence[str]) -> dict[str, float]:
    """Return all figures of one database."""
    print(f"{database}, {size.rows:,} rows", flush=True)
    with open_stack(database, size) as stack:
        meter = CpuMeter(family_seconds)
        say_durability(stack.connections.store)
        submitted, job = submit_figures(stack, seeds)
        exported = export_figures(stack, job, formats)
        of_parts = part_figures(stack, seeds)
        others = meter.read().others
    print(f"  other processes used {others:.1%} of the CPU: {'valid' if others < OTHERS else 'void'}", flush=True)
    figures = submitted | exported | of_parts
    figures["message_bytes"] = max(submitted["message_bytes"], of_parts["message_bytes"])
    return {name: round(figure, 3) for name, figure in figures.items()}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="measure with a tenth of the rows")
    parser.add_argument("--databases", default=",".join(DATABASES))
    options = parser.parse_args()
    size = SMOKE if options.smoke else QUICK if options.quick else Size()
    print(f"{os.cpu_count()} CPUs, load average before the run {os.getloadavg()[0]:.1f}", flush=True)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        seeds = Path(folder) / "seeds.txt"
        write_seeds(seeds, size)
        for database in options.databases.split(","):
            # The files are the same with each database, so the other formats are measured once.
            found[database] = measure(database, size, seeds, () if found else ("csv", "txt", "parquet"))
    print_result(found)


if __name__ == "__main__":
    main()
