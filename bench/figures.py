"""The table that `bench/store.py` prints, and the targets of its figures."""

from __future__ import annotations

TARGETS: dict[str, tuple[str, float]] = {
    "submit_rows_per_s": ("at least", 50_000),
    "submit_peak_mb": ("below", 300),
    "message_bytes": ("below", 1000),
    "progress_ms": ("below", 50),
    "export_rows_per_s": ("at least", 100_000),
    "export_peak_mb": ("below", 500),
    "bookkeeping_share": ("below", 0.5),
    "parts_per_s": ("at least", 100),
    "beat_max_s": ("below", 2),
}


def say(what: str, figure: float, name: str = "") -> None:
    """Print a line of the table. A figure whose name has a target is printed with it."""
    line = f"  {what:<92}{figure:>14,.{0 if figure >= 1000 else 3}f}"
    if name in TARGETS:
        relation, target = TARGETS[name]
        met = figure >= target if relation == "at least" else figure < target
        line += f"   target: {relation} {target:,g}{'' if met else ', MISSED'}"
    print(line, flush=True)
