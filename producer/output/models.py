"""Models and their versions, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from charrnn.jobs.job.specs import TrainSpec
from producer.output import console
from producer.output import jobs as render

SHOWN_SOURCES = 10  # of a version, in one line


def models(rows: Iterable[Mapping[str, Any]]) -> None:
    console.table(
        ("version", "aliases", "held out", "network", "characters", "stored"),
        (
            (
                _name(v),
                ", ".join(v["aliases"]),
                f"{v['held_out_nats']:.4f} nats",
                _network(v["network"]),
                len(v["characters"]),
                console.when(v["created_at"]),
            )
            for v in rows
        ),
    )


def version(found: Mapping[str, Any]) -> None:
    """One version, a fact a line."""
    training = found["training"] and TrainSpec.from_dict(found["training"])
    console.facts(
        [
            ("version", _name(found)),
            ("aliases", ", ".join(found["aliases"])),
            ("held out", render.loss_text(found["held_out_nats"])),
            ("gate", f"{'passed' if found['gate']['promoted'] else 'not passed'}: {found['reason']}"),
            ("network", _network(found["network"])),
            ("characters", len(found["characters"])),
            ("sampled in", found["precision"]),
            ("stored", console.when(found["created_at"])),
            ("job", found["job"] or "none: it was imported"),
            ("training", training and render.training_line(training)),
            ("corpus", training and _corpus(training)),
            ("release", found["release"]),
        ]
    )


def _corpus(training: TrainSpec) -> str:
    shown = ", ".join(training.sources[:SHOWN_SOURCES])
    more = training.num_sources - SHOWN_SOURCES
    return f"{shown}{f' and {more:,} more' if more > 0 else ''}; sha256 {training.corpus.sha256}"


def _name(version: Mapping[str, Any]) -> str:
    return f"{version['model']}@{version['version']}"


def _network(network: Mapping[str, Any]) -> str:
    return f"{network['layers']} x {network['cell'].upper()}({network['units']})"


def comparison(compared: Sequence[Mapping[str, Any]]) -> None:
    """Versions side by side, with their texts of the same seeds."""
    rows: list[tuple[str, ...]] = [("held out", *(render.loss_text(version["held_out_nats"]) for version in compared))]
    for texts in zip(*(version["texts"] for version in compared), strict=True):
        rows.append((texts[0]["seed"], *(text["text"] for text in texts)))
    console.table(("", *(version["version"] for version in compared)), rows)
