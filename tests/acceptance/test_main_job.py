"""Text in, model trained by a worker, seeds submitted, samples read back: real processes only."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY, Home

FIELDS = ["row", "id", "seed", "temperature", "sample", "text", "finish_reason", "nats_per_char"]
FIELDS += ["novel", "longest_copy", "version", "error"]
SEEDS, TEMPERATURES, SAMPLES, LENGTH = 200, (0.2, 0.5, 1.0), 2, 40


@pytest.fixture(scope="module")
def seeds(stack: Home) -> str:
    path = stack.path / "seeds.txt"
    words = make_text(SEEDS).split("\n")[:SEEDS]
    path.write_text("\n".join(words[n][: 1 + n % 9] for n in range(SEEDS)) + "\n")
    return str(path)


def submit(stack: Home, seeds: str, *options: str) -> str:
    temperatures = ",".join(map(str, TEMPERATURES))
    arguments = ["submit", "-m", "tiny", "--seeds", seeds, "-t", temperatures, "-n", str(SAMPLES), "-l", str(LENGTH)]
    return stack.ok(*arguments, "--wait", *options).strip()


@pytest.fixture(scope="module")
def job(stack: Home, seeds: str) -> str:
    """A job of 1,200 rows that is done."""
    return submit(stack, seeds, "--rng-seed", "5", "--label", "first")


@pytest.fixture(scope="module")
def rows(stack: Home, job: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.ok("results", job).splitlines()]


def test_every_row_is_returned_in_submit_order(seeds: str, rows: list[dict[str, Any]]) -> None:
    submitted = Path(seeds).read_text().splitlines()
    expected = [(seed, t, k) for seed in submitted for t in TEMPERATURES for k in range(SAMPLES)]
    assert [(row["seed"], row["temperature"], row["sample"]) for row in rows] == expected
    assert [row["row"] for row in rows] == list(range(SEEDS * len(TEMPERATURES) * SAMPLES))
    assert all(list(row) == FIELDS for row in rows)


def test_a_text_has_the_requested_length_without_its_seed(rows: list[dict[str, Any]]) -> None:
    assert {len(row["text"]) for row in rows} == {LENGTH}
    assert {(row["finish_reason"], row["version"], row["error"]) for row in rows} == {("length", "tiny@1", None)}


def test_nats_rise_with_the_temperature(rows: list[dict[str, Any]]) -> None:
    def mean(temperature: float) -> float:
        nats = [row["nats_per_char"] for row in rows if row["temperature"] == temperature]
        return math.fsum(nats) / len(nats)

    # Catches: logits multiplied by the temperature instead of divided
    assert mean(0.2) < mean(0.5) < mean(1.0)


def test_two_jobs_with_one_rng_seed_have_equal_bytes(stack: Home, seeds: str, job: str) -> None:
    again = submit(stack, seeds, "--rng-seed", "5")
    assert again != job
    assert executed(stack, again)
    assert stack.ok("results", again) == stack.ok("results", job)
    other = submit(stack, seeds, "--rng-seed", "6")
    assert stack.ok("results", other) != stack.ok("results", job)


def executed(stack: Home, job: str) -> bool:
    """Return whether a worker did the job itself: its part file exists, written under its own lease."""
    with sqlite3.connect(stack.path / "store.sqlite") as connection:
        rows = connection.execute("select owner, token, output from parts where job = ?", (job,)).fetchall()
    connection.close()
    return all(owner and token >= 1 and f"jobs/{job}/" in output for owner, token, output in rows)


def test_at_temperature_0_the_samples_of_a_seed_are_equal(stack: Home, seeds: str) -> None:
    job = stack.ok("submit", "-m", "tiny", "--seeds", seeds, "-t", "0", "-n", "3", "-l", "20", "--wait").strip()
    rows = [json.loads(line) for line in stack.ok("results", job).splitlines()]
    texts = [row["text"] for row in rows]
    assert all(texts[n : n + 3] == [texts[n]] * 3 for n in range(0, len(texts), 3))
    assert len(set(texts)) > 1


def test_samples_are_made_as_batches(stack: Home, job: str, seeds: str) -> None:
    report = stack.json("status", job)["report"]
    lengths = [len(seed) for seed in Path(seeds).read_text().splitlines()]
    rows, batch = SEEDS * len(TEMPERATURES) * SAMPLES, report["batch"]
    assert batch >= 32
    assert report["steps"] <= math.ceil(rows / batch) * (max(lengths) + LENGTH) + 16
    worked = len(TEMPERATURES) * SAMPLES * sum(length + LENGTH - 1 for length in lengths)
    assert report["fill"] == round(worked / (report["steps"] * batch), 4)
    assert report["characters"] == rows * LENGTH
    assert report["characters_per_second"] > 0
    assert set(report["seconds"]) == {"loading", "compiling", "sampling", "writing"}
    assert [texts["temperature"] for texts in report["temperatures"]] == list(TEMPERATURES)
    assert [texts["rows"] for texts in report["temperatures"]] == [SEEDS * SAMPLES] * 3


def test_a_limit_and_a_file_give_the_same_lines(stack: Home, job: str, tmp_path: Path) -> None:
    stack.ok("results", job, "-o", str(tmp_path / "rows.jsonl"))
    whole = stack.ok("results", job)
    assert (tmp_path / "rows.jsonl").read_text() == whole
    assert stack.ok("results", job, "--limit", "7") == "".join(whole.splitlines(keepends=True)[:7])


def test_a_spreadsheet_gets_the_rows_of_new_seeds(stack: Home, tmp_path: Path) -> None:
    arguments = ("-m", "tiny", "-l", "5", "--rng-seed", "1", "--wait", "--seeds", "-")
    first, more = (stack.ok("submit", *arguments, stdin=text).strip() for text in ("the \na \n", "a \nevery \n"))
    table = tmp_path / "rows.csv"
    for job in (first, more):
        stack.ok("results", job, "-o", str(table), "--bom", "--append")
    lines = table.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("\ufeffrow,id,seed,")
    assert [line.split(",")[2] for line in lines[1:]] == ["the ", "a ", "every "]
    again = stack.call("results", more, "-o", str(table), "--append")
    assert f"no row was added: {table} has the seeds of all rows" in " ".join(again.stderr.split())
    for options, message in ((("--append",), "--append requires a file"), (("--bom",), "--bom requires CSV")):
        refused = stack.call("results", first, *options)
        assert (refused.returncode, message in refused.stderr) == (2, True)


def rows_of(stack: Home, *options: str, stdin: str | None = None) -> list[dict[str, Any]]:
    """Return the result lines of a small job."""
    job = stack.ok("submit", "-m", "tiny", "--rng-seed", "1", "--wait", *options, stdin=stdin).strip()
    return [json.loads(line) for line in stack.ok("results", job).splitlines()]


def test_the_bytes_of_a_job_do_not_depend_on_its_parts(stack: Home, seeds: str, job: str) -> None:
    in_parts = submit(stack, seeds, "--rng-seed", "5", "--part-rows", "171")
    assert stack.json("status", in_parts)["parts_total"] == 8
    assert stack.ok("results", in_parts) == stack.ok("results", job)


def test_texts_end_at_a_stop_string(stack: Home) -> None:
    whole = rows_of(stack, "--seeds", "-", "-n", "20", "-l", "200", stdin="the \n")
    stopped = rows_of(stack, "--seeds", "-", "-n", "20", "-l", "200", "--stop", r"\n", "--logprobs", stdin="the \n")
    assert [row["text"] for row in stopped] == [row["text"].split("\n")[0] for row in whole]
    assert {row["finish_reason"] for row in stopped if row["text"] != whole[row["row"]]["text"]} == {"stop"}
    assert all(len(row["logprobs"]) == len(row["text"]) for row in stopped)
    kept = rows_of(stack, "--seeds", "-", "-n", "20", "-l", "200", "--stop", r"\n", "--keep-stop", stdin="the \n")
    assert [row["text"] for row in kept] == [row["text"].split("\n")[0] + "\n" for row in whole]


def test_temperatures_may_be_repeated_options(stack: Home) -> None:
    assert [row["temperature"] for row in rows_of(stack, "-t", "0.2", "-t", "0.5,1", "-l", "3")] == [0.2, 0.5, 1.0]


def test_seeds_with_options_are_sampled_with_them(stack: Home, tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text(
        '{"seed": "the ", "length": 3, "temperature": [0, 0.9]}\n{"seed": "", "top_k": 1}\n{"seed": "a "}\n'
    )
    rows = rows_of(stack, "--seeds", str(path), "-t", "0.5", "-l", "9")
    assert [(row["seed"], row["temperature"], len(row["text"])) for row in rows] == [
        ("the ", 0.0, 3),
        ("the ", 0.9, 3),
        ("", 0.5, 9),
        ("a ", 0.5, 9),
    ]
    (likeliest,) = rows_of(stack, "--seeds", str(path), "-t", "0", "-l", "9")[2:3]
    assert rows[2]["text"] == likeliest["text"]


def test_characters_that_the_model_does_not_know_may_be_replaced(stack: Home) -> None:
    (row,) = rows_of(stack, "--seeds", "-", "-t", "0", "-l", "9", "--unknown", "replace", stdin="thé \n")
    (plain,) = rows_of(stack, "--seeds", "-", "-t", "0", "-l", "9", stdin="the \n")
    assert (row["seed"], row["text"]) == ("thé ", plain["text"])


def test_without_seeds_a_text_starts_a_new_line_or_where_the_training_text_was_opened(stack: Home) -> None:
    (row,) = rows_of(stack, "-l", "9")
    assert (row["seed"], len(row["text"])) == ("", 9)
    text = (stack.path / "text.txt").read_text()
    assert all(row["seed"] in text for row in rows_of(stack, "--random-seeds", "5", "-l", "9"))


def test_one_of_equal_texts_is_kept(stack: Home) -> None:
    job = stack.ok("submit", "-m", "tiny", "-t", "0,1", "-n", "30", "-l", "40", "--wait").strip()
    rows = [json.loads(line) for line in stack.ok("results", job, "--distinct").splitlines()]
    assert [row["row"] for row in rows if row["temperature"] == 0] == [0]
    assert len({row["text"] for row in rows}) == len(rows)
    report = stack.json("status", job)["report"]["temperatures"][0]
    assert (report["rows"], report["distinct_share"]) == (30, round(1 / 30, 4))


def test_jsonl_seeds_keep_their_ids_and_standard_input_is_read(stack: Home, tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text('{"id": "x", "seed": "the "}\n{"id": "y", "seed": "a "}\n')
    arguments = ("-m", "tiny@champion", "-l", "5", "--rng-seed", "1", "--wait")
    by_id = stack.ok("submit", "--seeds", str(path), *arguments).strip()
    assert [json.loads(line)["id"] for line in stack.ok("results", by_id).splitlines()] == ["x", "y"]
    piped = stack.ok("submit", "--seeds", "-", *arguments, stdin="\ufeffthe \r\n\r\na \r\n").strip()
    assert [json.loads(line)["seed"] for line in stack.ok("results", piped).splitlines()] == ["the ", "a "]


def test_a_row_does_not_depend_on_the_other_seeds(stack: Home, seeds: str, job: str, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer.txt"
    fewer.write_text(
        "".join(Path(seeds).read_text().splitlines(keepends=True)[1:])
    )  # few enough to keep the batch size
    with_other_neighbours = submit(stack, str(fewer), "--rng-seed", "5")
    # Catches: the row's number in the key of the random stream
    assert first_texts(stack, with_other_neighbours).items() <= first_texts(stack, job).items()


def first_texts(stack: Home, job: str) -> dict[str, str]:
    """Return the first text of each seed at the highest temperature."""
    rows = map(json.loads, reversed(stack.ok("results", job).splitlines()))
    return {row["seed"]: row["text"] for row in rows if (row["temperature"], row["sample"]) == (1.0, 0)}


def test_training_again_with_one_rng_seed_gives_equal_weights(stack: Home) -> None:
    text = str(stack.path / "text.txt")
    for _ in range(2):
        stack.ok("train", "twin", text, *TINY, "--wait")
    files = sorted((stack.path / "files" / "models" / "twin").glob("*/model.safetensors"))
    assert len(files) == 2
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == 1


def test_status_and_lists_show_the_job(stack: Home, job: str) -> None:
    status = stack.json("status", job)
    assert (status["state"], status["label"], status["rows_done"], status["waiting_for"]) == (
        "done",
        "first",
        1200,
        None,
    )
    assert int(job) in [listed["id"] for listed in stack.json("jobs", "--limit", "100")]
    assert "1,200 of 1,200 rows" in stack.ok("status", job)
    training = stack.json("status", "1")
    assert [epoch["epoch"] for epoch in training["history"]] == [1, 2]
    (tiny,) = [version for version in stack.json("models") if version["model"] == "tiny"]
    assert tiny["aliases"] == ["champion"]
    assert tiny["val_loss"] == training["history"][-1]["val_loss"] < 2.5


def test_wait_on_an_ended_job_shows_how_it_ended(stack: Home, job: str) -> None:
    done = stack.call("wait", job)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"job {job}: done in" in done.stderr
