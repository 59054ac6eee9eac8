"""Model versions as tables and facts for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.version import CHAMPION, ListedVersion, VersionDetails
from charrnn.options import NetworkOptions
from producer.output import console
from producer.output import jobs as render

SHOWN_SOURCES = 10  # of a version, on one line


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One of two compared versions: its loss, and the texts that it generated."""

    version: str
    val_loss: float
    texts: tuple[JsonObject, ...]  # result lines


def models(rows: Iterable[ListedVersion]) -> None:
    console.table(
        ("version", "aliases", "val_loss", "network", "vocabulary", "stored"),
        (
            (
                v.name,
                _aliases(v.aliases),
                f"{v.val_loss:.4f} nats",
                Text(console.printable(v.unreadable), "bold red") if v.unreadable else _network(v.network),
                len(v.characters),
                console.when(v.created_at),
            )
            for v in rows
        ),
        optional=("stored", "vocabulary"),
    )


def version(found: VersionDetails) -> None:
    """Print one version, one fact per line."""
    training = found.training
    console.facts(
        [
            ("version", found.name),
            ("aliases", _aliases(found.aliases)),
            ("val_loss", render.loss_text(found.val_loss)),
            ("n-gram baseline", training and training.baseline and render.loss_text(training.baseline)),
            ("compared with champion", f"{'passed' if found.gate.promoted else 'not passed'}: {found.reason}"),
            ("network", _network(found.network)),
            ("vocabulary", len(found.characters)),
            ("sampling precision", found.precision),
            ("stored", console.when(found.created_at)),
            ("job", found.job or "none (imported)"),
            ("training", training and render.training_line(training)),
            ("corpus", training and _corpus(training)),
            ("release", found.release),
        ]
    )


def _aliases(names: Sequence[str]) -> Text:
    return Text(", ").join(Text(name, "green" if name == CHAMPION else "") for name in names)


def verdict(found: VersionDetails) -> str:
    """Return whether a version is in use now, and how to use it if not."""
    if CHAMPION in found.aliases:
        return f"{found.model} now means {found.name}: {found.reason}"
    reason = "another version came after it" if found.gate.promoted else found.reason
    return f"{found.name} is not in use: {reason}. To use it anyway: charrnn-jobs models promote {found.name}"


def _corpus(training: TrainSpec) -> str:
    shown = ", ".join(training.sources[:SHOWN_SOURCES])
    more = training.num_sources - SHOWN_SOURCES
    return f"{shown}{f' and {more:,} more' if more > 0 else ''}; sha256 {training.corpus.sha256}"


def _network(network: NetworkOptions) -> str:
    return f"{network.layers} x {network.cell.upper()}({network.units})"


def comparison(compared: Sequence[Compared]) -> None:
    """Print two versions side by side, with their texts for the same seeds."""
    rows: list[tuple[str, ...]] = [("val_loss", *(render.loss_text(version.val_loss) for version in compared))]
    for texts in zip(*(version.texts for version in compared), strict=True):
        rows.append((texts[0]["seed"], *(text["text"] for text in texts)))
    console.table(("seed", *(version.version for version in compared)), rows)
