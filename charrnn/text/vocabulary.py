"""The characters that a model can read and write, and their ids. Pure Python."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from functools import cached_property

from charrnn.errors import InputError, ModelFileError, counted
from charrnn.options import DROP, REPLACE
from charrnn.text.documents import check_encodable
from charrnn.text.plain import KEEP, LF, plain

MAX_CHARACTERS = 65_536  # ids are stored as uint16
NEW_LINE = "\n"
INVISIBLE = ("Mn", "Me", "Cf")
"""Unicode categories of characters that are dropped and not replaced by a space: accents that follow their letter, as
macOS writes them, and joiners."""

PLAIN = {**dict.fromkeys("‘’‚′", "'"), **dict.fromkeys("“”„«»″", '"'), **dict.fromkeys("‐‑–—−", "-")}


class Vocabulary:
    """A fixed, sorted set of characters. The id of a character is its place in it, from 0.

    It is saved with the model: the weights would be useless with an order that differs between processes, such as that
    of a `set`.

    Attributes:
        characters: distinct, in sorted order.

    Raises:
        ModelFileError: the characters are not distinct or not sorted.
        InputError: there are fewer than 2 or more than MAX_CHARACTERS.
    """

    def __init__(self, characters: str) -> None:
        if list(characters) != sorted(set(characters)):
            raise ModelFileError("The characters of a vocabulary must be distinct and in sorted order")
        if not 1 < len(characters) <= MAX_CHARACTERS:
            raise InputError(
                f"A text with {counted(len(characters), 'distinct character')} cannot train a model. "
                f"Expected 2 to {MAX_CHARACTERS:,}"
            )
        self.characters = characters

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Return the vocabulary of a text: its distinct characters.

        Raises:
            InputError: the text has fewer than 2 or more than MAX_CHARACTERS distinct characters.
        """
        return cls("".join(sorted(set(text))))

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each character."""
        return {character: index for index, character in enumerate(self.characters)}

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: str) -> bool:
        return character in self.ids

    def unknown(self, text: str) -> str:
        """Return the distinct characters of `text` outside this vocabulary, sorted."""
        if self._known.issuperset(text):  # nearly always true, and takes a tenth of the time
            return ""
        return "".join(sorted(set(text) - self._known))

    def prepare_seed(self, seed: str, unknown: str) -> str:
        """Return the text that a model reads for a seed. An empty one becomes a newline.

        Args:
            seed: the text to continue.
            unknown: policy for characters outside the vocabulary, one of `options.UNKNOWN`. "drop" leaves them out.
                "replace" writes them plainly (é as e, a curly quote as a straight one, … as ...), or as a space, or
                leaves them out if the vocabulary lacks these too. "error" keeps them, so that `encode` refuses them.
        """
        return self.handle_unknown(self.plain(seed), unknown) or NEW_LINE

    def plain(self, text: str) -> str:
        """Return a text in the form of the texts that models are trained on, see `text.plain`. Carriage returns stay
        only if the vocabulary has them."""
        return plain(text, KEEP if "\r" in self.ids else LF)

    def handle_unknown(self, text: str, unknown: str) -> str:
        """Return a text without the characters outside the vocabulary that `unknown` drops or replaces."""
        if unknown not in (DROP, REPLACE) or not self.unknown(text):
            return text
        return "".join(c if c in self.ids else "" if unknown == DROP else self._substitute(c) for c in text)

    def _substitute(self, character: str) -> str:
        """Return a plain form of an unknown character in characters of the vocabulary, or ""."""
        if unicodedata.category(character) in INVISIBLE:
            return ""
        folded = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
        for form in (PLAIN.get(character), folded, " "):
            if form and not self.unknown(form):
                return form
        return ""

    def encode(self, text: str) -> list[int]:
        """Return the ids of the characters of a text.

        Raises:
            InputError: a character is outside the vocabulary.
        """
        try:
            return [self.ids[character] for character in text]
        except KeyError as error:
            raise InputError(f"{text!r} has characters outside the vocabulary: {self.unknown(text)!r}") from error

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text with these ids."""
        return "".join(map(self.characters.__getitem__, ids))

    def to_json(self) -> str:
        """Return the content of `vocabulary.json`."""
        return json.dumps({"characters": self.characters}, ensure_ascii=False)

    @classmethod
    def from_json(cls, document: str) -> Vocabulary:
        """Return the vocabulary that `to_json` wrote.

        Raises:
            ModelFileError: the document has another form.
        """
        try:
            characters = json.loads(document)["characters"]
            if not isinstance(characters, str):
                raise TypeError(f"characters is a {type(characters).__name__}")
            check_encodable("characters", characters)
            return cls(characters)
        except (ValueError, KeyError, TypeError, RecursionError, InputError) as error:
            raise ModelFileError(f"vocabulary.json is damaged: {error}") from error
