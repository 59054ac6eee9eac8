"""Three hosts on one machine: network namespaces, joined by a bridge, for the tests of what a network does.

Store, broker and bucket run on the third one, the workers on the others. No packet leaves the namespaces;
the tests speak to the servers through Unix sockets. Needs root and Debian's iproute2.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
import redis
from psycopg.rows import dict_row

from producer.local import _server_binary
from tests.fix_postgres import USER, PostgresServer, running_server
from tests.fix_processes import COMMAND, DEADLINE_S, until

IP = shutil.which("ip") or ""
SUBNET = "10.0.0.0/24"
ADDRESSES = {"servers": "10.0.0.1", "a": "10.0.0.2", "b": "10.0.0.3"}  # the last one's last byte is the MAC's too
BRIDGE = "br0"
REDIS_PORT, S3_PORT = 6379, 5000
STATES = {"disabled": "0", "forwarding": "3"}  # of a bridge's port
FOREIGN = ("AWS_", "PG", "CHARRNN_")  # variables of the person who runs the tests
STOP_TIMEOUT_S = 60
MAKE_BUCKET = "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method='PUT'), timeout=60)"


@dataclass
class Namespace:
    """A network namespace, and commands in it."""

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that replaces itself by the words that follow it, in here: one process, with our child's id."""
        return (IP, "netns", "exec", self.name)

    @property
    def mac(self) -> str:
        return f"02:00:00:00:00:0{self.address[-1]}"  # locally administered

    def kill(self) -> None:
        """End whatever still runs in here."""
        for pid in ip("netns", "pids", self.name).split():
            os.kill(int(pid), signal.SIGKILL)


