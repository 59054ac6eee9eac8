"""Queries over rows that may be damaged: the list of all versions, the only model, and facts about earlier jobs.

A version that cannot be read is listed as unreadable. A job that cannot be read is skipped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from charrnn.errors import DamagedError, InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import whole
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.job.version import CHAMPION, Gate, ListedVersion
from charrnn.jobs.store.registry import version_facts
from charrnn.jobs.store.tables import aliases, jobs, metrics, versions
from charrnn.options import NetworkOptions

RECENT = 10  # jobs to look at
SHOWN_MODELS = 10


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Steps and time of a training job, from the end of its first epoch to the end of its last."""

    spec: TrainSpec
    epochs: int
    steps: int
    seconds: float


def only_model(connection: Connection) -> str:
    """Return the name of the only model that has a champion.

    Raises:
        InputError: there are several, or none.
    """
    query = select(aliases.c.model).where(aliases.c.alias == CHAMPION).order_by(aliases.c.model)
    names: list[str] = list(connection.execute(query).scalars())
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(
            "No model given, and none has a champion. Train one with: charrnn-jobs train NAME PATH, or name a version"
        )
    more = f" and {len(names) - SHOWN_MODELS:,} more" if len(names) > SHOWN_MODELS else ""
    raise InputError(
        f"No model given, and there are several: {', '.join(names[:SHOWN_MODELS])}{more}. Name one, or choose "
        f"one: charrnn-jobs models default NAME"
    )


def last_training(connection: Connection, model: str) -> TrainSpec | None:
    """Return the spec of the model's last training job that neither failed nor was cancelled, or None."""
    lost = (JobState.FAILED, JobState.CANCELLED)
    own = (jobs.c.model == model, jobs.c.kind == TrainSpec.QUEUE, jobs.c.state.not_in(lost))
    query = select(jobs.c.spec).where(*own).order_by(jobs.c.id.desc()).limit(RECENT)
    for document in connection.execute(query).scalars():
        with suppress(InputError, ValueError):  # a damaged row, or one of a newer release: the others tell enough
            return TrainSpec.from_dict(whole(document))
    return None


def mean_short_length(connection: Connection, model: str, training: TrainSpec | None = None) -> float | None:
    """Return the mean length of a model's texts in its last jobs in which stop strings ended some, or None.

    Before such a job, that of a model of lists is the mean length of the lines it was trained on, where texts end too:
    those of `training`, or of its last training job.
    """
    query = select(jobs.c.spec, jobs.c.characters, jobs.c.rows_done).where(
        jobs.c.model == model, jobs.c.kind == GenerateSpec.QUEUE, jobs.c.rows_done > 0
    )
    rows = characters = 0
    for row in connection.execute(query.order_by(jobs.c.id.desc()).limit(RECENT)):
        with suppress(InputError, ValueError):
            spec = GenerateSpec.from_dict(whole(row.spec))
            if row.characters / row.rows_done < spec.characters / spec.rows:
                rows, characters = rows + row.rows_done, characters + row.characters
    if rows:
        return characters / rows
    training = training or last_training(connection, model)
    return training.characters / training.num_lines - 1 if training and training.num_lines else None  # without "\n"


def recently_trained(connection: Connection) -> Iterator[Trained]:
    """Yield steps and time of the last training jobs that had at least two epochs."""
    recent = select(jobs.c.id).where(jobs.c.kind == TrainSpec.QUEUE, jobs.c.state == JobState.DONE)
    recent = recent.order_by(jobs.c.id.desc()).limit(RECENT)
    first, last = func.min(metrics.c.step), func.max(metrics.c.step)
    begun, ended, epochs = func.min(metrics.c.at), func.max(metrics.c.at), func.count() - 1
    query = (
        select(jobs.c.spec, epochs.label("epochs"), (last - first).label("steps"), (ended - begun).label("ms"))
        .join(metrics, metrics.c.job == jobs.c.id)
        .where(jobs.c.id.in_(recent.scalar_subquery()))
        .group_by(jobs.c.id)
        .having(last > first, ended > begun)
    )
    for row in connection.execute(query):
        with suppress(InputError, ValueError):
            spec = TrainSpec.from_dict(whole(row.spec))
            yield Trained(spec=spec, epochs=row.epochs, steps=row.steps, seconds=row.ms / 1000)


def list_versions(connection: Connection) -> list[ListedVersion]:
    """Return every version with its aliases, by model and number."""
    rows = connection.execute(select(versions).order_by(versions.c.model, versions.c.version)).all()
    names: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for alias in connection.execute(select(aliases).order_by(aliases.c.alias)):
        names[alias.model, alias.version].append(alias.alias)
    return [ListedVersion(**_listed(row), aliases=tuple(names[row.model, row.version])) for row in rows]


def _listed(row: Row[Any]) -> dict[str, Any]:
    try:
        return version_facts(row)
    except DamagedError as error:  # the other versions are listed as they are
        unknown = {"files": FileRef(name="", size=0, sha256=""), "network": NetworkOptions()}
        return {**row._mapping, **unknown, "gate": Gate(promoted=False), "unreadable": str(error)}
