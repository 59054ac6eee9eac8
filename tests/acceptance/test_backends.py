"""Jobs that workers compute with JAX: interrupted or not, they end with the same bytes, and TensorFlow reads them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.kills import SLICES, train_and_kill, train_calmly
from tests.fixtures.processes import Home, until

SAMPLING = ("--seed", "the old sailor", "--seed", "a lamp", "-t", "0,0.5,1", "--rng-seed", "3")
LONG = ("-n", "1200", "-l", "400", "--part-rows", "7200")  # one part of 2 s or more
LIMITED = ("-n", "9", "-l", "60", "--top-k", "7", "--top-p", "0.9", "--stop", ". ", "--precision", "float32")


@pytest.fixture(scope="module")
def jax(stack: Home, untrained: str) -> Iterator[Home]:
    """A stack whose worker computes with JAX."""
    home = Home(stack.path / "jax", {**SLICES, "CHARRNN_BACKEND": "jax"})
    home.path.mkdir()
    with home.up():
        assert "backend JAX" in home.log()
        home.ok("models", "import", untrained)
        yield home


def test_a_job_on_jax_has_the_same_bytes_after_a_kill(jax: Home) -> None:
    calm = jax.ok("results", jax.ok("submit", "-m", "tiny", *SAMPLING, *LONG, "--wait").strip())
    job = jax.ok("submit", "-m", "tiny", *SAMPLING, *LONG).strip()
    before = until(lambda: jax.part_in_work(job), "progress")
    os.kill(jax.pid_of(before["owner"]), signal.SIGKILL)
    jax.ok("wait", job, "--timeout", "100s")
    assert jax.part(job)["token"] > before["token"]
    assert jax.ok("results", job) == calm
    # Catches: a job that two backends did, and whose texts are said to be sure
    assert [engine["device"] for engine in jax.json("status", job)["engines"]] == ["cpu with JAX"]


def test_a_training_on_jax_ends_in_the_same_weights_after_a_kill(jax: Home, text_file: Path) -> None:
    train_calmly(jax, text_file, "stream", "calm")
    train_and_kill(jax, text_file, "stream", 0.6, after_checkpoint=True)
    # Useless once the version exists, and deleted after the commit that ends the job.
    until(lambda: not list(jax.path.glob("files/jobs/*/checkpoint-*")), "the end of the checkpoints")


def test_both_backends_write_the_same_texts_in_float32(jax: Home, stack: Home, untrained: str) -> None:
    def texts(home: Home, model: str) -> list[str]:
        rows = home.ok("results", home.ok("submit", "-m", model, *SAMPLING, *LIMITED, "--wait").strip())
        return [json.loads(row)["text"] for row in rows.splitlines()]

    stack.ok("models", "import", untrained, "--as", "same")
    assert texts(jax, "tiny") == texts(stack, "same")


def test_a_version_that_one_backend_trained_is_sampled_by_the_other(jax: Home, stack: Home, text_file: Path) -> None:
    train_calmly(jax, text_file, "stream", "made")
    archive = jax.path / "made.zip"
    jax.ok("models", "export", "made", "-o", str(archive))
    stack.ok("models", "import", str(archive))
    assert stack.ok("submit", "-m", "made", "--seed", "the ", "-l", "20", "--wait")


def test_a_child_holds_the_library_that_it_computes_with_and_no_other(jax: Home, stack: Home, untrained: str) -> None:
    # Catches: Keras and JAX, which TensorFlow imports by itself, a second and 190 MB
    stack.ok("models", "import", untrained, "--as", "held")
    libraries = ("_pywrap_tensorflow", "jaxlib", "optree")  # Keras imports optree
    for home, model, held in (stack, "held", libraries[0]), (jax, "tiny", libraries[1]):
        home.ok("submit", "-m", model, "--seed", "the ", "-l", "20", "--wait")
        (worker,) = home.workers()
        maps = Path(f"/proc/{worker.removeprefix('worker ')}/maps").read_text()
        assert [library for library in libraries if library in maps] == [held]
