"""Export and import model versions between stores, as one file each. See `archive` for the format."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import InputError
from charrnn.jobs.files import layout
from charrnn.jobs.files.files import Files
from charrnn.jobs.files.temporary import temporary_folder
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.job.views import Action
from charrnn.jobs.models.archive import read_archive, write_archive
from charrnn.jobs.models.manifest import VALIDATION, Manifest
from charrnn.jobs.store import registry
from charrnn.jobs.store.events import record
from charrnn.jobs.store.store import Store
from charrnn.text.validation import JOINT, PIECE_END


def export_version(store: Store, files: Files, reference: str, target: BinaryIO) -> str:
    """Write a version as an archive, and return the archive's sha256.

    Raises:
        InputError: the model has no validation text, or a file would be refused by an import.
        NotFoundError: the version does not exist.
    """
    with store.read() as connection:
        version = registry.resolve(connection, reference)
        validation = registry.validation(connection, version.model)
    if validation is None:
        raise InputError(f"{version.model} has no validation text, so its versions cannot be compared elsewhere")
    manifest = Manifest(
        model=version.model,
        version=version.version,
        val_loss=version.val_loss,
        precision=version.precision,
        network=version.network,
        characters=version.characters,
    )
    folder = files.verified_path(version.files)
    return write_archive(target, manifest, folder, files.verified_path(validation))


def import_version(store: Store, files: Files, path: Path, name: str | None, person: str) -> str:
    """Add an archive's version as the next one of its model, or of the model `name`. Return its name in this store.

    Raises:
        InputError: the file is damaged or not an archive, or the model has another validation text.
    """
    with temporary_folder() as folder:
        manifest = read_archive(path, folder)
        if name is not None:
            manifest = replace(manifest, model=name)
        text = (folder / VALIDATION).read_bytes()
        with store.read() as connection:  # before anything is written: the text's file would stay
            frozen = registry.validation(connection, manifest.model)
        _check_validation(manifest.model, frozen, hashlib.sha256(text).hexdigest())
        validation = files.put_content(layout.VALIDATION, layout.TEXT, [text])
        (folder / VALIDATION).unlink()
        stored = files.put_folder(layout.new_version_folder(manifest.model), folder)
    try:
        skipped = _num_skipped(text.decode(), manifest)
        return _add(store, _version(manifest, stored, skipped), validation, person)
    except InputError:
        files.discard(stored.name, folder=True)
        raise


def _num_skipped(validation: str, manifest: Manifest) -> int:
    """Return the number of characters in the validation text that are outside the version's vocabulary."""
    known = {*manifest.characters}
    return sum(character not in known for character in validation.replace(PIECE_END, JOINT))


def _check_validation(model: str, frozen: FileRef | None, sha256: str) -> None:
    if frozen is not None and frozen.sha256 != sha256:
        raise InputError(
            f"{model} has another validation text in this store, so the losses could not be compared. Import it under "
            f"another name: --as NAME"
        )


def _version(manifest: Manifest, stored: FileRef, skipped: int) -> NewVersion:
    return NewVersion(
        model=manifest.model,
        files=stored,
        characters=manifest.characters,
        network=manifest.network,
        val_loss=manifest.val_loss,
        skipped=skipped,
        precision=manifest.precision,
    )


def _add(store: Store, new: NewVersion, validation: FileRef, person: str) -> str:
    """Store a version. Return its name."""
    with store.write() as connection:
        # Another process may have frozen another text since the first check.
        _check_validation(new.model, registry.freeze_validation(connection, new.model, validation), validation.sha256)
        number = registry.import_version(connection, new)
        name, (alias, *_) = f"{new.model}@{number}", registry.aliases_of(connection, new.model, number)
        record(connection, person, Action.IMPORTED, model=name, detail=alias)
    return name
