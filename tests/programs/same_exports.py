r"""Run one fixed set of jobs with the code of two commits and compare every byte that they export.

    python tests/programs/same_exports.py OLD NEW              # two commits; "." is the working tree
    python tests/programs/same_exports.py OLD NEW --keep DIR   # keeps both sets of exports, to compare them by diff

A change that must not alter behavior is proved by this script on the machine where it runs: both commits train the
same models, sample them with every option, and write the results in every format. A row of the table shows one export
with the first digits of both sha256. The JSON of `submit`, `status`, `jobs` and `models` is compared as well; values
that depend on time or speed are hidden there, and their keys stay.

Each commit is checked out into a temporary folder and runs in this interpreter's environment, with its own
CHARRNN_HOME and its own `charrnn-jobs up`. The script stops with an error if a process imports the project's code from
any other folder. The exit code is 0 if all exports are the same, 1 if any differs, and 2 if a commit fails to do the
jobs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parents[2]
WORKING_TREE = "."
SETTINGS = {"CHARRNN_SLICE_S": "1"}  # seconds: less than compilation takes, so that training jobs take turns everywhere
START_S = 120.0  # from the start of `up` until broker and store answer
STOP_S = 120.0  # from SIGTERM until `up` has ended
JOB_S = 900  # from the moment at which the script waits for a job until it has ended
POLL_S = 0.5
DIGITS = 12  # digits of a sha256 in the table
CHARACTERS, FILES = 48_000, 4  # size of the training text

BFLOAT16 = "bfloat16"
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")  # flags of /proc/cpuinfo by which `--precision auto` chooses bfloat16

# Name of a job and its command. {train-lstm} stands for the id of the job of that name. All jobs of a stage have ended
# before the next stage begins. The number of rows in a part is always given: its default depends on the measured speed.
# A worker keeps two unfinished training jobs in memory; the last of three therefore resumes from its checkpoint's file.
STAGES: tuple[dict[str, str], ...] = (
    {
        "train-gru": "train gru text --cell gru --units 32 --layers 1 --epochs 1 --precision float32 --rng-seed 1",
        "train-bfloat16": "train bfloat16 text --units 32 --layers 1 --epochs 1 --precision bfloat16 --rng-seed 2",
        "train-lstm": "train lstm text --units 48 --epochs 2 --precision float32 --rng-seed 3",
        "after": "submit --after {train-lstm} --seeds few.txt -t 0,0.8 -l 60 --part-rows 16 --rng-seed 10",
    },
    {
        "train-window": "train window text --preset notebook --units 32 --layers 1 --epochs 1 --rng-seed 4",
        "train-tuned": "train lstm text --from lstm@1 --epochs 1 --rng-seed 5",
        "tuned": "submit --after {train-tuned} --seeds few.txt -t 0,0.6 -n 2 -l 60 --part-rows 16 --rng-seed 11",
        "many": "submit -m lstm@1 --seeds seeds.txt -t 0,0.5,1.0 -n 4 -l 60 --precision float32 --part-rows 100 "
        "--rng-seed 12",
        "lstm-bfloat16": "submit -m lstm@1 --seeds seeds.txt -t 0.3,1.2 -n 3 -l 60 --precision bfloat16 "
        "--part-rows 50 --rng-seed 13",
        "stop": r"submit -m lstm@1 --seeds few.txt -t 0.7,1.1 -n 3 -l 80 --stop '\n' --stop '. ' --part-rows 64 "
        "--rng-seed 14",
        "keep-stop": r"submit -m lstm@1 --seeds few.txt -t 0.7,1.1 -n 3 -l 80 --stop '\n' --stop '. ' --keep-stop "
        "--part-rows 64 --rng-seed 14",
        "top-k": "submit -m lstm@1 --seeds few.txt -t 1 -n 3 -l 60 --top-k 4 --part-rows 64 --rng-seed 15",
        "top-p": "submit -m lstm@1 --seeds few.txt -t 1.3 -n 3 -l 60 --top-k 30 --top-p 0.8 --part-rows 64 "
        "--rng-seed 16",
        "logprobs": "submit -m lstm@1 --seeds few.txt -t 0,1 -l 40 --logprobs --part-rows 8 --rng-seed 17",
        "replace": "submit -m lstm@1 --seeds unknown.txt -n 4 -l 40 --unknown replace --part-rows 64 --rng-seed 18",
        "drop": "submit -m lstm@1 --seeds unknown.txt -n 4 -l 40 --unknown drop --part-rows 64 --rng-seed 19",
        "options": "submit -m lstm@1 --seeds options.jsonl -t 0.9 -n 2 -l 50 --part-rows 7 --rng-seed 20",
        "single": "submit -m lstm@1 --seeds one.txt -t 0.8 -l 200 --part-rows 1 --rng-seed 21",
        "no-seed": "submit -m lstm@1 -t 0.5 -n 20 -l 60 --key again --label empty --priority high --part-rows 20",
        "random-seeds": "submit -m lstm@1 --random-seeds 10 -t 0.5 -n 2 -l 60 --part-rows 64 --rng-seed 22",
        "gru": "submit -m gru --seeds seeds.txt -t 0,0.5,1.0 -n 2 -l 60 --part-rows 64 --rng-seed 23",
        "gru-options": "submit -m gru --seeds options.jsonl -l 50 --logprobs --part-rows 5 --rng-seed 24",
        "window": "submit --after {train-window} --seeds few.txt -t 0,0.7 -n 2 -l 40 --part-rows 16 --rng-seed 25",
        "window-stop": "submit --after {train-window} --seeds few.txt -t 0.3,1.0 -n 2 -l 40 --stop e --logprobs "
        "--top-p 0.9 --part-rows 20 --rng-seed 26",
        "bfloat16": "submit -m bfloat16 --seeds seeds.txt -t 0,0.5,1.0 -n 2 -l 60 --part-rows 64 --rng-seed 27",
    },
)
# Export, its job, and the selection of rows
SELECTIONS = {
    "many-where.jsonl": ("many", "--where temperature=0.5 --where sample=1"),
    "many-rows.jsonl": ("many", "--rows 90:130"),
    "many-distinct.jsonl": ("many", "--distinct"),
    "many-limit.csv": ("many", "--rows 200: --limit 9"),
    "stop-where.txt": ("stop", "--where finish_reason=stop"),
}
FORMATS = ("jsonl", "csv", "txt", "parquet")
UNKNOWN_SEEDS = ("Café crème", "naïve Ünïcode", "日本 and more", "a ligature: ﬁle", "tab\there")
HIDDEN = "hidden"
# Paths of keys whose values depend on time, speed or chance. The name of a version's folder counts its leases.
VOLATILE = re.compile(r"\.(\w+_at|\w*seconds|characters_per_second|files\.name|seeds\.name)(\.|$)")

# The project's command line in a process that takes one command after the other, a line of JSON each: starting Python
# and importing the project again takes longer than most commands do.
COMMANDS = """
import contextlib, io, json, sys
from {module} import {function} as main

