"""Run a fuzz target for a time, and check what the project promises of any input: docs/bad-inputs.md."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from charrnn.errors import CharrnnError

T = TypeVar("T")

SCREEN = 2500  # characters on standard error: a message of 2,000, its label, and a note before it
GROWN_MB = 200  # by one input: the command itself takes 100 MB of the 300 that docs/bad-inputs.md allows
LONGEST_S = 30.0  # for one input, on a busy machine
ROUND = 100  # inputs between two random seeds
REFUSED = (0, 2, 3, 5)  # also 5, for results of a job that has not ended

Check = Callable[[T], None]


class TimeOver(KeyboardInterrupt):
    """The end of a run. Hypothesis takes every other exception for a failure, and goes on."""


@dataclass
class Exploration:
    """A fuzz target's run. It ends after `seconds`, or with the first input that breaks a promise.

    Attributes:
        tried: number of inputs so far.
        count: called with their number at the end.
    """

    seconds: float
    count: Callable[[int], object]
    tried: int = 0

    def run(self, inputs: SearchStrategy[T], check: Check[T]) -> None:
        """Check random inputs, again and again with another random seed.

        Hypothesis makes a failing input small before it raises the error. Its database is off: a run must not begin
        with the inputs of the one before.
        """
        ends = time.monotonic() + self.seconds
        failed = False

        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            suppress_health_check=[*HealthCheck],
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
        )
        @given(inputs)
        def attempt(value: T) -> None:
            nonlocal failed
            if time.monotonic() > ends and not failed:
                raise TimeOver
            self.tried += 1
            try:
                watched(check, value)
            except BaseException:
                failed = True
                raise

        try:
            while True:
                seed(time.monotonic_ns())(attempt)()
        except TimeOver:
            pass
        finally:
            self.count(self.tried)


def watched(check: Check[T], value: T) -> None:
    """Check one input, its time, and how far the peak of memory is above the level before it."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present level
    before = _peak_mb()
    try:
        with limited_time():
            check(value)
    except TooLong as error:
        raise AssertionError(f"one input took more than {LONGEST_S:.0f} s") from error
    grown = _peak_mb() - before
    assert grown < GROWN_MB, f"one input took {grown:.0f} MB"


class TooLong(BaseException):
    """The end of an input's time. No code of the project catches it."""


@contextmanager
def limited_time() -> Iterator[None]:
    """Raise TooLong after LONGEST_S, so that an input that hangs is found, and made small, like any other."""

    def end(*_: object) -> None:
        raise TooLong

    handler = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def _peak_mb() -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def check_said(done: CompletedProcess[str], codes: Collection[int] = REFUSED) -> None:
    """Check that a command ended with one of these exit codes, and said at most a screen of printable characters."""
    assert done.returncode in codes, f"exit code {done.returncode}: {done.stderr}"
    check_message(done.stderr)


def check_message(message: str) -> None:
    assert "Traceback" not in message
    assert len(message) <= SCREEN, f"{len(message):,} characters: {message[:SCREEN]}"
    check_printable(message)


def check_error(error: CharrnnError) -> None:
    """Check that an error of the library is at most a screen. Whoever prints it escapes its characters."""
    assert len(str(error)) <= SCREEN, f"{len(str(error)):,} characters"


def check_printable(text: str) -> None:
    """Check that a terminal only shows a text, and does nothing else."""
    assert not (odd := {c for c in text if not c.isprintable() and c != "\n"}), f"{odd} in {text[:SCREEN]!r}"
