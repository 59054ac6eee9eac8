"""The line that `models default` writes into a person's charrnn.toml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charrnn.errors import InputError
from charrnn.jobs.settings import Settings
from producer.default_model import set_default_model
from tests.fixtures.settings_files import Places


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's charrnn.toml, which does not exist yet."""
    return Places.make(tmp_path, monkeypatch).user


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'model = "names"\n'),
        ("# mine\nslice_s = 5", '# mine\nslice_s = 5\nmodel = "names"\n'),
        ("# mine\r\n\r\nmodel = 'old'  # was new\nslice_s = 5\n", '# mine\r\n\r\nmodel = "names"\nslice_s = 5\n'),
        ('#model = "x"\nhome = "é"\n', '#model = "x"\nhome = "é"\nmodel = "names"\n'),
    ],
)
def test_the_rest_of_the_file_stays(user: Path, before: str, after: str) -> None:
    user.write_bytes(before.encode())
    assert set_default_model("names") == user
    assert user.read_bytes().decode() == after
    assert Settings.from_env({}).model == "names"


def test_a_default_is_forgotten(user: Path) -> None:
    user.write_text('# mine\nmodel = "names"\nslice_s = 5\n')
    set_default_model(None)
    assert user.read_text() == "# mine\nslice_s = 5\n"
    set_default_model(None)
    assert Settings.from_env({}).model == ""


def test_a_first_default_makes_the_file(user: Path) -> None:
    user.parent.rmdir()
    set_default_model("names@3")
    assert Settings.from_env({}).model == "names@3"


@pytest.mark.parametrize(
    "text",
    [
        '"model" = "x"\n',
        'model_file = "x"\n',
        'corpus_roots = """\nmodel = 1\n"""\n',
        "[home]\n",
        'model = """\nx"""\n',
    ],
)
def test_a_form_that_only_a_person_can_change_is_left_as_it_is(user: Path, text: str) -> None:
    # Catches: a file with two models, or with a value that was cut in two
    user.write_text(text)
    with pytest.raises(InputError, match="names the model in another form"):
        set_default_model("names")
    assert user.read_text() == text


def test_a_file_that_is_wrong_or_a_pipe_is_left_as_it_is(user: Path) -> None:
    user.write_text("modle = 1\n")
    with pytest.raises(InputError, match="not a setting"):
        set_default_model("names")
    assert user.read_text() == "modle = 1\n"
    user.unlink()
    os.mkfifo(user)
    with pytest.raises(InputError, match="cannot be read: not a regular file"):
        set_default_model("names")
