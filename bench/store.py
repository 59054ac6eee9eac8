"""What the store costs on each of its databases: submit, progress, claims, heartbeats, results.

    python bench/store.py
    python bench/store.py --quick --databases sqlite

For each database a stack of its own in a temporary home: a real broker, an empty SQLite file or a PostgreSQL server as
the tests start it, a model without weights, since nothing is sampled. Measured are

- `charrnn-jobs submit` of a million distinct seeds, as whole processes from start to end, and their peak memory, which
  the kernel tells of that very process (`ru_maxrss` of a small process's only child);
- `charrnn-jobs results` of a million rows of 400 characters. Their part files are written as a worker writes them, with
  random words in the place of sampled text;
- what one part costs a worker beside its work, with 100,000 parts in the store: claim, ten beats, complete. A beat is
  all that a worker's thread does every two seconds: its sign of life, the lease, the look whether maintenance is due;
- eight processes at once, which claim and complete as fast as they can, or five parts a second while all of them beat.

With --quick a tenth of the rows, whose rates are lower: the commands' start counts. What others did meanwhile is told:
the times of a machine that does other work are void, the CPU times and the memory are not. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.queues import Queue as Answers
from multiprocessing.synchronize import Barrier
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median
from typing import Any

import redis
from players import TICKS, busy_seconds

from charrnn.errors import CharrnnError
from charrnn.jobs.client import Client
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.report import Tallies
from charrnn.jobs.job.sizing import CHARACTERS_PER_S, PART_S
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.queue import BELLS, KEY_PREFIX
from charrnn.jobs.rows.rows import compress, result, stored_rows
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.database import upsert
from charrnn.jobs.store.leases import Leases, Part
from charrnn.jobs.store.registry import NewVersion, add_version
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import speeds
from charrnn.jobs.upkeep.maintenance import maintain, ring_missing
from charrnn.text.vocabulary import Vocabulary
from producer.local import local_broker
from worker.heartbeat import Heartbeat

COMMAND = str(Path(sys.executable).with_name("charrnn-jobs"))
MODEL, QUEUE = "bench", GenerateSpec.QUEUE
DATABASES = ("sqlite", "postgresql")

ROWS = 1_000_000
SMALL_PART = 10  # rows: as many parts as a job may have
ROUNDS = 3  # of what a whole process does
CALLS = 100  # of what is over in milliseconds
COSTED_PARTS = 200
TEXT_LENGTH = 400  # characters of a result
PART_TEXTS = 2000  # that a part's report tallies: 20 seconds of work
TEXT_SIZE = 1 << 24  # characters of random words that texts are cut from: few of a part overlap
PROCESSES = 8
CLAIM_S = 6.0  # seconds of claiming
BEAT_S = 25.0  # seconds of beating
BEATS_FASTER = 4  # than workers beat, for four times as many samples
COMPLETED_PER_S = 5.0  # parts, meanwhile
OTHERS = 0.1  # share of the CPU; with more of it the times say little

# A process counts as its own the peak of the one that it was forked from, so the command's parent is a small one.
LAUNCH = """
import json, os, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
seconds = time.perf_counter() - started
cpu_seconds, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, cpu_seconds, peak_mb]), file=sys.stderr)
"""

WANTED: dict[str, tuple[str, float]] = {
    "submit_rows_per_s": ("at least", 50_000),
    "submit_peak_mb": ("below", 300),
    "message_bytes": ("below", 1000),
    "progress_ms": ("below", 50),
    "export_rows_per_s": ("at least", 100_000),
    "export_peak_mb": ("below", 500),
    "bookkeeping_share": ("below", 0.5),
    "parts_per_s": ("at least", 100),
    "beat_max_s": ("below", 2),
}


def say(what: str, figure: float, name: str = "") -> None:
    """A line of the table; of a figure that has a target also that."""
    line = f"  {what:<92}{figure:>14,.{0 if figure >= 1000 else 3}f}"
    if name in WANTED:
        relation, target = WANTED[name]
        met = figure >= target if relation == "at least" else figure < target
        line += f"   wanted: {relation} {target:,g}{'' if met else ', MISSED'}"
    print(line, flush=True)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has ended."""

    seconds: float
    cpu_seconds: float  # of it alone: what it would take on a machine that does nothing else
    peak_mb: float
    output: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One database, its broker and its files."""

    settings: Settings
    client: Client
    rows: int

    def run(self, *arguments: str) -> Ran:
        """Run `charrnn-jobs` on it."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith("CHARRNN_")}
        environment |= {"CHARRNN_HOME": str(self.settings.home), "CHARRNN_STORE_URL": self.settings.store_url}
        command = [sys.executable, "-S", "-c", LAUNCH, COMMAND, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        code, *figures = json.loads(done.stderr.splitlines()[-1])
        if code:
            raise SystemExit(f"{arguments}: exit code {code}\n{done.stderr}")
        seconds, cpu_seconds, peak_mb = figures
        return Ran(seconds=seconds, cpu_seconds=cpu_seconds, peak_mb=peak_mb, output=done.stdout.strip())

    @contextmanager
    def bells(self) -> Iterator[tuple[redis.Redis, str]]:
        """The broker itself, and the key of the list of doorbells."""
        with redis.Redis(unix_socket_path=str(self.settings.broker_socket)) as client:
            yield client, KEY_PREFIX + QUEUE


def make_words(length: int) -> str:
    """Random words of Python's language reference, as often as they are there."""
    words = " ".join(topics[name] for name in sorted(topics)).split()
    text = " ".join(random.Random(1).choices(words, k=length // 4))
    return text[:length]


def write_seeds(path: Path, count: int) -> None:
    """Distinct lines of 20 to 40 characters that begin with a word."""
    words, draw = make_words(TEXT_SIZE), random.Random(2)
    lines: set[str] = set()
    while len(lines) < count:
        start = words.index(" ", draw.randrange(TEXT_SIZE - 200)) + 1
        line = words[start : start + draw.randint(20, 40)].strip()
        if len(line) >= 20:
            lines.add(line)
    path.write_text("".join(f"{line}\n" for line in lines))


def add_model(client: Client, home: Path) -> None:
    """A version without weights, of a network that samples 40,000 characters a second."""
    text = home / "text.txt"
    text.write_text("\n".join(topics[name] for name in sorted(topics)))
    training = client.train(MODEL, [text])
    version = NewVersion(
        model=MODEL,
        files=FileRef(name="none", size=0, sha256="0"),
        characters=Vocabulary.of(text.read_text()).characters,
        network=training.spec.network.to_dict(),
        held_out_nats=1.0,
        precision="bfloat16",
    )
    with client.store.write() as connection:
        add_version(connection, training.id, version)
        upsert(connection, speeds, model=MODEL, device="cpu", characters_per_s=CHARACTERS_PER_S)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database of a server that is started as the tests do it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.fixtures.postgres import running_server

    with running_server() as server:
        yield server.new_database()


@contextmanager
def sqlite() -> Iterator[str]:
    """The setting that means the file in the home folder."""
    yield ""


@contextmanager
def stack(database: str, rows: int) -> Iterator[Stack]:
    """A broker and an empty store with a model, while the block runs."""
    opened = {"sqlite": sqlite, "postgresql": postgresql}[database]
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home, opened() as url:
        settings = Settings(home=Path(home), store_url=url)
        client = Client(settings)
        with local_broker(settings):
            try:
                add_model(client, Path(home))
                yield Stack(settings=settings, client=client, rows=rows)
            finally:
                client.close()


def say_durability(store: Store) -> None:
    """What the database says of its commits."""
    sqlite_names, postgresql_names = ("journal_mode", "synchronous"), ("synchronous_commit", "fsync")
    kind = store.engine.dialect.name
    names, verb = (sqlite_names, "PRAGMA") if kind == "sqlite" else (postgresql_names, "SHOW")
    with store.read() as connection:
        facts = [f"{name}={connection.exec_driver_sql(f'{verb} {name}').scalar_one()}" for name in names]
    print(f"  {', '.join(facts)}{' (2 is FULL)' if kind == 'sqlite' else ''}", flush=True)


def submit(stack: Stack, seeds: Path, *options: str) -> tuple[int, Ran]:
    """Submit a row of each seed -> the job."""
    ran = stack.run("submit", "-m", MODEL, "--rng-seed", "1", "--seeds", str(seeds), *options)
    return int(ran.output), ran


def longest_message(stack: Stack) -> int:
    """Bytes of it, among the doorbells that wait."""
    with stack.bells() as (client, key):
        count = int(client.llen(key))
        return max(len(text) for first in range(0, count, 10_000) for text in client.lrange(key, first, first + 9_999))


def clear(stack: Stack, jobs: Sequence[int]) -> None:
    """Cancel jobs and take their doorbells away."""
    for job in jobs:
        stack.client.cancel(job)
    with stack.bells() as (client, key):
        client.delete(key)


def submit_figures(stack: Stack, seeds: Path) -> tuple[dict[str, float], int]:
    """The figures, and a job of parts of the size that is chosen."""
    ran = [submit(stack, seeds) for _ in range(ROUNDS)]
    figures = {
        "submit_rows_per_s": stack.rows / median(one.seconds for _, one in ran),
        "submit_peak_mb": max(one.peak_mb for _, one in ran),
        "message_bytes": float(longest_message(stack)),
    }
    *others, job = [job for job, _ in ran]
    clear(stack, others)
    say(f"submit, rows/s ({times([one for _, one in ran])})", *named(figures, "submit_rows_per_s"))
    say("  peak, MB", *named(figures, "submit_peak_mb"))
    say(
        f"  longest of {stack.client.store.job(job)['parts_total']:,} messages, bytes", *named(figures, "message_bytes")
    )
    return figures, job


def times(ran: Sequence[Ran]) -> str:
    wall = ", ".join(f"{one.seconds:.1f}" for one in ran)
    return f"{wall} s; CPU {', '.join(f'{one.cpu_seconds:.1f}' for one in ran)} s"


def named(figures: dict[str, float], name: str) -> tuple[float, str]:
    return figures[name], name


def fill(number: int, settings: Settings, start: Barrier) -> int:
    """Claim parts while there are any and write what a worker would -> how many."""
    client, words, draw = Client(settings), make_words(TEXT_SIZE), random.Random(number)
    leases = Leases(client.store, settings.lease_s)
    start.wait()
    count = 0
    while (part := leases.claim(QUEUE, f"bench:{number}")) is not None:
        lines = compress(result_lines(client, part, words, draw))
        output = client.files.put(f"jobs/{part.job}/{part.number}-{part.token}.jsonl.zst", lines)
        leases.complete(part, output=output, characters=part.rows * TEXT_LENGTH)
        count += 1
    client.close()
    return count


def result_lines(client: Client, part: Part, words: str, draw: random.Random) -> Iterator[dict[str, Any]]:
    spec = part.spec
    assert isinstance(spec, GenerateSpec)  # noqa: S101  # of this queue
    for row in stored_rows(client.files, spec, part):
        start = draw.randrange(TEXT_SIZE - TEXT_LENGTH)
        yield result(row, spec.name, words[start : start + TEXT_LENGTH], "length", draw.random())


def together(work: Callable[..., Any], processes: int, *arguments: Any) -> list[Any]:
    """What so many processes answer that begin at once."""
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(processes), spawn.Queue()
    started = [
        spawn.Process(target=answer, args=(answers, work, number, *arguments, start)) for number in range(processes)
    ]
    for process in started:
        process.start()
    found = [answers.get(timeout=600) for _ in started]
    for process in started:
        process.join()
    if failed := [text for text in found if isinstance(text, Exception)]:
        raise failed[0]
    return found


def answer(answers: Answers[Any], work: Callable[..., Any], *arguments: Any) -> None:
    try:
        answers.put(work(*arguments))
    except Exception as error:
        answers.put(error)


def export_figures(stack: Stack, job: int, formats: Sequence[str]) -> dict[str, float]:
    """Fill a job and export it: JSON Lines in rounds, other formats once."""
    together(fill, os.cpu_count() or 1, stack.settings)
    found = stack.client.store.job(job)
    if found["rows_done"] != stack.rows:
        raise SystemExit(f"job {job} has {found['rows_done']:,} rows of {stack.rows:,}")
    ran = [export(stack, job, "jsonl") for _ in range(ROUNDS)]
    figures = {
        "export_rows_per_s": stack.rows / median(one.seconds for one in ran),
        "export_peak_mb": max(one.peak_mb for one in ran),
    }
    say(f"results, rows/s ({times(ran)})", *named(figures, "export_rows_per_s"))
    say("  peak, MB", *named(figures, "export_peak_mb"))
    for name in formats:
        one = export(stack, job, name)
        say(f"  as {name}, rows/s ({times([one])}; peak {one.peak_mb:.0f} MB)", stack.rows / one.seconds)
    middle = stack.rows // 2
    one = export(stack, job, "jsonl", "--rows", f"{middle}:{middle + 100}")
    say(f"  100 rows from row {middle:,} on, seconds (peak {one.peak_mb:.0f} MB)", one.seconds)
    return figures


def export(stack: Stack, job: int, format: str, *options: str) -> Ran:
    path = stack.settings.home / f"texts.{format}"
    ran = stack.run("results", str(job), "-o", str(path), *options)
    path.unlink()
    return ran


def small_parts(stack: Stack, seeds: Path) -> tuple[int, int]:
    """A job of as many parts as there may be -> it, and the bytes of its longest message."""
    job, ran = submit(stack, seeds, "--part-rows", str(SMALL_PART))
    parts = stack.client.store.job(job)["parts_total"]
    say(f"submit with {parts:,} parts, seconds ({times([ran])}; peak {ran.peak_mb:.0f} MB)", ran.seconds)
    return job, longest_message(stack)


def lose_bells(stack: Stack) -> None:
    """Time the mending of lost doorbells."""
    with stack.bells() as (client, key):
        client.delete(key)
        leases = Leases(stack.client.store, stack.settings.lease_s)
        seconds = timed(lambda: ring_missing(leases, stack.client.queue))
        if client.llen(key) != BELLS:
            raise SystemExit(f"{client.llen(key)} doorbells of {BELLS} after the repair")
    say(f"ring_missing of {BELLS} doorbells, seconds", seconds)
    rounds = [timed(lambda: maintain(stack.client.store, leases, stack.client.queue, 0)) for _ in range(ROUNDS)]
    say("a round of maintenance that finds nothing to mend, seconds", median(rounds))


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def make_report(temperatures: int) -> dict[str, Any]:
    """What a worker reports of a part; the texts differ from call to call."""
    tallies = Tallies()
    for number in range(PART_TEXTS):
        temperature = repr(round(0.2 * (1 + number % temperatures), 1))
        tallies.at(temperature).add(random.randbytes(TEXT_LENGTH // 2).hex(), 1.25)
    return {
        "parts": 1,
        "batch": 256,
        "precision": "bfloat16",
        "steps": 3300,
        "slot_steps": 830_000,
        "characters": PART_TEXTS * TEXT_LENGTH,
        "seconds": {"loading": 0.01, "compiling": 0.0, "sampling": 19.5, "writing": 0.1},
        "temperatures": tallies.to_dict(),
    }


# Of all parts that are completed here: nobody reads their rows, and a part file has its own fsync and its own figure.
OUTPUT = FileRef(name=f"jobs/1/0-1-{'0' * 8}.jsonl.zst", size=300_000, sha256="0" * 64)


def complete(leases: Leases, part: Part, report: dict[str, Any]) -> None:
    """End a part as a worker does."""
    speed = ("cpu", CHARACTERS_PER_S)
    leases.complete(part, output=OUTPUT, characters=report["characters"], report=report, speed=speed)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a part, in seconds."""

    claim: float
    beats: float
    complete: float

    @property
    def share(self) -> float:
        """Of a part's work, in percent."""
        return 100 * (self.claim + self.beats + self.complete) / PART_S


def costs(stack: Stack, temperatures: int, beats: int) -> list[Cost]:
    """Of parts, one after another."""
    heartbeat = Heartbeat(stack.settings, "bench:0", "cpu", [QUEUE])  # not started: its thread's work is done here
    reports = [make_report(temperatures) for _ in range(8)]
    found = []
    for number in range(COSTED_PARTS):
        started = time.perf_counter()
        part = heartbeat.leases.claim(QUEUE, heartbeat.owner)
        claimed = time.perf_counter()
        assert part is not None  # noqa: S101  # 100,000 wait
        with heartbeat.watching(part) as watch:
            watch.progress = {"rows": 1000, "characters": 400_000}
            for _ in range(beats):
                heartbeat._beat()
                heartbeat._maintain()
        beaten = time.perf_counter()
        complete(heartbeat.leases, part, reports[number % len(reports)])
        found.append(Cost(claim=claimed - started, beats=beaten - claimed, complete=time.perf_counter() - beaten))
    heartbeat.store.close()
    heartbeat.queue.close()
    return found


def say_costs(costs: Sequence[Cost], temperatures: int, beats: int) -> float:
    """The median share."""
    parts = {name: 1e3 * median(getattr(cost, name) for cost in costs) for name in ("claim", "beats", "complete")}
    share = median(cost.share for cost in costs)
    figures = f"claim {parts['claim']:.2f}, {beats} beats {parts['beats']:.2f}, complete {parts['complete']:.2f} ms"
    say(f"{temperatures} temperature(s): {figures}; % of a part", share, "bookkeeping_share")
    return share


def claim_and_complete(number: int, settings: Settings, start: Barrier) -> tuple[int, int, float, float]:
    """Parts done within the time, how often the store did not answer, the longest time of a part, and CPU seconds."""
    store, report = Store.open(settings), make_report(1)
    leases = Leases(store, settings.lease_s)
    start.wait()
    count, errors, longest, cpu = 0, 0, 0.0, time.process_time()
    ends = time.perf_counter() + CLAIM_S
    while (began := time.perf_counter()) < ends:
        try:
            if part := leases.claim(QUEUE, f"bench:{number}"):
                complete(leases, part, report)
                count += 1
        except CharrnnError:
            errors += 1
        longest = max(longest, time.perf_counter() - began)
    store.close()
    return count, errors, longest, time.process_time() - cpu


class TimedHeartbeat(Heartbeat):
    """A worker's thread that keeps how long its beats took."""

    def __init__(self, settings: Settings, owner: str) -> None:
        super().__init__(settings, owner, "cpu", [QUEUE])
        self.beats: list[float] = []
        self.rounds: list[float] = []

    def _beat(self) -> None:
        self.beats.append(timed(super()._beat))

    def _maintain(self) -> None:
        self.rounds.append(timed(super()._maintain))


def beat_and_complete(number: int, settings: Settings, start: Barrier) -> tuple[list[float], list[float], int]:
    """Seconds of the beats and of the looks at maintenance that followed them, and parts done at a worker's pace."""
    heartbeat, report = TimedHeartbeat(settings, f"bench:{number}"), make_report(1)
    start.wait()
    heartbeat.start()
    due = time.monotonic() + (number / PROCESSES) * PROCESSES / COMPLETED_PER_S
    ends, count = time.monotonic() + BEAT_S, 0
    while due < ends and (part := heartbeat.leases.claim(QUEUE, heartbeat.owner)):
        with heartbeat.watching(part) as watch:
            time.sleep(max(0.0, due - time.monotonic()))
            watch.check()
            complete(heartbeat.leases, part, report)
        due += PROCESSES / COMPLETED_PER_S
        count += 1
    return heartbeat.beats, heartbeat.rounds, count


def contention(stack: Stack) -> None:
    """Eight processes at once."""
    answers = together(claim_and_complete, PROCESSES, stack.settings)
    count, errors = sum(answer[0] for answer in answers), sum(answer[1] for answer in answers)
    longest, cpu = max(answer[2] for answer in answers), sum(answer[3] for answer in answers) / max(1, count)
    facts = f"longest {longest:.2f} s; CPU {1e3 * cpu:.1f} ms a part; {errors} errors"
    what = f"{PROCESSES} processes claim and complete, parts/s ({facts})"
    say(what, count / CLAIM_S, "parts_per_s")
    beating = replace(stack.settings, heartbeat_s=stack.settings.heartbeat_s / BEATS_FASTER)
    answers = together(beat_and_complete, PROCESSES, beating)
    beats = sorted(seconds for answer in answers for seconds in answer[0])
    rounds = [seconds for answer in answers for seconds in answer[1]]
    pace = sum(answer[2] for answer in answers) / BEAT_S
    say(f"longest of {len(beats)} beats while {pace:.1f} parts/s are completed, seconds", beats[-1], "beat_max_s")
    say("  99 % were shorter than", beats[int(len(beats) * 0.99)])
    say("  longest look at maintenance between two of them", max(rounds))


def progress(stack: Stack, job: int) -> float:
    """Milliseconds."""
    store = stack.client.store
    return 1e3 * median(timed(lambda: store.job(job)) for _ in range(CALLS))


def part_figures(stack: Stack, seeds: Path) -> dict[str, float]:
    """With 100,000 parts that wait; the job's report is small at first, and has five temperatures at the end."""
    job, message_bytes = small_parts(stack, seeds)
    lose_bells(stack)
    beats = round(PART_S / stack.settings.heartbeat_s)
    say_costs(costs(stack, 1, beats), 1, beats)
    contention(stack)
    share = say_costs(costs(stack, 5, beats), 5, beats)
    milliseconds = progress(stack, job)
    say("progress of that job, ms", milliseconds, "progress_ms")
    return {"message_bytes": float(message_bytes), "progress_ms": milliseconds, "bookkeeping_share": share}


def descendants_seconds() -> float:
    """CPU time of this process and of all that it started, servers too."""
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(path.parent.name)
        parents[pid], seconds[pid] = int(words[1]), sum(map(int, words[11:15])) / TICKS  # with those it waited for
    return sum(seconds[pid] for pid in seconds if os.getpid() in lineage(pid, parents))


def lineage(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """A process, its parent, and so on."""
    while pid in parents:
        yield pid
        pid = parents[pid]


@contextmanager
def watched() -> Iterator[None]:
    """Tell how much of the CPU others used while the block ran."""
    busy, own, started = busy_seconds(), descendants_seconds(), time.monotonic()
    yield
    used = busy_seconds() - busy - (descendants_seconds() - own)
    share = max(0.0, used / (time.monotonic() - started) / len(os.sched_getaffinity(0)))
    print(f"  others used {share:.1%} of the CPU: {'valid' if share < OTHERS else 'void'}", flush=True)


def measure(database: str, rows: int, seeds: Path, formats: Sequence[str]) -> dict[str, float]:
    """All figures of a database."""
    print(f"{database}, {rows:,} rows", flush=True)
    with stack(database, rows) as made, watched():
        say_durability(made.client.store)
        submitted, job = submit_figures(made, seeds)
        exported = export_figures(made, job, formats)
        figures = {**submitted, **exported}
        of_parts = part_figures(made, seeds)
    figures |= of_parts | {"message_bytes": max(submitted["message_bytes"], of_parts["message_bytes"])}
    return {name: round(figure, 3) for name, figure in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--databases", default=",".join(DATABASES))
    options = parser.parse_args()
    rows = ROWS // 10 if options.quick else ROWS
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} before", flush=True)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        seeds = Path(folder) / "seeds.txt"
        write_seeds(seeds, rows)
        for database in options.databases.split(","):
            # The files are the same on each database, so that the further formats are measured once.
            found[database] = measure(database, rows, seeds, () if found else ("csv", "txt", "parquet"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
