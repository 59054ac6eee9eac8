"""The model that a person's commands use if none is named: a line of their own charrnn.toml."""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path

from charrnn.errors import InputError
from charrnn.jobs import sources
from charrnn.jobs.settings import Settings
from producer.output.destination import replace_atomically

LINE = re.compile(r"^[ \t]*model[ \t]*=.*\n?", re.MULTILINE)


def set_default_model(model: str | None) -> Path:
    """Write the default model into the user's charrnn.toml, or remove it, and return the file's path.

    Everything else in the file stays as it is.

    Raises:
        InputError: the file cannot be read or written, or has the model in a form that only a person can change.
    """
    path, names = sources.user_file(), Settings.names()
    before = sources.read_file("user", path, names).values if path.exists() else {}
    text = path.read_bytes().decode() if path.exists() else ""
    line = "" if model is None else f"model = {json.dumps(model)}\n"
    after = LINE.sub(lambda _: line, text) if LINE.search(text) else f"{_ended(text)}{line}"
    wanted = {name: value for name, value in before.items() if name != "model"} | ({"model": model} if model else {})
    if "model_file" in before or not _says(after, wanted):
        raise InputError(f'{path} names the model in another form than: model = "NAME". Change it in an editor')
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as file:
        file.write(after.encode())
    return path


def _ended(text: str) -> str:
    """Return a text whose last line ends, so that another one can follow."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def _says(text: str, values: dict[str, object]) -> bool:
    """Return whether this is TOML with these values. A line that looks like the model's may belong to another value."""
    with suppress(ValueError):
        return tomllib.loads(text) == values
    return False
