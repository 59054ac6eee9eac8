"""Training from the command line: previews, losses, fine-tuning, and refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from pydoc_data.topics import topics
from zipfile import ZipFile

import pytest

from charrnn.jobs.client import Client
from charrnn.jobs.settings import Settings
from charrnn.options import SamplingOptions
from charrnn.text.validation import PIECE_END
from tests.fixtures.client import submit
from tests.fixtures.model import longest_copy, make_text
from tests.fixtures.processes import TINY, Home, until
from tests.fixtures.refusals import refuse

GOOD = make_text(50).encode()


@pytest.fixture(scope="module")
def corpus(stack: Home) -> Path:
    """A folder of twelve documents."""
    folder = stack.path / "corpus"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.txt").write_text(make_text(60, rng_seed=number))
    return folder


@pytest.fixture(scope="module")
def trained(stack: Home, corpus: Path) -> tuple[str, str]:
    """A job that trained `several`, and the output of `--wait`."""
    done = stack.call("train", "several", str(corpus), *TINY, "--preview-temperature", "0,1.5", "--wait")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_waiting_shows_each_epoch_and_what_the_model_writes(stack: Home, trained: tuple[str, str]) -> None:
    job, said = trained
    history = stack.json("status", job)["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    for epoch in history:
        assert f"epoch {epoch['epoch']}: loss {epoch['train_loss']:.4f}, val_loss {epoch['val_loss']:.4f}" in said
        assert [preview["temperature"] for preview in epoch["previews"]] == [0, 1.5]
        assert all(len(preview["text"]) == 160 for preview in epoch["previews"])
        for preview in epoch["previews"]:  # on one line each. Catches: line ends that reach the terminal
            written = f"{preview['seed']}|{preview['text']}".replace("\n", "⏎")
            assert f"  {preview['temperature']:g}: {written}\n" in said
    assert "validation loss " in said
    assert "several now means several@1: the first version" in said


def test_status_draws_the_losses(stack: Home, trained: tuple[str, str]) -> None:
    drawn = stack.ok("status", trained[0], "--plot")
    assert "● val_loss   · loss   (nats per character)" in drawn
    assert "writes" in drawn


def test_the_losses_are_a_table_beside_the_version(stack: Home, trained: tuple[str, str]) -> None:
    (path,) = stack.path.glob("files/models/several/*/metrics.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    history = stack.json("status", trained[0])["history"]
    assert [float(row["val_loss"]) for row in rows] == [epoch["val_loss"] for epoch in history]


def test_passages_of_the_documents_are_validation(stack: Home, corpus: Path, trained: tuple[str, str]) -> None:
    spec = stack.json("status", trained[0])["spec"]
    pieces = (stack.path / "files" / spec["validation"]["name"]).read_text().split(PIECE_END)
    training = (stack.path / "files" / spec["corpus"]["name"]).read_text()
    documents = [path.read_text() for path in corpus.iterdir()]
    for piece in pieces:
        assert any(piece in document for document in documents)
        assert piece not in training
    assert spec["characters"] == len(training)
    assert spec["validation_source"] == f"{len(pieces)} passages spread over the text"
    shown = " ".join(stack.ok("models", "show", "several").split())
    assert f"n-gram baseline {spec['baseline']:.4f} nats/char" in shown
    assert f" text, {spec['validation_characters']:,} for validation ({spec['validation_source']})" in shown


NAMES = sorted({word.capitalize() for text in topics.values() for word in text.split() if word.isalpha()})


def test_a_list_is_trained_on_and_sampled_line_by_line(stack: Home, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    asked = json.loads(stack.ok("train", "names", str(tmp_path), "--dry-run", "--json"))
    assert asked["files"] == 1
    assert asked["left_out_characters"] == 0
    assert asked["characters"] + asked["validation_characters"] == len("\n".join(NAMES)) + 1
    assert asked["network"]["lines"] is True
    assert asked["estimate"]["seconds"] > 0
    done = stack.call("train", "names", str(tmp_path), *TINY[1:], "--wait")  # without --no-lines
    assert "each line a text of its own" in done.stderr
    assert "random lines of the list" in done.stderr
    job = stack.ok("submit", "-m", "names", "--random-seeds", "5", "-n", "3", "--rng-seed", "1", "--wait").strip()
    rows = [json.loads(line) for line in stack.ok("results", job).splitlines()]
    # Catches: seeds from the middle of a line, and texts that go on after their line
    assert all(any(name.startswith(row["seed"]) for name in NAMES) for row in rows)
    assert not any("\n" in row["text"] for row in rows)
    assert {row["finish_reason"] for row in rows} <= {"stop", "length"}
    assert "stop" in {row["finish_reason"] for row in rows}


def test_names_of_the_list_are_not_novel(stack: Home, tmp_path: Path) -> None:
    names = NAMES[:25]
    (tmp_path / "names.txt").write_text("\n".join(names))
    options = ("--lines", "--layers", "1", "--epochs", "40", "--validation", "none", "--rng-seed", "1", "--wait")
    stack.ok("train", "few", str(tmp_path), *options)
    sampling = ("-t", "0.3,1.5", "-n", "40", "--rng-seed", "1", "--wait")
    job = stack.ok("submit", "few", "--seed", names[0][:2], "--seed", "", *sampling).strip()
    rows = [json.loads(line) for line in stack.ok("results", job).splitlines()]
    assert [row["novel"] for row in rows] == [row["seed"] + row["text"] not in names for row in rows]
    assert {row["novel"] for row in rows} == {True, False}
    novel = [row["row"] for row in rows if row["novel"]]
    for option in ("--novel", "--where=novel=true"):
        assert [json.loads(line)["row"] for line in stack.ok("results", job, option).splitlines()] == novel
    shares = [texts["novel_share"] for texts in stack.json("status", job)["report"]["temperatures"]]
    assert shares == [sum(row["novel"] for row in rows if row["temperature"] == t) / 80 for t in (0.3, 1.5)]


def test_novelty_is_not_known_without_the_training_text(stack: Home, corpus: Path, tmp_path: Path) -> None:
    stack.ok("train", "lost", str(corpus / "00.txt"), *TINY, "--wait")
    assert list(stack.path.glob("files/models/lost/*/copies.index"))
    archive = tmp_path / "lost.zip"
    stack.ok("models", "export", "lost", "-o", str(archive))
    assert not [name for name in ZipFile(archive).namelist() if "copies" in name]
    stack.ok("models", "import", str(archive), "--as", "found")
    text = stack.path / "files" / stack.json("models", "show", "lost")["training"]["corpus"]["name"]
    text.rename(tmp_path / "elsewhere")
    try:
        for model in ("lost", "found"):  # a lost text fails no job
            job = stack.ok("submit", model, "-l", "40", "--wait").strip()
            [row] = [json.loads(line) for line in stack.ok("results", job).splitlines()]
            assert (len(row["text"]), row["novel"], row["longest_copy"]) == (40, None, None)
            refused = stack.call("results", job, "--novel")
            assert (refused.returncode, "is not known which texts" in refused.stderr) == (2, True)
    finally:
        (tmp_path / "elsewhere").rename(text)


def test_a_text_can_be_memorized_on_purpose(stack: Home, tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text("".join(make_text(40).splitlines()[:8]))
    options = ("--validation", "none", "--layers", "1", "--epochs", "40", "--no-lines", "--rng-seed", "1", "--wait")
    done = stack.call("train", "poem", str(tmp_path), *options)
    assert "No text is reserved for validation: training uses all of it" in done.stderr
    spec = stack.json("status", done.stdout.strip())["spec"]
    assert spec["characters"] == spec["validation_characters"] == (tmp_path / "poem.txt").stat().st_size
    assert spec["network"]["dropout"] == 0.0
    poem = (tmp_path / "poem.txt").read_text()
    sampled = stack.ok("submit", "-m", "poem", "--random-seeds", "5", "-t", "0,2", "-l", "60", "--wait").strip()
    rows = [json.loads(line) for line in stack.ok("results", sampled).splitlines()]
    assert [row["novel"] for row in rows] == [row["text"] not in poem for row in rows]
    assert [row["longest_copy"] for row in rows] == [longest_copy(row["text"], poem) for row in rows]
    assert max(row["longest_copy"] for row in rows) >= 24
    report = stack.json("status", sampled)["report"]["temperatures"]
    longest = max((texts["longest_copy"] for texts in report if texts["longest_copy"]), key=lambda it: it["characters"])
    assert poem.encode()[longest["place"] :].startswith(longest["text"].encode())
    assert longest["text"] in rows[longest["row"]]["text"]
    again = stack.call("train", "poem", str(tmp_path), "--validation", "none", "--dry-run")
    assert again.returncode == 0  # Catches: a frozen validation text that is the whole corpus and leaves nothing


def test_a_version_can_be_fine_tuned_from_another(stack: Home, corpus: Path, trained: tuple[str, str]) -> None:
    job = stack.ok("train", "more", str(corpus), "--from", "several@1", "--epochs", "1", "--wait").strip()
    status = stack.json("status", job)
    first, again = stack.json("status", trained[0])["history"][-1], status["history"][-1]
    assert again["train_loss"] < first["train_loss"]  # Catches: weights that are drawn again
    assert status["spec"]["start"] == "several@1"
    assert status["spec"]["network"]["units"] == 16


def test_a_fine_tuned_version_learns_new_characters(
    stack: Home, tmp_path: Path, corpus: Path, trained: tuple[str, str]
) -> None:
    texts = [f"«{line}»\n" for path in sorted(corpus.iterdir()) for line in path.read_text().splitlines()]
    (tmp_path / "quoted.txt").write_text("".join(texts))
    asked = ("train", "quoted", str(tmp_path / "quoted.txt"), "--from", "several@1", "--epochs", "1")
    done = stack.call(*asked, "--wait")
    assert done.returncode == 0, done.stderr
    assert "The vocabulary of several@1 grows by 2 characters: '«»'" in done.stderr
    job = stack.ok("submit", "-m", "quoted", "--seeds", "-", "-l", "30", "--wait", stdin="«the\n").strip()
    assert len(json.loads(stack.ok("results", job))["text"]) == 30
    # A version of the same model with fewer characters is compared with it
    again = stack.call("train", "quoted", str(corpus), "--from", "several@1", "--epochs", "1", "--wait")
    assert again.returncode == 0, again.stderr


def test_a_preset_trains_on_windows_and_its_model_samples(stack: Home, corpus: Path) -> None:
    windows = ("--units", "16", "--layers", "1", "--epochs", "2", "--max-len", "8")
    done = stack.call("train", "windows", str(corpus), "--preset", "notebook", *windows, "--wait")
    assert done.returncode == 0, done.stderr
    characters = stack.json("status", done.stdout.strip())["spec"]["characters"]
    assert f"in {len(range(0, characters - 8, 3)):,} windows of 8" in done.stderr
    job = stack.ok("submit", "-m", "windows", "--seeds", "-", "-l", "30", "--wait", stdin="the \n").strip()
    assert len(json.loads(stack.ok("results", job))["text"]) == 30


def test_bytes_can_be_read_as_characters(stack: Home) -> None:
    path = stack.path / "latin.txt"
    path.write_bytes(make_text(120).encode() + bytes(range(128, 256)))
    refuse(stack, 2, "is not UTF-8", "train", "bytes", str(path))
    job = stack.ok("train", "bytes", str(path), "--encoding", "latin-1", *TINY).strip()
    stack.ok("cancel", job)
    stack.call("wait", job)
    assert set(map(chr, range(128, 256))) <= set(stack.json("status", job)["spec"]["vocabulary"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--units", "0"), "units must be a whole number from 1"),
        (("--cell", "rnn"), "'rnn' is not one of 'lstm', 'gru'"),
        (("--dropout", "1"), "dropout must be below 1"),
        (("--patience", "0"), "patience must be a whole number from 1"),
        (("--max-minutes", "0"), "max-minutes must be"),
        (("--max-minutes", "nan"), "max-minutes must be"),
        (("--precision", "half"), "'half' is not one of 'auto'"),
        (("--preset", "book"), "'book' is not one of 'notebook'"),
        (("--encoding", "klingon"), "--encoding must be a text encoding of Python"),
        (("--stride", "2"), "stride applies only to windows"),
        (("--batch", "4096"), "fewer than one batch"),
        (("--validation", "/none.txt"), "/none.txt: no such file"),
        (("--from", "several", "--units", "8"), "A model that is fine-tuned keeps its network"),
        (("--from", "nobody"), "There is no model 'nobody'"),
        (("--unknown", "drop"), "--unknown requires --from: a new model learns every character"),
    ],
)
def test_invalid_training_input_is_refused(
    stack: Home, corpus: Path, trained: tuple[str, str], options: tuple[str, ...], message: str
) -> None:
    refuse(stack, 3 if "nobody" in options else 2, message, "train", "new", str(corpus), *options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"one\ntwo\0\n" + GOOD, "line 2, byte 4: a NUL"),
        (b"one\nt\xe9\n" + GOOD, "line 2, byte 2: 0xe9 is not UTF-8"),
        (b"short", "fewer than one batch"),
        (b"", "the file is empty"),
        ("é".encode() + GOOD, "1 character outside the vocabulary of several: 'é'"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused(
    stack: Home, tmp_path: Path, trained: tuple[str, str], data: bytes, message: str
) -> None:
    (tmp_path / "bad.txt").write_bytes(data)
    refuse(stack, 2, message, "train", "new", str(tmp_path / "bad.txt"), "--from", "several", "--unknown", "error")


def test_a_model_keeps_its_validation_text(stack: Home, corpus: Path, trained: tuple[str, str]) -> None:
    message = "several keeps the validation text of its first training"
    refuse(stack, 2, message, "train", "several", str(corpus), "--validation", str(corpus / "03.txt"))


def test_small_jobs_behind_a_training_share_one_turn(home: Home, text_file: Path, untrained: str) -> None:
    home.settings = {"CHARRNN_HEARTBEAT_S": "0.1", "CHARRNN_SLICE_S": "3"}
    endless = ("--units", "48", "--layers", "1", "--epochs", "1000", "--patience", "1000")
    with home.up():
        home.ok("models", "import", untrained)
        training = home.ok("train", "endless", str(text_file), *endless).strip()
        before = until(lambda: home.part_in_work(training), "the training's first turn")
        client = Client(Settings.from_env(home.environment))
        jobs = [submit(client, "tiny", ["a"], SamplingOptions(length=5)).id for _ in range(6)]
        client.close()
        for job in jobs:
            home.ok("wait", str(job), "--timeout", "100s")
        assert home.part(training)["token"] <= before["token"] + 2  # Catches: a training slice between two parts
        home.ok("cancel", training)


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_files_from_windows_are_read_as_what_they_say(stack: Home, tmp_path: Path, encoding: str) -> None:
    text = "".join(f"“Café {n * n}”, said every child.\n" for n in range(300))
    (tmp_path / "windows.txt").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    options = () if encoding == "utf-16" else ("--encoding", encoding)
    spec = stack.json("train", "windows-files", str(tmp_path / "windows.txt"), *options, "--dry-run", "--json")
    assert spec["characters"] + spec["validation_characters"] in range(len(text) - 1, len(text) + 1)
    assert spec["source_bytes"] == (tmp_path / "windows.txt").stat().st_size
    assert spec["vocabulary"] == "".join(sorted(set(text)))
