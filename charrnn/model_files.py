"""The files of a model's folder: names, largest sizes, and that each is a file of its own. Pure Python.

What is in them is untrusted: no link is followed, no pipe waited for, and nothing is parsed that would take more memory
than such a file of ours does.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from charrnn.errors import ModelFileError

CONFIG, VOCABULARY, WEIGHTS, METRICS = "config.json", "vocabulary.json", "model.safetensors", "metrics.json"
HISTORY = "metrics.csv"

LIMITS = {
    CONFIG: 1 << 16,
    VOCABULARY: 1 << 20,
    METRICS: 16 << 20,  # an epoch with four previews has 1.3 kB; 5 kB where all letters are escaped
    HISTORY: 16 << 20,
}
"""Bytes of each file but the weights, at most."""

MAX_WEIGHTS_HEADER = 1 << 20  # bytes; of 8 layers it has 2,500
MAX_VALUES = 500_000  # of a JSON document; the metrics of 10,000 epochs with four previews each have 280,000
TOKEN = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{,]', re.DOTALL)  # in linear time, whatever is not closed


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