@dataclass
class Host:
    """A host with a home folder of its own, and one cable."""

    namespace: Namespace
    port: str  # the bridge's end of the cable
    bridge: Namespace  # where that end is
    home: Path
    settings: dict[str, str] = field(default_factory=dict, repr=False)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {**clean_environment(), "CHARRNN_HOME": str(self.home), **self.settings}

    @property
    def log(self) -> str:
        """What the started commands printed."""
        return (self.home / "log").read_text()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run charrnn-jobs to its end, whatever that is."""
        return subprocess.run(
            [*self.namespace.prefix, *COMMAND, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        """Run a command that must succeed -> its standard output."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command and leave it running until `stop`."""
        with open(self.home / "log", "ab") as log:
            process = subprocess.Popen(
                [*self.namespace.prefix, *COMMAND, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End what was started, in its own way if it can."""
        while self.processes:
            _stop(self.processes.pop())

    def cut(self) -> None:
        """Lose every packet to and from this host. Nobody is told: both ends of the cable stay up."""
        self._set_port("disabled")

    def mend(self) -> None:
        self._set_port("forwarding")

    def _set_port(self, state: str) -> None:
        # `ip link set ... type bridge_slave state` succeeds as well, and does nothing.
        words = ("netns", "exec", self.bridge.name, "bridge", "link", "set", "dev", self.port, "state", STATES[state])
        ip(*words)


@dataclass
class Place:
    """A store, a broker and a bucket that belong to nobody yet, as the hosts and as the test see them."""

    settings: dict[str, str] = field(repr=False)
    store: psycopg.Connection[dict[str, Any]]
    broker: redis.Redis

    def parts(self, *jobs: str) -> list[dict[str, Any]]:
        """Of these jobs in order, as the store has them."""
        query = "select * from parts where job = any(%s) order by job, number"
        return self.store.execute(query, [list(map(int, jobs))]).fetchall()

    def doorbells(self, queue: str) -> int:
        return int(self.broker.llen(f"charrnn:{queue}"))


@dataclass
class Servers:
    """PostgreSQL, a broker and an S3 server in a namespace."""

    namespace: Namespace
    postgres: PostgresServer
    broker_socket: Path
    broker_password: str = field(repr=False)
    places: int = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """An empty database, an empty broker's database and an empty bucket."""
        url = self.postgres.new_database()
        number, bucket = self.places, f"charrnn-{secrets.token_hex(8)}"
        self.places += 1
        make_bucket(self.namespace, bucket)
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as store, self._broker(number) as broker:
            yield Place(self._settings(store.info.dbname, number, bucket), store, broker)

    def _settings(self, database: str, number: int, bucket: str) -> dict[str, str]:
        address, postgres = self.namespace.address, self.postgres
        return {
            "CHARRNN_REDIS_URL": f"redis://:{self.broker_password}@{address}:{REDIS_PORT}/{number}",
            "CHARRNN_STORE_URL": f"postgresql://{USER}:{postgres.password}@{address}:{postgres.port}/{database}",
            "CHARRNN_FILES_URL": f"s3://{bucket}/prefix",
            "AWS_ENDPOINT_URL": f"http://{address}:{S3_PORT}",
            "AWS_ACCESS_KEY_ID": secrets.token_hex(10).upper(),
            "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,  # not the one of the person who runs the tests
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _broker(self, number: int) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.broker_socket), password=self.broker_password, db=number)


@dataclass
class Network:
    """Hosts a and b, and the servers' host, which is a place to type commands too."""

    servers: Servers
    a: Host
    b: Host
    console: Host

    @property
    def hosts(self) -> tuple[Host, ...]:
        return self.a, self.b, self.console


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Three namespaces with running servers; all of it is gone at the end."""
    with ExitStack() as stack:
        namespaces = {role: stack.enter_context(new_namespace(role, address)) for role, address in ADDRESSES.items()}
        bridge = namespaces["servers"]
        add_bridge(bridge)
        for role in ("a", "b"):
            _plug_in(namespaces[role], f"to-{role}", bridge)
        servers = stack.enter_context(_servers(bridge))
        a, b = (stack.enter_context(_host(namespaces[role], f"to-{role}", bridge)) for role in ("a", "b"))
        yield Network(servers, a, b, console=stack.enter_context(_host(bridge, "", bridge)))


@pytest.fixture
def place(network: Network) -> Iterator[Place]:
    """A place of its own for a test; every host knows it, no cable is cut, nothing runs."""
    with network.servers.place() as place:
        for host in network.hosts:
            host.settings = dict(place.settings)
        try:
            yield place
        finally:
            for host in (network.a, network.b):
                host.mend()
            for host in network.hosts:
                host.stop()


def ip(*words: str) -> str:
    """Run iproute2's `ip` -> its standard output."""
    done = subprocess.run([IP, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def refuse(why: str) -> NoReturn:
    """Nobody must run tests as root, but what checks every change must not pass without these."""
    message = f"Network namespaces need root and iproute2 (Debian: apt-get install iproute2): {why}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def clean_environment() -> dict[str, str]:
    """Ours, without what leads elsewhere; a proxy would be asked for 10.0.0.1 too."""
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(FOREIGN) and not name.lower().endswith("_proxy")
    }


@contextmanager
def new_namespace(role: str, address: str) -> Iterator[Namespace]:
    """An empty namespace; whatever still runs in it at the end is killed."""
    if os.getuid() != 0 or not IP:
        refuse("there is no ip" if os.getuid() == 0 else "this is not root")
    namespace = Namespace(f"charrnn-{secrets.token_hex(4)}-{role}", address)
    made = subprocess.run([IP, "netns", "add", namespace.name], capture_output=True, text=True, check=False)
    if made.returncode != 0:  # root of a container may do less than root
        refuse(made.stderr)
    try:
        ip("-n", namespace.name, "link", "set", "lo", "up")
        yield namespace
    finally:
        namespace.kill()
        ip("netns", "delete", namespace.name)  # and with it the cables that end in it


def add_bridge(namespace: Namespace) -> None:
    here = ("-n", namespace.name)
    ip(*here, "link", "add", BRIDGE, "address", namespace.mac, "type", "bridge")
    ip(*here, "address", "add", f"{namespace.address}/24", "dev", BRIDGE)
    ip(*here, "link", "set", BRIDGE, "up")


def _plug_in(host: Namespace, port: str, bridge: Namespace) -> None:
    """Lay a cable from a host to a port of the bridge.

    Both sides know each other's MAC for good, as if a router stood between them: who asks in vain who has an address
    is told after 3 s that there is no route, and connections to lost hosts do not end as well in earnest.
    """
    ip(
        "link",
        "add",
        "eth0",
        "netns",
        host.name,
        "address",
        host.mac,
        "type",
        "veth",
        "peer",
        port,
        "netns",
        bridge.name,
    )
    ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
    ip("-n", bridge.name, "link", "set", port, "master", BRIDGE, "up")
    ip("-n", host.name, "link", "set", "eth0", "up")
    for here, there, device in ((host, bridge, "eth0"), (bridge, host, BRIDGE)):
        known = ("neighbour", "add", there.address, "lladdr", there.mac, "dev", device, "nud", "permanent")
        ip("-n", here.name, *known)


@contextmanager
def _host(namespace: Namespace, port: str, bridge: Namespace) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home:
        host = Host(namespace, port, bridge, Path(home))
        try:
            yield host
        finally:
            host.stop()


@contextmanager
def _servers(namespace: Namespace) -> Iterator[Servers]:
    prefix = namespace.prefix
    nobody = pwd.getpwnam("nobody")  # PostgreSQL refuses to run as root
    account = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    postgres = running_server(prefix=(*prefix, *account), address=namespace.address, subnet=SUBNET, has_socket=True)
    password = secrets.token_urlsafe(16)
    with postgres as server, _broker(namespace, password) as socket, running_s3(namespace):
        yield Servers(namespace, server, socket, password)


@contextmanager
def _broker(namespace: Namespace, password: str) -> Iterator[Path]:
    """A broker as people are told to run one -> its socket."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        socket = Path(folder) / "broker.sock"
        options = {
            "bind": namespace.address,
            "port": REDIS_PORT,
            "requirepass": password,
            "unixsocket": socket,
            "dir": folder,
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "logfile": Path(folder) / "broker.log",
        }
        words = [*namespace.prefix, _server_binary(), "-"]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            # Through standard input: everybody can read a command line.
            assert process.stdin
            process.stdin.write("".join(f"{name} {text}\n" for name, text in options.items()).encode())
            process.stdin.close()
            with redis.Redis(unix_socket_path=str(socket), password=password) as client:
                until(lambda: _answers(process, client), "the broker to start")
            yield socket
        finally:
            _stop(process)


def _answers(process: subprocess.Popen[bytes], client: redis.Redis) -> bool:
    assert process.poll() is None, "the broker did not start"
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def running_s3(namespace: Namespace) -> Iterator[None]:
    """moto's S3 server; it keeps objects in memory and looks at no password."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        log = Path(folder) / "server.log"
        words = [sys.executable, "-m", "moto.server", "--host", namespace.address, "--port", str(S3_PORT)]
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [*namespace.prefix, *words], stdout=output, stderr=output, start_new_session=True
            )
        try:
            until(lambda: _serves(process, log), "moto to start")
            yield
        finally:
            _stop(process)


def make_bucket(namespace: Namespace, name: str) -> None:
    url = f"http://{namespace.address}:{S3_PORT}/{name}"
    subprocess.run([*namespace.prefix, sys.executable, "-c", MAKE_BUCKET, url], env=clean_environment(), check=True)


def _serves(process: subprocess.Popen[bytes], log: Path) -> bool:
    text = log.read_text()
    assert process.poll() is None, f"moto did not start:\n{text}"
    return "Running on" in text


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