for line in sys.stdin:
    sys.argv = ["charrnn-jobs", *json.loads(line)]
    code, printed = 0, io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            main()
    except SystemExit as ended:
        code = ended.code or 0
    print(json.dumps([code, printed.getvalue()]), flush=True)
"""
# Python imports this module at its start, in every process that inherits PYTHONPATH. It notes, in a file for each
# process, every module of the project's packages that the process runs, from whatever folder.
WATCH = """
import os, sys

COPIES = tuple(os.path.join(folder, package, "") for folder in sys.path for package in {packages!r})

def note(event, arguments):
    path = getattr(arguments[0], "co_filename", "") if event == "exec" else ""
    if path.startswith(COPIES):
        with open(os.path.join({notes!r}, str(os.getpid())), "a") as file:
            file.write(path + chr(10))

sys.addaudithook(note)
"""


class BrokenRunError(Exception):
    """A commit cannot be run, or does not do one of the jobs."""


@dataclass(frozen=True)
class Code:
    """The code of one commit: its folder and the content of its pyproject.toml."""

    name: str
    folder: Path

    @property
    def _project(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def packages(self) -> list[Path]:
        """Return the folders of its packages."""
        return [self.folder / path for path in self._project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]

    @property
    def entry(self) -> tuple[str, str]:
        """Return the module and the function that `charrnn-jobs` starts."""
        module, _, function = self._project["project"]["scripts"]["charrnn-jobs"].partition(":")
        return module, function

    @property
    def paths(self) -> list[str]:
        """Return the folders that Python has to search for its packages."""
        return sorted({str(package.parent) for package in self.packages})


@contextmanager
def check_out(name: str, commit: str, folder: Path) -> Iterator[Code]:
    """Check a commit out while the block runs; the working tree is used as it is."""
    if commit == WORKING_TREE:
        yield Code(name, REPOSITORY)
        return
    run("git", "-C", str(REPOSITORY), "worktree", "add", "--quiet", "--detach", str(folder), commit)
    try:
        yield Code(name, folder)
    finally:
        run("git", "-C", str(REPOSITORY), "worktree", "remove", "--force", str(folder))


def run(*words: str) -> None:
    """Run a program that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrokenRunError(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stderr}")


