"""Curves of losses as coordinates for SVG, which a template draws: no script, and no style that a policy forbids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 240  # units of the drawing, which scales with the page
LEFT, BOTTOM, MARGIN = 56, 28, 12  # for the numbers at the axes
MAX_POINTS = 400  # of a line, besides its lowest and last one; a pixel each on most screens
MAX_LOSS = 1e6  # no loss of a text is higher; an axis to 1e308 would overflow
TICKS = 4  # about so many numbers at an axis


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A number at an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named line of a curve, as points for an SVG polyline."""

    name: str
    points: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A drawing of one or two lines, with the axes and the lowest point of the last line.

    Attributes:
        title: for a screen reader: what is shown, and the lowest value.
        best: coordinates of the lowest point of the last line; None if it has none.
    """

    title: str
    x_name: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    best: tuple[float, float] | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - MARGIN
    top: int = MARGIN
    bottom: int = HEIGHT - BOTTOM


def draw(title: str, x_name: str, xs: Sequence[int], series: Mapping[str, Sequence[float]]) -> Curve | None:
    """Return the drawing of some series over the same x values; None if no value can be drawn.

    Args:
        xs: rising whole numbers, such as epochs.
        series: values by the line's name. Values that are not finite, or not below MAX_LOSS, are left out.
    """
    finite = [value for values in series.values() for value in values if _is_drawable(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    pad = (high - low) * 0.05 or 0.05
    x_scale = _Scale(xs[0] - 0.5 * (len(xs) == 1), xs[-1] + 0.5 * (len(xs) == 1), LEFT, WIDTH - MARGIN)
    y_scale = _Scale(low - pad, high + pad, HEIGHT - BOTTOM, MARGIN)
    last = list(series.values())[-1]
    lowest = min((i for i, y in enumerate(last) if _is_drawable(y)), key=last.__getitem__, default=None)
    best = None if lowest is None else (xs[lowest], last[lowest])
    kept = {*range(0, len(xs), -(-len(xs) // MAX_POINTS)), len(xs) - 1} | ({lowest} if lowest is not None else set())
    return Curve(
        title=title if best is None else f"{title}. Lowest {list(series)[-1]}: {best[1]:.4f} at {x_name} {best[0]:,}",
        x_name=x_name,
        lines=tuple(
            Line(name=name, points=_points([(xs[i], values[i]) for i in sorted(kept)], x_scale, y_scale))
            for name, values in series.items()
        ),
        x_ticks=tuple(Tick(at=x_scale(x), text=f"{x:,}") for x in _whole_ticks(xs[0], xs[-1])),
        y_ticks=tuple(Tick(at=y_scale(y), text=text) for y, text in _ticks(low - pad, high + pad)),
        best=None if best is None else (x_scale(best[0]), y_scale(best[1])),
    )


def _is_drawable(value: float) -> bool:
    return abs(value) < MAX_LOSS  # also False for NaN


@dataclass(frozen=True)
class _Scale:
    """A linear map of values to coordinates."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def _points(points: Sequence[tuple[int, float]], x_scale: _Scale, y_scale: _Scale) -> str:
    return " ".join(f"{x_scale(x)},{y_scale(y)}" for x, y in points if _is_drawable(y))


def _spacing(low: float, high: float) -> float:
    """Return a distance of 1, 2 or 5 times a power of ten that divides a range into about TICKS pieces."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    spacing = _spacing(low, high)
    digits = max(0, -math.floor(math.log10(spacing)))
    first, last = math.ceil(low / spacing), math.floor(high / spacing)
    return [(number * spacing, f"{number * spacing:.{digits}f}") for number in range(first, last + 1)]


def _whole_ticks(first: int, last: int) -> list[int]:
    spacing = max(1, round(_spacing(first, last))) if last > first else 1
    return [first, *(x for x in range(spacing, last + 1, spacing) if x > first)]
