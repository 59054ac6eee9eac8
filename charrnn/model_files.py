"""The files of a model's folder: their names, their largest sizes, and what they must hold. Pure Python.

What is in them is untrusted: no link is followed, no pipe waited for, and nothing is parsed that would take more memory
than such a file of ours does.
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
from charrnn.text.vocabulary import Vocabulary

CONFIG, VOCABULARY, WEIGHTS, METRICS = "config.json", "vocabulary.json", "model.safetensors", "metrics.json"
HISTORY = "metrics.csv"
FOLDER = (CONFIG, VOCABULARY, WEIGHTS, METRICS, HISTORY)

CONFIG_FORMAT = 1

LIMITS = {
    CONFIG: 1 << 16,
    VOCABULARY: 1 << 20,
    METRICS: 16 << 20,  # an epoch with four previews has 1.3 kB; 5 kB where all letters are escaped
    HISTORY: 16 << 20,
}
"""Bytes of each file but the weights, at most."""

LENGTH = 8  # bytes, which tell the length of a safetensors header
MAX_WEIGHTS_HEADER = 1 << 20  # bytes; of 8 layers it has 2,500
MAX_VALUES = 500_000  # of a JSON document; the metrics of 10,000 epochs with four previews each have 280,000
TOKEN = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{,]', re.DOTALL)  # in linear time, whatever is not closed
SHOWN = 500  # characters of an error, which may quote what was read
SHOWN_TENSORS = 5


@contextmanager
def about(what: object) -> Iterator[None]:
    """Name the file that an error of the block is about.

    Raises:
        ModelFileError: in the place of an InputError or OSError.
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
    """See that a file can be opened: that it is a regular one, and of those above none too large.

    Raises:
        ModelFileError: it is not.
        OSError: it is missing.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{path} is a link, a folder, a pipe or a device. Put the regular file there that it was")
    limit = LIMITS.get(path.name, status.st_size)
    if status.st_size > limit:
        raise ModelFileError(
            f"{path} has {status.st_size:,} bytes. Expected at most {limit:,}, as Model.save writes it"
        )


# JSON


def read_network(path: Path) -> NetworkOptions:
    """Read `config.json`.

    Raises:
        InputError: one of another release, or no network.
        OSError: it is missing.
    """
    config = parse_object(_read(path))
    if config.get("format") != CONFIG_FORMAT:
        raise ModelFileError(f"format {config.get('format')!r:.80} is not known. Expected {CONFIG_FORMAT}")
    return parse_network(config.get("network"))


def read_vocabulary(path: Path) -> Vocabulary:
    """Read `vocabulary.json`.

    Raises:
        ModelFileError: no vocabulary.
        OSError: it is missing.
    """
    return Vocabulary.from_json(_read(path))


def read_metrics(path: Path) -> dict[str, object]:
    """Read `metrics.json`: facts of a training, by name.

    Raises:
        InputError: no object, or a precision to sample in that is not known.
        OSError: it is missing.
    """
    metrics = parse_object(_read(path))
    check_choice("sampling_precision", metrics.get("sampling_precision", FLOAT32), (FLOAT32, BFLOAT16))
    return metrics


def parse_network(values: object) -> NetworkOptions:
    """Return the network that a JSON document describes.

    Raises:
        InputError: no object, an option that is not known, or one out of its bounds.
    """
    return NetworkOptions.from_dict(check_fields("network", values, NetworkOptions.names(), set()))


def parse_object(document: str) -> dict[str, object]:
    """Parse an untrusted JSON object.

    Raises:
        ModelFileError: no JSON, no object, nested too deep or of too many values.
    """
    check_values(document)
    try:
        values = json.loads(document)
    except (ValueError, RecursionError) as error:  # brackets, thousands deep
        raise ModelFileError(f"not JSON in UTF-8: {error}") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"not an object. Received: {values!r:.80}")
    return values


def decode(data: bytes) -> str:
    """Return bytes as text.

    Raises:
        ModelFileError: not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"not JSON in UTF-8: {error}") from error


