"""The text files that paths name, and those in their folders that are left out."""

from __future__ import annotations

import glob
import logging
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISREG

from charrnn.errors import TextError, counted

CORPUS_SUFFIX = ".txt"
NAMED = 3  # files in a warning

logger = logging.getLogger(__name__)


def is_corpus_name(name: str) -> bool:
    """Return whether a folder's file of that name is read. Windows writes .TXT too."""
    return name.lower().endswith(CORPUS_SUFFIX)


def expand(paths: Iterable[str | Path], *, keep_empty: bool = False) -> list[Path]:
    """Return the files that `paths` name, sorted, each once even if it is named in several ways.

    A file names itself, a folder names the *.txt files in it and in its subfolders, and a pattern with *, ** or ? or [
    names the files that match it. Links are followed. Warnings name the files that are left out: a folder's other
    files; pipes, devices and links that lead nowhere; and empty files, unless all are empty.

    Args:
        keep_empty: return also the empty files that are named themselves, so that reading them fails.

    Raises:
        TextError: a path names no file or cannot be read, or there are no paths.
    """
    paths, files, others, odd = list(paths), dict[Path, Path](), set[Path](), set[Path]()
    kept = set[Path]()
    if not paths or "" in paths:
        raise TextError("A path is empty, or no path was given. Expected text files or folders of them")
    for given, path in ((given, Path(given).absolute()) for given in paths):
        found: list[Path] = []
        try:
            matches, unreadable = _list_files(path)
            odd.update(unreadable)
            if path.is_dir():
                found = [file for file in matches if not _is_hidden(file.relative_to(path))]
                others.update(file.resolve() for file in found)
                matches = [file for file in matches if is_corpus_name(file.name)]
        except OSError as error:
            raise TextError(f"{path}: cannot be read: {error.strerror}") from error
        if not matches:
            raise TextError(f"{path}: {_explain_no_files(path)}. {_advise(str(given), path, found)}")
        for file in matches:
            real = file.resolve()
            if keep_empty and file == path:
                kept.add(real)
            files[real] = min(file, files.get(real, file))
    _warn(sorted(others - files.keys()), sorted(odd - set(files.values())))
    return _without_empty(sorted(files.values()), kept)


def warn_of_empty(names: list[str]) -> None:
    logger.warning("Left out as empty: %s", shorten_names(names))


def shorten_names(names: list[str]) -> str:
    """Return the first names, and the number of the others."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _warn(others: list[Path], odd: list[Path]) -> None:
    if odd:
        logger.warning(
            "Left out, because they are not regular files or lead nowhere: %s", shorten_names(list(map(str, odd)))
        )
    if others:
        logger.warning(
            "Left out, because the names do not end in %s: %s. To read them, pass their names or a pattern",
            CORPUS_SUFFIX,
            shorten_names(list(map(str, others))),
        )


def _without_empty(files: list[Path], kept: set[Path]) -> list[Path]:
    empty = [file for file in files if _is_empty(file) and file.resolve() not in kept]
    if not empty or len(empty) == len(files):  # an error about the first one says that it is empty
        return files
    warn_of_empty(list(map(str, empty)))
    return [file for file in files if file not in set(empty)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_empty(file: Path) -> bool:
    try:
        status = file.stat()
    except OSError:  # reported when it is opened
        return False
    return S_ISREG(status.st_mode) and not status.st_size


def _explain_no_files(path: Path) -> str:
    if path.is_dir():
        return f"a folder without {CORPUS_SUFFIX} files"
    return "a pattern that no file matches" if set(str(path)) & set("*?[") else "no such file"


def _advise(given: str, folder: Path, files: list[Path]) -> str:
    """Return which other files a folder without text files has, and the pattern that reads the most of them."""
    suffixes = Counter(file.suffix for file in files if file.suffix)
    if not suffixes:
        return "Expected text files or folders of them"
    counts = suffixes.most_common()
    shown = shorten_names([counted(count, f"{suffix} file") for suffix, count in counts])
    suffix, _ = counts[0]
    deep = any(file.parent != folder for file in files if file.suffix == suffix)
    pattern = Path(glob.escape(given), "**" if deep else "", f"*{glob.escape(suffix)}")
    return f"It has {shown}. To read the {suffix} files, pass a pattern: {shlex.quote(str(pattern))}"


def _list_files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that a path names, and what it names that is neither a file nor a folder."""
    if path.is_dir():
        found = list(_walk(path))
        odd = [file for file in found if is_corpus_name(file.name) and not _is_hidden(file.relative_to(path))]
    elif path.exists():
        return [path], []  # also a pipe: reading it fails
    else:
        found = odd = [Path(match) for match in glob.glob(str(path), recursive=True)]
    odd = [file for file in odd if not file.is_file() and not file.is_dir()]
    return [file for file in found if file.is_file()], odd


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what is below a folder and is no folder, also pipes and links that lead nowhere.

    Links to folders are followed, each folder once: links may form a circle.
    """
    seen = set[tuple[int, int]]()
    for name, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        status = Path(name).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(name) / file for file in files)


def _raise(error: OSError) -> None:
    raise error
