"""A text as ids on the disk, under one vocabulary, with the validation text beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.errors import InputError
from charrnn.text.validation import JOINT, PIECE_END
from charrnn.text.vocabulary import Vocabulary

UNICODE = 0x110000  # code points


@dataclass(frozen=True)
class Corpus:
    """Training and validation ids: uint8 where the vocabulary has at most 256 characters, else uint16.

    Attributes:
        training: (N,), mapped into memory from a file without a name: a text may be larger than memory.
        validation: (M,).
        skipped: characters of the validation text that the vocabulary does not have.
    """

    vocabulary: Vocabulary
    training: np.ndarray
    validation: np.ndarray
    skipped: int

    @classmethod
    def of(cls, vocabulary: Vocabulary, training: Iterable[str], validation: str, folder: Path | None = None) -> Corpus:
        """Encode a text.

        Args:
            training: chunks of the text.
            validation: as `charrnn.text.validation` makes and checks it.
            folder: where there is room for the ids, 1 or 2 bytes a character; that for temporary files if None.

        Raises:
            InputError: a training text with characters outside the vocabulary, or none.
        """
        encoder = Encoder(vocabulary)
        with tempfile.TemporaryFile(dir=folder) as file:
            for chunk in training:
                ids, unknown = encoder(chunk)
                if unknown:
                    raise InputError(f"The text has characters the vocabulary lacks: {vocabulary.unknown(chunk)!r}")
                file.write(ids.tobytes())
            if not file.tell():
                raise InputError("There is no text to train on beside the validation text. Add text")
            file.flush()
            mapped = np.memmap(file, dtype=encoder.dtype, mode="r")
        validation_ids, skipped = encoder(validation.replace(PIECE_END, JOINT))
        return cls(vocabulary, mapped, validation_ids, skipped)


class Encoder:
    """Turns characters into ids, by a table over all code points."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.dtype = np.uint8 if len(vocabulary) <= 256 else np.uint16
        self.table = np.full(UNICODE, -1, np.int32)
        self.table[[ord(character) for character in vocabulary.characters]] = np.arange(len(vocabulary))

    def __call__(self, text: str) -> tuple[np.ndarray, int]:
        """Return the ids of the known characters (N,) and the number of unknown ones."""
        ids = self.table[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)]
        known = ids >= 0
        return ids[known].astype(self.dtype), int(np.count_nonzero(~known))
