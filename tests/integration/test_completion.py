"""Completion: what each shell is offered, from a real store, and nothing if the store is away, slow or hostile."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from charrnn.jobs.job.states import JobState
from charrnn.jobs.store import tables
from charrnn.jobs.store.store import Store
from producer.completion.answer import VARIABLE
from tests.fixtures.processes import COMMAND
from tests.fixtures.store import AddJob, each_database

HOSTILE = (
    "$(touch owned)",
    "`touch owned`",
    "a;touch owned",
    "*",
    "'",
    '"',
    "a b",
    "a\nb",
    "\x1b]0;x\x07",
    "a)b",
    "~root",
)
CLOSED = "postgresql://u@127.0.0.1:1/x"

Ask = Callable[..., list[str]]


def run(shell: str, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Return what a shell gets whose cursor is at the end of a line."""
    cut = line.replace("@", " @ ").replace("=", " = ").split(" ") if shell == "bash" else []
    parts = [part for index, part in enumerate(cut) if part or index == len(cut) - 1]
    protocol = {"COMP_WORDS": "\n".join(parts), "COMP_CWORD": str(len(parts) - 1), "_TYPER_COMPLETE_ARGS": line}
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = {**os.environ, **protocol, **action, VARIABLE: f"complete_{shell}", **environ}
    return subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def ask(store_url: str, tmp_path: Path) -> Ask:
    """A function that returns the words that a shell is offered. Whatever happens, it is told nothing else."""

    def words_of(line: str, shell: str = "fish", **environ: str) -> list[str]:
        done = run(shell, line, **{"CHARRNN_STORE_URL": store_url, "CHARRNN_HOME": str(tmp_path / "away"), **environ})
        assert (done.returncode, done.stderr) == (0, "")
        assert not (tmp_path / "away").exists()
        answer = done.stdout
        if shell == "zsh":
            answer = (
                answer.removeprefix("_arguments '*: :(").removesuffix(")'").removesuffix("_files").replace(" ", "\n")
            )
        return answer.splitlines()

    return words_of


@pytest.fixture
def filled(store: Store, add_job: AddJob) -> dict[str, int]:
    """The ids of jobs in a store that also has versions, aliases and schedules."""
    ids = {
        "queued": add_job(label="nightly", submitted_by="ada@desk"),
        "done": add_job(label="two words"),
        "train": add_job(train=True),
    }
    ended = {"state": JobState.DONE, "finished_at": 1}
    with store.write() as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == ids["done"]).values(ended))
        for model in ("names", "notes"):
            connection.execute(insert(tables.models).values(name=model, validation={}))
            connection.execute(insert(tables.versions).values(_version(model)))
            connection.execute(insert(tables.aliases).values(model=model, alias="champion", version=10))
        connection.execute(insert(tables.schedules).values(_schedule("nightly")))
    return ids


def _version(model: str) -> dict[str, Any]:
    facts = {"files": {}, "characters": "", "network": {}, "val_loss": 1.0, "skipped": 0, "precision": "float32"}
    return {"model": model, "version": 10, "gate": {}, **facts}


def _schedule(name: str) -> dict[str, Any]:
    facts = {"cron": "", "timezone": "UTC", "request": {}, "overlap": "skip", "catch_up": "once", "always": False}
    facts["added_by"] = "ada@desk"
    return {"name": name, "next_at": 0, "requested_at": 0, **facts}


@each_database
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_offered_words_of_commands_and_of_the_store(ask: Ask, filled: dict[str, int], shell: str) -> None:
    assert ask("charrnn-jobs sta", shell) == ["status"]
    assert ask("charrnn-jobs jobs --state r", shell) == ["running"]
    assert sorted(ask("charrnn-jobs status ", shell)) == sorted(map(str, filled.values()))
    assert ask("charrnn-jobs models show no", shell) == ["notes"]
    in_bash = {"@10", "@champion"}
    versions = in_bash if shell == "bash" else {f"names{word}" for word in in_bash}
    assert set(ask("charrnn-jobs models show names@", shell)) == versions
    assert ask("charrnn-jobs jobs --user a", shell) == ["ada@desk"]
    assert ask("charrnn-jobs jobs --state=f", shell) == ["failed" if shell == "bash" else "--state=failed"]
    assert ask("charrnn-jobs jobs -m names@c", shell) == ["@champion" if shell == "bash" else "names@champion"]


@each_database
def test_a_name_is_found_among_thousands(ask: Ask, filled: dict[str, int], store: Store) -> None:
    # Catches: the first thousand names, of which none begins with the word
    with store.write() as connection:
        many = [{"name": f"a{number}", "validation": {}} for number in range(1_200)]
        connection.execute(insert(tables.models), [*many, {"name": "zeta_1", "validation": {}}])
    assert ask("charrnn-jobs models show zeta_") == ["zeta_1"]
    assert ask(f"charrnn-jobs status {filled['done']}") == [str(filled["done"])]
    assert ask("charrnn-jobs models show a1199") == ["a1199"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("train names x --th", "--then"),
        ("train names x --epochs 3 --then ", "submit"),
        ("train names x --then submit --prio", "--priority"),
        ("train names x --then submit --priority h", "high"),
    ],
)
def test_what_follows_a_training_is_offered(ask: Ask, line: str, word: str) -> None:
    assert ask(f"charrnn-jobs schedules add x --cron @daily -- {line}") == [word]


