"""The places where settings are written: variables, then the project's charrnn.toml, then the user's.

The names in a file are those of the variables, in lower case and without the prefix. Paths in a file start at its
folder.
"""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from grp import getgrgid
from os.path import lexists
from pathlib import Path
from pwd import getpwuid
from stat import S_IWGRP, S_IWOTH
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import platformdirs

from charrnn.checks import did_you_mean
from charrnn.errors import InputError
from charrnn.jobs import faults
from charrnn.regular_file import regular

logger = logging.getLogger(__name__)

PREFIX = "CHARRNN_"
FROM_FILE = "_file"  # the suffix of a setting whose value is in a file, as in Docker's official images
NUMERIC = ("_s", "_days", "_connections")  # endings of the names of settings that are numbers
FILE = "charrnn.toml"
MAX_FILE = 65_536  # bytes of a charrnn.toml, characters of a value
TOML_TYPES = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "a table"}
SQLITE = "sqlite:///"  # a fourth slash begins an absolute path

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

PATH_IN_URL = re.compile(
    "([?&](?:ssl_ca_certs|ssl_ca_path|ssl_certfile|ssl_keyfile|sslrootcert|sslcert|sslkey|sslcrl|sslcrldir|passfile)=)"
    "([^&#]+)"
)
"""The options of URLs of Redis and PostgreSQL whose values are paths."""


@dataclass(frozen=True)
class Source:
    """One place where settings are written."""

    kind: str  # environment, project or user
    values: Mapping[str, object]  # by name, some of them with the suffix FROM_FILE
    path: Path | None = None  # of a charrnn.toml

    def label(self, name: str) -> str:
        """Return what messages call a setting of this place."""
        return PREFIX + name.upper() if self.path is None else f"{name} in {self.path}"

    def names(self, name: str) -> list[str]:
        """Return the name of a setting and that of its file, as far as this place has them."""
        return [each for each in (name, name + FROM_FILE) if self.values.get(each, "") != ""]

    def read(self, name: str) -> str:
        """Return the text of a setting that this place has, itself or in the file that it names.

        A file keeps a URL with a password out of the environment, which children inherit and `docker inspect` shows.
        """
        first, *more = self.names(name)
        if more:
            raise InputError(f"Set {self.label(name)} or {self.label(more[0])}, not both")
        text = self._text(first)
        if first != name:
            text = _read_value(self.label(first), self.label(name), text)
        # No path has a NUL: the system's functions raise ValueError. In a URL, %00 is one.
        if "\0" in text or (name.endswith("_url") and "%00" in text):
            raise InputError(
                f"{self.label(name)} contains a NUL character, which no path and no name can have. Remove it"
            )
        if name.endswith("_url") and not text.isprintable():
            raise InputError(f"{self.label(name)} contains a line break or another control character. Remove it")
        return text

    def _text(self, name: str) -> str:
        value, is_number = self.values[name], self.path is not None and name.endswith(NUMERIC)
        if isinstance(value, (int, float) if is_number else str) and not isinstance(value, bool):
            text = str(value)
            if re.search(r"[\ud800-\udfff]", text):  # Python reads all bytes that are not UTF-8 as surrogates
                raise InputError(f"{self.label(name)} is not UTF-8. Set it to a value in UTF-8")
            return text if self.path is None else _below(self.path.parent, name, text)
        expected = "a number" if is_number else "a text in quotes"
        kind = TOML_TYPES.get(type(value), "a date or time")  # the value may have a password
        raise InputError(f"{self.label(name)} must be {expected}. Received {kind}")


def environment(environ: Mapping[str, str], names: Sequence[str]) -> Source:
    """Return the variables of these settings. An unknown one causes a warning with the nearest name.

    It is no error: Kubernetes injects some, such as CHARRNN_REDIS_SERVICE_HOST.
    """
    known = {PREFIX + name.upper(): name for name in _with_files(names)}
    for variable in sorted(environ.keys() - known.keys() - {faults.VARIABLE}):
        if variable.startswith(PREFIX):
            hint = did_you_mean(variable, list(known)).replace("Did", "; did", 1)
            logger.warning("%s is not a setting and has no effect%s", variable, hint)
    return Source("environment", {name: environ[variable] for variable, name in known.items() if variable in environ})


def user_file() -> Path:
    """Return the path of the user's charrnn.toml, which may not exist."""
    return Path(platformdirs.user_config_dir("charrnn-jobs")) / FILE


def find_files() -> Iterator[tuple[str, Path]]:
    """Yield the kind and path of each charrnn.toml in force: the project's first, then the user's.

    The project's is in the current folder, or else in the nearest folder above it that has one. A folder, a
    pipe, or a link that leads nowhere counts too: without a word, other servers would be used.
    """
    user = user_file()
    try:
        folder = Path.cwd()
    except OSError:  # it was deleted
        folder = Path("/")
    near = next((place / FILE for place in (folder, *folder.parents) if lexists(place / FILE)), user)
    if near != user and _is_trusted(near):
        yield "project", near
    if lexists(user):
        yield "user", user


