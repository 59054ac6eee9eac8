"""Totals of the texts at each temperature: how many are distinct, and what they have copied from the training text.

All of them take bounded space and can be added up, for the report of a job is the sum of those of its parts.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from charrnn.checks import check_integer, check_length
from charrnn.jobs.job.json_object import JsonObject, known_fields

if TYPE_CHECKING:
    from charrnn.text.comparison.copies import Copy

SHOWN_TEMPERATURES = 20  # the first ones to occur; the texts at all others are counted together
MAX_COUNT = (1 << 63) - 1  # of a column of the database
SHOWN_CHARACTERS = 200  # of a copy
SKETCH = 1024  # hashes; the count is exact for fewer distinct texts, and has a standard error of 3% for more
HASHES = 1 << 32


class Distinct:
    """The number of distinct texts, estimated in bounded memory from the density of their smallest hashes.

    K minimum values, Bar-Yossef et al. 2002, "Counting distinct elements in a data stream".
    """

    def __init__(self, hashes: Iterable[int] = ()) -> None:
        self.hashes = set(hashes)
        self._trim(SKETCH)

    def add(self, text: str) -> None:
        digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
        self.hashes.add(int.from_bytes(digest, "little"))
        self._trim(2 * SKETCH)  # rarely, since it sorts

    def _trim(self, most: int) -> None:
        if len(self.hashes) > most:
            self.hashes = set(sorted(self.hashes)[:SKETCH])

    @property
    def count(self) -> int:
        smallest = sorted(self.hashes)[:SKETCH]
        return len(smallest) if len(smallest) < SKETCH else round((SKETCH - 1) * HASHES / (smallest[-1] + 1))

    def to_json(self) -> str:
        smallest = sorted(self.hashes)[:SKETCH]
        return base64.b64encode(struct.pack(f"<{len(smallest)}I", *smallest)).decode()

    @classmethod
    def from_json(cls, document: str) -> Distinct:
        return cls(hashed for (hashed,) in struct.iter_unpack("<I", base64.b64decode(document)))


@dataclass(frozen=True, kw_only=True)
class LongestCopy:
    """The longest stretch of a job's texts that is in the training text.

    Attributes:
        characters: its length.
        text: its first SHOWN_CHARACTERS.
        row: a row with it.
        place: where it is in the training text, in bytes from the start of it.
    """

    characters: int
    text: str
    row: int
    place: int

    def __post_init__(self) -> None:
        """Check what the database has.

        Raises:
            InputError: a field has another type.
        """
        for count in (self.characters, self.row, self.place):
            check_integer("longest copy", count, 0, MAX_COUNT)
        check_length("longest copy", self.text, SHOWN_CHARACTERS)


@dataclass
class CopyTally:
    """Totals of what the texts at one temperature have copied from the training text.

    Attributes:
        judged: number of texts of which it is known whether they are, as a whole, in the training text.
        novel: number of those that are not.
        lengths: number of texts by the length of their longest copy in characters, to two digits.
        longest: None if there is none.
    """

    judged: int = 0
    novel: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    longest: LongestCopy | None = None

    def add(self, row: int, copy: Copy) -> None:
        self.judged += copy.novel is not None
        self.novel += copy.novel is True
        characters = len(copy.longest)
        self.lengths[_two_digits(characters)] += 1
        if characters > (self.longest.characters if self.longest else 0):
            text = copy.longest[:SHOWN_CHARACTERS]
            self.longest = LongestCopy(characters=characters, text=text, row=row, place=copy.place)

    def merge(self, more: CopyTally) -> None:
        self.judged += more.judged
        self.novel += more.novel
        self.lengths += more.lengths
        # The first row of equal ones, so that the order of the parts does not matter.
        found = [longest for longest in (self.longest, more.longest) if longest]
        self.longest = min(found, key=lambda longest: (-longest.characters, longest.row), default=None)

    def median(self) -> int | None:
        """Return the median length of the texts' longest copies, to two digits. None if no text was compared."""
        half = (self.lengths.total() + 1) // 2
        for characters in sorted(self.lengths):
            if (half := half - self.lengths[characters]) <= 0:
                return characters
        return None

    def to_dict(self) -> JsonObject:
        return {**vars(self), "longest": self.longest and asdict(self.longest)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> CopyTally:
        longest = values["longest"] and LongestCopy(**known_fields(LongestCopy, values["longest"]))
        for count in (values["judged"], values["novel"], *values["lengths"].values()):
            check_integer("copies", count, 0, MAX_COUNT)
        lengths = Counter({int(characters): texts for characters, texts in values["lengths"].items()})
        return cls(**{**known_fields(cls, values), "lengths": lengths, "longest": longest})


def _two_digits(number: int) -> int:
    step: int = 10 ** max(0, len(str(number)) - 2)
    return number // step * step


@dataclass
class Tally:
    """Totals of the texts at one temperature."""

    rows: int = 0
    characters: int = 0
    nats: float = 0.0  # sum over all characters
    distinct: Distinct = field(default_factory=Distinct)
    copies: CopyTally = field(default_factory=CopyTally)

    def add(self, seed: str, text: str, nats_per_char: float | None) -> None:
        self.rows += 1
        self.characters += len(text)
        self.nats += len(text) * (nats_per_char or 0.0)
        self.distinct.add(seed + text)

    def merge(self, more: Tally) -> None:
        self.rows += more.rows
        self.characters += more.characters
        self.nats += more.nats
        self.distinct = Distinct(self.distinct.hashes | more.distinct.hashes)
        self.copies.merge(more.copies)

    def to_dict(self) -> JsonObject:
        return {**vars(self), "distinct": self.distinct.to_json(), "copies": self.copies.to_dict()}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Tally:
        parsed = {"distinct": Distinct.from_json(values["distinct"]), "copies": CopyTally.from_dict(values["copies"])}
        return cls(**{**known_fields(cls, values), **parsed})


class Tallies:
    """Tallies by temperature. The temperatures are strings, as keys in JSON are."""

    OTHERS = "others"

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}

    def at(self, temperature: str) -> Tally:
        full = len(self.tallies) >= SHOWN_TEMPERATURES and temperature not in self.tallies
        return self.tallies.setdefault(self.OTHERS if full else temperature, Tally())

    def merge(self, more: Tallies) -> None:
        for temperature, tally in more.tallies.items():
            self.at(temperature).merge(tally)

    def to_dict(self) -> JsonObject:
        return {temperature: tally.to_dict() for temperature, tally in self.tallies.items()}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Tallies:
        tallies = cls()
        tallies.tallies = {temperature: Tally.from_dict(tally) for temperature, tally in values.items()}
        return tallies
