"""The commands that show and change settings: `config` and `models default`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.jobs.programs import BAD_INPUT, NOT_FOUND
from charrnn.jobs.settings import Settings
from tests.fixtures.processes import Home
from tests.fixtures.settings_files import Places

SECRET = "hunter2"  # noqa: S105  # of nobody


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places.make(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def other_model(stack: Home) -> str:
    """A second model, so that none is the only one."""
    stack.ok("models", "export", "tiny", "-o", str(stack.path / "tiny.zip"))
    stack.ok("models", "import", str(stack.path / "tiny.zip"), "--as", "second")
    return "second"


def test_config_shows_each_value_with_its_source(home: Home, places: Places) -> None:
    places.project.write_text("slice_s = 7\n")
    places.user.write_text('model = "names"\nslice_s = 8\n')
    rows = [line.split("  ") for line in home.ok("config").splitlines()]
    shown = {cells[0]: [cell.strip() for cell in cells[1:] if cell] for cells in rows}
    assert shown["home"] == [str(home.path), "CHARRNN_HOME"]
    assert shown["slice_s"] == ["7", f"slice_s in {places.project}"]
    assert shown["model"] == ["names", f"model in {places.user}"]
    assert shown["files_url"] == [f"{home.path}/files", "default"]
    assert shown["drain_s"] == ["25", "default"]


def test_config_hides_passwords(home: Home, places: Places, tmp_path: Path) -> None:
    # Catches: a password in a log of a support request
    (tmp_path / "url").write_text(f"postgresql://me:{SECRET}@db/jobs?sslpassword={SECRET}&x=1")
    home.settings = {
        "CHARRNN_REDIS_URL": f"redis://:{SECRET}@b:1/0",
        "CHARRNN_STORE_URL_FILE": str(tmp_path / "url"),
        "CHARRNN_FILES_URL": f"s3://key:{SECRET}/x@bucket/y",
    }
    for arguments in (["config"], ["config", "--json"]):
        said = home.ok(*arguments)
        assert SECRET not in said
        assert "redis://***@b:1/0" in said
        assert "CHARRNN_STORE_URL_FILE" in said
    places.project.write_text(f'redis_url = ["redis://:{SECRET}@b"]\n')
    home.settings = {}
    refused = home.call("config")
    assert (refused.returncode, SECRET in refused.stdout + refused.stderr) == (BAD_INPUT, False)


def test_config_shows_the_rest_beside_an_error(home: Home, places: Places) -> None:
    places.user.write_text("modle = 1\n")
    home.settings = {"CHARRNN_SLICE_S": "soon"}
    done = home.call("config", "--json")
    record = json.loads(done.stdout)
    assert done.returncode == BAD_INPUT
    assert [len(record["errors"]), len(record["settings"])] == [2, len(Settings.names())]
    assert next(s for s in record["settings"] if s["name"] == "drain_s")["value"] == 25.0
    assert "'modle' is not a setting. Did you mean model?" in done.stderr


def test_the_default_model_is_sampled(stack: Home, other_model: str, places: Places) -> None:
    refused = stack.call("submit", "-l", "5", "--dry-run")
    assert "charrnn-jobs models default NAME" in refused.stderr
    stack.ok("models", "default", other_model)
    assert stack.ok("models", "default") == f"{other_model}\n"
    assert stack.json("submit", "-l", "5", "--dry-run")["model"] == other_model
    assert stack.call("models", "default", "nobody").returncode == NOT_FOUND
    assert stack.ok("models", "default") == f"{other_model}\n"
    settled = replace(stack, settings={**stack.settings, "CHARRNN_MODEL": "tiny"})
    said = settled.call("models", "default", other_model)
    assert "tiny stays the default here, because of CHARRNN_MODEL" in said.stderr
    stack.ok("models", "default", "--unset")
    assert stack.ok("models", "default") == ""
    assert not places.user.read_text()


def test_a_worker_and_up_find_the_project_of_their_folder(
    home: Home, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: a worker with other settings than the `up` that started it
    places.project.write_text('home = "data"\nheartbeat_s = 0.1\nmaintain_s = 1\n')
    home.settings = {"CHARRNN_HOME": ""}
    with home.up():
        assert (places.project.parent / "data" / "store.sqlite").exists()
        assert f"settings from {places.project}" in home.log()
