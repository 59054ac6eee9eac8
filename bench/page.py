"""Benchmark of the web interface: how long it takes with 10,000 jobs and a job of a million rows.

    python bench/page.py
    python bench/page.py --databases sqlite
    python bench/page.py --smoke

`charrnn-jobs web` runs as a process on each database (see `stack.py`). A million rows of short texts were written as a
worker writes them. Each page is read over HTTP by one client, and the median of all reads is printed, without the
browser's own time. Then one viewer, and then a hundred, keep the page of a running job open, and the processor time of
the server is measured. The CPU use of other processes is printed; the last line is JSON.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from statistics import median

from bench.commands import make_report
from bench.cpu import CpuMeter, family_seconds, process_seconds
from bench.harness import COMMAND, make_parser, print_result
from bench.stack import DATABASES, MODEL, QUEUE, Size, Stack, open_stack
from charrnn.jobs.files.layout import part_file
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.tallies import Tallies
from charrnn.jobs.rows.rows import compress, result, stored_rows
from charrnn.jobs.store.leases import Leases
from tests.fixtures.plans import add_many_jobs

SEEDS, SAMPLES = 2_500, 100
TEMPERATURES = "0.2,0.5,0.8,1.0"
READS = 50
TOKEN = secrets.token_hex(16)
VIEWERS = (1, 100)
VIEW_S = 10.0  # seconds
TARGET_MS = 100


@contextmanager
def served(stack: Stack) -> Iterator[tuple[str, int]]:
    """Run the server, and yield its address and process."""
    environment = stack.environment | {"CHARRNN_WEB_TOKEN": TOKEN}
    words = [COMMAND, "web", "--port", "0"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline() if process.stderr else ""
            found = re.search(r"http://(\S+);", line)
            if not found:
                raise SystemExit(f"The web interface did not start: {line}")
            yield found[1], process.pid
        finally:
            process.terminate()


def submit_job(stack: Stack, seeds: int, samples: int) -> int:
    """Submit a job, and return its id."""
    path = stack.settings.home / "seeds.txt"
    path.write_text("".join(f"seed {number}\n" for number in range(seeds)))
    words = ("-m", MODEL, "--seeds", str(path), "-t", TEMPERATURES, "-n", str(samples), "-l", "40", "--rng-seed", "1")
    return int(stack.run("submit", *words).output)


def do_parts(stack: Stack) -> None:
    """Write the texts of all parts that wait."""
    leases, files = Leases(stack.connections.store, 3600), stack.connections.files
    while (part := leases.claim(QUEUE, "worker", "cpu")) is not None:
        if not isinstance(part.spec, GenerateSpec):
            raise TypeError("the queue has other work")
        rows = stored_rows(files, part.spec, part)
        lines = compress(result(row, "bench@1", f"text {row.number} of about thirty", "length", 1.0) for row in rows)
        output = files.put(part_file(part.job, part.number, part.token), lines)
        leases.complete_rows(part, output, make_report(part.rows, 1.0, Tallies()), "cpu")


def milliseconds(address: str, path: str) -> float:
    """Return how long a page takes, from a new connection to its last byte."""
    begun = time.perf_counter()
    response = opened(address, path)
    response.read()
    response.close()
    return 1000 * (time.perf_counter() - begun)


def opened(address: str, path: str) -> HTTPResponse:
    connection = HTTPConnection(address, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status}\n{response.read().decode()}")
    return response


def viewers_share(address: str, process: int, job: int, viewers: int, seconds: float) -> float:
    """Return the share of one core that the server takes while a number of viewers look at a running job."""
    with ExitStack() as stack:
        for _ in range(viewers):
            response = stack.enter_context(opened(address, f"/events/jobs/{job}"))
            response.read1(100)  # the first event
        before, begun = process_seconds(process), time.perf_counter()
        time.sleep(seconds)
        return (process_seconds(process) - before) / (time.perf_counter() - begun)


def measure(database: str, seeds: int, samples: int, reads: int, view_s: float) -> dict[str, float]:
    """Return the figures of one database."""
    with open_stack(database, Size()) as stack:
        large = submit_job(stack, seeds, samples)
        do_parts(stack)
        running = submit_job(stack, seeds, samples)
        add_many_jobs(stack.connections.store, running)
        pages = {
            "jobs_ms": "/",
            "jobs_filtered_ms": "/?state=queued&kind=generate",
            "job_ms": f"/jobs/{large}",
            "texts_ms": f"/jobs/{large}/texts?first={seeds // 2}",
            "cell_ms": f"/jobs/{large}/texts?seed={seeds - 1}&temperature=3",
            "parts_ms": f"/jobs/{large}/parts",
            "report_ms": f"/jobs/{large}/report.html",
        }
        with served(stack) as (address, process):
            meter = CpuMeter(family_seconds)
            figures = {}
            for name, path in pages.items():
                milliseconds(address, path)
                figures[name] = median(milliseconds(address, path) for _ in range(reads))
                missed = ", MISSED" if figures[name] >= TARGET_MS else ""
                print(f"  {path:<50}{figures[name]:>9.1f} ms   target: below {TARGET_MS}{missed}", flush=True)
            for viewers in VIEWERS:
                share = viewers_share(address, process, running, viewers, view_s)
                figures[f"core_share_{viewers}_viewers"] = share
                print(f"  {viewers:>3} viewers of a running job take {share:.1%} of a core", flush=True)
            print(f"  other processes used {meter.read().others:.1%} of the CPU", flush=True)
    return {name: round(figure, 4) for name, figure in figures.items()}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--databases", default=",".join(DATABASES))
    options = parser.parse_args()
    seeds, samples, reads, view_s = (20, 2, 2, 1.0) if options.smoke else (SEEDS, SAMPLES, READS, VIEW_S)
    found = {}
    for database in options.databases.split(","):
        print(f"{database}, {seeds * samples * 4:,} rows", flush=True)
        found[database] = measure(database, seeds, samples, reads, view_s)
    print_result(found)


if __name__ == "__main__":
    main()