@dataclass
class Stack:
    """The local stack of one commit, with the process that runs its commands."""

    code: Code
    home: Path
    up: subprocess.Popen[bytes]
    commands: subprocess.Popen[str]
    inputs: Path
    exports: Path
    ids: dict[str, int] = field(default_factory=dict)  # name of a job and its id

    def run(self, *arguments: str) -> str:
        """Run a command that must succeed and return its standard output."""
        code, printed = self.try_command(*arguments)
        if code:
            raise BrokenRunError(
                f"{self.code.name}: charrnn-jobs {shlex.join(arguments)}: exit code {code}\n{self.end_of_log()}"
            )
        return printed

    def try_command(self, *arguments: str) -> tuple[int, str]:
        """Run a command and return its exit code and its standard output."""
        assert self.commands.stdin
        assert self.commands.stdout
        with suppress(BrokenPipeError):  # the process has ended, and there is no answer
            self.commands.stdin.write(json.dumps(arguments) + "\n")
            self.commands.stdin.flush()
        if not (answer := self.commands.stdout.readline()):
            raise BrokenRunError(f"{self.code.name}: the command line has ended by itself\n{self.end_of_log()}")
        code, printed = json.loads(answer)
        return int(code), str(printed)

    def end_of_log(self) -> str:
        """Return the last output of `up`, the worker and the commands."""
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")[-2000:]

    def wait_for_start(self) -> None:
        """Wait until `up` has a broker and a store that answer; jobs then wait there for the worker."""
        deadline = time.monotonic() + START_S
        while self.try_command("doctor", "--json")[0]:
            with suppress(subprocess.TimeoutExpired):
                self.up.wait(POLL_S)
            if self.up.poll() is not None or time.monotonic() > deadline:
                raise BrokenRunError(f"{self.code.name}: charrnn-jobs up does not start\n{self.end_of_log()}")

    def submit(self, name: str, command: str) -> None:
        """Submit a job of the set, and export what the command printed."""
        printed = self.run(*shlex.split(command.format(**self.ids)), "--json")
        self.ids[name] = json.loads(printed)["job"]
        self.export_json(f"{name}.submit.json", printed)

    def export_json(self, file: str, printed: str) -> None:
        """Export the JSON that a command printed, without what depends on the run; the order of keys is irrelevant."""
        shown = json.dumps(hide(json.loads(printed)), ensure_ascii=False, indent=1, sort_keys=True)
        shown = shown.replace(str(self.inputs), HIDDEN)
        (self.exports / file).write_text(f"{shown}\n", encoding="utf-8")

    def check_imports(self) -> None:
        """Check that up, commands and worker ran the code of the commit, and no other copy of the project.

        Raises:
            BrokenRunError: a process imported a module from elsewhere, or no worker has imported any.
        """
        modules = {int(path.name): path.read_text().split("\n")[:-1] for path in (self.home / "modules").iterdir()}
        own = tuple(f"{package}{os.sep}" for package in self.code.packages)
        strange = {path for paths in modules.values() for path in paths if not path.startswith(own)}
        workers = len(modules.keys() - {self.up.pid, self.commands.pid})
        if strange or not workers:
            raise BrokenRunError(
                f"{self.code.name}: expected every process to import the project from {self.code.folder}. "
                f"{workers} processes of workers did; modules from elsewhere: {', '.join(sorted(strange)) or 'none'}"
            )
        count = len(set().union(*modules.values()))
        say(f"{self.code.name}: {count} modules of {self.code.folder} ran, in up, commands and {workers} of the worker")


