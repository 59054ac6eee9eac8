"""Fault injection: points at which a test makes a worker die or hang. Without CHARRNN_CRASH_AT they do nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

VARIABLE = "CHARRNN_CRASH_AT"
HANG_S = 3600.0


def crash_point(name: str, number: int | None = None) -> None:
    """Die or hang here if CHARRNN_CRASH_AT says so: NAME[/NUMBER]:kill|hang[:FILE].

    With a FILE it happens only once, if FILE does not exist; it is created then.
    """
    wanted, _, rest = os.environ.get(VARIABLE, "").partition(":")
    if wanted not in (name, f"{name}/{number}"):
        return
    action, _, once = rest.partition(":")
    if once and not _create(Path(once)):
        return
    if action == "hang":
        time.sleep(HANG_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _create(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
