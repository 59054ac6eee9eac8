"""Models, their immutable versions, and the aliases that move from version to version.

`speeches` is a model, `speeches@3` a version and `speeches@champion` an alias; plain `speeches` means its champion. A
new version becomes champion if it passes the gate. Users may promote another one or roll back to the previous champion.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, or_, select, update

from charrnn.checks import did_you_mean
from charrnn.errors import DamagedError, InputError, NotFoundError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import reading, whole
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec, check_name
from charrnn.jobs.job.states import ENDED_JOBS
from charrnn.jobs.job.version import CANDIDATE, CHAMPION, Comparison, Gate, NewVersion, Version, judge
from charrnn.jobs.store.database import NOW, insert_missing, upsert
from charrnn.jobs.store.tables import aliases, jobs, models, versions
from charrnn.options import NetworkOptions
from charrnn.text.documents import check_storable

MAX_DIGITS = 9  # most digits of a version number that the database holds


def validation(connection: Connection, model: str, but: int | None = None) -> FileRef | None:
    """Return the model's frozen validation text, or None before its first training job; job `but` does not count.

    A first training job that was cancelled or failed freezes none.
    """
    found = connection.execute(select(models.c.validation).where(models.c.name == model)).scalar_one_or_none()
    if found is None or not (_has_versions(connection, model) or _in_training(connection, model, but)):
        return None
    with reading(f"the model {model}"):
        return FileRef.from_dict(found)


def _has_versions(connection: Connection, model: str) -> bool:
    return connection.execute(select(versions.c.version).where(versions.c.model == model).limit(1)).first() is not None


def _in_training(connection: Connection, model: str, but: int | None) -> bool:
    unfinished = (jobs.c.model == model) & (jobs.c.kind == TrainSpec.QUEUE) & jobs.c.state.not_in(ENDED_JOBS)
    return connection.scalar(select(jobs.c.id).where(unfinished, jobs.c.id.is_distinct_from(but)).limit(1)) is not None


def freeze_validation(connection: Connection, model: str, reference: FileRef, but: int | None = None) -> FileRef:
    """Set a model's validation text if it has none yet. Return the one that it has now. For `but` see `validation`."""
    insert_missing(connection, models, name=model, validation=reference.to_dict())
    _lock(connection, model)  # if two first training jobs are submitted at once, the second one sees the first
    if (frozen := validation(connection, model, but)) is not None:
        return frozen
    connection.execute(update(models).where(models.c.name == model).values(validation=reference.to_dict()))
    return reference


def _lock(connection: Connection, model: str) -> None:
    connection.execute(select(models.c.name).where(models.c.name == model).with_for_update(key_share=True))


def add_version(connection: Connection, job: int, new: NewVersion) -> Version | None:
    """Store the version that a training job made, and move the alias that it earned.

    Returns:
        None. Or, with nothing stored, the champion to compare it with first, since the two losses were measured on
        different characters: measure both on the characters that they share, and call again.
    """
    _lock(connection, new.model)
    best, gate = None, None
    with suppress(DamagedError):  # a champion that cannot be read is no reason to lose this version: a candidate
        best = champion(connection, new.model)
        gate = _judge(best, new)
    if gate is None and best is not None and new.measurable:
        return best
    number = _insert(connection, job, new, gate or Gate(promoted=False))
    connection.execute(update(jobs).where(jobs.c.id == job).values(version=number))
    return None


def import_version(connection: Connection, new: NewVersion) -> int:
    """Store a version that was trained elsewhere, and move the alias that it earned. Return its number.

    If its loss cannot be compared with the champion's, it becomes a candidate.
    """
    _lock(connection, new.model)
    gate = None
    with suppress(DamagedError):
        gate = _judge(champion(connection, new.model), new)
    return _insert(connection, None, new, gate or Gate(promoted=False))


def _insert(connection: Connection, job: int | None, new: NewVersion, gate: Gate) -> int:
    next_number = update(models).where(models.c.name == new.model).values(newest=models.c.newest + 1)
    number: int = connection.execute(next_number.returning(models.c.newest)).scalar_one()
    connection.execute(
        insert(versions).values(
            model=new.model,
            version=number,
            job=job,
            files=new.files.to_dict(),
            characters=new.characters,
            network=new.network.to_dict(),
            val_loss=new.val_loss,
            skipped=new.skipped,
            precision=new.precision,
            release=new.release,
            gate=asdict(gate),
        )
    )
    _move(connection, new.model, number, CHAMPION if gate.promoted else CANDIDATE)
    return number


