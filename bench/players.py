"""Processes that play in turns: while one plays the others wait, and the CPU time of all is counted.

A player's process writes a line of JSON when it is ready, then reads a line of whole numbers for each turn, such as
how many steps it has, and answers it with a line of JSON. It ends where its stdin does. Linux only: the CPU time is
read from /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# Each library takes as many threads as it does by itself, whatever the shell says.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
TICKS = os.sysconf("SC_CLK_TCK")  # a second


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a contestant says of its turn, and the CPU time of the machine meanwhile, in seconds.

    Attributes:
        own: of the contestant.
        busy: of all processes.
        available: of all CPUs that it may use.
    """

    answer: dict[str, Any]
    own: float
    busy: float
    available: float


class Player:
    """A contestant's process, which waits for its turn."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        environment = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
        environment |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Self:
        self.facts = self._read()
        print(f"{self.name}: ready ({self.facts['library']}, {self.facts['threads']} threads)", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # closes its stdin, which ends it

    def turn(self, *numbers: int) -> Turn:
        started, busy, own = time.monotonic(), busy_seconds(), own_seconds(self.process.pid)
        print(*numbers, file=self.process.stdin, flush=True)
        answer = self._read()
        return Turn(
            answer=answer,
            own=own_seconds(self.process.pid) - own,
            busy=busy_seconds() - busy,
            available=(time.monotonic() - started) * len(os.sched_getaffinity(0)),
        )

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"{self.name} ended before it answered; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(build: Callable[[], Callable[..., dict[str, Any]]]) -> None:
    """The other end: build a contestant, then answer turn by turn."""
    # The parent reads stdout, so whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    play = build()
    answers.write(json.dumps(facts()) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(play(*map(int, line.split()))) + "\n")


def facts() -> dict[str, Any]:
    """This process's library and its threads: all that it takes by itself."""
    cores = len(os.sched_getaffinity(0))
    if torch := sys.modules.get("torch"):
        return {"library": f"torch {torch.__version__}", "threads": torch.get_num_threads()}
    if tf := sys.modules.get("tensorflow"):
        threads = tf.config.threading.get_intra_op_parallelism_threads() or cores
        return {"library": f"tensorflow {tf.__version__}", "threads": threads}
    return {"library": f"numpy {sys.modules['numpy'].__version__}", "threads": cores}


def busy_seconds() -> float:
    """CPU time, since the start, that the CPUs we may use were not idle: also what the host gave to other guests."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in os.sched_getaffinity(0):
            user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, ticks[:8])
            total += user + nice + system + interrupts + soft + stolen
    return total / TICKS


def own_seconds(pid: int) -> float:
    """CPU time of a process and its threads."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def others_share(turns: Sequence[Turn]) -> float:
    """The share of the CPU that was used by others than the contestant whose turn it was."""
    used = sum(turn.busy - turn.own for turn in turns)
    return max(0.0, used / sum(turn.available for turn in turns))
