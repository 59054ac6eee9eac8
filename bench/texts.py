"""Texts of many kinds that every machine can make, for `quality.py`: from Python's own packages, from Faker, or drawn.

Drawn texts come from fixed random seeds, so everybody has the same ones.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

ROOT = Path(__file__).parents[1]


def reference(size: int | None = None) -> str:
    """Return Python's language reference, or that many characters from its middle."""
    text = "\n".join(topics[name] for name in sorted(topics))
    start = 0 if size is None else (len(text) - size) // 2
    return text[start : None if size is None else start + size]


def names(count: int | None = None) -> str:
    """Return first names of many languages, one a line, or a random `count` of them, sorted."""
    command = [sys.executable, str(ROOT / "examples" / "names.py")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    chosen = found if count is None else sorted(random.Random(1).sample(found, count))
    return "\n".join([*chosen, ""])


def chinese_names() -> str:
    """Return 5,000 Chinese names, one a line."""
    import faker

    source = faker.Faker("zh_CN")
    source.seed_instance(1)
    return "\n".join([*(source.name() for _ in range(5000)), ""])


def levels() -> str:
    """Return 60 maps of a platform game: 14 rows of 60 to 140 columns each, with an empty line between two maps."""
    chance = random.Random(1)
    return "\n\n".join(_level(chance) for _ in range(60)) + "\n"


def _level(chance: random.Random) -> str:
    width, column = chance.randint(60, 140), 0
    rows = [["-"] * width for _ in range(14)]

    def put(row: int, start: int, length: int, signs: str) -> None:
        for place in range(start, min(width, start + length)):
            rows[row][place] = chance.choice(signs)

    while column < width:
        length = chance.randint(3, 12)
        if chance.random() < 0.85:
            put(12, column, length, "X")
            put(13, column, length, "X")
        if chance.random() < 0.4:
            put(chance.choice([5, 8, 9]), column, chance.randint(1, 5), "SSQ?")
        if chance.random() < 0.2:
            for row in range(chance.randint(9, 11), 12):
                put(row, column, 1, "[")
                put(row, column + 1, 1, "]")
        if chance.random() < 0.3:
            put(11, column + 1, 1, "E")
        column += length
    return "\n".join(map("".join, rows))


def molecules() -> str:
    """Return 8,000 strings of a grammar like that of SMILES, one a line."""
    chance = random.Random(1)
    atoms = ["C", "N", "O", "c1ccccc1", "S", "F", "Cl", "C(=O)", "C#N"]

    def chain(depth: int) -> str:
        atom = chance.choices(atoms, [10, 3, 3, 2, 1, 1, 1, 2, 0.3])[0]
        if depth < 6 and atom in "CN" and chance.random() < 0.25:
            atom += f"({chain(depth + 2)})"
        return atom + (chain(depth + 1) if depth < 6 and chance.random() < 0.85 else "")

    return "\n".join([*(chain(0) for _ in range(8000)), ""])


def genome() -> str:
    """Return 200,000 bases in lines of 60: a Markov chain over three bases, with a motif in between."""
    chance, shares = random.Random(1), dict[str, list[float]]()
    bases = list("ACG")
    while len(bases) < 200_000:
        before = "".join(bases[-3:])
        if before not in shares:
            shares[before] = [chance.random() ** 2 + 0.05 for _ in "ACGT"]
        if chance.random() < 0.004:
            bases += "TATAAAAGGCGTACGATCG"
        bases += chance.choices("ACGT", shares[before])
    text = "".join(bases)
    return "\n".join(text[start : start + 60] for start in range(0, len(text), 60)) + "\n"


TEXTS: dict[str, Callable[[], str]] = {
    "300 names": lambda: names(300),
    "reference, 2 kB": lambda: reference(2_000),
    "3,000 names": lambda: names(3_000),
    "reference, 30 kB": lambda: reference(30_000),
    "Chinese names": chinese_names,
    "level maps": levels,
    "molecules": molecules,
    "all names": names,
    "DNA": genome,
    "reference, 300 kB": lambda: reference(300_000),
    "reference": reference,
}
