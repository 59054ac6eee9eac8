"""The manifest of an archive: its version, and its files with sizes and sha256. Untrusted when read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from charrnn.checks import check_choice, check_integer, check_number
from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.specs import check_name
from charrnn.model_files import (
    FOLDER,
    HISTORY,
    LIMITS,
    WEIGHTS,
    check_fields,
    decode,
    largest_weights,
    parse_network,
    parse_object,
)
from charrnn.options import BFLOAT16, FLOAT32, NetworkOptions
from charrnn.text.documents import check_encodable
from charrnn.text.validation import LARGEST_VALIDATION
from charrnn.text.vocabulary import Vocabulary

FORMAT = 1

MANIFEST = "manifest.json"
VALIDATION = "validation.txt"
FILES = (*FOLDER, VALIDATION)  # in the order in which they are written
REQUIRED = {*FILES} - {HISTORY}  # no loader reads the history, so it is optional

MAX_MANIFEST = 8 << 20  # bytes; 65,536 characters, all escaped, are 0.8 million
MAX_VALIDATION = 3 * LARGEST_VALIDATION  # bytes; a Latin-1 letter takes two in UTF-8, and one byte separates pieces
MAX_VERSION = 10**9 - 1  # a reference such as speeches@3 has at most nine digits
MAX_SIZE = 1 << 40  # bytes of a file; the largest network has 4 GB
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A version, as the store that exported it had it.

    Raises:
        InputError: a field has the wrong type or an invalid value.
    """

    model: str
    version: int
    val_loss: float  # nats per character
    precision: str  # the precision to sample in
    network: NetworkOptions
    characters: str  # its vocabulary

    def __post_init__(self) -> None:
        _check_text("model", self.model)
        check_name("Model", self.model)
        check_integer("version", self.version, 1, MAX_VERSION)
        check_number("val_loss", self.val_loss)
        object.__setattr__(self, "val_loss", float(self.val_loss))
        check_choice("precision", self.precision, (FLOAT32, BFLOAT16))
        _check_text("characters", self.characters)
        check_encodable("characters", self.characters)
        Vocabulary(self.characters)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all weights."""
        return self.network.weight_shapes(len(self.characters))


def manifest_json(manifest: Manifest, files: Mapping[str, FileRef]) -> bytes:
    """Return the manifest of a version and its files as JSON."""
    listed = {name: {"size": file.size, "sha256": file.sha256} for name, file in files.items()}
    document = {"format": FORMAT, **asdict(manifest), "files": listed}
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def parse_manifest(data: bytes) -> tuple[Manifest, dict[str, FileRef]]:
    """Return the version and its files by name from JSON that `manifest_json` made.

    Raises:
        InputError: the data is not a manifest, is from another release, or lists files that such a version cannot have.
    """
    document = parse_object(decode(data))
    _check_format(document.pop("format", None))
    listed = document.pop("files", None)
    manifest = _manifest(document)
    files = _listed(listed)
    check_files(files, manifest)
    return manifest, files


def check_files(files: Mapping[str, FileRef], manifest: Manifest) -> None:
    """Check that no file is missing, and that none is larger than a version with this network can have.

    Raises:
        InputError: a file is missing, unknown, empty or too large.
    """
    check_fields("files", files, {*FILES}, REQUIRED)
    limits = LIMITS | {VALIDATION: MAX_VALIDATION, WEIGHTS: largest_weights(manifest.shapes)}
    for name, file in files.items():
        if not 0 < file.size <= limits[name]:
            raise InputError(f"{name!r} has {file.size:,} bytes. Expected 1 to {limits[name]:,} for such a network")


def _manifest(document: dict[str, object]) -> Manifest:
    names = {field.name for field in fields(Manifest)}
    facts: dict[str, Any] = {**check_fields("the manifest", document, names, names)}
    return Manifest(**{**facts, "network": parse_network(facts["network"])})


def _check_format(number: object) -> None:
    check_integer("format", number, 1, MAX_VERSION)
    if number != FORMAT:
        raise InputError(
            f"unknown format {number}. Expected {FORMAT}: a newer charrnn-jobs wrote the archive. Upgrade to the "
            f"release that wrote it"
        )


def _listed(values: object) -> dict[str, FileRef]:
    files = check_fields("files", values, {*FILES}, REQUIRED)
    return {name: _file(name, value) for name, value in files.items()}


def _file(name: str, value: object) -> FileRef:
    known: dict[str, Any] = {**check_fields(name, value, {"size", "sha256"}, {"size", "sha256"})}
    check_integer(f"{name}: size", known["size"], 0, MAX_SIZE)
    _check_text(f"{name}: sha256", known["sha256"])
    if not SHA256.fullmatch(known["sha256"]):
        raise InputError(
            f"{name}: sha256 {known['sha256']!r:.80} is not a sha256. Expected 64 characters of 0-9 and a-f"
        )
    return FileRef(name=name, **known)


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"{what} must be a string. Received: {value!r:.80}")