@contextmanager
def start(code: Code, home: Path, inputs: Path, exports: Path, packages: Sequence[str]) -> Iterator[Stack]:
    """A commit's stack while the block runs. SIGTERM ends it."""
    watch, modules = home / "watch", home / "modules"
    for folder in (watch, modules, exports):
        folder.mkdir(parents=True)
    (watch / "sitecustomize.py").write_text(WATCH.format(packages=packages, notes=str(modules)), encoding="utf-8")
    module, function = code.entry
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith(("CHARRNN_", "PYTHON"))},
        **SETTINGS,
        "CHARRNN_HOME": str(home / "charrnn"),
        "PYTHONPATH": os.pathsep.join([*code.paths, str(watch)]),
    }
    with ExitStack() as stack:
        log = stack.enter_context(open(home / "log", "wb"))

        def launch(program: str, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
            words = [sys.executable, "-P", "-c", program, *arguments]
            return subprocess.Popen(words, cwd=inputs, env=environment, stderr=log, start_new_session=True, **options)

        up = launch(f"from {module} import {function}; {function}()", "up", "--devices", "cpu", stdout=log)
        stack.callback(end, up)
        pipe = subprocess.PIPE
        program = COMMANDS.format(module=module, function=function)
        commands = launch(program, stdin=pipe, stdout=pipe, text=True)
        stack.callback(end, commands)
        running = Stack(code, home, up, commands, inputs, exports)
        running.wait_for_start()
        yield running


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that this script started; `up` ends its broker and its worker first."""
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def hide(value: object, path: str = "") -> object:
    """Return the same JSON with every value hidden that may differ from run to run. All keys stay, and their order."""
    if isinstance(value, dict):
        return {key: hide(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [hide(item, path) for item in value]
    return HIDDEN if VOLATILE.search(path) else value


def write_inputs(folder: Path) -> None:
    """Write the training text and the files of seeds. Seeds are taken from the text, so that each is known."""
    text = "\n".join(topics[name] for name in sorted(topics))[:CHARACTERS]
    (folder / "text").mkdir(parents=True)
    size = CHARACTERS // FILES
    for number in range(FILES):
        part = text[number * size : (number + 1) * size]
        (folder / "text" / f"{number}.txt").write_text(part, encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    seeds = [line[: 8 + number] for number, line in enumerate(line for line in lines if len(line) >= 40)][:22]
    few = [*seeds[:7], seeds[0], "", max(lines, key=len)]  # one of them twice, an empty line, and one that is long
    files = {"seeds.txt": [*seeds, seeds[3], seeds[3]], "few.txt": few, "one.txt": seeds[:1]}
    files["unknown.txt"] = [*UNKNOWN_SEEDS, seeds[0]]
    files["options.jsonl"] = [json.dumps(record) for record in records_with_options(seeds)]
    for name, content in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")


def records_with_options(seeds: Sequence[str]) -> list[dict[str, object]]:
    """Return seeds with their own temperature, length and other options."""
    return [
        {"id": "plain", "seed": seeds[0]},
        {"id": "greedy", "seed": seeds[1], "temperature": 0},
        {"id": "several", "seed": seeds[2], "temperature": [0.4, 1.1], "length": 30},
        {"id": "stop", "seed": seeds[3], "stop": "e"},
        {"id": "stops", "seed": seeds[4], "stop": [".", "\n"], "length": 80},
        {"seed": seeds[5], "top_k": 3},
        {"seed": seeds[5], "top_p": 0.7, "temperature": None},
        {"id": "all", "seed": seeds[6], "temperature": 0.8, "length": 25, "stop": " ", "top_k": 10, "top_p": 0.9},
        {"id": "newline", "seed": ""},
    ]


def choose_stages() -> list[dict[str, str]]:
    """Return the jobs that this machine can do: without bfloat16 where the processor lacks it."""
    flags = Path("/proc/cpuinfo")
    known = flags.read_text() if flags.exists() else ""
    if any(flag in known for flag in BFLOAT16_FLAGS):
        return list(STAGES)
    say(
        f"This processor has no {BFLOAT16} instructions ({' or '.join(BFLOAT16_FLAGS)}): jobs in {BFLOAT16} are skipped"
    )
    return [{name: command for name, command in stage.items() if BFLOAT16 not in name} for stage in STAGES]


def choose_formats() -> list[str]:
    """Return the formats that this environment can write: without Parquet where pyarrow is not installed."""
    if find_spec("pyarrow"):
        return list(FORMATS)
    say("pyarrow is not installed: exports as Parquet are skipped")
    return [name for name in FORMATS if name != "parquet"]


def do_jobs(stack: Stack, stages: Sequence[Mapping[str, str]]) -> None:
    """Submit all jobs in their order and wait for them."""
    for number, stage in enumerate(stages, 1):
        for name, command in stage.items():
            stack.submit(name, command)
        for name in stage:
            stack.run("wait", str(stack.ids[name]), "--timeout", f"{JOB_S}s")
        say(f"{stack.code.name}: stage {number} of {len(stages)} is done: {', '.join(stage)}")


def export_all(stack: Stack, stages: Sequence[Mapping[str, str]], formats: Sequence[str]) -> None:
    """Write the rows of every job in every format, and the store's information about jobs and models."""
    commands = {name: command for stage in stages for name, command in stage.items()}
    for name, job in stack.ids.items():
        stack.export_json(f"{name}.status.json", stack.run("status", str(job), "--json"))
        for suffix in formats if commands[name].startswith("submit") else ():
            stack.run("results", str(job), "-o", str(stack.exports / f"{name}.{suffix}"))
    for file, (name, options) in SELECTIONS.items():
        stack.run("results", str(stack.ids[name]), "-o", str(stack.exports / file), *shlex.split(options))
    stack.export_json("jobs.json", stack.run("jobs", "--json", "--limit", "100"))
    models = stack.run("models", "--json")
    stack.export_json("models.json", models)
    for version in json.loads(models):
        export_version(stack, version_name(version))


def version_name(version: Mapping[str, Any]) -> str:
    """Return the name of a version, such as lstm@1. Commits before JSON had schemas print its number alone."""
    shown = str(version["version"])
    return shown if "@" in shown else f"{version['model']}@{shown}"


def export_version(stack: Stack, name: str) -> None:
    """Export the store's information about a version, and its archive, which holds the weights and the losses."""
    stack.export_json(f"{name}.show.json", stack.run("models", "show", name, "--json"))
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "version"
        stack.run("models", "export", name, "-o", str(archive))
        digests = [f"{member} {hashlib.sha256(data).hexdigest()}" for member, data in sorted(members(archive))]
    (stack.exports / f"{name}.files").write_text("\n".join(digests) + "\n", encoding="utf-8")


def members(archive: Path) -> list[tuple[str, bytes]]:
    """Return the names and bytes of the files in an exported version: a zip file, before that a tar file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            return [(name, zipped.read(name)) for name in zipped.namelist()]
    with tarfile.open(archive) as tarred:
        files = [(member.name, tarred.extractfile(member)) for member in tarred.getmembers()]
        return [(name, file.read()) for name, file in files if file]


def check_slices(stack: Stack) -> None:
    """Check that a training job was cut into slices. The name of a version's folder ends with the number of its leases.

    Raises:
        BrokenRunError: each training job was done in one piece.
    """
    versions = json.loads(stack.run("models", "--json"))
    leases = {version_name(one): int(one["files"]["name"].rpartition("-")[2]) for one in versions}
    if max(leases.values()) < 2:
        raise BrokenRunError(f"{stack.code.name}: no training was cut into slices. Lower CHARRNN_SLICE_S in SETTINGS")
    shown = ", ".join(f"{name} {count}" for name, count in leases.items())
    say(f"{stack.code.name}: leases of each training: {shown}")


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each export by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def compare(old: Mapping[str, str], new: Mapping[str, str], table: IO[str]) -> int:
    """Write the table and return how many exports differ."""
    names = sorted(old.keys() | new.keys())
    width = max(map(len, names))
    different = 0
    for name in names:
        pair = [found.get(name, "") for found in (old, new)]
        same = pair[0] == pair[1]
        different += not same
        shown = "  ".join(f"{digest[:DIGITS] or '-':<{DIGITS}}" for digest in pair)
        table.write(f"{name:<{width}}  {shown}  {'same' if same else 'DIFFERENT'}\n")
    table.write(f"{len(names) - different} same, {different} different\n")
    return different


def say(message: str) -> None:
    """Write a line about the progress to standard error."""
    sys.stderr.write(f"{message}\n")


def export_both(commits: Sequence[str], work: Path, exports: Path) -> list[dict[str, str]]:
    """Run all jobs with each commit and return the digests of its exports.

    Raises:
        BrokenRunError: a commit does not do one of the jobs.
    """
    write_inputs(work / "inputs")
    stages, formats = choose_stages(), choose_formats()
    with ExitStack() as checkouts:
        codes = [
            checkouts.enter_context(check_out(f"{name} ({commit})", commit, work / f"{name}-code"))
            for name, commit in zip(("old", "new"), commits, strict=True)
        ]
        packages = sorted({package.name for code in codes for package in code.packages})
        found = []
        for name, code in zip(("old", "new"), codes, strict=True):
            with start(code, work / name, work / "inputs", exports / name, packages) as stack:
                do_jobs(stack, stages)
                check_slices(stack)
                export_all(stack, stages, formats)
            stack.check_imports()
            found.append(digests(exports / name))
        return found


def main() -> int:
    """Parse the command line, run both commits, and print the table. Return the exit code."""
    parser = argparse.ArgumentParser(description="Compare what two commits export, byte for byte.")
    parser.add_argument("commits", nargs=2, metavar=("OLD", "NEW"), help='a commit, or "." for the working tree')
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for the exports of both commits")
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        parser.error(f"--keep {options.keep} exists already. Expected the name of a new folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the stack is ended as well
    with tempfile.TemporaryDirectory(prefix="same-exports-") as folder:
        work = Path(folder).resolve()
        try:
            old, new = export_both(options.commits, work, (options.keep or work / "exports").resolve())
        except BrokenRunError as error:
            say(f"error: {error}")
            return 2
    return 1 if compare(old, new, sys.stdout) else 0


if __name__ == "__main__":
    sys.exit(main())
