"""Commands in an environment that is wrong or poor: one message and an exit code, no traceback, no lost result."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.fixtures.processes import COMMAND, Home

ASCII_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def shell(home: Home, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which `$c` is the command."""
    variables = {**home.environment, "c": COMMAND[0], "COLUMNS": "200", **environment}
    done = subprocess.run(["/bin/sh", "-c", line], env=variables, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr
    assert b"Exception ignored" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("~nosuchuser", "CHARRNN_HOME '~nosuchuser' is not usable: Could not determine home directory. Set it"),
        ("/tmp/\udcff", "CHARRNN_HOME is not UTF-8. Set it to a value in UTF-8"),  # noqa: S108  # not created
    ],
)
def test_a_home_that_cannot_be_is_refused(home: Home, value: str, message: str) -> None:
    home.settings = {"CHARRNN_HOME": value}
    done = home.call("jobs")
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("variable", ["CHARRNN_STORE_URL", "CHARRNN_FILES_URL", "CHARRNN_REDIS_URL", "CHARRNN_LEASE_S"])
def test_a_setting_that_is_not_utf_8_is_refused(home: Home, variable: str) -> None:
    home.settings = {variable: "\udcff"}
    done = home.call("jobs")
    assert (done.returncode, f"{variable} is not UTF-8" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("path", "is_folder", "code", "message"),
    [
        ("up.lock", True, 2, "up.lock cannot be written: Is a directory. Delete it, or set another CHARRNN_HOME"),
        ("worker.lock", True, 2, "worker.lock cannot be written: Is a directory"),
        ("broker", False, 2, "broker is not a folder, or is a link. Delete it, or set another CHARRNN_HOME"),
        ("broker/broker.sock", True, 4, "The broker did not start. Its log: "),
        ("store.sqlite", True, 4, "unable to open database file"),
    ],
)
def test_up_in_an_impossible_home_is_refused(home: Home, path: str, is_folder: bool, code: int, message: str) -> None:
    (home.path / path).parent.mkdir(exist_ok=True, mode=0o700)
    (home.path / path).mkdir() if is_folder else (home.path / path).touch()
    done = home.call("up", "--devices", "cpu")
    assert (done.returncode, message in " ".join(done.stderr.split())) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("settings", [{}, {"CHARRNN_STORE_URL": "sqlite:///{home}/other.sqlite"}])
def test_up_in_a_home_that_cannot_be_created_is_refused(home: Home, settings: dict[str, str]) -> None:
    # Catches: a check that depends on a store in the home. Nobody, not even root, creates a folder in /proc
    home.settings = {name: text.format(home=home.path) for name, text in settings.items()}
    home.settings["CHARRNN_HOME"] = "/proc/charrnn"
    done = home.call("up")
    assert (done.returncode in (2, 4), "/proc/charrnn cannot be" in done.stderr) == (True, True), done.stderr


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ('"$c" jobs --json >&-', 2, b"Standard output cannot be used: Bad file descriptor"),
        ('"$c" jobs --json >/dev/full', 2, b"Standard output cannot be used: No space left on device"),
        ('"$c" --help >/dev/full', 2, b"Standard output cannot be used: No space left on device"),
        ('"$c" status 4711 2>&-', 3, b""),
        ('"$c" status 4711 2>/dev/full', 3, b""),
        ('"$c" jobs --json <&-', 0, b""),
        ('"$c" jobs --json <&- >&- 2>&-', 2, b""),
        ('env -u HOME -u TERM "$c" jobs --json', 0, b""),
        ('mkdir gone && cd gone && rmdir ../gone && "$c" jobs --json', 0, b""),
        ('mkdir gone && cd gone && rmdir ../gone && CHARRNN_HOME=here "$c" jobs', 2, b"Set it to an absolute path"),
    ],
)
def test_a_missing_stream_or_folder_is_one_message(home: Home, line: str, code: int, message: bytes) -> None:
    # Catches: a database that is opened as standard output; exit code 120, of a buffer that Python flushes as it ends
    done = shell(home, f'cd "$CHARRNN_HOME"; {line}')
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    if (home.path / "store.sqlite").exists():
        assert json.loads(home.ok("jobs", "--json")) == []


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, ASCII_LOCALE])
def test_output_is_utf_8_in_any_locale(stack: Home, environment: dict[str, str]) -> None:
    # Catches: an encoding that cannot write the label of a job, or the lines of a table of help
    job = stack.ok("submit", "-m", "tiny", "-l", "5", "--label", "café ⏎", "--wait").strip()
    done = shell(stack, f'"$c" status {job} && "$c" train --help && "$c" jobs --json', **environment)
    assert (done.returncode, "café ⏎" in done.stdout.decode(), "╭" in done.stdout.decode()) == (0, True, True)
