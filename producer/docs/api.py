"""The page docs/api.md, written from the docstrings of the public names: `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import cached_property
from inspect import Parameter
from typing import Any

import charrnn
from charrnn import errors, jobs
from charrnn.jobs.job.views import Engine, Event, Job, JobStatus, WorkerInfo
from charrnn.jobs.models.models import Models
from charrnn.jobs.rows.results import RowFilter
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.upkeep.listing import JobFilter

HEAD = """\
# Python API

The public names of `charrnn`, the library that trains and samples in one process, and of `charrnn.jobs`, the client
that submits jobs to workers. [python.md](python.md) has examples of both.
This page is generated from the docstrings: `make docs`.
"""
VALUES = [Models, Schedules, JobFilter, RowFilter, Job, JobStatus, Event, Engine, WorkerInfo]
"""Types that methods of `Client` take and return, beside the public names."""

WIDTH = 100  # characters of a call that stays on one line
COLUMNS = {
    "Args": "| argument | meaning |",
    "Attributes": "| attribute | meaning |",
    "Raises": "| raises | if |",
}
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):\n((?: {4}.*\n|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^(\S.*?): (.*(?:\n+ .*)*)", re.MULTILINE)
FIELD = re.compile(r"^ {4}(\w+): [^#\n]*# (.*)$", re.MULTILINE)
"""A field whose meaning is the comment behind it."""


def main() -> None:
    sys.stdout.write("\n".join([HEAD, *page()]))


def page() -> Iterator[str]:
    """Yield the lines of all modules."""
    for title, introduction, values in (
        ("charrnn", charrnn.__doc__, [getattr(charrnn, name) for name in charrnn.__all__]),
        ("charrnn.jobs", jobs.__doc__, [getattr(jobs, name) for name in jobs.__all__]),
        ("Values of charrnn.jobs", "The values that the methods of `Client` take and return.", VALUES),
        ("charrnn.errors", "All errors derive from `CharrnnError`.", list(error_classes())),
    ):
        yield from (f"## {title}", "", *prose(introduction or ""))
        for value in values:
            yield from class_lines(value) if isinstance(value, type) else function_lines(value, value.__name__)


def error_classes() -> Iterator[type]:
    """Yield the classes of errors, each after its base class."""
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.CharrnnError):
            yield value


def class_lines(value: type) -> Iterator[str]:
    """Yield the lines of a class, and of its public methods and properties that have a docstring."""
    yield from (f"### {value.__name__}", "")
    if issubclass(value, Enum):
        yield from code(f"{value.__name__}.{choice.name}" for choice in value)
    elif is_dataclass(value) or (value not in VALUES and not issubclass(value, errors.CharrnnError)):
        yield from code(call(value, value.__name__))
    yield from prose(inspect.getdoc(value) or "")
    if is_dataclass(value) and (found := FIELD.findall(inspect.getsource(value))):
        yield from table("Attributes", found)
    for name, member in vars(value).items():
        plain = member.__func__ if isinstance(member, classmethod) else member
        if name.startswith("_") or not getattr(plain, "__doc__", None):
            continue
        if inspect.isfunction(plain):
            yield from function_lines(plain, f"{value.__name__}.{name}")
        elif isinstance(plain, property | cached_property):
            yield from (f"#### {value.__name__}.{name}", "", *prose(inspect.getdoc(plain) or ""))


def function_lines(function: Any, name: str) -> Iterator[str]:
    """Yield the lines of a function or method."""
    level = "####" if "." in name else "###"
    yield from (f"{level} {name}", "")
    yield from code(call(function, name))
    yield from prose(inspect.getdoc(function) or "")


def code(lines: Iterable[str]) -> Iterator[str]:
    yield from ("```python", *lines, "```", "")


def call(value: Any, name: str) -> list[str]:
    """Return a call with all parameters, one to a line if they do not fit on one."""
    signature = inspect.signature(value)
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind == Parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts.append(parameter_text(parameter))
    end = ")" if isinstance(value, type) else f") -> {signature.return_annotation}"
    line = f"{name}({', '.join(parts)}{end}"
    return [line] if len(line) <= WIDTH else [f"{name}(", *(f"    {part}," for part in parts), end]


def parameter_text(parameter: Parameter) -> str:
    """Return a parameter as it stands in the code; a default that is made by a call is an ellipsis."""
    stars = "**" if parameter.kind == Parameter.VAR_KEYWORD else ""
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is Parameter.empty:
        return text
    default = repr(parameter.default).replace("'", '"')
    return f"{text} = {'...' if default.startswith('<') else default}"


def prose(docstring: str) -> Iterator[str]:
    """Yield the lines of a docstring, with its sections as tables or sentences."""
    end = 0
    docstring = f"{docstring.strip()}\n"
    for section in SECTION.finditer(docstring):
        yield from text_lines(docstring[end : section.start()])
        end = section.end()
        title, content = section[1], inspect.cleandoc(section[2])
        if title in COLUMNS:
            yield from table(title, ENTRY.findall(content))
        else:
            yield from (f"**{title}** {escaped(content)}", "")
    yield from text_lines(docstring[end:])


def text_lines(text: str) -> Iterator[str]:
    """Yield paragraphs; an indented one is an example in Python."""
    for paragraph in filter(None, re.split(r"\n\n+", text.strip("\n"))):
        if all(line.startswith("    ") or not line for line in paragraph.splitlines()):
            yield from code(line[4:] for line in paragraph.splitlines())
        else:
            yield from (*escaped(paragraph).splitlines(), "")


def table(title: str, entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (COLUMNS[title], "| --- | --- |")
    for name, meaning in entries:
        yield f"| `{name}` | {escaped(' '.join(meaning.split()))} |"
    yield ""


def escaped(text: str) -> str:
    """Return a text in which only code spans are Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"[*_|<\[]", r"\\\g<0>", part) for part in parts)


if __name__ == "__main__":
    main()
