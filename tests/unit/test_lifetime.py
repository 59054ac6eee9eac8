"""A process that ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

CHILD = """
import signal, sys
from worker.lifetime import end_with
end_with({parent}, signal.SIGTERM)
print("alive", flush=True)
input()
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1].replace("{parent}", str(os.getpid()))], stdin=0, stdout=1)
print(child.pid, flush=True)
input()
"""


def test_a_process_whose_parent_has_already_ended_ends_immediately() -> None:
    # Catches: a parent that dies between the fork and the request to the kernel
    words = [sys.executable, "-c", CHILD.format(parent=os.getpid() + 1)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_a_process_ends_when_its_parent_is_killed() -> None:
    words = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child, alive = parent.stdout.readline(), parent.stdout.readline()
        assert (child.strip().isdecimal(), alive) == (True, "alive\n")
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == ""  # the child, which has this pipe too, has ended
