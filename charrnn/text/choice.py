"""How a corpus is read: as one text or as a list, and which part of it is for validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from charrnn.errors import InputError
from charrnn.text.documents import Document
from charrnn.text.lines import Lines, choose_lines, is_list, join_lines
from charrnn.text.listing import shorten_names
from charrnn.text.validation import JOINT, Chosen, choose_seen, choose_validation, join_documents


def read_as_lines(documents: Sequence[Document], options: Mapping[str, Any]) -> bool:
    """Return whether to train on each line as a text of its own: as the option `lines` says, or if they are lists.

    Raises:
        TextError: a document cannot be read.
    """
    if "max_len" in options:  # a window does not end where a line does
        return False
    lines: bool = options["lines"] if "lines" in options else is_list(documents)
    return lines


def join(corpus: Sequence[Document]) -> Iterator[str]:
    """Yield the text of documents, joined by newlines, in chunks."""
    for number, document in enumerate(corpus):
        if number:
            yield JOINT
        yield from document.read()


def choose(corpus: Sequence[Document], given: Sequence[Document], *, lines: bool, reserved: bool = True) -> Chosen:
    """Return the validation text of a new model.

    Args:
        corpus: the documents to train on.
        given: documents to use; empty to choose part of the corpus.
        lines: whether the corpus is a list.
        reserved: whether the text is left out of the training. If not, it is the beginning of the corpus.

    Raises:
        TextError: a document cannot be read.
        InputError: the given documents are too large, or have fewer than 2 characters beside spaces and newlines.
    """
    if not reserved:
        return choose_seen(Lines(corpus).read() if lines else join(corpus))
    if given:
        text = join_lines(given) if lines else join_documents(given)
        if len("".join(text.split())) < 2:
            raise InputError("The validation text has fewer than 2 characters. Name a longer one with `validation`")
        return Chosen(text, shorten_names(list(map(str, given))))
    return choose_lines(corpus) if lines else choose_validation(corpus)
