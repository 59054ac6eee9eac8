"""The public names of `charrnn` and `charrnn.jobs`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import charrnn
import charrnn.jobs
from charrnn.text.vocabulary import Vocabulary


def test_all_names_what_is_exported_lazily() -> None:
    assert charrnn.__all__ == sorted(charrnn._HOMES)


@pytest.mark.parametrize(("name", "home"), charrnn._HOMES.items())
def test_every_exported_name_is_defined_in_its_home(name: str, home: str) -> None:
    tree = ast.parse((Path(charrnn.__file__).parent / f"{home.replace('.', '/')}.py").read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_an_exported_name_is_the_object_of_its_module() -> None:
    assert charrnn.Vocabulary is Vocabulary


def test_an_unknown_name_gets_an_error_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'trian'\. It has: Model, Sample, Vocabulary, load, train"):
        charrnn.trian  # noqa: B018


@pytest.mark.parametrize(("name", "home"), charrnn.jobs._HOMES.items())
def test_every_exported_name_of_jobs_exists_in_its_module(name: str, home: str) -> None:
    assert getattr(charrnn.jobs, name).__module__ == home
    assert charrnn.jobs.__all__ == sorted(charrnn.jobs._HOMES)
