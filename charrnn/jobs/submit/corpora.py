"""The texts that a training names: files of this host, and of buckets below the roots that the settings allow.

What lies in a bucket is copied first, since a document is mapped into memory and read several times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from charrnn.checks import check_choice
from charrnn.errors import InputError, TextError, UnreachableError
from charrnn.jobs.files.storage import S3, open_bucket
from charrnn.jobs.settings import Settings
from charrnn.text.documents import CORPUS_SUFFIX, ENCODINGS, Document, check_storable, list_documents


@dataclass(frozen=True)
class Corpora:
    """Finds documents.

    Attributes:
        roots: s3:// URLs, below which corpora may lie.
        cache: of the host, see storage.
        folder: for copies.
    """

    roots: Sequence[str]
    cache: Path
    folder: Path

    def documents(self, paths: str | Path | Iterable[str | Path], encoding: str) -> list[Document]:
        """The documents of files, folders, patterns, and s3:// files and folders, each once, in sorted order.

        Raises:
            InputError: a path that names no file, an URL below none of the roots, an encoding that is not known.
            UnreachableError: a bucket that does not answer.
        """
        check_choice("encoding", encoding, ENCODINGS)
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        urls = [path for path in given if is_url(path)]
        local = [path for path in given if not is_url(path)]
        found = list_documents(local, encoding) if local or not urls else []
        return found + self._copied(map(str, urls), encoding)

    def _copied(self, urls: Iterable[str], encoding: str) -> list[Document]:
        texts = sorted({text for url in urls for text in self._texts(url)})
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        found = [
            Document(folder / f"{number:06}", encoding, f"{bucket}/{name}")
            for number, (bucket, name) in enumerate(texts)
        ]
        for bucket, copies in groupby(zip(texts, found, strict=True), lambda copy: copy[0][0]):
            open_bucket(bucket, self.cache).copy({name: document.path for (_, name), document in copies})
        return found

    def _texts(self, url: str) -> list[tuple[str, str]]:
        """Bucket and name of each file that an URL stands for: itself, or the *.txt below it."""
        self._check(url.rstrip("/"))
        name, _, folder = url.rstrip("/").removeprefix(S3).partition("/")
        bucket = open_bucket(f"{S3}{name}", self.cache)
        names = [file.name for file in (bucket.files(folder) if folder else bucket.all_files())]
        texts = [(bucket.url, name) for name in names if name == folder or name.endswith(CORPUS_SUFFIX)]
        if not texts:
            raise TextError(f"{url}: no such file, and no {CORPUS_SUFFIX} file below it. Expected text files")
        return texts

    def _check(self, url: str) -> None:
        check_storable("A path", url)
        # A root without a bucket would allow all of them.
        allowed = any(is_url(root) and f"{url}/".startswith(f"{root}/") for root in self.roots)
        if not allowed or ".." in url.split("/"):
            shown = ", ".join(self.roots) or "none"
            raise InputError(f"{url} is not below a root that CHARRNN_CORPUS_ROOTS allows. It allows: {shown}")


@contextmanager
def open_corpora(settings: Settings) -> Iterator[Corpora]:
    """What finds documents as long as the block lasts; copies go with it.

    Raises:
        UnreachableError: there is no place for temporary files.
    """
    roots = [root.strip().rstrip("/") for root in settings.corpus_roots.split(",") if root.strip()]
    try:
        copies = tempfile.TemporaryDirectory(prefix="charrnn-")
    except OSError as error:
        raise UnreachableError(f"No folder for temporary files can be made: {error.strerror or error}") from error
    with copies as folder:
        yield Corpora(roots, settings.cache, Path(folder))


def is_url(path: str | Path) -> bool:
    """Whether a path is one of a bucket."""
    return str(path).startswith(S3)
