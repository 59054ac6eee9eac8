"""The files of a model's folder: names, size limits and checks of their content. Pure Python.

Their content is untrusted. No link is followed, no pipe is waited for, and nothing is parsed that would take more
memory than a file that `Model.save` wrote.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charrnn.checks import check_choice
from charrnn.errors import InputError, ModelFileError
from charrnn.options import BFLOAT16, FLOAT32, NetworkOptions
from charrnn.regular_file import regular
from charrnn.text.vocabulary import Vocabulary

CONFIG, VOCABULARY, WEIGHTS, METRICS = "config.json", "vocabulary.json", "model.safetensors", "metrics.json"
HISTORY = "metrics.csv"
COPIES = "copies.index"  # of a version in a store: the index of its training text, see `text.comparison.copies`
FOLDER = (CONFIG, VOCABULARY, WEIGHTS, METRICS, HISTORY)

CONFIG_FORMAT = 1

LIMITS = {
    CONFIG: 1 << 16,
    VOCABULARY: 1 << 20,
    METRICS: 16 << 20,  # an epoch with four previews takes 1.3 kB, or 5 kB if all letters are escaped
    HISTORY: 16 << 20,
}
"""Maximum size in bytes of each file except the weights."""

LENGTH = 8  # bytes at the start of a safetensors file, which hold the length of its header
MAX_WEIGHTS_HEADER = 1 << 20  # bytes; the header of 8 layers has 2,500
WEIGHTS_CHUNK = 1 << 18  # bytes; a multiple of the 4 of a weight
MAX_VALUES = 500_000  # in a JSON document; the metrics of 10,000 epochs with four previews each have 280,000
TOKEN = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{,]', re.DOTALL)  # linear time, even with unclosed strings
SHOWN = 500  # characters of an error message, which may quote the file
SHOWN_TENSORS = 5


@contextmanager
def about(what: object) -> Iterator[None]:
    """Add the name of a file to errors raised in the block.

    Args:
        what: the file or folder to name.

    Raises:
        ModelFileError: replaces an InputError or OSError.
    """
    try:
        yield
    except OSError as error:
        raise ModelFileError(
            f"{what} cannot be read: {error.strerror or error}. Expected a folder that Model.save wrote"
        ) from error
    except InputError as error:
        raise ModelFileError(f"{what}: {error!s:.{SHOWN}}") from error


def check_file(path: Path) -> None:
    """Check that a file is safe to open: a regular file, and within `LIMITS` if it has one.

    Raises:
        ModelFileError: the file is not a regular file or is too large.
        OSError: the file is missing.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(
            f"{path} is a link, a folder, a pipe or a device. Expected a regular file: restore the original"
        )
    limit = LIMITS.get(path.name, status.st_size)
    if status.st_size > limit:
        raise ModelFileError(f"{path} has {status.st_size:,} bytes. Expected at most {limit:,}, as Model.save writes")


# JSON


def read_network(path: Path) -> NetworkOptions:
    """Read the network's architecture from `config.json`.

    Raises:
        InputError: the file has the format of another release, or does not describe a network.
        OSError: the file is missing.
    """
    config = parse_object(_read(path))
    if config.get("format") != CONFIG_FORMAT:
        raise ModelFileError(f"unknown format {config.get('format')!r:.80}. Expected {CONFIG_FORMAT}")
    return parse_network(config.get("network"))


def read_vocabulary(path: Path) -> Vocabulary:
    """Read the vocabulary from `vocabulary.json`.

    Raises:
        ModelFileError: the file does not hold a vocabulary.
        OSError: the file is missing.
    """
    return Vocabulary.from_json(_read(path))


def read_metrics(path: Path) -> dict[str, object]:
    """Read the facts about a training run, by name, from `metrics.json`.

    Raises:
        InputError: the file is not a JSON object, or `sampling_precision` is unknown.
        OSError: the file is missing.
    """
    metrics = parse_object(_read(path))
    check_choice("sampling_precision", metrics.get("sampling_precision", FLOAT32), (FLOAT32, BFLOAT16))
    return metrics


def parse_network(values: object) -> NetworkOptions:
    """Return the network that a parsed JSON object describes.

    Raises:
        InputError: `values` is not an object, or an option is unknown or out of range.
    """
    return NetworkOptions.from_dict(check_fields("network", values, NetworkOptions.names(), set()))


def parse_object(document: str) -> dict[str, object]:
    """Parse an untrusted JSON object.

    Raises:
        ModelFileError: the document is not a JSON object, is nested too deeply, or has more than MAX_VALUES values.
    """
    check_values(document)
    try:
        values = json.loads(document)
    except (ValueError, RecursionError) as error:  # the latter for brackets nested thousands deep
        raise ModelFileError(f"not JSON in UTF-8: {error}") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"not a JSON object. Received: {values!r:.80}")
    return values


