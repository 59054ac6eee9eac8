"""Versions of a model: which one is the champion, why, and how to change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.kills import standing_still
from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY, Home, until


@pytest.fixture(scope="module")
def versions(stack: Home) -> list[str]:
    """Two versions; the second is fine-tuned from a model that lacks a character of the validation text."""
    first, other = stack.path / "first.txt", stack.path / "other.txt"
    first.write_text(make_text(300))
    other.write_text(make_text(300, rng_seed=1).replace("w", "ŵ"))
    stack.ok("train", "poems", str(first), *TINY, "--wait")
    stack.ok("train", "welsh", str(other), *TINY, "--wait")
    stack.ok("train", "poems", str(other), "--from", "welsh", "--unknown", "drop", "--epochs", "1", "--wait")
    return ["poems@1", "poems@2"]


def test_a_version_that_lacks_characters_is_compared_on_common_ones(stack: Home, versions: list[str]) -> None:
    first, second = (stack.json("models", "show", version) for version in versions)
    assert first["reason"] == "the first version"
    assert first["training"]["sources"] == [str(stack.path / "first.txt")]
    assert first["release"] == stack.ok("--version").strip()
    assert second["training"]["start"] == "welsh@1"
    comparison = second["gate"]["comparison"]
    # Catches: a comparison of losses on different texts
    assert comparison["left_out"] == validation(stack).count("w") > 0
    assert comparison["champion_nats"] != first["val_loss"]
    assert second["gate"]["promoted"] == (comparison["nats"] < comparison["champion_nats"])
    assert "characters that one of them lacks" in stack.ok("models", "show", versions[1])


def validation(stack: Home) -> str:
    name: str = stack.json("models", "show", "poems@1")["training"]["validation"]["name"]
    return (stack.path / "files" / name).read_text()


def test_a_margin_keeps_a_version_a_candidate(stack: Home, versions: list[str]) -> None:
    champion = stack.json("models", "show", "poems")["version"]
    done = stack.call("train", "poems", str(stack.path / "first.txt"), *TINY, "--margin", "5", "--wait")
    newest = stack.json("models", "show", "poems@candidate")
    assert f"{newest['version']} is not in use: {newest['reason']}. To use it anyway: " in done.stderr
    first = stack.call("wait", str(stack.json("models", "show", "poems@1")["job"])).stderr
    assert ("poems now means poems@1" in first) == (champion == "poems@1")  # Catches: what was true after its training
    assert newest["version"] not in versions
    assert f" of {champion} by 5" in newest["reason"]
    assert stack.json("models", "show", "poems")["version"] == champion
    assert stack.call("train", "poems", str(stack.path / "first.txt"), "--margin", "-1").returncode == 2


def test_a_person_chooses_the_version_in_use(stack: Home, versions: list[str]) -> None:
    before = stack.json("models", "show", "poems")["version"]
    (other,) = set(versions) - {before}
    stack.ok("models", "promote", other)
    job = stack.ok("submit", "-m", "poems", "-l", "3").strip()
    stack.ok("models", "rollback", "poems")
    stack.ok("wait", job)
    assert f'"version": "{other}"' in stack.ok("results", job)  # Catches: a version looked up when it is sampled
    assert stack.json("models", "show", "poems")["version"] == before
    stack.ok("models", "promote", other, "--alias", "staging")
    assert stack.json("models", "show", "poems@staging")["version"] == other


def test_a_promotion_in_the_middle_of_a_job_changes_none_of_its_rows(stack: Home, versions: list[str]) -> None:
    pinned = stack.json("models", "show", "poems")["version"]
    arguments = ("-n", "320", "-l", "1000", "--part-rows", "16", "--rng-seed", "1")
    calm = stack.ok("submit", "-m", pinned, *arguments, "--wait").strip()
    job = stack.ok("submit", "-m", "poems", *arguments).strip()
    (other,) = set(versions) - {pinned}
    until(lambda: stack.json("status", job)["rows_done"], "the first part's end")
    with standing_still(stack, until(lambda: stack.leased_part(job), "a further part")):  # so that one is left
        stack.ok("models", "promote", other)
        status = stack.json("status", job)
    assert (status["parts_total"], 0 < status["rows_done"] < 320) == (20, True)  # the promotion happened in between
    stack.ok("wait", job)
    stack.ok("models", "rollback", "poems")
    rows = stack.ok("results", job)
    assert rows == stack.ok("results", calm)  # Catches: a version looked up when a part is sampled
    assert rows.count(f'"version": "{pinned}"') == 320


def test_losses_and_texts_of_two_versions_are_shown_side_by_side(stack: Home, versions: list[str]) -> None:
    arguments = ("models", "compare", *versions, "-n", "2", "-l", "20", "--rng-seed", "3")
    first, second = stack.json(*arguments)
    assert [text["seed"] for text in first["texts"]] == [text["seed"] for text in second["texts"]]
    assert [text["text"] for text in first["texts"]] != [text["text"] for text in second["texts"]]
    shown = stack.ok(*arguments)
    assert all(version in shown for version in versions)
    assert stack.call("models", "compare", "poems", "nobody").returncode == 3
    assert stack.json("jobs", "--label", "compare") == []  # Catches: jobs that nobody requested, left in the list


def test_losses_on_different_texts_are_reported_as_not_comparable(stack: Home, versions: list[str]) -> None:
    stack.ok("models", "export", "poems@1", "-o", str(stack.path / "poems.zip"))
    copy = stack.ok("models", "import", str(stack.path / "poems.zip"), "--as", "copy").strip()
    arguments = ("-n", "1", "-l", "20")
    # Catches: models distinguished by their names
    assert "different validation texts" not in stack.call("models", "compare", "poems@1", copy, *arguments).stderr
    assert "different validation texts" in stack.call("models", "compare", "poems@1", "welsh", *arguments).stderr


def test_a_version_is_deleted_with_its_files(stack: Home, versions: list[str]) -> None:
    refused = stack.call("models", "delete", "poems@champion")
    assert (refused.returncode, "Promote another version first" in refused.stderr) == (2, True)
    stack.ok("train", "poems", str(stack.path / "first.txt"), *TINY, "--margin", "5", "--wait")
    unneeded = stack.json("models", "show", "poems@candidate")
    stack.ok("train", "poems", str(stack.path / "first.txt"), *TINY, "--margin", "5", "--wait")
    folder: Path = stack.path / "files" / unneeded["files"]["name"]
    assert folder.exists()
    stack.ok("models", "delete", unneeded["version"])
    assert not folder.exists()
    assert stack.call("models", "show", unneeded["version"]).returncode == 3


def test_a_model_is_deleted_with_its_champion_and_files(stack: Home, versions: list[str]) -> None:
    archive = stack.path / "typo.zip"
    stack.ok("models", "export", "poems", "-o", str(archive))
    for _ in range(2):
        stack.ok("models", "import", str(archive), "--as", "teh-poems")
    refused = stack.call("models", "delete", "teh-poems", "--all")
    assert (refused.returncode, "This deletes 2 versions of teh-poems. Pass --yes" in refused.stderr) == (2, True)
    for wrong in (("--all", "--keep", "1"), ("--yes",)):
        assert stack.call("models", "delete", "teh-poems", *wrong).returncode == 2
    done = stack.call("models", "delete", "teh-poems", "--all", "--yes")
    assert (done.returncode, done.stderr) == (0, "deleted: teh-poems@1, teh-poems@2\n")
    assert list(stack.path.glob("files/models/teh-poems/*")) == []  # Catches: files that stay until the next prune
    assert "teh-poems" not in stack.ok("models", "-q")
    assert stack.call("models", "show", "teh-poems").returncode == 3
    away = Home(stack.path, {**stack.settings, "CHARRNN_MODEL": "teh-poems"})
    stack.ok("models", "import", str(archive), "--as", "teh-poems")
    said = away.call("models", "delete", "teh-poems", "--all", "--yes").stderr
    assert said.startswith("teh-poems is still the default model, because of CHARRNN_MODEL")
    assert "deleted: teh-poems@3\n" in said


def test_keep_deletes_older_versions_after_training(stack: Home, versions: list[str]) -> None:
    again = ("train", "tidy", str(stack.path / "first.txt"), *TINY, "--margin", "5", "--keep", "1", "--wait")
    for _ in range(3):
        stack.ok(*again)

    def named() -> list[str]:
        return [name for name in stack.ok("models", "-q").split() if name.startswith("tidy@")]

    # Champion and candidate; the worker deletes after the commit that ends the job. Catches: --keep ignored by a worker
    until(lambda: named() == ["tidy@1", "tidy@3"], "the second version to go")
    until(lambda: len(list(stack.path.glob("files/models/tidy/*"))) == 2, "the files of the second to go")
    for wrong in (("tidy@1", "--keep", "1"), ("tidy", "--keep", "0")):
        assert stack.call("models", "delete", *wrong).returncode == 2
    assert stack.call("models", "delete", "nobody", "--keep", "1").returncode == 3
    stack.ok("models", "promote", "tidy@1", "--alias", "candidate")
    stack.ok("models", "delete", "tidy", "--keep", "1")  # the newest; the other is the champion
    assert named() == ["tidy@1", "tidy@3"]
