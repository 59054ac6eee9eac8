"""Find the texts for a training job: files on this host, and in buckets, below the roots that the settings allow.

Files in a bucket are copied first, since a document is read several times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import InputError, TextError, UnreachableError
from charrnn.jobs.files.location import open_bucket
from charrnn.jobs.files.temporary import temporary_folder
from charrnn.jobs.job.file_ref import S3, is_url
from charrnn.jobs.settings import Settings
from charrnn.text.documents import Document, check_storable, list_documents
from charrnn.text.listing import CORPUS_SUFFIX, is_corpus_name, warn_of_empty
from charrnn.text.plain import to_plain

if TYPE_CHECKING:
    from charrnn.jobs.files.bucket import Bucket


@dataclass(frozen=True)
class Corpora:
    """A finder of documents.

    Attributes:
        roots: s3:// URLs below which corpora may lie.
        local_roots: folders below which local files may lie; None: anywhere.
        folder: the folder for copies.
        keep_empty: whether an empty file that is named itself is an error, and not left out with a warning.
    """

    roots: Sequence[str]
    local_roots: Sequence[Path] | None
    folder: Path
    keep_empty: bool = False

    def documents(self, paths: str | Path | Iterable[str | Path]) -> list[Document]:
        """Return the documents of files, folders, patterns, and s3:// files and folders.

        Each document is returned once. Local ones come first, then those in buckets, each group sorted.

        Raises:
            InputError: a path names no file, or a file or URL is below none of the roots.
            UnreachableError: a bucket does not answer.
        """
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        urls = [path for path in given if is_url(path)]
        local = [path for path in given if not is_url(path)]
        found = list_documents(local, keep_empty=self.keep_empty) if local or not urls else []
        for document in found:
            check_local(document.path, self.local_roots)
        return found + self._copy(map(str, urls))

    def plain(self, documents: Iterable[Document], encoding: str, newlines: str) -> list[Document]:
        """Return documents as plain text, see `text.plain.to_plain`."""
        return to_plain(documents, Path(tempfile.mkdtemp(dir=self.folder)), encoding, newlines)

    def _copy(self, urls: Iterable[str]) -> list[Document]:
        names: dict[str, list[str]] = {}  # bucket → names in it
        for url in urls:
            self._check(url.rstrip("/"))
            bucket, _, name = url.rstrip("/").removeprefix(S3).partition("/")
            names.setdefault(f"{S3}{bucket}", []).append(name)
        return [copy for url in sorted(names) for copy in self._copy_from(open_bucket(url), names[url])]

    def _copy_from(self, bucket: Bucket, names: Iterable[str]) -> list[Document]:
        texts = sorted({text for name in names for text in _find_texts(bucket, name)})
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        paths = [folder / f"{number:06}" for number in range(len(texts))]
        bucket.download(dict(zip(texts, paths, strict=True)))
        return [Document(path, f"{bucket.url}/{text}") for text, path in zip(texts, paths, strict=True)]

    def _check(self, url: str) -> None:
        check_storable("A path", url)
        # A root without a bucket ("s3://") would allow all buckets.
        allowed = any(is_url(root) and f"{url}/".startswith(f"{root}/") for root in self.roots)
        if not allowed or ".." in url.split("/"):
            shown = ", ".join(self.roots) or "none"
            raise InputError(f"{url} is not below a root that CHARRNN_CORPUS_ROOTS allows. Allowed roots: {shown}")


def check_local(path: Path, roots: Sequence[Path] | None) -> None:
    """Check that a schedule may read a file of this host. Links count as what they lead to.

    Raises:
        InputError: it is below none of the roots.
    """
    if roots is not None and not any(path.resolve().is_relative_to(root) for root in roots):
        shown = ", ".join(map(str, roots)) or "none"
        raise InputError(
            f"{path} is not below a folder that CHARRNN_CORPUS_ROOTS allows schedules to read. Allowed folders: {shown}"
        )


@contextmanager
def open_corpora(settings: Settings, *, scheduled: bool = False) -> Iterator[Corpora]:
    """Yield a finder of documents for the duration of a block. Local copies are deleted at its end.

    Args:
        scheduled: whether a schedule reads them, and not a person with their own rights, who sees warnings.

    Raises:
        UnreachableError: a temporary folder cannot be created.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder())
        except OSError as error:
            raise UnreachableError(
                f"Cannot create a temporary folder: {error.strerror or error}. Free disk space, or set TMPDIR to a "
                f"folder that can be written"
            ) from error
        yield Corpora(settings.bucket_roots, settings.local_roots if scheduled else None, folder, scheduled)


def _find_texts(bucket: Bucket, name: str) -> list[str]:
    """Return the names of the *.txt files below a folder of a bucket, or in the whole bucket if `name` is empty.

    If there are none, return the file with that name. Empty files are left out, unless all are.
    """
    below = bucket.list_prefix(name and f"{name}/")
    texts = [file for file in below if is_corpus_name(file.name)]
    if not texts and name:
        texts = [file for file in bucket.list_prefix(name) if file.name == name]
    if not texts:
        url = f"{bucket.url}/{name}"
        raise TextError(f"{url}: no such file, and no {CORPUS_SUFFIX} file below it. Expected text files")
    empty = [f"{bucket.url}/{file.name}" for file in texts if not file.size]
    if empty and len(empty) < len(texts):
        warn_of_empty(empty)
        texts = [file for file in texts if file.size]
    return [file.name for file in texts]
