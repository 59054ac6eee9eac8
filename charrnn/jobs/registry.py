"""Models, their immutable versions, and the aliases that move from version to version.

`speeches` is a model, `speeches@3` a version, `speeches@champion` an alias; plain `speeches` means
its champion. A new version becomes champion only if its held-out loss is lower than the champion's.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from charrnn.errors import NotFoundError
from charrnn.jobs.databases import insert_missing, upsert
from charrnn.jobs.files import FileRef
from charrnn.jobs.specs import TrainSpec
from charrnn.jobs.states import ENDED_JOBS
from charrnn.jobs.store import Store
from charrnn.jobs.tables import aliases, jobs, models, versions
from charrnn.text import check_storable

CHAMPION = "champion"
CANDIDATE = "candidate"
MAX_DIGITS = 18  # of a version's number, as the database holds it


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A trained version that is about to be stored; its number is given then."""

    model: str
    files: FileRef
    characters: str
    network: dict[str, Any]
    held_out_nats: float  # per character
    precision: str  # to sample it in


def held_out(connection: Connection, model: str) -> FileRef | None:
    """The model's frozen held-out text, or None before its first training.

    A first training that came to nothing, cancelled or failed, froze none.
    """
    found = connection.execute(select(models.c.held_out).where(models.c.name == model)).scalar_one_or_none()
    if found is None or not (_has_versions(connection, model) or _in_training(connection, model)):
        return None
    return FileRef(**found)


def _has_versions(connection: Connection, model: str) -> bool:
    return connection.execute(select(versions.c.version).where(versions.c.model == model).limit(1)).first() is not None


def _in_training(connection: Connection, model: str) -> bool:
    unended = (jobs.c.model == model) & (jobs.c.kind == TrainSpec.QUEUE) & jobs.c.state.not_in(ENDED_JOBS)
    return connection.execute(select(jobs.c.id).where(unended).limit(1)).first() is not None


def freeze_held_out(connection: Connection, model: str, reference: FileRef) -> FileRef:
    """Set a model's held-out text if it has none yet -> the one it has now."""
    insert_missing(connection, models, name=model, held_out=reference.to_dict())
    _lock(connection, model)  # of two first trainings that are submitted at once the second sees the first
    if (frozen := held_out(connection, model)) is not None:
        return frozen
    connection.execute(update(models).where(models.c.name == model).values(held_out=reference.to_dict()))
    return reference


def _lock(connection: Connection, model: str) -> None:
    connection.execute(select(models.c.name).where(models.c.name == model).with_for_update(key_share=True))


def add_version(connection: Connection, job: int | None, new: NewVersion) -> int:
    """Store a version under the next number and move the alias that it earned -> the number."""
    _lock(connection, new.model)
    highest = select(func.max(versions.c.version)).where(versions.c.model == new.model)
    number: int = (connection.execute(highest).scalar_one() or 0) + 1
    best = connection.execute(
        select(versions.c.held_out_nats)
        .join(aliases, (aliases.c.model == versions.c.model) & (aliases.c.version == versions.c.version))
        .where(versions.c.model == new.model, aliases.c.alias == CHAMPION)
    ).scalar_one_or_none()
    connection.execute(
        insert(versions).values(
            model=new.model,
            version=number,
            job=job,
            files=new.files.to_dict(),
            characters=new.characters,
            network=new.network,
            held_out_nats=new.held_out_nats,
            precision=new.precision,
        )
    )
    alias = CHAMPION if best is None or new.held_out_nats < best else CANDIDATE
    upsert(connection, aliases, model=new.model, alias=alias, version=number)
    return number


def resolve(store: Store, reference: str) -> Row[Any]:
    """The version that `model`, `model@3` or `model@alias` means now.

    Raises:
        InputError: what is no text.
        NotFoundError: with the nearest names.
    """
    check_storable("The model's name", reference)
    model, _, wanted = reference.partition("@")
    query = select(versions).where(versions.c.model == model)
    if (number := version_number(wanted)) is not None:
        query = query.where(versions.c.version == number)
    else:
        query = query.join(
            aliases, (aliases.c.model == versions.c.model) & (aliases.c.version == versions.c.version)
        ).where(aliases.c.alias == (wanted or CHAMPION))
    with store.read() as connection:
        row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFoundError(_not_found(connection, model, wanted))
    return row


def version_number(text: str) -> int | None:
    """What stands behind the @, if it is a number that the database holds."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


def _not_found(connection: Connection, model: str, wanted: str) -> str:
    names = connection.execute(select(models.c.name).order_by(models.c.name)).scalars().all()
    if model in names:
        highest = select(func.max(versions.c.version)).where(versions.c.model == model)
        known = select(aliases.c.alias).where(aliases.c.model == model).order_by(aliases.c.alias)
        if (number := connection.execute(highest).scalar_one()) is None:
            return f"Model {model} has no version yet. See: charrnn-jobs jobs -m {model}"
        shown = ", ".join(connection.execute(known).scalars())
        return f"Model {model} has no version {wanted!r}. Expected a number up to {number}, or one of {shown}"
    nearest = difflib.get_close_matches(model, names, n=3, cutoff=0.5) or names[:3]
    hint = f"Did you mean {' or '.join(nearest)}?" if nearest else "Train one with: charrnn-jobs train NAME PATH"
    return f"There is no model {model!r}. {hint}"


def all_versions(store: Store) -> list[dict[str, Any]]:
    """Every version with its aliases, by model and number."""
    with store.read() as connection:
        rows = connection.execute(select(versions).order_by(versions.c.model, versions.c.version)).mappings().all()
        moved = connection.execute(select(aliases).order_by(aliases.c.alias)).all()
    return [
        {**row, "aliases": [a.alias for a in moved if (a.model, a.version) == (row["model"], row["version"])]}
        for row in rows
    ]
