"""The submissions of one process's schedules: each in a thread of its own, since a thread that hangs cannot be stopped.

A file system that no longer answers blocks a read forever. Such a thread is left behind. If it wakes up after all, its
slot is no longer due, and the store refuses its job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field

from charrnn.jobs.job.schedule import Slot

# Seconds that one submission may take. Shorter than a claim on a slot (10 minutes), so that no other process begins the
# same submission, and hangs too, before it is given up. In this time, a text of several GB is read.
LIMIT_S = 540.0
WAIT_S = 5.0  # seconds that other schedules wait for one submission; most take less than one

SLOT: ContextVar[Slot | None] = ContextVar("slot", default=None)
"""The slot for which this thread submits or tells a hook. Logs name it in the lines of code that knows no schedule."""


@dataclass
class _Submission:
    slot: Slot
    ended: Future[None] = field(default_factory=Future)
    begun: float = field(default_factory=time.monotonic)
    given_up: bool = False


class Submissions:
    """The submissions that run, at most one for each schedule.

    Args:
        limit_s: seconds after which a submission is given up.
        wait_s: seconds for which `start` waits for the end of a submission.
    """

    def __init__(self, limit_s: float = LIMIT_S, wait_s: float = WAIT_S) -> None:
        self.limit_s, self.wait_s = limit_s, wait_s
        self._running: dict[str, _Submission] = {}  # by the name of the schedule

    def start(self, slot: Slot, submit: Callable[[], None]) -> None:
        """Run `submit` in a thread, and wait a moment for its end.

        Raises:
            Exception: what `submit` raised, if it ended while this call waited.
        """
        self._running[slot.schedule] = submission = _Submission(slot)
        thread = threading.Thread(target=_run, args=(submit, submission), name=f"schedule {slot}", daemon=True)
        thread.start()
        try:
            submission.ended.result(self.wait_s)
        except TimeoutError:
            if submission.ended.done():  # an error of the submission itself
                submission.ended.result()

    def unfinished(self, name: str) -> Slot | None:
        """Return the slot of a schedule whose submission has not ended, even if it was given up."""
        submission = self._running.get(name)
        return None if submission is None or submission.ended.done() else submission.slot

    def give_up_late(self) -> list[Slot]:
        """Return the slots whose submissions exceeded the limit, each once."""
        self._running = {name: one for name, one in self._running.items() if not one.ended.done()}
        now = time.monotonic()
        late = [one for one in self._running.values() if not one.given_up and now - one.begun >= self.limit_s]
        for one in late:
            one.given_up = True
        return [one.slot for one in late]


def _run(submit: Callable[[], None], submission: _Submission) -> None:
    SLOT.set(submission.slot)
    try:
        submit()
    except BaseException as error:  # for the thread that waits
        submission.ended.set_exception(error)
    else:
        submission.ended.set_result(None)
