"""Hypothesis strategies for damaged and hostile input, most of it valid documents with a few changes.

Random bytes alone are refused by the first check of a reader. A valid document with one change reaches the later ones.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

SHORT, LONG = 8, 20_000  # characters or bytes; LONG is more than ten screens

ODD_TEXTS = (
    "",
    " ",
    "\0",
    "\x1b[2J\x07",  # clears a terminal and rings its bell
    "\u202egnp.exe",  # shows the rest from right to left
    "\u200b\u2028\ufeff",
    "\ud800",  # half a character
    "e" + "\u0301" * 500,
    "😀",
    "x" * LONG,
    "\x1b" * LONG,
    "../../etc/passwd",
    "[red]%s{0}[/red]",  # the markup of Rich, and two kinds of placeholders
    "a\r\nerror: b",
    "9" * 5000,
    "²",
    "nan",
)

ODD_JSON = (
    "null",
    "true",
    "0",
    "-1",
    "-0.0",
    "1e400",
    "1e308",
    "NaN",
    "-Infinity",
    str(1 << 31),
    str(1 << 63),
    str(-(1 << 63) - 1),
    "9" * 400,  # an integer that is no float
    "9" * 5000,  # more digits than Python parses
    "1.5",
    "[]",
    "{}",
    "[[]]",
    '{"": 1}',
    "[" * 100 + "]" * 100,
    "[" * 900 + "]" * 900,  # Python parses 1,000 levels
    '{"a":' * 900 + "1" + "}" * 900,
    "[" * 100_000,
    f"[{'1,' * LONG}1]",
    *(json.dumps(text) for text in ODD_TEXTS),
)
"""JSON of another type or size than a reader expects, as text: some of it no program can parse."""

ODD_BYTES = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\x1a",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",  # a surrogate in UTF-8
    b"\xf5\x80\x80\x80",  # beyond Unicode
    b"\xc0\xaf",  # an overlong slash
    b"\xff" * SHORT,
    b"9" * 5000,
    b"[" * 100_000,
    b"\n" * LONG,
    b"x" * LONG,
    "\u202e\x1b[2J".encode(),
)

CHANGES = ("cut", "delete", "insert", "replace", "repeat", "flip")


def odd_texts(limit: int = LONG) -> st.SearchStrategy[str]:
    """Return texts that programs often treat wrongly, and random ones, of at most `limit` characters."""
    return st.sampled_from([text for text in ODD_TEXTS if len(text) <= limit]) | st.text(max_size=SHORT)


def arguments() -> st.SearchStrategy[str]:
    """Return texts that the system can pass as an argument or a variable: without NUL, and invalid bytes escaped."""
    return odd_texts().filter(passes) | st.just("a\udcff")


def passes(text: str) -> bool:
    """Return whether the system can pass a text as an argument."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


@st.composite
def mutated_bytes(draw: st.DrawFn, document: bytes) -> bytes:
    """Return a document with one to four changes of its bytes."""
    data = bytearray(document)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(1, 16)))
        match draw(st.sampled_from(CHANGES)):
            case "cut":
                del data[begin:]
            case "delete":
                del data[begin:end]
            case "insert":
                data[begin:begin] = draw(_pieces())
            case "replace":
                data[begin:end] = draw(_pieces())
            case "repeat":
                data[begin:begin] = data[begin:end] * draw(st.sampled_from([1, 2, 1000]))
            case "flip" if begin < len(data):
                data[begin] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def _pieces() -> st.SearchStrategy[bytes]:
    return st.sampled_from(ODD_BYTES) | st.binary(min_size=1, max_size=SHORT)


@st.composite
def mutated_json(draw: st.DrawFn, document: Any, ascii: bool = False) -> str:
    """Return a JSON document with one to three values replaced, removed, renamed or repeated under the same name.

    Args:
        ascii: escape all other characters, as the store does.
    """
    root = {"": copy.deepcopy(document)}
    marks = dict[str, str]()
    for number in range(draw(st.integers(1, 3))):
        places = [*_places(root)]
        if not places:
            break
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        mark = f"@{number}@"
        _change(draw, parent, key, mark)
        marks[f'"{mark}"'] = draw(st.sampled_from(ODD_JSON))
        marks[mark] = ""  # in a name: then it is the same name as another one
    text = json.dumps(root[""], ensure_ascii=ascii or draw(st.booleans())) if "" in root else ""
    for mark, replacement in marks.items():
        text = text.replace(mark, replacement)
    return text


def _change(draw: st.DrawFn, parent: Any, key: Any, mark: str) -> None:
    kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "repeat"]))
    if kind == "remove":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict) and key:
        parent[draw(odd_texts())] = parent.pop(key)
    elif kind == "repeat" and isinstance(parent, dict) and key:
        parent[f"{key}{mark}"] = draw(st.just(mark) | st.just(parent[key]))
    else:
        parent[key] = mark


def _places(parent: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container inside a value, with each of its keys."""
    if isinstance(parent, dict | list):
        for key, item in parent.items() if isinstance(parent, dict) else enumerate(parent):
            yield parent, key
            yield from _places(item)


def documents(valid: Any, ascii: bool = False) -> st.SearchStrategy[bytes]:
    """Return JSON documents: valid ones with changes of their values or bytes, and documents of another kind."""
    changed = mutated_json(valid, ascii).map(_encoded)
    whole = st.sampled_from(ODD_JSON).map(_encoded)
    return changed | changed | mutated_bytes(json.dumps(valid).encode()) | whole | st.binary(max_size=40)


def lines(valid: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """Return JSON Lines with up to four records, one of which is changed."""
    line = st.sampled_from([json.dumps(record).encode() for record in valid])
    changed = st.sampled_from(valid).flatmap(documents)
    return st.tuples(st.lists(line, max_size=2), changed, st.lists(line, max_size=1)).map(
        lambda drawn: b"\n".join([*drawn[0], drawn[1], *drawn[2]])
    )


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
