"""A line on the terminal during work that takes over two seconds: reading, exporting, importing, checking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from producer.output import console

PATIENCE_S = 2.0  # what takes less needs no words
PAUSE_S = 0.2


@contextmanager
def busy(words: Callable[[], str]) -> Iterator[None]:
    """On a terminal, show from PATIENCE_S on what the block does, and for how long.

    Args:
        words: returns what to show now.
    """
    if not console.is_terminal(console.err):
        yield
        return
    ended = Event()
    thread = Thread(target=_show, args=(words, ended), name="busy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _show(words: Callable[[], str], ended: Event) -> None:
    if ended.wait(PATIENCE_S):
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # most work is done by now

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console.err, transient=True) as progress:
        task = progress.add_task(console.printable(words()))
        while not ended.wait(PAUSE_S):
            progress.update(task, description=console.printable(words()))
