"""The public names of `charrnn` and `charrnn.jobs`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import charrnn
import charrnn.jobs
from charrnn.jobs.client import Client
from charrnn.jobs.connections import Connections
from charrnn.jobs.models.models import Models
from charrnn.jobs.schedules import Schedules
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


PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
TABLE = PAGE.partition("| verb |")[2].partition("\n\n")[0]


def test_the_page_imports_existing_names() -> None:
    (block,) = re.findall(r"^from charrnn\.jobs import .+", PAGE, re.MULTILINE)
    exec(block, {})  # Catches: a name that was moved or renamed


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"`\.?([a-z_.]+)\(", TABLE))))
def test_the_page_s_verbs_are_the_client_s(verb: str) -> None:
    """This includes the verbs of its models, schedules and connections, which the page abbreviates by a leading dot."""
    owners = (Client, Models, Schedules, Connections)
    assert any(hasattr(owner, verb.rpartition(".")[2]) for owner in owners), verb
