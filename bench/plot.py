"""Plot of the last line of `bench/sampling.py`: throughput over batch size, one line per peer.

    python bench/sampling.py … | tee /dev/stderr | python bench/plot.py sampling.png

Needs Matplotlib, which is no dependency of the product. Each library has a color. bfloat16 has filled markers, float32
hollow ones. The ceilings, which are the matrix products of the faster library and nothing else, are dashed and gray.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

COLORS = {
    "charrnn": "#c1272d",
    "torch": "#1f5fa8",
    "keras": "#2f7d4f",
    "numpy": "#8a6d1c",
    "notebook": "#6b4c9a",
    "ceiling": "#8c8c8c",
}
NAMES = {kind: kind for kind in COLORS} | {"torch": "PyTorch", "keras": "Keras", "numpy": "NumPy"}
BOTH = ("charrnn", "torch", "ceiling")  # run in both precisions
INCHES, DOTS = (12.8, 8.0), 120  # 1536 x 960
LABEL_GAP = 0.034  # between the centers of two labels, as a share of the height

Line = dict[int, float]
"""Characters/s by batch size."""


def lines(rates: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], Line]:
    """Return the line of each kind and precision. The fastest peer of a kind counts: there are two ceilings."""
    found: dict[tuple[str, str], Line] = {}
    for name, speeds in rates.items():
        line = found.setdefault((name.split()[0], name.split()[-1]), {})
        for batch, speed in speeds.items():
            line[int(batch)] = max(speed, line.get(int(batch), 0))
    return {key: dict(sorted(line.items())) for key, line in found.items() if line}


def draw(axes: Any, key: tuple[str, str], line: Line) -> None:
    kind, precision = key
    color, filled = COLORS[kind], precision == "bfloat16"
    style = {"color": color, "linewidth": 2.4 if kind == "charrnn" else 1.4}
    if kind == "ceiling":
        axes.plot(*points(line), linestyle=(0, (5, 3)), zorder=1, **style)
    else:
        axes.plot(*points(line), marker="o", markersize=6, markerfacecolor=color if filled else "white", **style)


def points(line: Line) -> tuple[list[int], list[float]]:
    return list(line), list(line.values())


def label(axes: Any, found: Mapping[tuple[str, str], Line]) -> None:
    """Write the name of each line beside its last point."""
    place = axes.transData + axes.transAxes.inverted()
    columns: dict[float, list[tuple[float, str, str]]] = {}
    for key, line in found.items():
        x, height = place.transform(list(line.items())[-1])
        columns.setdefault(round(x, 3), []).append((height, *key))
    for x, ends in columns.items():
        ends.sort()
        for height, (_, kind, precision) in zip(spread([end[0] for end in ends]), ends, strict=True):
            text = NAMES[kind] + (f" {precision}" if kind in BOTH else "")
            axes.text(x + 0.012, height, text, color=COLORS[kind], fontsize=11, va="center", transform=axes.transAxes)


def spread(heights: Sequence[float]) -> list[float]:
    """Return ascending heights at least a gap apart: the mean of moving overlapping ones up and moving them down."""
    up, down = list(heights), list(heights)
    for k in range(1, len(heights)):
        up[k] = max(up[k], up[k - 1] + LABEL_GAP)
        down[-1 - k] = min(down[-1 - k], down[-k] - LABEL_GAP)
    return [(above + below) / 2 for above, below in zip(up, down, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("png", metavar="PNG", help="the file to write")
    path = parser.parse_args().png
    result = json.loads(sys.stdin.read().splitlines()[-1])
    found = lines(result["characters_per_second"])
    mpl.use("Agg")
    figure, axes = pyplot.subplots(figsize=INCHES, dpi=DOTS)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for key, line in found.items():
        draw(axes, key, line)
    batches = sorted({batch for line in found.values() for batch in line})
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("batch size")
    void = "" if result["valid"] else " (a void run)"
    axes.set_title(f"Sampling throughput in characters/s, 2 x LSTM(512), vocabulary 90{void}", loc="left", fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.subplots_adjust(left=0.08, right=0.85, top=0.93, bottom=0.08)
    label(axes, found)
    figure.savefig(path)


if __name__ == "__main__":
    main()
