"""Points at which a fault test lets a worker die or hang. Nothing happens unless CHARRNN_CRASH_AT is set."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

VARIABLE = "CHARRNN_CRASH_AT"
HANG_S = 3600.0


def crash_point(name: str, number: int | None = None) -> None:
    """Die or hang here if the variable says so: NAME[/NUMBER]:kill|hang[:FILE]. With a file once: it is made then."""
    wanted, _, rest = os.environ.get(VARIABLE, "").partition(":")
    if wanted not in (name, f"{name}/{number}"):
        return
    action, _, once = rest.partition(":")
    if once and not _made(Path(once)):
        return
    if action == "hang":
        time.sleep(HANG_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _made(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
