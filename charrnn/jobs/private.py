"""Folders and files that only their owner can read: a home, and the folder of the local broker's socket."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISREG

from charrnn.errors import InputError

logger = logging.getLogger(__name__)

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077  # the rights of group and others; also the umask that leaves them none
# The entries of a home. One with other entries is shared with something else, such as /opt or a project's folder.
STORE = ("store.sqlite", "store.sqlite-journal", "store.sqlite-shm", "store.sqlite-wal")
PAGE_KEY = "web_token"
COMPILED = "compiled"  # programs for GPUs, which XLA and CUDA load and run
FOLDERS = ("broker", "cache", COMPILED, "files", "health", "hooks")
OURS = frozenset({*FOLDERS, "up.lock", PAGE_KEY, "worker.lock", *STORE})


def make_folder(path: Path) -> None:
    """Create a folder with mode 0700 if it does not exist, and check that it is private.

    Raises:
        InputError: the folder cannot be created or is not private, or its path names something else.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _tighten(path)
    except OSError as error:
        raise InputError(f"{path} cannot be a folder of CHARRNN_HOME: {error.strerror}. Set another one") from error
    check_folder(path)


def check_folder(path: Path) -> None:
    """Check that a folder, if there is one, is no link, belongs to this user and is closed to all others.

    Somebody who can write to it could put another server's socket there. A folder that passes cannot be replaced by
    others: its parent is this user's home, or /tmp, whose sticky bit protects it.

    Raises:
        InputError: it is not private.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path} cannot be checked: {error.strerror}. Set another CHARRNN_HOME") from error
    if not S_ISDIR(status.st_mode):
        raise InputError(f"{path} is not a folder, or is a link. Delete it, or set another CHARRNN_HOME")
    if status.st_uid != os.getuid():
        raise InputError(f"{path} belongs to another user. Set another CHARRNN_HOME")
    if status.st_mode & OTHERS:
        raise InputError(f"{path} is open to other users. Run: chmod 700 {path}")


def opener(path: str, flags: int) -> int:
    """Open a file for `open(..., opener=opener)`: a new one with mode 0600, and never through a link."""
    return os.open(path, flags | os.O_NOFOLLOW, FILE_MODE)


def close_home(home: Path) -> None:
    """Close a home and its direct entries to other users, which closes all below them as well.

    A home that contains other things too keeps its own mode, since other users may need them.
    """
    entries = {entry.name for entry in home.iterdir()}
    if entries <= OURS:
        _tighten(home.resolve())  # a home may be a link to another disk
    for name in entries & OURS:
        _tighten(home / name)


def close_all(home: Path) -> None:
    """Close a home as `close_home` does, and each file and folder in it: once, since there may be 100,000."""
    close_home(home)
    for name in OURS:
        close_tree(home / name)


def close_tree(top: Path) -> None:
    """Close a file, or a folder and all that it contains, to other users. No link is followed."""
    _tighten(top)
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            _tighten(Path(folder, name))


def _tighten(path: Path) -> None:
    """Set the mode of our file or folder. Do nothing to a link, a socket or what belongs to another user."""
    try:
        status = path.lstat()
        if status.st_uid != os.getuid():
            return
        mode = FOLDER_MODE if S_ISDIR(status.st_mode) else FILE_MODE if S_ISREG(status.st_mode) else None
        if mode is not None and S_IMODE(status.st_mode) != mode:
            path.chmod(mode)
    except FileNotFoundError:  # deleted meanwhile by another process
        return
    except OSError as error:
        logger.warning("%s cannot be made private: %s", path, error.strerror)
