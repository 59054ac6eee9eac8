"""The tree of error classes matches the drawing in the docstring, and no message is longer than a screen."""

from __future__ import annotations

import re

from charrnn import errors
from charrnn.errors import MAX_MESSAGE, CharrnnError, InputError

DRAWN = re.compile(r"^ {4}((?:│ {3})*)(?:[├└]── )?(\w+)", re.MULTILINE)


def drawn_parents() -> dict[str, str | None]:
    """Return the parent of each error in the docstring's drawing."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for match in DRAWN.finditer(errors.__doc__ or ""):
        name = match[2]
        depth = 0 if name == CharrnnError.__name__ else 1 + len(match[1]) // 4
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else None
    return parents


def classes() -> list[type]:
    return [thing for thing in vars(errors).values() if isinstance(thing, type)]


def test_the_error_tree_matches_its_docstring() -> None:
    real = {
        cls.__name__: cls.__base__.__name__ if cls is not CharrnnError else None for cls in classes() if cls.__base__
    }
    assert real == drawn_parents()


def test_every_class_of_the_module_is_shown_without_a_traceback() -> None:
    assert all(issubclass(cls, CharrnnError) for cls in classes())


def test_every_error_has_a_docstring() -> None:
    assert all(cls.__doc__ for cls in classes())


def test_a_message_of_any_input_fits_on_a_screen() -> None:
    assert str(InputError("x" * MAX_MESSAGE)) == "x" * MAX_MESSAGE
    cut = str(InputError(f"begin{'x' * 1_000_000}end"))
    assert len(cut) <= MAX_MESSAGE
    assert (cut[:5], cut[-3:]) == ("begin", "end")  # Catches: the advice at its end cut off
    assert "998,048 characters" in cut
