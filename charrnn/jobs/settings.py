"""The settings: places and intervals, read once from variables and files and then passed down."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from pwd import getpwuid
from typing import Any
from urllib.parse import quote

import platformdirs

from charrnn.backend import BACKENDS
from charrnn.checks import check_choice
from charrnn.errors import InputError
from charrnn.jobs import private, sources
from charrnn.jobs.sources import PREFIX, Source

logger = logging.getLogger(__name__)

DEFAULTS = Source("default", {})  # where a setting comes from that nobody wrote
LOOK_S = 1.0
CONNECTIONS = 2  # to the database, of one process
MAX_CONNECTIONS = 100
MAX_DAYS = 36_500.0
LONGEST_S = 3600.0  # the longest time that any setting may have; it bounds the lease of any other host
MAX_USER = 100  # characters
MAX_SOCKET_PATH = 100  # bytes; the kernel's limit for a Unix socket is 107


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process.

    Every field is read from the variable CHARRNN_ plus its name in capitals, or else from its name in a charrnn.toml.
    With the suffix _FILE, or _file, either names a file with the value.
    """

    home: Path  # data of the local stack; default: the platform's data folder
    redis_url: str = ""  # default: the local broker's socket
    redis_prefix: str = "charrnn"  # of the keys in Redis; stores that share one each have their own
    store_url: str = ""  # SQLite or PostgreSQL; default: SQLite under home
    store_connections: int = CONNECTIONS  # most connections to PostgreSQL of one process; see docs/store.md
    files_url: str = ""  # a folder or s3://bucket/folder; default: under home
    user: str = ""  # who submits jobs; default: user@host of the process
    backend: str = ""  # what workers compute with, tensorflow or jax; default: the first that is installed
    model: str = ""  # the model to sample from where none is named; default: the only one
    web_token: str = ""  # secret that opens the web interface; needed on any address but loopback
    corpus_roots: str = ""  # comma-separated folders and s3:// URLs; see `bucket_roots` and `local_roots`
    heartbeat_s: float = 5.0  # seconds between a worker's heartbeats
    lease_s: float = 30.0  # seconds without a heartbeat after which a worker's part is requeued
    maintain_s: float = 10.0  # seconds between two rounds of maintenance
    slice_s: float = 60.0  # seconds of training between two checkpoints
    stall_s: float = 120.0  # seconds without a step after which a worker's process counts as hung and is killed
    drain_s: float = 25.0  # seconds that a worker has to finish its part in a graceful shutdown
    retention_days: float = 0.0  # days after which maintenance deletes ended jobs with their results; 0: never
    home_of_project: bool = False  # no setting: whether a project's charrnn.toml names the home

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings of an environment: its variables, and the charrnn.toml files of this folder and user.

        An unknown CHARRNN_ variable causes a warning with the nearest name. The files are named in the log.

        Raises:
            InputError: a value has the wrong type or range, a file cannot be read or has an unknown name, the broker's
                URL is not that of a Redis server, or the lease is too short for the heartbeat.
        """
        found = survey(environ)
        for file in found.files:
            logger.info("settings from %s", file, extra={"event": "settings"})
        for error in found.errors:
            raise InputError(error)
        values: dict[str, Any] = {setting.name: setting.value for setting in found.settings}
        (home,) = [setting for setting in found.settings if setting.name == "home"]
        return cls(**values, home_of_project=home.kind == "project")

    @classmethod
    def names(cls) -> list[str]:
        """Return the names that settings have in a file, and in variables in capitals."""
        return [field.name for field in fields(cls) if field.name != "home_of_project"]

    @property
    def person(self) -> str:
        """Who submits jobs and does whatever else this process does."""
        return self.user or _user_at_host()

    @property
    def hooks(self) -> Path:
        """The folder of the hooks that a person allowed: not a folder that may have come with a project."""
        return (Path(platformdirs.user_data_dir("charrnn-jobs")) if self.home_of_project else self.home) / "hooks"

    @property
    def look_s(self) -> float:
        """Seconds between two checks of a worker whether maintenance is due. Many workers check less often each."""
        return min(LOOK_S, self.maintain_s / 2)

    @property
    def broker_url(self) -> str:
        """The URL of the broker for Kombu."""
        url = self.redis_url or f"redis+socket://{quote(str(self.broker_socket))}?virtual_host=0"
        if url.startswith("rediss:") and "ssl_cert_reqs=" not in url:
            return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"  # Kombu's default verifies no certificate
        return url

    @property
    def key_prefix(self) -> str:
        """The beginning of the names of all keys in the broker. No other prefix can begin with it."""
        return f"{self.redis_prefix}:"

    @property
    def broker_socket(self) -> Path:
        """The local broker's socket: under home, or in a folder with a short name if that path is too long."""
        path = self.home / "broker" / "broker.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path("/tmp") / f"charrnn-{os.getuid()}-{digest}" / "broker.sock"  # noqa: S108  # its owner is checked

    def check_broker(self) -> None:
        """Check that the local broker is this user's, before it is started or connected to.

        Raises:
            InputError: the folder of its socket is not private.
        """
        if not self.redis_url:
            private.check_folder(self.broker_socket.parent)

    @property
    def database_url(self) -> str:
        return self.store_url or f"sqlite:///{quote(str(self.home / 'store.sqlite'))}"

    @property
    def files_location(self) -> str:
        """A folder or an s3:// URL."""
        return self.files_url or str(self.home / "files")

    @property
    def bucket_roots(self) -> list[str]:
        """The s3:// URLs below which training texts may lie. Default: none."""
        return [root for root in self._roots() if root.startswith("s3:")]

    @property
    def local_roots(self) -> list[Path] | None:
        """The folders below which schedules may read texts and seeds; None: anywhere.

        Who submits a job reads with their own rights. A schedule is read by the worker that happens to run it, so in a
        team, whose store is in PostgreSQL, anyone could read any text file of its host. Default: nowhere for a team,
        and anywhere for the one user of a store in SQLite.
        """
        roots = [Path(root).resolve() for root in self._roots() if not root.startswith("s3:")]
        return roots if roots or self.store_url.startswith("postgresql") else None

    def _roots(self) -> list[str]:
        return [root.strip().rstrip("/") or "/" for root in self.corpus_roots.split(",") if root.strip()]

    @property
    def cache(self) -> Path:
        """The folder for this host's copies of files in a bucket."""
        return self.home / "cache"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, and where it comes from."""

    name: str
    value: Path | str | float | None  # None: it cannot be used
    kind: str  # default, environment, project or user
    source: str | None  # the variable, or the name and its file; None for a default
    error: str | None = None  # why it cannot be used

    @property
    def label(self) -> str:
        """The name of the setting in messages."""
        return self.source or PREFIX + self.name.upper()


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All settings, with everything that is wrong with them."""

    settings: Sequence[Setting]
    files: Sequence[Path]  # in force
    errors: Sequence[str]


