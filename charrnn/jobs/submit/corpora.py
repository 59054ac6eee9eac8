"""The texts that a training names: files of this host, and of buckets below the roots that the settings allow.

What lies in a bucket is copied first, since a document is mapped into memory and read several times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.checks import check_choice
from charrnn.errors import InputError, TextError, UnreachableError
from charrnn.jobs.files.location import open_bucket
from charrnn.jobs.job.file_ref import S3, is_url
from charrnn.jobs.settings import Settings
from charrnn.text.documents import CORPUS_SUFFIX, ENCODINGS, Document, check_storable, list_documents

if TYPE_CHECKING:
    from charrnn.jobs.files.bucket import Bucket


@dataclass(frozen=True)
class Corpora:
    """Finds documents.

    Attributes:
        roots: s3:// URLs, below which corpora may lie.
        folder: for copies.
    """

    roots: Sequence[str]
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
        return found + self._copy(map(str, urls), encoding)

    def _copy(self, urls: Iterable[str], encoding: str) -> list[Document]:
        named: dict[str, list[str]] = {}  # of each bucket
        for url in urls:
            self._check(url.rstrip("/"))
            bucket, _, name = url.rstrip("/").removeprefix(S3).partition("/")
            named.setdefault(f"{S3}{bucket}", []).append(name)
        return [copy for url in sorted(named) for copy in self._copy_from(open_bucket(url), named[url], encoding)]

    def _copy_from(self, bucket: Bucket, names: Iterable[str], encoding: str) -> list[Document]:
        texts = sorted({text for name in names for text in _find_texts(bucket, name)})
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        paths = [folder / f"{number:06}" for number in range(len(texts))]
        bucket.download(dict(zip(texts, paths, strict=True)))
        return [Document(path, encoding, f"{bucket.url}/{text}") for text, path in zip(texts, paths, strict=True)]

    def _check(self, url: str) -> None:
        check_storable("A path", url)
        # A root without a bucket would allow all of them.
        allowed = any(is_url(root) and f"{url}/".startswith(f"{root}/") for root in self.roots)
        if not allowed or ".." in url.split("/"):
            shown = ", ".join(self.roots) or "none"
            raise InputError(f"{url} is not below a root that CHARRNN_CORPUS_ROOTS allows. It allows: {shown}")


@contextmanager
def open_corpora(settings: Settings) -> Iterator[Corpora]:
    """Yield a function that finds documents while the block runs; local copies are deleted with it.

    Raises:
        UnreachableError: there is no place for temporary files.
    """
    roots = [root.strip().rstrip("/") for root in settings.corpus_roots.split(",") if root.strip()]
    try:
        copies = tempfile.TemporaryDirectory(prefix="charrnn-")
    except OSError as error:
        raise UnreachableError(f"No folder for temporary files can be made: {error.strerror or error}") from error
    with copies as folder:
        yield Corpora(roots, Path(folder))


def _find_texts(bucket: Bucket, name: str) -> list[str]:
    """Return the *.txt below a folder of a bucket, or below all of it; else the file of that name."""
    below = bucket.list_prefix(name and f"{name}/")
    texts = [file.name for file in below if file.name.endswith(CORPUS_SUFFIX)]
    if not texts and name:
        texts = [file.name for file in bucket.list_prefix(name) if file.name == name]
    if not texts:
        url = f"{bucket.url}/{name}"
        raise TextError(f"{url}: no such file, and no {CORPUS_SUFFIX} file below it. Expected text files")
    return texts
