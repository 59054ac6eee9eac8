"""The characters that a model knows, and their ids. Pure Python."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from functools import cached_property

from charrnn.errors import InputError, ModelFileError
from charrnn.options import DROP, ERROR
from charrnn.text.documents import check_encodable

MAX_CHARACTERS = 65_536  # ids are stored as uint16
NEW_LINE = "\n"
INVISIBLE = (
    "Mn",
    "Me",
    "Cf",
)  # accents that follow their letter, as macOS writes them, and joiners: no space for these
PLAIN = {**dict.fromkeys("‘’‚′", "'"), **dict.fromkeys("“”„«»″", '"'), **dict.fromkeys("‐‑–—−", "-")}


class Vocabulary:
    """A fixed, sorted set of characters; a character's id is its place in it.

    Saved with the model, because an order that depends on the process (a `set`'s) makes the
    weights useless to the next one.
    """

    def __init__(self, characters: str) -> None:
        if list(characters) != sorted(set(characters)):
            raise ModelFileError("Vocabulary: expected distinct characters in sorted order")
        if not 1 < len(characters) <= MAX_CHARACTERS:
            raise InputError(
                f"A text with {len(characters)} distinct characters cannot train a model. "
                f"Expected 2 to {MAX_CHARACTERS:,}"
            )
        self.characters = characters

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Return the vocabulary of a text: its distinct characters."""
        return cls("".join(sorted(set(text))))

    @cached_property
    def ids(self) -> dict[str, int]:
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
        if self._known.issuperset(text):  # nearly always, and in a tenth of the time
            return ""
        return "".join(sorted(set(text) - self._known))

    def prepare_seed(self, seed: str, unknown: str) -> str:
        """Return what a model reads of a seed: a newline for an empty one, known characters only for others.

        Args:
            unknown: of `options.UNKNOWN`, what becomes of characters that are not known. "drop" leaves them out.
                "replace" writes them plainly (é as e, a curly quote as a straight one, … as ...), else as a space,
                where the model knows that. "error" leaves them for `encode` to refuse.
        """
        return self._without_unknown(seed, unknown) or NEW_LINE

    def _without_unknown(self, text: str, unknown: str) -> str:
        if unknown == ERROR or not self.unknown(text):
            return text
        return "".join(c if c in self.ids else "" if unknown == DROP else self._stand_in(c) for c in text)

    def _stand_in(self, character: str) -> str:
        if unicodedata.category(character) in INVISIBLE:
            return ""
        folded = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
        for plain in (PLAIN.get(character), folded, " "):
            if plain and not self.unknown(plain):
                return plain
        return ""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's characters.

        Raises:
            InputError: a character outside the vocabulary.
        """
        try:
            return [self.ids[character] for character in text]
        except KeyError as error:
            raise InputError(f"{text!r} has characters the model does not know: {self.unknown(text)!r}") from error

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(map(self.characters.__getitem__, ids))

    def to_json(self) -> str:
        return json.dumps({"characters": self.characters}, ensure_ascii=False)

    @classmethod
    def from_json(cls, document: str) -> Vocabulary:
        """Read `to_json`'s form back.

        Raises:
            ModelFileError: not that form.
        """
        try:
            characters = json.loads(document)["characters"]
            if not isinstance(characters, str):
                raise TypeError(f"characters is a {type(characters).__name__}")
            check_encodable("characters", characters)
            return cls(characters)
        except (ValueError, KeyError, TypeError, RecursionError, InputError) as error:
            raise ModelFileError(f"vocabulary.json is damaged: {error}") from error
