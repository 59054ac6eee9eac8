"""A plain Celery program without this product: a chord of tasks, acknowledged late, with results in Redis.

Its settings follow Celery's advice for work that must not be lost: late acknowledgment, a task requeued when its
process dies, one message at a time. `test_baseline.py` injects its faults into it.
"""

from __future__ import annotations

import json
import os
import signal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from celery import Celery, chord

from tests.fixtures.fleet import LENGTH, PART_ROWS, PARTS, SEEDS

if TYPE_CHECKING:
    from charrnn.model import Model

HOME, BROKER, POISON = "PLAIN_HOME", "PLAIN_BROKER", "PLAIN_POISON"
OPTIONS = {"task_acks_late": True, "task_reject_on_worker_lost": True, "worker_prefetch_multiplier": 1}

app = Celery("plain", broker=os.environ.get(BROKER), backend=os.environ.get(BROKER))
app.conf.update(OPTIONS)


def home() -> Path:
    return Path(os.environ[HOME])


@cache
def model() -> Model:
    from charrnn.model import load  # with TensorFlow, and not before the fork

    return load(home() / "version")


@app.task  # type: ignore[untyped-decorator]
def part(number: int) -> list[str]:
    """Return the rows of a part, one JSON object each."""
    with open(home() / "executions", "a") as file:
        file.write(f"{number} {os.getpid()}\n")
    if os.environ.get(POISON) == str(number):
        os.kill(os.getpid(), signal.SIGKILL)
    seeds = (home() / "seeds.txt").read_text().splitlines()
    samples = model().sample(seeds, samples=PART_ROWS // SEEDS, length=LENGTH, rng_seed=number)
    return [
        json.dumps({"row": PART_ROWS * number + index, "text": sample.text}) for index, sample in enumerate(samples)
    ]


@app.task  # type: ignore[untyped-decorator]
def export(parts: list[list[str]]) -> None:
    """Write all rows to one file."""
    arriving = home() / ".export"
    arriving.write_text("".join(f"{row}\n" for rows in parts for row in rows))
    arriving.rename(home() / "export")


def submit() -> None:
    chord([part.s(number) for number in range(PARTS)])(export.s())
