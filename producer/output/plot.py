"""A training's losses as a curve of characters, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.training.progress import EpochMetrics

HEIGHT = 12  # rows
MAX_WIDTH = 60  # columns; of longer trainings, epochs share one
TRAINING, VALIDATION = "·", "●"
MARKS = {TRAINING: "train_loss", VALIDATION: "val_loss"}


def curve(history: Sequence[EpochMetrics]) -> list[str]:
    """Return a plot of losses over epochs as lines of text. Where both losses meet, the validation loss is shown."""
    if not history:
        return []
    losses = {mark: [getattr(epoch, name) for epoch in history] for mark, name in MARKS.items()}
    low, high = min(map(min, losses.values())), max(map(max, losses.values()))
    spacing = max(1, min(6, MAX_WIDTH // len(history)))
    width = min(MAX_WIDTH, spacing * len(history))
    rows = [[" "] * width for _ in range(HEIGHT)]
    for mark, values in losses.items():
        for index, value in enumerate(values):
            row = round((high - value) / ((high - low) or 1.0) * (HEIGHT - 1))
            rows[row][index * width // len(values)] = mark
    step = (high - low) / (HEIGHT - 1)
    drawn = [f"{high - step * number:7.4f} ┤ {''.join(row)}".rstrip() for number, row in enumerate(rows)]
    return [*drawn, _axis(len(history), width), f"{'':9}{VALIDATION} val_loss   {TRAINING} loss   (nats per character)"]


def _axis(epochs: int, width: int) -> str:
    """Return the axis line, with the first and the last epoch below their columns."""
    last = (epochs - 1) * width // epochs
    numbers = "1" if epochs == 1 else f"1{epochs!s:>{last}}"
    return f"  epoch   └ {numbers}"
