"""A training text as ids on disk, and its validation text, encoded with one vocabulary."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.errors import InputError
from charrnn.text.validation import JOINT, PIECE_END
from charrnn.text.vocabulary import NEW_LINE, Vocabulary

UNICODE = 0x110000  # code points


@dataclass(frozen=True)
class Corpus:
    """Training and validation ids: uint8 if the vocabulary has at most 256 characters, otherwise uint16.

    Attributes:
        vocabulary: the characters that the ids stand for.
        training: (N,), mapped into memory from an unnamed file, because a text may be larger than memory.
        validation: (M,).
        skipped: number of characters in the validation text that are outside the vocabulary and left out.
        lines: whether each line is a text of its own. A newline then stands before each one.
    """

    vocabulary: Vocabulary
    training: np.ndarray
    validation: np.ndarray
    skipped: int
    lines: bool = False

    @property
    def reset(self) -> int | None:
        """The id of the character that begins a text of its own: the newline of a list."""
        return self.vocabulary.ids[NEW_LINE] if self.lines else None

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        training: Iterable[str],
        validation: str,
        folder: Path | None = None,
        *,
        lines: bool = False,
    ) -> Corpus:
        """Encode a training text and a validation text.

        Args:
            vocabulary: the characters to encode with.
            training: chunks of the training text.
            validation: the validation text as `charrnn.text.validation` makes and checks it.
            folder: a folder with space for the ids, 1 or 2 bytes per character. Default: the system's temporary folder.
            lines: whether each line is a text of its own.

        Raises:
            InputError: the training text is empty or has characters outside the vocabulary.
        """
        encoder = Encoder(vocabulary)
        with tempfile.TemporaryFile(dir=folder) as file:
            for chunk in training:
                ids, unknown = encoder(chunk)
                if unknown:
                    raise InputError(f"The text has characters outside the vocabulary: {vocabulary.unknown(chunk)!r}")
                file.write(ids.tobytes())
            if not file.tell():
                raise InputError("No text is left to train on beside the validation text. Add text")
            file.flush()
            mapped = np.memmap(file, dtype=encoder.dtype, mode="r")
        end = NEW_LINE if lines else ""
        validation_ids, skipped = encoder(validation.replace(PIECE_END, JOINT) + end)
        return cls(vocabulary, mapped, validation_ids, skipped, lines)


class Encoder:
    """An encoder from characters to ids, with a table over all code points."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.dtype = np.uint8 if len(vocabulary) <= 256 else np.uint16
        self.table = np.full(UNICODE, -1, np.int32)
        self.table[[ord(character) for character in vocabulary.characters]] = np.arange(len(vocabulary))

    def __call__(self, text: str) -> tuple[np.ndarray, int]:
        """Return the ids of the characters in the vocabulary, (N,), and the number of all others."""
        ids = self.table[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)]
        known = ids >= 0
        return ids[known].astype(self.dtype), int(np.count_nonzero(~known))