def _judge(best: Version | None, new: NewVersion) -> Gate | None:
    """Return the gate's verdict on a version, or None if it must be compared with the champion first."""
    if best is None:
        return Gate(promoted=True)
    if best.characters == new.characters or best.skipped == new.skipped == 0:
        against = Comparison(champion=best.version, nats=new.val_loss, champion_nats=best.val_loss)
        return judge(against, new.margin)
    if new.comparison is not None and new.comparison.champion == best.version:
        return judge(new.comparison, new.margin)
    return None


def champion(connection: Connection, model: str) -> Version | None:
    """Return the version that the model's name means, or None if the model has none yet."""
    row = connection.execute(_aliased(model, CHAMPION)).one_or_none()
    return None if row is None else _version(row)


def _version(row: Row[Any]) -> Version:
    return Version(**version_facts(row))


def version_facts(row: Row[Any]) -> dict[str, Any]:
    """Return the columns of a version as `Version` has them, or raise DamagedError."""
    with reading(f"{row.model}@{row.version}"):
        parsed = {
            "files": FileRef.from_dict(row.files),
            "network": NetworkOptions.from_dict(whole(row.network)),
            "gate": Gate.from_dict(row.gate),
        }
    return {**row._mapping, **parsed}


def _aliased(model: str, alias: str) -> Select[Any]:
    own = (aliases.c.model == versions.c.model) & (aliases.c.version == versions.c.version)
    return select(versions).join(aliases, own).where(versions.c.model == model, aliases.c.alias == alias)


def _move(connection: Connection, model: str, version: int, alias: str) -> None:
    upsert(connection, aliases, model=model, alias=alias, version=version)
    if alias == CHAMPION:
        connection.execute(update(versions).where(_is(model, version)).values(promoted_at=NOW))


def promote(connection: Connection, model: str, version: int, alias: str = CHAMPION) -> None:
    """Move an alias to that version. Jobs that were submitted before keep their version.

    Raises:
        InputError: the alias is not valid.
        NotFoundError: there is no such version.
    """
    check_name("The alias", alias)
    if alias.isdecimal():
        raise InputError(f"The alias {alias!r} looks like a version number. Add a letter")
    _lock(connection, model)
    _locked_version(connection, model, version)
    _move(connection, model, version, alias)


def rollback(connection: Connection, model: str) -> int:
    """Make the previous champion the champion again. Return its number.

    Raises:
        InputError: there was none.
        NotFoundError: there is no such model.
    """
    _lock(connection, model)
    best = champion(connection, model)
    if best is None:
        raise NotFoundError(_not_found(connection, model, CHAMPION))
    before = _champion_before(connection, best)
    if before is None:
        raise InputError(
            f"{model}@{best.version} has no previous champion to roll back to. Choose a version: charrnn-jobs models "
            f"promote {model}@VERSION"
        )
    connection.execute(update(versions).where(_is(model, best.version)).values(promoted_at=None))
    upsert(connection, aliases, model=model, alias=CHAMPION, version=before)
    return before


def _champion_before(connection: Connection, best: Version) -> int | None:
    was = (versions.c.model == best.model) & versions.c.promoted_at.is_not(None) & (versions.c.version != best.version)
    newest_first = (versions.c.promoted_at.desc(), versions.c.version.desc())
    query = select(versions.c.version).where(was).order_by(*newest_first).limit(1)
    return connection.execute(query).scalar_one_or_none()


def delete_version(connection: Connection, model: str, version: int) -> FileRef:
    """Delete a version permanently. Return its files, to be deleted afterwards.

    Raises:
        InputError: an alias means it, or a job that has not ended needs it.
        NotFoundError: there is no such version.
    """
    _lock(connection, model)  # an alias may be moving to it
    found = _locked_version(connection, model, version)
    if reason := _reason_to_keep(connection, model, version):
        raise InputError(reason)
    return _delete(connection, found)


def delete_older(connection: Connection, model: str, keep: int) -> dict[int, FileRef]:
    """Keep only the newest `keep` versions. Return the deleted numbers with their files, to be deleted afterwards.

    A version also stays if an alias means it, a job that has not ended needs it, or a rollback would return to it.
    """
    _lock(connection, model)
    best = champion(connection, model)
    before = best and _champion_before(connection, best)
    newest_first = select(versions.c.version).where(versions.c.model == model).order_by(versions.c.version.desc())
    deleted = {}
    for number in connection.execute(newest_first.offset(keep)).scalars().all():
        with suppress(DamagedError):  # its files are not known, so it stays
            found = _locked_version(connection, model, number)  # locked first: a job may be about to use it
            if number != before and not _reason_to_keep(connection, model, number):
                deleted[number] = _delete(connection, found)
    return deleted


def _delete(connection: Connection, version: Version) -> FileRef:
    connection.execute(delete(versions).where(_is(version.model, version.version)))
    return version.files


