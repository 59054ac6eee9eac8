"""Manage model versions: list, show, promote, roll back, delete, export and import them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from charrnn.checks import check_integer, check_path
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.specs import MAX_KEEP, check_name
from charrnn.jobs.job.version import CHAMPION, ListedVersion, VersionDetails
from charrnn.jobs.job.views import Action
from charrnn.jobs.models import transfer
from charrnn.jobs.store import registry
from charrnn.jobs.store.deletion.models import delete_model, delete_older, delete_version
from charrnn.jobs.store.events import record
from charrnn.jobs.store.shown.readable import list_versions
from charrnn.text.documents import check_storable

logger = logging.getLogger(__name__)


class Models:
    """The models of one store.

    A reference is `name` for the champion, `name@3` for a version, or `name@alias`.
    """

    def __init__(self, connections: Connections, actor: str | None = None) -> None:
        self._connections = connections
        self._person = actor or connections.settings.person

    def list(self) -> Sequence[ListedVersion]:
        """Return every version of every model."""
        with self._connections.store.read() as connection:
            return list_versions(connection)

    def show(self, reference: str) -> VersionDetails:
        """Return everything about a version.

        Raises:
            NotFoundError: the version does not exist.
        """
        with self._connections.store.read() as connection:
            version = registry.resolve(connection, reference)
            return VersionDetails(
                **vars(version),
                aliases=tuple(registry.aliases_of(connection, version.model, version.version)),
                validation=registry.validation(connection, version.model),
                reason=version.gate.reason(version.model),
                training=registry.training_of(connection, version.model, version.version),
            )

    def promote(self, reference: str, alias: str = CHAMPION) -> str:
        """Point an alias at a version, by default the champion, which the model's plain name means.

        Jobs that were submitted before keep their version.

        Returns:
            The version's name.

        Raises:
            InputError: the alias is not a valid name.
            NotFoundError: the version does not exist.
        """
        with self._connections.store.write() as connection:
            version = registry.resolve(connection, reference)
            registry.promote(connection, version.model, version.version, alias)
            record(connection, self._person, Action.PROMOTED, model=version.name, detail=alias)
        return version.name

    def rollback(self, model: str) -> str:
        """Roll back to the previous champion, and return its name. Repeat it to go back further.

        Raises:
            InputError: there is no previous champion.
            NotFoundError: the model does not exist.
        """
        check_storable("The model's name", model)
        with self._connections.store.write() as connection:
            name = f"{model}@{registry.rollback(connection, model)}"
            record(connection, self._person, Action.ROLLED_BACK, model=name)
        return name

    def delete(self, reference: str) -> str:
        """Delete a version permanently, and return its name. Its number is not used again.

        A warning tells if a rollback would have returned to it.

        Raises:
            InputError: an alias points at it, or a job that has not ended needs it.
            NotFoundError: the version does not exist.
        """
        self._connections.claim_files()
        with self._connections.store.write() as connection:
            version = registry.resolve(connection, reference)
            before = registry.previous_champion(connection, version.model)
            files = delete_version(connection, version.model, version.version)
            after = registry.previous_champion(connection, version.model)
            record(connection, self._person, Action.DELETED, model=version.name)
        if before != after:
            now = f"returns to {version.model}@{after}" if after else "has no version to return to"
            logger.warning("%s was the previous champion: a rollback now %s", version.name, now)
        self._connections.files.discard(files.name, folder=True)
        return version.name

    def delete_all(self, model: str) -> Sequence[str]:
        """Delete a model with all its versions and aliases permanently, and return the names of the versions.

        Their numbers are not used again: a model of this name that is trained later continues after them. Everything
        else about that model is new, also its validation text. Jobs and their results stay.

        Raises:
            InputError: the name is invalid, or a job that has not ended or a schedule needs the model.
            NotFoundError: there is no such model, or it has no version.
        """
        check_name("The model's name", model)
        self._connections.claim_files()
        with self._connections.store.write() as connection:
            deleted = delete_model(connection, model)
            for number in deleted:
                record(connection, self._person, Action.DELETED, model=f"{model}@{number}")
        for files in deleted.values():
            if files is not None:
                self._connections.files.discard(files.name, folder=True)
        return [f"{model}@{number}" for number in deleted]

    def delete_older(self, model: str, keep: int) -> Sequence[str]:
        """Delete all versions of a model permanently, except the `keep` newest and those in use.

        Versions are in use if an alias points at them, if a job that has not ended needs them, or if a rollback would
        return to them.

        Returns:
            The names of the deleted versions, the newest first.

        Raises:
            InputError: the name is invalid, or `keep` is not 1 to 1,000,000.
            NotFoundError: the model does not exist.
        """
        check_name("The model's name", model)
        check_integer("keep", keep, 1, MAX_KEEP)
        self._connections.claim_files()
        with self._connections.store.write() as connection:
            registry.resolve(connection, model)
            deleted = delete_older(connection, model, keep)
            for number in deleted:
                record(connection, self._person, Action.DELETED, model=f"{model}@{number}")
        for files in deleted.values():
            self._connections.files.discard(files.name, folder=True)
        return [f"{model}@{number}" for number in deleted]

    def export_version(self, reference: str, target: BinaryIO) -> str:
        """Write a version as one file, to import it elsewhere. Return the file's sha256.

        Raises:
            NotFoundError: the version does not exist.
        """
        return transfer.export_version(self._connections.store, self._connections.files, reference, target)

    def import_version(self, path: str | Path, name: str | None = None) -> str:
        """Add an exported version as the next one of its model, or of the model `name`.

        Returns:
            Its name in this store, such as `speeches@3`.

        Raises:
            InputError: the file is missing or damaged, or the model has another validation text.
        """
        path = Path(check_path("path", path))
        if name is not None:
            check_name("The model's name", name)
        self._connections.claim_files()
        store, files = self._connections.store, self._connections.files
        return transfer.import_version(store, files, path, name, self._person)
