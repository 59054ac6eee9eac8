"""The settings: places and intervals, read once from the environment and then passed down."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import platformdirs

from charrnn.checks import did_you_mean
from charrnn.errors import InputError
from charrnn.jobs import faults, private
from charrnn.regular_file import regular

logger = logging.getLogger(__name__)

PREFIX = "CHARRNN_"
FROM_FILE = "_FILE"  # the suffix that Docker's official images use
MAX_FILE = 65_536  # characters
LOOK_S = 1.0
LONGEST_S = 3600.0  # the longest time that any setting may have; it bounds the lease of any other host
SOCKET = "redis+socket"
REDIS_SCHEMES = ("redis", "rediss", SOCKET)
REDIS_URLS = "redis://:password@host:6379/0, rediss:// for TLS, or redis+socket:///path?virtual_host=0"
DATABASE = "[0-9]{1,9}"  # the number of a Redis database, as a pattern
TLS_OPTIONS = {
    "ssl_cert_reqs": "(CERT_REQUIRED|CERT_OPTIONAL|CERT_NONE|required|optional|none)",
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"), ".+"),
    "ssl_check_hostname": "(?i:true|false)",
}
REDIS_OPTIONS = {"rediss": TLS_OPTIONS, SOCKET: {"virtual_host": DATABASE}}
"""The options of URLs, with the pattern of their values. Kombu raises exceptions of any type for others."""

MAX_SOCKET_PATH = 100  # bytes; the kernel's limit for a Unix socket is 107


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process.

    Every field is read from the variable CHARRNN_ plus its name in capitals, or from the file that the same variable
    with the suffix _FILE names.
    """

    home: Path  # data of the local stack; default: the platform's data folder
    redis_url: str = ""  # default: the local broker's socket
    store_url: str = ""  # SQLite or PostgreSQL; default: SQLite under home
    files_url: str = ""  # a folder or s3://bucket/folder; default: under home
    model: str = ""  # the model to sample from where none is named; default: the only one
    corpus_roots: str = ""  # comma-separated folders and s3:// URLs; see `bucket_roots` and `local_roots`
    heartbeat_s: float = 5.0  # seconds between a worker's heartbeats
    lease_s: float = 30.0  # seconds without a heartbeat after which a worker's part is requeued
    maintain_s: float = 10.0  # seconds between two rounds of maintenance
    slice_s: float = 60.0  # seconds of training between two checkpoints
    stall_s: float = 120.0  # seconds without a step after which a worker's process counts as hung and is killed
    drain_s: float = 25.0  # seconds that a worker has to finish its part in a graceful shutdown

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings of an environment. An unknown CHARRNN_ variable causes a warning with the nearest name.

        Raises:
            InputError: a value has the wrong type or range, a file with a value cannot be read, the broker's URL is
                not that of a Redis server, or the lease is too short for the heartbeat.
        """
        known = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        _warn_of_unknown(environ, [*known, *(variable + FROM_FILE for variable in known)])
        texts = {name: _read(variable, environ) for variable, name in known.items()}
        values = {name: text for name, text in texts.items() if text}
        home = _find_home(values.pop("home", ""))
        parsed: dict[str, Any] = {name: _parse(name, text) for name, text in values.items()}
        settings = cls(home=home, **parsed)
        _check_redis_url(settings.redis_url)
        if settings.lease_s < 2 * settings.heartbeat_s:
            raise InputError(
                f"CHARRNN_LEASE_S must be at least twice CHARRNN_HEARTBEAT_S, or one late heartbeat loses a part. "
                f"Received: {settings.lease_s:g} and {settings.heartbeat_s:g}"
            )
        return settings

    @property
    def look_s(self) -> float:
        """Seconds between two checks whether maintenance is due. They delay the requeue of an expired lease."""
        return min(LOOK_S, self.maintain_s / 2)

    @property
    def broker_url(self) -> str:
        """The URL of the broker for Kombu."""
        url = self.redis_url or f"redis+socket://{quote(str(self.broker_socket))}?virtual_host=0"
        if url.startswith("rediss:") and "ssl_cert_reqs=" not in url:
            return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"  # Kombu's default verifies no certificate
        return url

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


def _find_home(text: str) -> Path:
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
            f"CHARRNN_HOME {text or 'of this user'!r} is not usable: {reason}. Set it to an absolute path in UTF-8"
        ) from error
    return home


def _warn_of_unknown(environ: Mapping[str, str], known: Sequence[str]) -> None:
    """Warn of unknown variables. They are no error: Kubernetes injects some, such as CHARRNN_REDIS_SERVICE_HOST."""
    for variable in sorted(environ.keys() - set(known) - {faults.VARIABLE}):
        if variable.startswith(PREFIX):
            hint = did_you_mean(variable, known).replace("Did", "; did", 1)
            logger.warning("%s is not a setting and has no effect%s", variable, hint)


def _read(variable: str, environ: Mapping[str, str]) -> str:
    """Return the value of a variable, or the text of the file that it names.

    A file keeps a URL with a password out of the environment, which children inherit and `docker inspect` shows.
    """
    text, file = environ.get(variable, ""), environ.get(variable + FROM_FILE, "")
    if not _is_utf8(text + file):
        raise InputError(f"{variable} is not UTF-8. Set it to a value in UTF-8")
    if text and file:
        raise InputError(f"Set {variable} or {variable}{FROM_FILE}, not both")
    if file:
        text = _read_file(variable, file)
    # No path has a NUL: the system's functions raise ValueError. In a URL, %00 is one.
    if "\0" in text or (variable.endswith("_URL") and "%00" in text):
        raise InputError(f"{variable} contains a NUL character, which no path and no name can have. Remove it")
    return text


def _read_file(variable: str, file: str) -> str:
    try:
        with open(file, encoding="utf-8", opener=regular) as source:
            text = source.read(MAX_FILE + 1).strip()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{variable}{FROM_FILE} must name a file with UTF-8 text that this user can read: {error}"
        ) from error
    if not 0 < len(text) <= MAX_FILE:
        raise InputError(
            f"{variable}{FROM_FILE}: {file} is empty or has more than {MAX_FILE:,} characters. Expected the value of "
            f"{variable}"
        )
    return text


def _is_utf8(text: str) -> bool:
    """Return whether the environment's bytes were UTF-8. Python reads all others as surrogates."""
    return re.search(r"[\ud800-\udfff]", text) is None