def survey(environ: Mapping[str, str]) -> Survey:
    """Return every setting with its source, and each error in place of an exception."""
    names = Settings.names()
    places, files, errors = [sources.environment(environ, names)], [], []
    for kind, path in sources.find_files():
        files.append(path)
        try:
            places.append(sources.read_file(kind, path, names))
        except InputError as error:
            errors.append(str(error))
    settings = {name: _find(name, places) for name in names}
    errors += [setting.error for setting in settings.values() if setting.error]
    lease, heartbeat = settings["lease_s"], settings["heartbeat_s"]
    if not errors and float(str(lease.value)) < 2 * float(str(heartbeat.value)):
        errors.append(
            f"{lease.label} must be at least twice {heartbeat.label}, or one late heartbeat loses a part. "
            f"Received: {lease.value:g} and {heartbeat.value:g}"
        )
    return Survey(settings=list(settings.values()), files=files, errors=errors)


def _find(name: str, places: Sequence[Source]) -> Setting:
    """Return a setting from the first place that has it."""
    place = next((place for place in places if place.names(name)), DEFAULTS)
    source = place.label(place.names(name)[0]) if place.names(name) else None
    value, error = None, None
    try:
        value = _value(name, place)
    except InputError as reason:
        error = str(reason)
    return Setting(name=name, value=value, kind=place.kind, source=source, error=error)


