"""Benchmark of the default sizes: the loss of defaults on texts of many kinds, beside the best of a small search.

    python bench/quality.py
    python bench/quality.py --texts "300 names" "DNA"
    python bench/quality.py --folder FOLDER --texts FOLDER

Each text is trained on with defaults. Then each of a few other settings gets as much time: a narrower and a wider
network, less and more dropout, a smaller and a larger batch. All have the same validation text, the one that
`charrnn.train` chooses. The search picks the lowest validation loss, so that chance favors it, most of all with a small
text. The last line is JSON.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import make_parser, print_result
from bench.texts import TEXTS

SMOKE = {"units": 8, "epochs": 1}
SMOKE_TEXTS = ["300 names", "reference, 2 kB"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: its options beside the defaults, and what came of it."""

    options: dict[str, Any]
    val_loss: float
    train_loss: float
    epochs: int
    seconds: float
    model: Any


def run(path: Path, **options: Any) -> Run:
    import charrnn

    started = time.perf_counter()
    model = charrnn.train(path, **options)
    best = min(model.metrics["history"], key=lambda epoch: epoch["val_loss"])
    return Run(
        options=options,
        val_loss=best["val_loss"],
        train_loss=best["train_loss"],
        epochs=len(model.metrics["history"]),
        seconds=time.perf_counter() - started,
        model=model,
    )


def candidates(found: Run) -> list[dict[str, Any]]:
    """Return the settings of the search: each changes one thing of the defaults."""
    network, training = found.model.network, found.model.metrics["training"]
    low, high = max(0.0, network.dropout - 0.15), min(0.6, network.dropout + 0.15)
    return [
        {"units": network.units * 2 // 3},
        {"units": network.units * 3 // 2},
        {"dropout": low, "recurrent_dropout": max(0.0, network.recurrent_dropout - 0.15)},
        {"dropout": high, "recurrent_dropout": min(0.6, network.recurrent_dropout + 0.15)},
        {"batch": max(1, training["batch"] // 2)},
        {"batch": training["batch"] * 2},
    ]


def measure(name: str, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train with defaults and with the settings of the search, and return the figures."""
    asked = SMOKE if options.smoke else {}
    default = run(path, **asked)
    print_run(name, default)
    others = []
    for changed in [] if options.no_search else candidates(default)[: 1 if options.smoke else None]:
        others.append(run(path, **{**asked, **changed}, max_minutes=max(default.seconds, 5.0) / 60))
        print_run("", others[-1])
    best = min([default, *others], key=lambda found: found.val_loss)
    return {
        "text": name,
        "characters": default.model.metrics["training_characters"],
        "val_loss": round(default.val_loss, 4),
        "best_val_loss": round(best.val_loss, 4),
        "ratio": round(default.val_loss / best.val_loss, 4),
        "seconds": round(default.seconds, 1),
        "best_options": best.options,
    }


def print_run(name: str, found: Run) -> None:
    changed = ", ".join(f"{key} {value:g}" for key, value in found.options.items() if key != "max_minutes")
    network = found.model.network
    what = changed or f"2 x {network.units}, dropout {network.dropout:g}"
    losses = f"{found.val_loss:8.4f}{found.train_loss:8.3f}"
    print(f"{name:20}{losses}{found.epochs:8}{found.seconds:9.1f}  {what}", flush=True)


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="a folder of *.txt files, as one more text")
    parser.add_argument("--texts", nargs="+", metavar="TEXT", help=f"some of: {', '.join(TEXTS)}; default: all")
    parser.add_argument("--no-search", action="store_true", help="train with defaults only")
    options = parser.parse_args()
    options.texts = options.texts or (SMOKE_TEXTS if options.smoke else list(TEXTS))
    if unknown := set(options.texts) - {*TEXTS, str(options.folder)}:
        parser.error(f"unknown texts: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = parse()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    print(f"{'text':20}{'val':>8}{'train':>8}{'epochs':>8}{'seconds':>9}")
    figures = []
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        for name in options.texts:
            path = Path(folder) / f"{name}.txt"
            if name in TEXTS:
                path.write_text(TEXTS[name]())
            figures.append(measure(name, path if name in TEXTS else options.folder, options))
    print_result(figures)


if __name__ == "__main__":
    main()
