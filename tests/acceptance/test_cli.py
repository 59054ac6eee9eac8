"""The command line for people: bad input yields one clear message and an exit code, and enqueues nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from charrnn.jobs.job.specs import QUEUES, SPEC_VERSION, GenerateSpec
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.lifecycle import NewJob, add_job
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import parts
from producer.cli import COMMANDS
from tests.fixtures.keys import KEY_PREFIX
from tests.fixtures.kills import standing_still
from tests.fixtures.processes import COMMAND, Home, until
from tests.fixtures.refusals import broker, refuse, stored

OK_SEEDS = "the \n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-t", "-1"), "temperature must be a finite number of at least 0. Received: -1.0"),
        (("-t", "nan"), "temperature must be a finite number"),
        (("-t", "inf"), "temperature must be a finite number"),
        (("-t", "warm"), "--temperature must be numbers such as 0.2,0.5. Received: 'warm'"),
        (("-t", "0.5,0.5"), "must be distinct"),
        (("-l", "0"), "length must be a whole number from 1"),
        (("-n", "0"), "samples must be a whole number from 1"),
        (("--rng-seed", "-1"), "rng-seed must be a whole number from 0"),
        (("-l", "1000001"), "length must be a whole number from 1 to 1,000,000"),
        (("--stop", ""), "A stop string must have 1 to 1,000 characters"),
        (("--stop", r"a\d"), r"--stop 'a\\d': unknown escape \d. Expected \n, \t, or \\ for a backslash"),
        (("--stop", "a\\"), "unknown escape \\."),
        (("--label", "\udcff"), "The label: a surrogate"),
        (("--stop", "\udcff"), "is not a character by itself"),
        (("--top-k", "0"), "top-k must be a whole number from 1"),
        (("--top-p", "1.5"), "top-p must be a number above 0 and at most 1"),
        (("--unknown", "skip"), "'skip' is not one of"),
        (("--precision", "int8"), "'int8' is not one of"),
        (("--random-seeds", "3"), "--random-seeds and --seeds cannot be combined"),
        (("-t", ",".join(str(t / 100) for t in range(1, 10_001))), "Expected 1 to 1,000 temperatures"),
        (("--timeout", "soon", "--wait"), "--timeout must be a time such as 90s"),
    ],
)
def test_numbers_out_of_range_are_refused(stack: Home, options: tuple[str, ...], message: str) -> None:
    refuse(stack, 2, message, "submit", "-m", "tiny", "--seeds", "-", *options, stdin=OK_SEEDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "it contains no seed"),
        (b"\n\n", "it contains no seed"),
        (b"the \nab\xff\n", "line 2, byte 3: 0xff is not UTF-8"),
        ("the \ncafé\n".encode(), "line 2: 'é'"),
    ],
)
def test_bad_seed_files_are_refused(stack: Home, tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "seeds.txt"
    if content is not None:
        path.write_bytes(content)
    refuse(stack, 2, message, "submit", "-m", "tiny", "--seeds", str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"seed": 7}', "--rng-seed"),
        ('{"id": "x", "seed": "the"}\n{"id": "x", "seed": "a"}', "line 2: the id 'x' appears twice"),
        ('{"text": "the"}', "unknown field 'text'"),
        ("the", "line 1 is not JSON"),
    ],
)
def test_bad_json_seeds_are_refused(stack: Home, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text(content)
    refuse(stack, 2, message, "submit", "-m", "tiny", "--seeds", str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("good", None, "no such file"),
        ("good", b"", "the file is empty"),
        ("good", b"abab" * 2, "fewer than one batch"),
        ("good", b"abc\n" * 999 + b"\xe9", "line 1000, byte 1: 0xe9 is not UTF-8"),
        ("Bad Name", b"abc\n" * 999, "is not valid. Expected 1 to 64 of a-z"),
        ("../up", b"abc\n" * 999, "is not valid"),
    ],
)
def test_bad_corpora_and_names_are_refused(
    stack: Home, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    refuse(stack, 2, message, "train", name, str(path))


def test_an_unknown_model_or_job_is_exit_code_3(stack: Home) -> None:
    refuse(stack, 3, "Did you mean tiny", "submit", "-m", "tyni", "--seeds", "-", stdin=OK_SEEDS)
    for command in ("status", "wait", "results", "cancel"):
        refuse(stack, 3, "There is no job 4711", command, "4711")
        refuse(stack, 2, "Invalid value", command, "9" * 25)


@pytest.fixture(scope="module")
def jobs(stack: Home) -> Iterator[dict[str, str]]:
    """A job for each state."""
    done = stack.ok("submit", "-m", "tiny", "-l", "5", "--wait").strip()
    cancelled = stack.ok("submit", "-m", "tiny", "-n", "100000", "-l", "200", "--part-rows", "100000").strip()
    stack.ok("cancel", cancelled)
    stack.call("wait", cancelled)
    running = stack.ok("submit", "-m", "tiny", "-n", "100000", "-l", "200", "--part-rows", "100000").strip()
    part = until(lambda: stack.part_in_work(running), "progress")
    with broker(stack) as client:  # no notification is left, so that one from a refused command shows
        until(lambda: [client.llen(KEY_PREFIX + queue) for queue in QUEUES] == [0, 0], "the worker to be at work")
    with standing_still(stack, part):  # at work, and at no cost
        yield {"done": done, "cancelled": cancelled}
    stack.ok("cancel", running)


@pytest.fixture
def waiting(stack: Home, jobs: dict[str, str]) -> Iterator[str]:
    """A job that does not end: only a worker of a later release could read it."""
    store = Store.open(Settings(home=stack.path))
    spec = GenerateSpec.from_dict(store.job(int(jobs["done"])).stored_spec)
    with store.write() as connection:
        job = add_job(connection, NewJob(spec=spec)).id
        connection.execute(update(parts).where(parts.c.job == job).values(spec_version=SPEC_VERSION + 1))
    store.close()
    yield str(job)
    stack.ok("cancel", str(job))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("results", "{done}"), 0),
        (("wait", "{cancelled}"), 1),
        (("submit", "-m", "tiny", "--seeds", "-", "-t", "warm"), 2),
        (("submit", "--sedes"), 2),
        (("status", "4711"), 3),
        (("results", "{waiting}"), 5),
    ],
)
def test_a_process_prints_and_exits_like_its_entry_point(
    stack: Home, jobs: dict[str, str], waiting: str, arguments: tuple[str, ...], code: int
) -> None:
    """One command for each exit code, 4 below: the other tests of refusals only call the entry point."""
    words = [word.format(**jobs, waiting=waiting) for word in arguments]
    done, called = stack.run(*words, stdin=OK_SEEDS), stack.call(*words, stdin=OK_SEEDS)
    assert (done.returncode, done.stdout, done.stderr) == (called.returncode, called.stdout, called.stderr)
    assert done.returncode == code


def refused(home: Home, *arguments: str) -> tuple[int, str]:
    """Run a command that must fail without a traceback. Return its exit code and message."""
    done = home.run(*arguments)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, " ".join(done.stderr.split())


def test_without_a_broker_nothing_is_stored_and_the_message_explains_how_to_start_one(
    home: Home, text_file: Path
) -> None:
    code, said = refused(home, "train", "good", str(text_file))
    assert code == 4
    assert "broker.sock" in said
    assert "charrnn-jobs up" in said
    assert home.json("jobs") == []


def test_an_unreachable_store_is_exit_code_4(home: Home) -> None:
    home.settings = {"CHARRNN_STORE_URL": f"sqlite:///{home.path}/no/folder/store.sqlite"}
    code, said = refused(home, "jobs")
    assert (code, "does not answer" in said) == (4, True)


def test_usage_errors_are_exit_code_2(home: Home) -> None:
    for words in (["sumbit"], ["train"], ["status", "first"]):
        assert home.call(*words).returncode == 2


@pytest.mark.parametrize("word", ["generate", "list", "logs", "watch", "ps"])
def test_a_word_of_another_tool_gets_a_pointer(home: Home, word: str) -> None:
    refused = home.call(word, "7")
    said = " ".join(refused.stderr.replace("│", " ").split())
    assert refused.returncode == 2
    pointed = re.search(rf"No such command '{word}'. Use (\w+)", said)
    assert pointed, said
    assert pointed[1] in COMMANDS


def test_a_decimal_comma_gets_a_warning(stack: Home) -> None:
    said = " ".join(stack.call("submit", "tiny", "-t", "0,6", "--dry-run").stderr.split())
    assert "WARNING: --temperature 0,6: at a temperature of 6 texts are nearly random" in said
    assert "WARNING" not in stack.call("submit", "tiny", "-t", "0,2", "--dry-run").stderr


def test_help_lists_the_exit_codes(home: Home) -> None:
    said = " ".join(home.ok("--help").replace("│", " ").split())
    assert "3 no such job or model; 4 broker, database or files unavailable; 5 not finished" in said


def test_escapes_of_a_stop_string_are_read(stack: Home) -> None:
    done = stack.call("submit", "-m", "tiny", "--dry-run", "--stop", r"a\tb\n\\n")
    assert r"stop at 'a\tb\n\\n'" in done.stderr  # as in Python: a tab, a newline, a backslash, n


def test_a_dry_run_checks_and_stores_nothing(stack: Home) -> None:
    before = stored(stack)
    done = stack.call("submit", "-m", "tiny", "--seeds", "-", "-l", "10", "--dry-run", stdin="the \na \n")
    assert (done.returncode, done.stdout) == (0, "")
    assert "2 rows from tiny@1: 2 seeds x 1 temperature (1) x 1 sample of 10 characters" in done.stderr
    assert stored(stack) == before


def test_doctor_accepts_a_running_stack_and_reports_a_missing_one(stack: Home, home: Home) -> None:
    assert all(check["ok"] for check in stack.json("doctor"))
    missing = home.call("doctor", "--json")
    assert missing.returncode == 4
    assert "Start it with: charrnn-jobs up" in missing.stdout


def test_a_job_without_a_worker_shows_the_command_to_start_one(home: Home, text_file: Path) -> None:
    with home.up("--queues", "generate"):
        job = home.ok("train", "good", str(text_file)).strip()
        waiting = home.json("status", job)["waiting_for"]
        assert (
            waiting == "no live worker serves train. Start one: charrnn-jobs up, or charrnn-jobs worker --queues train"
        )
        done = home.call("wait", job, "--timeout", "1s")
        assert (done.returncode, waiting in done.stderr) == (5, True)
        home.ok("cancel", job)


def test_a_second_stack_in_one_home_is_refused(stack: Home) -> None:
    code, said = refused(stack, "up")
    assert (code, "already runs in" in said) == (2, True)


def test_an_export_is_not_replaced_before_the_first_row(
    stack: Home, jobs: dict[str, str], waiting: str, tmp_path: Path
) -> None:
    export = tmp_path / "texts.jsonl"
    export.write_text("earlier\n")
    done = stack.call("results", waiting, "-o", str(export))
    assert (done.returncode, export.read_text()) == (5, "earlier\n")  # Catches: an empty file in its place
    assert f"Wait for all of them with: charrnn-jobs wait {waiting}" in " ".join(done.stderr.split())
    ended = stack.call("results", jobs["cancelled"], "-o", str(export))
    assert (ended.returncode, export.read_text()) == (0, "")
    assert ended.stderr.count("cancelled with 0 of its") == 1  # Catches: the same note before and after


def test_results_of_a_training_are_refused(stack: Home) -> None:
    refuse(stack, 2, "is a training job", "results", "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--queues", "train,print"), "Unknown queue 'print'"), (("--devices", "7"), "Expected auto, cpu, gpu, or GPU")],
)
def test_a_worker_refuses_queues_and_devices_that_are_not_there(
    stack: Home, arguments: tuple[str, ...], message: str
) -> None:
    code, said = refused(stack, "worker", *arguments)
    assert (code, message in said) == (2, True)


@pytest.mark.parametrize("command", ["worker", "scheduler"])
def test_modules_in_the_current_folder_are_not_run(home: Home, tmp_path: Path, command: str) -> None:
    # Catches: a module of the current folder that replaces one of ours or of Python's
    for name in ("charrnn", "producer", "worker", "random"):
        (tmp_path / f"{name}.py").write_text("import sys\nprint('not ours')\nsys.exit(0)\n")
    words = [*COMMAND, command]
    done = subprocess.run(words, env=home.environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")  # no broker
    assert "does not answer" in done.stderr


WITHOUT_LIBRARIES = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *package: None if name in {missing} else find(name, *package)
import worker.run
worker.run.TOO_NEW = {too_new}
from worker.__main__ import main
sys.exit(main(["--devices", "cpu"]))
"""