def _reason_to_keep(connection: Connection, model: str, version: int) -> str | None:
    """Return why a version cannot be deleted, or None if it can."""
    name = f"{model}@{version}"
    if names := aliases_of(connection, model, version):
        return f"{name} is in use as {model}@{names[0]}. Promote another version first, with --alias {names[0]}"
    if (job := _job_that_needs(connection, model, version)) is not None:
        return f"{name} is needed by job {job}, which has not ended. Wait for it, or cancel it"
    return None


def aliases_of(connection: Connection, model: str, version: int) -> list[str]:
    own = (aliases.c.model == model) & (aliases.c.version == version)
    return list(connection.execute(select(aliases.c.alias).where(own).order_by(aliases.c.alias)).scalars())


def training_of(connection: Connection, model: str, version: int) -> TrainSpec | None:
    """Return the spec that trained a version, even if that was deleted since, or None if it was imported."""
    own = (jobs.c.model == model, jobs.c.version == version, jobs.c.kind == TrainSpec.QUEUE)
    spec = connection.execute(select(jobs.c.spec).where(*own).order_by(jobs.c.id)).scalars().first()
    with reading(f"the training job of {model}@{version}"):
        return None if spec is None else TrainSpec.from_dict(spec)


def get_version(connection: Connection, model: str, number: int) -> Version | None:
    """Return a version, or None if it was deleted."""
    row = connection.execute(select(versions).where(_is(model, number))).one_or_none()
    return None if row is None else _version(row)


def _is(model: str, number: int) -> ColumnElement[bool]:
    return (versions.c.model == model) & (versions.c.version == number)


def _locked_version(connection: Connection, model: str, version: int, *, share: bool = False) -> Version:
    """Return a version, locked until the transaction ends; with `share` only against being deleted."""
    query = select(versions).where(_is(model, version)).with_for_update(read=share, key_share=share)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(_not_found(connection, model, str(version)))
    return _version(row)


def lock_needs(connection: Connection, spec: TrainSpec | GenerateSpec, but: int | None = None) -> None:
    """Lock what a job needs until the transaction has stored it: the model before the version, as locks are ordered.

    Args:
        but: the job itself, if it is stored already.

    Raises:
        InputError: the model has another validation text by now.
        NotFoundError: the version was deleted since it was looked up.
    """
    if (
        isinstance(spec, TrainSpec)
        and freeze_validation(connection, spec.model, spec.validation, but) != spec.validation
    ):
        raise InputError(
            f"Another first training job of {spec.model} has just set its validation text. Submit this one again"
        )
    if spec.needs is not None:
        _locked_version(connection, *spec.needs, share=True)


def _job_that_needs(connection: Connection, model: str, version: int) -> int | None:
    """Return a job that has not ended and samples from or fine-tunes the version, or None."""
    samples = (jobs.c.kind == GenerateSpec.QUEUE) & (jobs.c.model == model) & (jobs.c.version == version)
    goes_on = (jobs.c.kind == TrainSpec.QUEUE) & (jobs.c.spec["start"].as_string() == f"{model}@{version}")
    query = select(jobs.c.id).where(jobs.c.state.not_in(ENDED_JOBS), or_(samples, goes_on)).limit(1)
    return connection.execute(query).scalar()


def resolve(connection: Connection, reference: str) -> Version:
    """Return the version that `model`, `model@3` or `model@alias` means now.

    Raises:
        InputError: the reference is not valid text, or ends with @.
        NotFoundError: there is no such version; the message has the nearest names.
    """
    check_storable("The model's name", reference)
    model, at, wanted = reference.partition("@")
    if at and not wanted:
        raise InputError(f"{reference!r} names no version. Expected NAME, NAME@VERSION or NAME@ALIAS")
    number = version_number(wanted)
    query = _aliased(model, wanted or CHAMPION) if number is None else select(versions).where(_is(model, number))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(_not_found(connection, model, wanted))
    return _version(row)


def version_number(text: str) -> int | None:
    """Return the number after the @, or None if the text is not a number that the database can hold."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None


def _not_found(connection: Connection, model: str, wanted: str) -> str:
    names = connection.execute(select(models.c.name).order_by(models.c.name)).scalars().all()
    if model in names:
        highest = select(func.max(versions.c.version)).where(versions.c.model == model)
        known = select(aliases.c.alias).where(aliases.c.model == model).order_by(aliases.c.alias)
        if (number := connection.execute(highest).scalar_one()) is None:
            return f"Model {model} has no version yet. See: charrnn-jobs jobs -m {model}"
        shown = ", ".join(connection.execute(known).scalars())
        return f"Model {model} has no version {wanted!r}. Expected a number up to {number}, or one of {shown}"
    hint = did_you_mean(model, names, suggest_any=True) or "Train one with: charrnn-jobs train NAME PATH"
    return f"There is no model {model!r}. {hint}"