def _value(name: str, place: Source) -> Path | str | float:
    if place.names(name):
        return _parse(name, place.read(name), place.label(name))
    if name == "home":
        return _find_home("", place.label(name))
    default: str | float = getattr(Settings, name)
    return default


def _find_home(text: str, label: str) -> Path:
    """Return the home that a setting names, or the platform's data folder, as an absolute path.

    Raises:
        InputError: the path is not usable: its user does not exist, the current folder was deleted, or it is not UTF-8,
            which the URLs of database and broker cannot contain.
    """
    try:
        home = Path(text or platformdirs.user_data_dir("charrnn-jobs")).expanduser().absolute()
        str(home).encode()
    except (OSError, RuntimeError, UnicodeError) as error:
        reason = str(error).rstrip(".")
        raise InputError(
            f"{label} {text or 'of this user'!r} is not usable: {reason}. Set it to an absolute path in UTF-8"
        ) from error
    return home


def _user_at_host() -> str:
    """Return the user that runs this process, and its host. Users of containers may have no name."""
    try:
        name = getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    whole = f"{name}@{socket.gethostname()}".encode(errors="replace").decode()
    return "".join(character if character.isprintable() else "?" for character in whole)[:MAX_USER]


def _parse_redis_prefix(text: str, label: str) -> str:
    # A colon inside could make the keys of one store the queues of another: the prefix ends with one.
    if not re.fullmatch("[A-Za-z0-9._-]{1,64}", text):
        raise InputError(
            f"{label} must have 1 to 64 letters of ASCII, digits, dots, hyphens and underscores, such as team-a. "
            f"Received: {text[:80]!r}"
        )
    return text


def _parse_user(text: str, label: str) -> str:
    if not text.isprintable() or text != text.strip() or len(text) > MAX_USER:
        raise InputError(
            f"{label} must be a name of 1 to {MAX_USER} printable characters, without spaces around it. Received: "
            f"{text[: 2 * MAX_USER]!r}"
        )
    return text


def _parse_backend(text: str, label: str) -> str:
    check_choice(label, text, tuple(BACKENDS))
    return text


PARSERS: Mapping[str, Callable[[str, str], Path | str]] = {
    "home": _find_home,
    "redis_url": sources.parse_redis_url,
    "redis_prefix": _parse_redis_prefix,
    "user": _parse_user,
    "backend": _parse_backend,
}
"""Functions of the text and label of a setting that is no number. Other texts are taken as they are."""


def _parse(name: str, text: str, label: str) -> Path | str | float:
    if name in PARSERS:
        return PARSERS[name](text, label)
    return _parse_number(name, text, label) if name.endswith(sources.NUMERIC) else text


def _parse_number(name: str, text: str, label: str) -> float:
    if name == "store_connections":
        if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_CONNECTIONS:
            raise InputError(f"{label} must be a whole number from 1 to {MAX_CONNECTIONS}. Received: {text!r}")
        return int(text)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if name == "retention_days":
        if not 0.0 <= number <= MAX_DAYS:
            raise InputError(f"{label} must be a number of days from 0 to {MAX_DAYS:g}. Received: {text!r}")
    elif not 0.0 < number <= LONGEST_S:
        raise InputError(f"{label} must be a number of seconds above 0 and at most {LONGEST_S:g}. Received: {text!r}")
    return number
