"""The end of a process whose parent has ended, also if the parent was killed and could stop nobody."""

from __future__ import annotations

import os
import signal
import time
from threading import Thread

from billiard.util import set_pdeathsig

LOOK_S = 1.0  # where the kernel sends no signal


def end_with(parent: int, number: signal.Signals) -> None:
    """Send this process a signal when its parent ends, or now if it has ended already.

    Linux keeps this setting across exec, clears it at fork, and sends the signal when the thread that forked this
    process ends. `up` and Celery's pool fork in their main threads. The pool's children get this setting from Celery
    too, but not the check whether the parent has ended before.

    Args:
        parent: the parent's process id.
        number: the signal to send.
    """
    try:
        set_pdeathsig(number)  # prctl(PR_SET_PDEATHSIG)
    except OSError:  # not Linux
        Thread(target=_watch, args=(parent, number), daemon=True).start()
    if os.getppid() != parent:  # it ended before the kernel was told to notify this process
        os.kill(os.getpid(), number)


def _watch(parent: int, number: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), number)