def decode(data: bytes) -> str:
    """Decode UTF-8.

    Raises:
        ModelFileError: the bytes are not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"not JSON in UTF-8: {error}") from error


def check_values(document: str) -> None:
    """Refuse JSON with so many values that parsing it would take 25 times its own memory, such as [[],[],…

    Raises:
        ModelFileError: the document has more than MAX_VALUES values.
    """
    values = 0
    for token in TOKEN.finditer(document):
        values += document[token.start()] != '"'
        if values > MAX_VALUES:
            raise ModelFileError(f"more than {MAX_VALUES:,} JSON values. Expected fewer, as in any file of a model")


def check_fields(what: str, values: object, known: set[str], required: set[str]) -> dict[str, object]:
    """Return the fields of an object after checking their names.

    Args:
        what: the object's name in error messages.
        values: a parsed JSON value.
        known: the fields that it may have.
        required: the fields that it must have.

    Raises:
        InputError: `values` is not an object, lacks a required field, or has an unknown one.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{what} must be an object. Received: {values!r:.80}")
    if missing := sorted(required - values.keys()):
        raise InputError(f"{what} has no {', '.join(missing)}. Expected {', '.join(sorted(required))}")
    if unknown := sorted(values.keys() - known):
        raise InputError(f"{what} has unknown fields {unknown!r:.80}. Expected {', '.join(sorted(known))}")
    return dict(values)


def _read(path: Path) -> str:
    check_file(path)
    with open(path, "rb", opener=regular) as file:
        document = decode(file.read())
    check_values(document)
    return document


# Weights


@dataclass(frozen=True)
class _Tensor:
    """One tensor as a safetensors header describes it."""

    shape: tuple[int, ...]
    start: int  # byte offset from the end of the header
    size: int  # bytes


def check_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a safetensors file has float32 tensors with these names and shapes, and nothing else.

    The header is checked before any of the weights is read.

    Raises:
        InputError: the header describes anything else, or a weight is not finite.
        OSError: the file is missing.
    """
    check_file(path)
    data = _read_header(path)
    header, room = parse_object(decode(data)), path.stat().st_size - LENGTH - len(data)
    found = {name: _tensor(name, values, room) for name, values in header.items()}
    _check_shapes(found, shapes)
    _check_places(found.values(), room)
    if data.rstrip(b" ") != json.dumps(header, separators=(",", ":")).encode():  # for example if a name occurs twice
        raise ModelFileError("the header is not in the form that safetensors writes. Export the version again")
    _check_finite(path, LENGTH + len(data))


def largest_weights(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the maximum size in bytes of `model.safetensors` with tensors of these shapes."""
    return LENGTH + MAX_WEIGHTS_HEADER + sum(map(_bytes_of, shapes.values()))


def _read_header(path: Path) -> bytes:
    with open(path, "rb", opener=regular) as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if length > MAX_WEIGHTS_HEADER:  # checked before reading, which could mean gigabytes
            raise ModelFileError(
                f"the header has {length:,} bytes. Expected at most {MAX_WEIGHTS_HEADER:,}, as in a safetensors file "
                f"that Model.save wrote. Keras, HDF5 and NumPy files are not supported"
            )
        data = file.read(length)
    if missing := length - len(data):
        raise ModelFileError(
            f"truncated: at least {missing:,} bytes of its header are missing. Copy or export it again"
        )
    return data


def _check_finite(path: Path, start: int) -> None:
    """Check that no weight is NaN or infinite: of such a version, every text would be the same character.

    These are the numbers whose eight bits of exponent are all set: seven in the fourth byte, and one in the third.
    """
    with open(path, "rb", opener=regular) as file:
        file.seek(start)
        while chunk := file.read(WEIGHTS_CHUNK):
            third, fourth = chunk[2::4], chunk[3::4]
            if any(third[found.start()] & 0x80 for found in re.finditer(rb"[\x7f\xff]", fourth)):
                raise ModelFileError("a weight is NaN or infinite. Export a version that was trained to its end")


def _bytes_of(shape: Sequence[int]) -> int:
    return 4 * math.prod(shape)


def _tensor(name: str, values: object, room: int) -> _Tensor:
    names = {"dtype", "shape", "data_offsets"}
    known = check_fields(f"{name!r:.80}", values, names, names)
    if known["dtype"] != "F32":
        raise ModelFileError(f"{name!r:.80} has type {known['dtype']!r:.80}. Expected F32")
    shape, places = _whole_numbers(known["shape"]), _whole_numbers(known["data_offsets"])
    if shape is None or places is None or len(places) != 2 or not 0 <= places[0] <= places[1] <= room:
        raise ModelFileError(
            f"{name!r:.80} has shape {known['shape']!r:.80} and data_offsets {known['data_offsets']!r:.80}. Expected "
            f"whole numbers, and a start and an end of at most {room:,}"
        )
    return _Tensor(shape, places[0], places[1] - places[0])


def _whole_numbers(values: object) -> tuple[int, ...] | None:
    """Return a list of integers as a tuple, or None for anything else. true and 1.0, which equal 1, are refused too."""
    if isinstance(values, list) and all(type(value) is int for value in values):
        return tuple(values)
    return None


def _check_shapes(found: Mapping[str, _Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    expected = {name: (shape, _bytes_of(shape)) for name, shape in shapes.items()}
    described = {name: (tensor.shape, tensor.size) for name, tensor in found.items()}
    wrong = sorted(name for name in described.keys() | expected if described.get(name) != expected.get(name))
    if wrong:
        shown = ", ".join(f"{name!r:.80}" for name in wrong[:SHOWN_TENSORS])
        raise ModelFileError(
            f"weights that do not match the network: {shown}{', …' if len(wrong) > SHOWN_TENSORS else ''}"
        )


def _check_places(tensors: Iterable[_Tensor], room: int) -> None:
    """Check that the tensors fill the file one after another, with no gap and no overlap."""
    place = 0
    for start, size in sorted((tensor.start, tensor.size) for tensor in tensors):
        if start != place:
            raise ModelFileError(
                f"a tensor starts at byte {start:,} of the weights. Expected {place:,}, where the previous one ends"
            )
        place += size
    if place != room:
        raise ModelFileError(f"the file has {room:,} bytes of weights. Expected {place:,}")
