"""Tables, cards and facts as lines of text: within the width of a terminal, or as wide as they are for a pipe."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2  # columns
PROSE = 30  # columns; the last cell of a row is wrapped, but never to less than this

Row = Sequence[Text]


def table(
    names: Sequence[str], rows: Sequence[Row], numbers: Collection[str], optional: Sequence[str], width: int | None
) -> Iterator[Text]:
    """Yield the lines of a table, or of cards if no table fits.

    Args:
        numbers: the names of columns that are right-aligned.
        optional: the names of columns that a narrow terminal goes without, the first one first.
        width: columns of the terminal, or None: nothing is wrapped or left out.
    """
    head = [Text(name, "bold") for name in names]
    for count in range(len(optional) + 1):
        kept = [index for index, name in enumerate(names) if name not in optional[:count]]
        shown = [[row[index] for index in kept] for row in (head, *rows)]
        if width is None or _narrowest(shown) <= width:
            rights = [position for position, index in enumerate(kept) if names[index] in numbers]
            yield from lines(shown, width, rights)
            return
    for index, row in enumerate(rows):
        yield from [Text()] if index else []
        yield from _card(names, row, width)


def lines(rows: Sequence[Row], width: int | None, rights: Collection[int] = ()) -> Iterator[Text]:
    """Yield the lines of rows whose cells are aligned. Only last cells are wrapped, and no line ends with a space."""
    widths = _widths(rows)
    indent = sum(widths[:-1]) + GAP * (len(widths) - 1)
    for row in rows:
        line = Text()
        for index, (cell, columns) in enumerate(zip(row[:-1], widths[:-1], strict=True)):
            _append(line, cell, columns, right=index in rights)
            line.append(" " * GAP)
        parts = [row[-1]] if width is None else _wrap(row[-1], max(width - indent, 1))
        _append(line, parts[0], widths[-1] if len(widths) - 1 in rights else 0, right=True)
        yield _stripped(line)
        for part in parts[1:]:
            yield _stripped(Text(" " * indent).append_text(part))


def _card(names: Sequence[str], row: Row, width: int | None) -> Iterator[Text]:
    """Yield the first cell as a title, and the other cells that are not empty below it, with their names."""
    yield Text.assemble((row[0].plain, "bold"))
    facts = [(Text(f"  {name}"), cell) for name, cell in zip(names[1:], row[1:], strict=True) if cell.plain]
    yield from lines(facts, width)


def _append(line: Text, cell: Text, columns: int, *, right: bool) -> None:
    space = " " * (columns - cell_len(cell.plain))
    line.append(space if right else "").append_text(cell).append("" if right else space)


def _wrap(cell: Text, columns: int) -> list[Text]:
    """Return a cell's text in lines that end between words, or within a word that is longer than a line."""
    return list(cell.wrap(Console(width=columns), columns, overflow="fold")) or [Text()]


def _stripped(line: Text) -> Text:
    line.rstrip()
    return line


def _widths(rows: Sequence[Row]) -> list[int]:
    return [max(cell_len(cell.plain) for cell in column) for column in zip(*rows, strict=True)]


def _narrowest(rows: Sequence[Row]) -> int:
    """Return the columns that rows need at least."""
    *others, last = _widths(rows)
    return sum(others) + GAP * len(others) + min(last, PROSE)
