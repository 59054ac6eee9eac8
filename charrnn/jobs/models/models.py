"""The versions of models: list and show them, choose the one in use, delete them, carry them elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from charrnn.checks import check_integer
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.specs import MAX_KEEP, check_name
from charrnn.jobs.job.version import ListedVersion, VersionDetails
from charrnn.jobs.models import transfer
from charrnn.jobs.store import registry
from charrnn.text.documents import check_storable


class Models:
    """The models of one store. A reference is `name` for the champion, `name@3` for a version, or `name@alias`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def list(self) -> Sequence[ListedVersion]:
        """Return every version of every model."""
        with self._connections.store.read() as connection:
            return registry.all_versions(connection)

    def show(self, reference: str) -> VersionDetails:
        """Return everything about a version.

        Raises:
            NotFoundError: no such version.
        """
        with self._connections.store.read() as connection:
            found = registry.resolve(connection, reference)
            return VersionDetails(
                **vars(found),
                aliases=tuple(registry.aliases_of(connection, found.model, found.version)),
                validation=registry.validation(connection, found.model),
                reason=found.gate.reason(found.model),
                training=registry.training_of(connection, found.model, found.version),
            )

    def promote(self, reference: str, alias: str = registry.CHAMPION) -> str:
        """Let `model@alias`, or the model's plain name, mean that version from now on -> the version's name.

        Jobs that were submitted keep the version that they were submitted with.

        Raises:
            InputError: an alias that is none.
            NotFoundError: no such version.
        """
        with self._connections.store.write() as connection:
            version = registry.resolve(connection, reference)
            registry.promote(connection, version.model, version.version, alias)
        return version.name

    def rollback(self, model: str) -> str:
        """Go back to the champion of before; again, and it is the one before that -> the version's name.

        Raises:
            InputError: there was none.
            NotFoundError: no such model.
        """
        check_storable("The model's name", model)
        with self._connections.store.write() as connection:
            return f"{model}@{registry.rollback(connection, model)}"

    def delete(self, reference: str) -> str:
        """Delete a version for good; its number is not given again -> its name.

        Raises:
            InputError: an alias means it, or a job that has not ended needs it.
            NotFoundError: no such version.
        """
        self._connections.claim_files()
        with self._connections.store.write() as connection:
            version = registry.resolve(connection, reference)
            files = registry.delete_version(connection, version.model, version.version)
        self._connections.files.discard(files.name, folder=True)
        return version.name

    def delete_older(self, model: str, keep: int) -> Sequence[str]:
        """Delete all versions of a model but the newest `keep` for good -> their names, the newest first.

        Those stay that an alias means, that a job which has not ended needs, or that a rollback would go back to.

        Raises:
            InputError: a name that is none, or not 1 to 1,000,000 to keep.
            NotFoundError: no such model.
        """
        check_name("The model's name", model)
        check_integer("keep", keep, 1, MAX_KEEP)
        self._connections.claim_files()
        with self._connections.store.write() as connection:
            registry.resolve(connection, model)
            deleted = registry.delete_older(connection, model, keep)
        for files in deleted.values():
            self._connections.files.discard(files.name, folder=True)
        return [f"{model}@{number}" for number in deleted]

    def export_version(self, reference: str, target: BinaryIO) -> str:
        """Write a version as one file, to be imported elsewhere -> the file's sha256.

        Raises:
            NotFoundError: no such version.
        """
        return transfer.export_version(self._connections.store, self._connections.files, reference, target)

    def import_version(self, path: str | Path, name: str | None = None) -> str:
        """Add an exported version as the next one of its model, or of the model `name` -> its name, as `speeches@3`.

        Raises:
            InputError: no such file, one that is damaged, or a model that is measured on another validation text.
        """
        if name is not None:
            check_name("The model's name", name)
        self._connections.claim_files()
        return transfer.import_version(self._connections.store, self._connections.files, Path(path), name)