def _check_redis_url(url: str) -> None:
    """Refuse URLs for which Kombu raises exceptions of any type. The message does not show the URL's password."""
    try:
        parts = urlsplit(url)
        known = not url or (parts.scheme in REDIS_SCHEMES and parts.port != 0)
    except ValueError:  # the port is invalid
        known = False
    # A socket has a path; a server may have a database.
    if not known or not re.fullmatch(".+" if parts.scheme == SOCKET else f"({DATABASE})?", parts.path.strip("/ ")):
        raise InputError(f"CHARRNN_REDIS_URL is not a URL of a Redis server. Expected {REDIS_URLS}")
    expected = REDIS_OPTIONS.get(parts.scheme, {})
    for name, value in parse_qsl(parts.query, keep_blank_values=True):  # blank: Kombu would leave the option out
        if not re.fullmatch(expected.get(name, "(?!)"), value):
            raise InputError(
                f"CHARRNN_REDIS_URL is not a URL of a Redis server: its option {name!r:.80} or the value of it is not "
                f"valid. Expected {', '.join(expected) or 'no options, except in a URL that begins with rediss:'}"
            )


def _parse(name: str, text: str) -> str | float:
    if not name.endswith("_s"):
        return text
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= LONGEST_S:
        raise InputError(
            f"{PREFIX}{name.upper()} must be a number of seconds above 0 and at most {LONGEST_S:g}. Received: {text!r}"
        )
    return seconds
