"""Models, their immutable versions, and the aliases that move from version to version.

`speeches` is a model, `speeches@3` a version and `speeches@champion` an alias; plain `speeches` means its champion. A
new version becomes champion if it passes the gate. Users may promote another one or roll back to the previous champion.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, select, update

from charrnn.checks import did_you_mean
from charrnn.errors import DamagedError, InputError, NotFoundError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject, reading, whole
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec, check_name
from charrnn.jobs.job.states import ENDED_JOBS
from charrnn.jobs.job.version import CANDIDATE, CHAMPION, Comparison, Gate, NewVersion, Version, judge
from charrnn.jobs.job.views import Action
from charrnn.jobs.store.database import NOW, insert_missing, upsert
from charrnn.jobs.store.events import UNKNOWN, record
from charrnn.jobs.store.tables import aliases, jobs, models, versions
from charrnn.options import NetworkOptions
from charrnn.sampling.defaults import CPU, choose_precision
from charrnn.text.documents import check_storable

MAX_DIGITS = 9  # most digits of a version number that the database holds


def validation(connection: Connection, model: str, but: int | None = None) -> FileRef | None:
    """Return the model's frozen validation text, or None before its first training job; job `but` does not count.

    A first training job that was cancelled or failed freezes none.
    """
    found = connection.execute(select(models.c.validation).where(models.c.name == model)).scalar_one_or_none()
    if found is None or not (_has_versions(connection, model) or connection.scalar(_unfinished_training(model, but))):
        return None
    with reading(f"the model {model}"):
        return FileRef.from_dict(found)


def _has_versions(connection: Connection, model: str) -> bool:
    return connection.execute(select(versions.c.version).where(versions.c.model == model).limit(1)).first() is not None


def _unfinished_training(model: str, but: int | None = None) -> Select[tuple[int]]:
    """Return a query for a training job of a model that has not ended."""
    unfinished = (jobs.c.model == model) & (jobs.c.kind == TrainSpec.QUEUE) & jobs.c.state.not_in(ENDED_JOBS)
    return select(jobs.c.id).where(unfinished, jobs.c.id.is_distinct_from(but)).order_by(jobs.c.id).limit(1)


def freeze_validation(connection: Connection, model: str, reference: FileRef, but: int | None = None) -> FileRef:
    """Set a model's validation text if it has none yet. Return the one that it has now. For `but` see `validation`."""
    insert_missing(connection, models, name=model, validation=reference.to_dict())
    lock_model(connection, model)  # if two first training jobs are submitted at once, the second one sees the first
    if (frozen := validation(connection, model, but)) is not None:
        return frozen
    connection.execute(update(models).where(models.c.name == model).values(validation=reference.to_dict()))
    return reference


def lock_model(connection: Connection, model: str) -> None:
    """Lock a model until the transaction ends."""
    connection.execute(select(models.c.name).where(models.c.name == model).with_for_update(key_share=True))


def add_version(connection: Connection, job: int, new: NewVersion, actor: str = UNKNOWN) -> Version | None:
    """Store the version that a training job made, and move the alias that it earned.

    Args:
        actor: the process that trained it, for the event of a promotion.

    Returns:
        None. Or, with nothing stored, the champion to compare it with first, since the two losses were measured on
        different characters: measure both on the characters that they share, and call again.
    """
    lock_model(connection, new.model)
    best, gate = None, None
    with suppress(DamagedError):  # a champion that cannot be read is no reason to lose this version: a candidate
        best = champion(connection, new.model)
        gate = _judge(best, new)
    if gate is None and best is not None and new.measurable:
        return best
    number = _insert(connection, job, new, gate or Gate(promoted=False))
    connection.execute(update(jobs).where(jobs.c.id == job).values(version=number))
    if gate is not None and gate.promoted:
        name, verdict = f"{new.model}@{number}", gate.reason(new.model)
        record(connection, actor, Action.PROMOTED, job=job, model=name, detail=verdict)
    return None


def import_version(connection: Connection, new: NewVersion) -> int:
    """Store a version that was trained elsewhere, and move the alias that it earned. Return its number.

    If its loss cannot be compared with the champion's, it becomes a candidate.
    """
    lock_model(connection, new.model)
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
        connection.execute(update(versions).where(is_version(model, version)).values(promoted_at=NOW))


def promote(connection: Connection, model: str, version: int, alias: str = CHAMPION) -> None:
    """Move an alias to that version. Jobs that were submitted before keep their version.

    Raises:
        InputError: the alias is not valid.
        NotFoundError: there is no such version.
    """
    check_name("The alias", alias)
    if alias.isdecimal():
        raise InputError(f"The alias {alias!r} looks like a version number. Add a letter")
    lock_model(connection, model)
    locked_version(connection, model, version)
    _move(connection, model, version, alias)


def rollback(connection: Connection, model: str) -> int:
    """Make the previous champion the champion again. Return its number.

    Raises:
        InputError: there was none.
        NotFoundError: there is no such model.
    """
    lock_model(connection, model)
    best = champion(connection, model)
    if best is None:
        raise NotFoundError(_not_found(connection, model, CHAMPION))
    before = champion_before(connection, best)
    if before is None:
        raise InputError(
            f"{model}@{best.version} has no previous champion to roll back to. Choose a version: charrnn-jobs models "
            f"promote {model}@VERSION"
        )
    connection.execute(update(versions).where(is_version(model, best.version)).values(promoted_at=None))
    upsert(connection, aliases, model=model, alias=CHAMPION, version=before)
    return before


