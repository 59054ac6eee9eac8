"""How a program of this distribution is started: (*MODULE, "worker", ...)."""

from __future__ import annotations

import sys

MODULE = (sys.executable, "-P", "-m")
"""-P: the installed one, and not what lies in the current folder under that name."""