@pytest.mark.parametrize(
    ("missing", "too_new", "message"),
    [
        (("safetensors",), (4, 0), "A worker needs safetensors. Install the cpu extra"),
        (("jax", "tensorflow"), (4, 0), "TensorFlow or JAX is not installed. Install the cpu extra, with TensorFlow,"),
        *(
            (missing, (3, 11), r"A worker needs Python 3\.11 to 3\.13, .* This is Python 3\.1[1-3]\.")  # as on 3.14
            for missing in (("safetensors",), ("jax", "tensorflow"))
        ),
    ],
)
def test_a_worker_without_the_model_s_library_does_not_start(
    stack: Home, missing: tuple[str, ...], too_new: tuple[int, int], message: str
) -> None:
    # Catches: a worker that takes jobs from others and fails at each
    code = WITHOUT_LIBRARIES.format(missing=missing, too_new=too_new)
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=stack.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.search(message, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit", "-m", "tiny", "-n", "0"), "--samples must be a whole number"),
        (("submit", "-m", "tiny", "--seeds", "x", "--random-seeds", "3"), "--random-seeds and --seeds cannot"),
        (("submit", "--seed-format", "text"), "No such option"),
        (("submit", "-m", "tiny", "--timeout", "10s"), "--timeout requires --wait"),
        (("submit", "-m", "tiny", "--unknown", "leave"), "'leave' is not one of"),
        (("submit", "--random-seeds", "3", "--after", "1"), "--random-seeds requires a trained --model"),
    ],
)
def test_messages_name_options_as_they_are_typed(stack: Home, arguments: tuple[str, ...], message: str) -> None:
    # Catches: the library's random_seeds, or Pydantic's "Value error," in a message of the command line
    done = stack.call(*arguments)
    said = " ".join(done.stderr.replace("│", " ").split())
    assert (done.returncode, message in said, "Value error" in said) == (2, True, False), said