@each_database
@pytest.mark.parametrize(
    ("line", "jobs"),
    [
        ("wait ", ["queued", "train"]),
        ("cancel ", ["queued", "train"]),
        ("delete ", ["done"]),
        ("results ", ["queued", "done"]),
        ("submit names --after ", ["train"]),
        ("retry ", []),
        ("status --json ", ["queued", "done", "train"]),
        ("status 1 ", []),
    ],
)
def test_jobs_that_fit_a_command_are_offered(ask: Ask, filled: dict[str, int], line: str, jobs: list[str]) -> None:
    assert sorted(ask(f"charrnn-jobs {line}")) == sorted(str(filled[job]) for job in jobs)


@each_database
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("schedules show ", ["nightly"]),
        ("schedules check nightly ", ["nightly"]),
        ("schedules add ", []),
        ("schedules add x --cron y -- ", ["train", "submit"]),
        ("schedules add x --cron y -- train --size l", ["large"]),
        ("models promote names --alias ", ["champion"]),
        ("models rollback na", ["names"]),
        ("jobs --label ", ["nightly"]),
        ("train n", ["names", "notes"]),
        ("train names ", []),
        ("submit names --wait -o ", []),
        ("worker --devices ", ["auto", "cpu", "gpu"]),
        ("models --", ["--json", "--quiet", "--help"]),
        ("nonsense ", []),
    ],
)
def test_words_fit_their_place(ask: Ask, filled: dict[str, int], line: str, offered: list[str]) -> None:
    assert ask(f"charrnn-jobs {line}") == offered


def test_fish_is_told_whether_there_are_words(ask: Ask, filled: dict[str, int], store_url: str) -> None:
    is_args = {"_TYPER_COMPLETE_FISH_ACTION": "is-args", "CHARRNN_STORE_URL": store_url}
    assert run("fish", "charrnn-jobs status ", **is_args).returncode == 0
    assert run("fish", "charrnn-jobs train names ", **is_args).returncode == 1


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_hostile_name_reaches_no_shell(ask: Ask, store: Store, store_url: str, tmp_path: Path, shell: str) -> None:
    # Catches: a name that the shell runs, expands, or shows as another one
    with store.write() as connection:
        for name in (*HOSTILE, "good.name-1", "café"):
            connection.execute(insert(tables.schedules).values(_schedule(name)))
    assert ask("charrnn-jobs schedules show ", shell) == ["café", "good.name-1"]
    evaluated = {
        "bash": 'eval "$(_CHARRNN_JOBS_COMPLETE=source_bash "$c")"; COMP_WORDS=("$c" schedules show ""); COMP_CWORD=3; '
        '_charrnn_jobs_completion "$c"; printf "%s\\n" "${COMPREPLY[@]}"',
        "zsh": '_arguments() { printf "%s\\n" "$@"; }; '
        'eval "$(_TYPER_COMPLETE_ARGS="c schedules show " _CHARRNN_JOBS_COMPLETE=complete_zsh "$c")"',
    }
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}  # Catches: UnicodeEncodeError of é
    environment = {**os.environ, **locale, "c": COMMAND[0], "CHARRNN_STORE_URL": store_url}
    done = subprocess.run(
        ["/bin/bash", "--norc", "-c", evaluated[shell]],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stderr, (tmp_path / "owned").exists()) == ("", False)
    assert done.stdout == {"bash": "café\ngood.name-1\n", "zsh": "*: :(café good.name-1)\n"}[shell]


AWAY = (
    {"CHARRNN_STORE_URL": CLOSED},
    {"CHARRNN_STORE_URL": ""},
    {"CHARRNN_STORE_URL": "nonsense"},
    {"CHARRNN_STORE_URL": "postgresql://u@[::1/x"},
    {"CHARRNN_SLICE_S": "soon", "CHARRNN_MODLE": "x"},
    {"CHARRNN_HOME": "~nosuchuser"},
    {"CHARRNN_STORE_URL": "sqlite:////dev/null"},
)
other_shell = pytest.mark.slow("test_a_shell_is_told_nothing_if_the_store_is_away")


@pytest.mark.parametrize(
    ("shell", "environ"),
    [
        *(("fish", environ) for environ in AWAY),
        *((shell, AWAY[0]) for shell in ("bash", "zsh")),
        *(pytest.param(shell, environ, marks=other_shell) for shell in ("bash", "zsh") for environ in AWAY[1:]),
    ],
)
def test_a_shell_is_told_nothing_if_the_store_is_away(ask: Ask, shell: str, environ: dict[str, str]) -> None:
    # Catches: a traceback or a warning in the middle of a command line
    assert ask("charrnn-jobs status ", shell, **environ) == []
    assert ask("charrnn-jobs stat", shell, **environ) == ["status"]


def test_a_server_that_does_not_answer_is_not_waited_for(ask: Ask) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/x"
        assert ask("charrnn-jobs status ", CHARRNN_STORE_URL=url) == []


def test_a_locked_database_is_not_waited_for(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "locked.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("create table jobs (id)")
        connection.execute("insert into jobs values (7)")
        assert ask("charrnn-jobs status ", CHARRNN_STORE_URL=f"sqlite:///{path}") == ["7"]
        connection.execute("begin exclusive")
        assert ask("charrnn-jobs status ", CHARRNN_STORE_URL=f"sqlite:///{path}") == []


def test_a_missing_database_is_not_created(ask: Ask, tmp_path: Path) -> None:
    # Catches: mode=rwc, SQLite's default
    assert ask("charrnn-jobs status ", CHARRNN_STORE_URL=f"sqlite:///{tmp_path}/missing.sqlite") == []
    assert not (tmp_path / "missing.sqlite").exists()
