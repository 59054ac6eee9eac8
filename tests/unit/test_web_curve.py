"""Curves: every value is inside the drawing, whatever it is, and the axes have round numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producer.web.views.curve import MAX_LOSS, MAX_POINTS, draw

losses = st.one_of(st.floats(-1e5, 1e5), st.floats())


@given(st.lists(losses, min_size=1, max_size=50), st.integers(1, 10**6))
def test_every_finite_value_is_inside_the_drawing(values: list[float], first: int) -> None:
    curve = draw("Loss", "epoch", range(first, first + len(values)), {"validation loss": values})
    drawable = [value for value in values if abs(value) < MAX_LOSS]
    if not drawable:
        assert curve is None
        return
    assert curve is not None
    points = [tuple(map(float, point.split(","))) for point in curve.lines[0].points.split()]
    assert len(points) == len(drawable)
    ticks = [(tick.at, curve.top) for tick in curve.x_ticks] + [(curve.left, tick.at) for tick in curve.y_ticks]
    for x, y in [*points, *ticks, *filter(None, [curve.best])]:
        assert curve.left <= x <= curve.right + 1
        assert curve.top - 1 <= y <= curve.bottom + 1
    assert 1 <= len(curve.y_ticks) <= 12
    assert len(curve.x_ticks) <= 12


def test_the_title_has_the_lowest_value_and_the_axes_round_numbers() -> None:
    curve = draw("Loss", "epoch", [1, 2, 3], {"training loss": [3.0, 2.0, 1.0], "validation loss": [3.0, 1.5, 2.0]})
    assert curve is not None
    assert curve.title == "Loss. Lowest validation loss: 1.5000 at epoch 2"
    assert [tick.text for tick in curve.y_ticks] == ["1", "2", "3"]
    assert [tick.text for tick in curve.x_ticks] == ["1", "2", "3"]


def test_a_long_training_has_no_more_points_than_a_screen_has_pixels() -> None:
    curve = draw(
        "Loss",
        "epoch",
        range(1, 10_001),
        {"validation loss": [1.0 / epoch + (epoch > 9_998) for epoch in range(1, 10_001)]},
    )
    assert curve is not None
    assert len(curve.lines[0].points.split()) <= MAX_POINTS + 2
    assert "at epoch 9,998" in curve.title  # Catches: the lowest of the points that are drawn
    assert curve.best is not None
    assert ",".join(map(str, curve.best)) in curve.lines[0].points.split()  # Catches: a dot beside its line


def test_without_a_validation_loss_there_is_no_lowest_one() -> None:
    curve = draw("Loss", "epoch", [1], {"training loss": [3.0], "validation loss": [float("nan")]})
    assert curve is not None
    assert (curve.title, curve.best) == ("Loss", None)