def read_file(kind: str, path: Path, names: Sequence[str]) -> Source:
    """Return the settings of a charrnn.toml.

    Raises:
        InputError: it cannot be read, is not TOML, or has a name that is none of these settings.
    """
    try:
        with open(path, "rb", opener=regular) as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise InputError(f"{path} is longer than {MAX_FILE:,} bytes. Expected settings, one per line")
        values = tomllib.loads(data.decode("utf-8-sig"))
        str(values)  # an integer with too many digits is a ValueError here, and not in a message
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Make it readable, or delete it") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path} is not TOML: {error}. Expected lines such as: model = "names"') from error
    known = _with_files(names)
    if unknown := sorted(values.keys() - set(known)):
        hint = did_you_mean(unknown[0], known) or f"Expected any of {', '.join(names)}"
        raise InputError(f"{path}: {unknown[0]!r:.80} is not a setting. {hint}")
    return Source(kind, values, path)


def _with_files(names: Sequence[str]) -> list[str]:
    return [*names, *(name + FROM_FILE for name in names)]


def _is_trusted(path: Path) -> bool:
    """Return whether no other user can write a project's file: it names the servers that get this user's texts."""
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere: whoever reads it says so
        return True
    if status.st_uid not in (os.getuid(), 0):
        logger.warning("%s has no effect, since it belongs to another user. To use it, make a copy of your own", path)
        return False
    if status.st_mode & S_IWOTH:
        logger.warning("%s has no effect, since every user can change it. To use it: chmod o-w %s", path, path)
        return False
    if status.st_mode & S_IWGRP and not _is_private(status.st_gid):
        logger.warning("%s has no effect, since its group can change it. To use it: chmod g-w %s", path, path)
        return False
    return True


def _is_private(group: int) -> bool:
    """Return whether a group has no other member: that of the superuser, or the one that many systems make for each
    user, with the user's name, so that a umask of 002 does no harm."""
    try:
        found, name = getgrgid(group), getpwuid(os.getuid()).pw_name
    except KeyError:  # a group, or a user, without a name: nobody knows its members
        return False
    return found.gr_name in (name, getpwuid(0).pw_name) and set(found.gr_mem) <= {name, getpwuid(0).pw_name}


def _below(folder: Path, name: str, text: str) -> str:
    """Return a value in which relative paths start at a folder."""
    if name in ("home", "files_url") or name.endswith(FROM_FILE):
        expanded = os.path.expanduser(text)  # noqa: PTH111  # the other one raises RuntimeError for an unknown user
        return text if re.match(r"[a-z0-9]+://|~", expanded) else str(folder / expanded)
    if name == "store_url" and text.startswith(SQLITE) and not text.startswith(SQLITE + "/"):
        return f"{SQLITE}{quote(str(folder))}/{text.removeprefix(SQLITE)}"
    if name in ("redis_url", "store_url"):
        return PATH_IN_URL.sub(lambda found: found[1] + _absolute(folder, found[2]), text)
    if name == "corpus_roots":
        return ",".join(_below(folder, "home", root.strip()) for root in text.split(",") if root.strip())
    return text


def _absolute(folder: Path, path: str) -> str:
    """Return a path of a URL that starts at a folder if it is relative. PostgreSQL's "system" is no path."""
    return path if path == "system" else quote(str(folder / os.path.expanduser(unquote(path))))  # noqa: PTH111


def _read_value(label: str, setting: str, file: str) -> str:
    try:
        with open(file, encoding="utf-8", opener=regular) as source:
            text = source.read(MAX_FILE + 1).strip()
    except (OSError, ValueError) as error:
        raise InputError(f"{label} must name a file with UTF-8 text that this user can read: {error}") from error
    if not 0 < len(text) <= MAX_FILE:
        raise InputError(
            f"{label}: {file} is empty or has more than {MAX_FILE:,} characters. Expected the value of {setting}"
        )
    return text


def parse_redis_url(text: str, label: str) -> str:
    """Refuse URLs for which Kombu raises exceptions of any type. The message does not show the URL's password."""
    url = re.sub("^[^:]*:", lambda scheme: scheme[0].lower(), text)  # redis-py knows only lower case
    try:
        parts = urlsplit(url)
        known = not url or (parts.scheme in REDIS_SCHEMES and parts.port != 0)
    except ValueError:  # the port is invalid
        known = False
    # A socket has a path; a server may have a database.
    if not known or not re.fullmatch(".+" if parts.scheme == SOCKET else f"({DATABASE})?", parts.path.strip("/ ")):
        raise InputError(f"{label} is not a URL of a Redis server. Expected {REDIS_URLS}")
    expected = REDIS_OPTIONS.get(parts.scheme, {})
    for name, value in parse_qsl(parts.query, keep_blank_values=True):  # blank: Kombu would leave the option out
        if not re.fullmatch(expected.get(name, "(?!)"), value):
            raise InputError(
                f"{label} is not a URL of a Redis server: its option {name!r:.80} or the value of it is not "
                f"valid. Expected {', '.join(expected) or 'no options, except in a URL that begins with rediss:'}"
            )
    return url