def previous_champion(connection: Connection, model: str) -> int | None:
    """Return the version that a rollback would make the champion, or None."""
    with suppress(DamagedError):
        best = champion(connection, model)
        return None if best is None else champion_before(connection, best)
    return None


def champion_before(connection: Connection, best: Version) -> int | None:
    """Return the version that was champion before this one, or None."""
    was = (versions.c.model == best.model) & versions.c.promoted_at.is_not(None) & (versions.c.version != best.version)
    newest_first = (versions.c.promoted_at.desc(), versions.c.version.desc())
    query = select(versions.c.version).where(was).order_by(*newest_first).limit(1)
    return connection.execute(query).scalar_one_or_none()


def aliases_of(connection: Connection, model: str, version: int) -> list[str]:
    """Return the aliases that point to a version, by name."""
    own = (aliases.c.model == model) & (aliases.c.version == version)
    return list(connection.execute(select(aliases.c.alias).where(own).order_by(aliases.c.alias)).scalars())


def training_of(connection: Connection, model: str, version: int) -> TrainSpec | None:
    """Return the spec that trained a version, even if that was deleted since. None: it was imported, or the job was
    deleted too."""
    own = (jobs.c.model == model, jobs.c.version == version, jobs.c.kind == TrainSpec.QUEUE)
    spec = connection.execute(select(jobs.c.spec).where(*own).order_by(jobs.c.id)).scalars().first()
    with reading(f"the training job of {model}@{version}"):
        return None if spec is None else TrainSpec.from_dict(spec)


def get_version(connection: Connection, model: str, number: int) -> Version | None:
    """Return a version, or None if it was deleted."""
    row = connection.execute(select(versions).where(is_version(model, number))).one_or_none()
    return None if row is None else _version(row)


def is_version(model: str, number: int) -> ColumnElement[bool]:
    """Return the condition that a row of `versions` is this version."""
    return (versions.c.model == model) & (versions.c.version == number)


def locked_version(connection: Connection, model: str, version: int, *, share: bool = False) -> Version:
    """Return a version, locked until the transaction ends; with `share` only against being deleted."""
    query = select(versions).where(is_version(model, version)).with_for_update(read=share, key_share=share)
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
        locked_version(connection, *spec.needs, share=True)


def version_after(connection: Connection, job: Row[Any], made: int) -> int:
    """Return the version that a job samples from after its training job made one.

    It is that version; but a job that follows the training of a schedule takes the champion, since nobody looks at a
    version that lost before texts are written with it.
    """
    best = champion(connection, job.model) if job.schedule is not None else None
    return made if best is None else best.version


def with_version(connection: Connection, spec: JsonObject, version: int) -> JsonObject:
    """Return the stored spec of a generate job with its version, and with the precision to sample that in.

    Raises:
        NotFoundError: the version was deleted.
    """
    query = select(versions.c.precision).where(versions.c.model == spec["model"], versions.c.version == version)
    # The lock keeps the version from being deleted until the job is stored.
    best = connection.execute(query.with_for_update(read=True, key_share=True)).scalar_one_or_none()
    if best is None:
        raise NotFoundError(f"{spec['model']}@{version} was deleted. List versions with: charrnn-jobs models")
    sampling = spec["sampling"]
    precision = choose_precision(sampling["precision"], best, spec["batches"][CPU])
    return {**spec, "version": version, "sampling": {**sampling, "precision": precision}}


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
    query = _aliased(model, wanted or CHAMPION) if number is None else select(versions).where(is_version(model, number))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(_not_found(connection, model, wanted))
    return _version(row)


def version_number(text: str) -> int | None:
    """Return the number after the @, or None if the text is not a number that the database can hold."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None


def _not_found(connection: Connection, model: str, wanted: str) -> str:
    highest = select(func.max(versions.c.version)).where(versions.c.model == model)
    known = select(aliases.c.alias).where(aliases.c.model == model).order_by(aliases.c.alias)
    if (number := connection.execute(highest).scalar_one()) is None:
        return no_model(connection, model)
    shown = ", ".join(connection.execute(known).scalars())
    return f"Model {model} has no version {wanted!r}. Expected a number up to {number}, or one of {shown}"


def no_model(connection: Connection, model: str) -> str:
    """Return the message that a model has no version, with the nearest names."""
    if connection.execute(select(models.c.name).where(models.c.name == model)).first() is not None:
        if (job := connection.scalar(_unfinished_training(model))) is not None:
            return f"Model {model} has no version until job {job} has trained it. Wait for it: charrnn-jobs wait {job}"
        return f"Model {model} has no version. See: charrnn-jobs jobs -m {model}"
    names = connection.execute(select(versions.c.model).distinct().order_by(versions.c.model)).scalars().all()
    hint = did_you_mean(model, names, suggest_any=True) or "Train one with: charrnn-jobs train NAME PATH"
    return f"There is no model {model!r}. {hint}"
