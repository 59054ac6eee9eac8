"""The command line `charrnn-jobs`. Nobody imports this; code uses `charrnn.jobs.Client`."""

from __future__ import annotations

import os


def main() -> None:
    """Answer a shell that completes a command line, which must not wait for a command's imports, or run a command."""
    from producer.completion import answer

    if os.environ.get(answer.VARIABLE) in answer.SHELLS:
        answer.answer()
        return
    from producer import cli

    cli.main()
