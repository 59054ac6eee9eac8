"""The loss curve, drawn with characters."""

from __future__ import annotations

import pytest

from charrnn.training.progress import EpochMetrics
from producer.output.plot import HEIGHT, MAX_WIDTH, TRAINING, VALIDATION, curve


def history(*losses: tuple[float, float]) -> list[EpochMetrics]:
    return [
        EpochMetrics(epoch=number, step=number, learning_rate=0.1, train_loss=train, val_loss=validation)
        for number, (train, validation) in enumerate(losses, 1)
    ]


def test_losses_are_plotted_by_epoch_and_value() -> None:
    lines = curve(history((3.0, 2.0), (1.5, 1.75), (1.0, 1.5)))
    assert lines[0] == f" 3.0000 ┤ {TRAINING}"
    assert lines[HEIGHT - 1].rstrip().endswith(TRAINING)
    assert lines[HEIGHT - 1].startswith(" 1.0000 ┤")
    columns = [line.index(VALIDATION) for line in lines[:HEIGHT] if VALIDATION in line]
    assert columns == sorted(columns)  # the curve falls to the right
    assert len(columns) == 3


def test_the_axis_names_the_first_and_the_last_epoch() -> None:
    axis = curve(history(*[(1.0, 1.0)] * 10))[HEIGHT]
    assert axis.split()[-2:] == ["1", "10"]


@pytest.mark.parametrize("epochs", [1, 2, 10, 300])
def test_any_number_of_epochs_fits_a_terminal(epochs: int) -> None:
    lines = curve(history(*[(1.0 + epoch, 2.0) for epoch in range(epochs)]))
    assert len(lines) == HEIGHT + 2
    assert max(map(len, lines[: HEIGHT + 1])) <= MAX_WIDTH + 16


def test_equal_losses_are_drawn() -> None:
    # Catches: a division by the difference of the losses
    assert VALIDATION in "".join(curve(history((1.0, 1.0)))[:HEIGHT])


def test_there_is_no_curve_without_epochs() -> None:
    assert curve([]) == []
