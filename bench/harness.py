"""Parts that the benchmarks share: peers in processes of their own, a training text, the last line of output.

Peers take turns: one runs while the others wait, and the CPU time of all processes is measured. Each process
holds one peer, so that none disturbs another. With --smoke, where no figure counts, one process holds all of
them, so that TensorFlow is imported only once. The process writes a line of JSON when it is ready. For each turn it
then reads a line, with the peer's name and integers such as the number of steps, and answers with a line of JSON.
It ends when its stdin ends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Self, TypeAlias

from bench.cpu import CpuMeter, CpuUse, process_seconds, total

ROOT = Path(__file__).parents[1]
COMMAND = str(Path(sys.executable).with_name("charrnn-jobs"))
TORCH = "torch==2.13.0"
MAX_OTHERS = 0.05  # share of the CPU; above it, a comparison of throughput is void
# Each library uses its own default number of threads, whatever the shell's environment says.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")

Answer: TypeAlias = dict[str, Any]
"""A line of JSON that a peer's process wrote."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a peer: its answer, and the CPU use during the turn, where `own` is its process."""

    answer: Answer
    cpu: CpuUse


def others_share(turns: Iterable[Turn]) -> float:
    """Return the share of the CPU that processes other than the peer used during its turns."""
    return total(turn.cpu for turn in turns).others


class Process:
    """A process that holds peers and waits for turns."""

    def __init__(self, names: Sequence[str], command: Sequence[str]) -> None:
        self.label = ", ".join(names)
        environment = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
        environment |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
        environment |= {"PYTHONPATH": str(ROOT)}  # PyTorch's environment lacks this repository
        self._process = subprocess.Popen(
            [*command, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Self:
        self.facts = self._read()
        print(f"{self.label}: ready ({self.facts['library']}, {self.facts['threads']} threads)", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its stdin, which ends it

    def turn(self, name: str, numbers: Sequence[int]) -> Turn:
        meter = CpuMeter(partial(process_seconds, self._process.pid))
        print(json.dumps([name, *numbers]), file=self._process.stdin, flush=True)
        return Turn(answer=self._read(), cpu=meter.read())

    def _read(self) -> Answer:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"{self.label} ended before it answered; its last output is above")
        answer: Answer = json.loads(line)
        return answer


@dataclass(frozen=True)
class Player:
    """A peer and the process that holds it."""

    name: str
    process: Process

    @property
    def facts(self) -> Answer:
        return self.process.facts

    def turn(self, *numbers: int) -> Turn:
        return self.process.turn(self.name, numbers)


class Peers:
    """The peers of a benchmark. Those of PyTorch take part only if PyTorch is installed."""

    def __init__(self, options: argparse.Namespace, names: Iterable[str], command: Sequence[str]) -> None:
        """Choose the Python of PyTorch's peers.

        Args:
            options: options of the benchmark's command line.
            names: names of all peers.
            command: the module that holds peers, and its arguments before their names.
        """
        self._torch_python = None if options.smoke or not has_torch(options.torch_python) else options.torch_python
        self._command = command
        self._shared = self._process(self._installed(names)) if options.smoke else None

    def __enter__(self) -> Self:
        if self._shared:
            self._shared.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shared:
            self._shared.__exit__()

    @contextmanager
    def playing(self, names: Iterable[str]) -> Iterator[list[Player]]:
        """Start the named peers that are installed, and stop them when the block ends."""
        with ExitStack() as stack:
            # They start one after the other, since compiling takes the whole CPU.
            yield [
                Player(name, self._shared or stack.enter_context(self._process([name])))
                for name in self._installed(names)
            ]

    def _installed(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._torch_python or "torch" not in name]

    def _process(self, names: Sequence[str]) -> Process:
        python = self._torch_python if self._torch_python and "torch" in names[0] else sys.executable
        return Process(names, [python, "-m", *self._command])


def has_torch(python: str) -> bool:
    """Return whether that Python has PyTorch. If not, print how to install it."""
    if subprocess.run([python, "-c", "import torch, numpy"], capture_output=True, check=False).returncode == 0:
        return True
    print(
        f"{python} has no PyTorch, so its peers are left out. Run pip install {TORCH} numpy in a virtual "
        f"environment, and pass its Python with --torch-python"
    )
    return False


def serve(names: Iterable[str], build: Callable[[str], Callable[..., Answer]]) -> None:
    """Build peers and answer their turns. This is the other end of `Process`."""
    # The parent reads stdout, so everything that a library prints goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    plays = {name: build(name) for name in names}
    answers.write(json.dumps(_facts()) + "\n")
    for line in sys.stdin:
        name, *numbers = json.loads(line)
        answers.write(json.dumps(plays[name](*numbers)) + "\n")


def _facts() -> Answer:
    """Return this process's library and its default number of threads."""
    cores = len(os.sched_getaffinity(0))
    if torch := sys.modules.get("torch"):
        return {"library": f"torch {torch.__version__}", "threads": torch.get_num_threads()}
    # First: Keras imports JAX too where it is installed.
    if tf := sys.modules.get("tensorflow"):
        threads = tf.config.threading.get_intra_op_parallelism_threads() or cores
        return {"library": f"tensorflow {tf.__version__}", "threads": threads}
    if jax := sys.modules.get("jax"):
        return {"library": f"jax {jax.__version__}, {jax.devices()[0].device_kind}", "threads": cores}
    return {"library": f"numpy {sys.modules['numpy'].__version__}", "threads": cores}


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser for a benchmark's options, with the option that all of them have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--smoke", action="store_true", help="run everything in seconds, with tiny sizes; the figures mean nothing"
    )
    return parser


def print_result(figures: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Print the last line of output: the figures as JSON."""
    print(json.dumps(figures))


def write_topics(path: Path, size: int | None = None) -> None:
    """Write Python's language reference: 436,000 characters that every machine has, or the first `size` of them."""
    path.write_text("\n".join(topics[name] for name in sorted(topics))[:size])
