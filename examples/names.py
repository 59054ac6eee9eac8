"""Writes 17,000 first names of many languages, one per line: the training text of the demo.

The names are those of the package Faker (extra `demo`).
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
import sys
from collections.abc import Iterator

import faker.providers.person as person

PLAIN = re.compile(r"[A-Z][A-Za-z' -]+")


def main() -> None:
    names = sorted({name for name in first_names() if PLAIN.fullmatch(name)})
    random.Random(1).shuffle(names)  # noqa: S311  # sorted, the validation text would be the names from Y to Z
    sys.stdout.write("\n".join([*names, ""]))


def first_names() -> Iterator[str]:
    """Yield the first names of all locales; a locale has lists, or dictionaries of weights."""
    for locale in pkgutil.iter_modules(person.__path__):
        provider = importlib.import_module(f"{person.__name__}.{locale.name}").Provider
        for attribute in dir(provider):
            names = getattr(provider, attribute)
            if attribute.startswith("first_names") and isinstance(names, list | tuple | dict):
                yield from map(str, names)


if __name__ == "__main__":
    main()