def check_values(document: str) -> None:
    """Refuse JSON of so many values that they would take 25 times the memory that it does, such as [[],[],…

    Raises:
        ModelFileError: more than such files have.
    """
    values = 0
    for token in TOKEN.finditer(document):
        values += document[token.start()] != '"'
        if values > MAX_VALUES:
            raise ModelFileError(f"more than {MAX_VALUES:,} values in JSON. No file of a model has so many")


def check_fields(what: str, values: object, known: set[str], required: set[str]) -> dict[str, object]:
    """Return an object's fields, if they are these.

    Raises:
        InputError: no object, or one with other fields.
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
    document = decode(path.read_bytes())
    check_values(document)
    return document


# Weights


@dataclass(frozen=True)
class _Tensor:
    """What a safetensors header says of a tensor."""

    shape: tuple[int, ...]
    start: int  # byte, from the end of the header
    size: int  # bytes


def check_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """See that a safetensors file has float32 tensors of these names and shapes, and nothing else.

    Raises:
        InputError: another header. No number was read.
        OSError: it is missing.
    """
    check_file(path)
    data = _read_header(path)
    header, room = parse_object(decode(data)), path.stat().st_size - LENGTH - len(data)
    found = {name: _tensor(name, values, room) for name, values in header.items()}
    _check_shapes(found, shapes)
    _check_places(found.values(), room)
    if data.rstrip(b" ") != json.dumps(header, separators=(",", ":")).encode():  # such as with a name twice
        raise ModelFileError("a header in another form than safetensors writes. Export the version again")


def largest_weights(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the bytes that `model.safetensors` has at most with tensors of these shapes."""
    return LENGTH + MAX_WEIGHTS_HEADER + sum(map(_bytes_of, shapes.values()))


def _read_header(path: Path) -> bytes:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if length > MAX_WEIGHTS_HEADER:  # before gigabytes are read
            raise ModelFileError(
                f"a header of {length:,} bytes. Expected at most {MAX_WEIGHTS_HEADER:,}, in a safetensors file that "
                f"Model.save wrote; files of Keras, HDF5 and NumPy are not read"
            )
        data = file.read(length)
    if missing := length - len(data):
        raise ModelFileError(f"cut off: {missing:,} bytes or more of its header are missing. Copy or export it again")
    return data


def _bytes_of(shape: Sequence[int]) -> int:
    return 4 * math.prod(shape)


def _tensor(name: str, values: object, room: int) -> _Tensor:
    names = {"dtype", "shape", "data_offsets"}
    known = check_fields(f"{name!r:.80}", values, names, names)
    if known["dtype"] != "F32":
        raise ModelFileError(f"{name!r:.80} is of type {known['dtype']!r:.80}. Expected F32")
    shape, places = _whole_numbers(known["shape"]), _whole_numbers(known["data_offsets"])
    if shape is None or places is None or len(places) != 2 or not 0 <= places[0] <= places[1] <= room:
        raise ModelFileError(
            f"{name!r:.80} has the shape {known['shape']!r:.80} and is at {known['data_offsets']!r:.80}. Expected "
            f"whole numbers, and a start and an end up to {room:,}"
        )
    return _Tensor(shape, places[0], places[1] - places[0])


def _whole_numbers(values: object) -> tuple[int, ...] | None:
    """The numbers of a list; None if there are others, such as true and 1.0, which equal 1."""
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
            f"weights that are not the network's: {shown}{', …' if len(wrong) > SHOWN_TENSORS else ''}"
        )


def _check_places(tensors: Iterable[_Tensor], room: int) -> None:
    """See that they fill the file one after the other, without a gap and without a byte of two."""
    place = 0
    for start, size in sorted((tensor.start, tensor.size) for tensor in tensors):
        if start != place:
            raise ModelFileError(
                f"a tensor at byte {start:,} of the weights. Expected it at {place:,}, behind the one before"
            )
        place += size
    if place != room:
        raise ModelFileError(f"{room:,} bytes of weights. Expected {place:,}")
