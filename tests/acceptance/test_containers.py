"""The commands of docker-compose.yml complete the main job over TLS, and while every service is restarted."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.containers import ADMIN, Container, Deployment
from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY, until
from tests.fixtures.sandbox import ROOT

WORKERS = ("worker-1", "worker-2", "worker-3")
PIECES = (*WORKERS, "scheduler", "redis", "postgres")
PAGE = """
import urllib.request, sys
token = open("/run/secrets/web_token").read().strip()
for headers in ({"Authorization": f"Bearer {token}"}, {}):
    request = urllib.request.Request("http://127.0.0.1:8470/models", headers=headers)
    try:
        print("tiny" in urllib.request.urlopen(request, timeout=30).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code)
"""
METRICS = 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:9464/metrics", timeout=30).read().decode())'
pytestmark = pytest.mark.timeout(900)  # restarts in the middle of 62,500 texts take three to five minutes
SEEDS, PART_ROWS = 25, 100
SAMPLES = {"short": 4, "long": 2500}  # per seed; 625 parts outlast all the restarts, half a minute and more
SAMPLING = ("-m", "tiny", "--seeds", "-", "-l", "400", "--rng-seed", "5")
CA = "/run/secrets/ca.crt"
READY = "worker ready"  # in the log of a worker
ALWAYS = {"auth", "hello"}  # commands that need no right


@dataclass
class Stack:
    """The containers of `docker compose up --scale worker=3`, and a console for commands."""

    deployment: Deployment
    console: Container

    def container(self, name: str) -> Container:
        return self.deployment.new("worker" if name in WORKERS else name, name)

    def start(self, name: str) -> None:
        """Start a container and wait until it serves."""
        container = self.container(name)
        starts = container.log.count(READY) if container.process else 0
        container.start()
        until(container.is_healthy, f"a healthy {name}")
        if name in WORKERS:
            until(lambda: container.log.count(READY) > starts, f"a ready {name}")

    @property
    def parts_done(self) -> int:
        return sum(self.container(name).log.count(" rows in ") for name in WORKERS)

    def has_done_more_than(self, parts: int) -> bool:
        return self.parts_done > parts

    def broker(self, user: str, password: str, *words: str) -> str:
        """Run a command as that user and return the broker's answer."""
        login = ("--user", user, "--pass", password, "--no-auth-warning")
        done = self.container("redis").execute("valkey-cli", "-h", "redis", "--tls", "--cacert", CA, *login, *words)
        return done.stdout

    def administrate(self, *words: str) -> str:
        return self.broker(ADMIN, self.deployment.admin_password, *words)

    def used(self) -> set[str]:
        """Return the commands that the broker has run since its start."""
        stats = self.administrate("info", "commandstats")
        names = re.findall(r"^cmdstat_([a-z|]+):", stats, re.MULTILINE)
        return {name for name in names if not name.startswith("acl")} - ALWAYS

    def status(self, job: str) -> dict[str, Any]:
        return dict(json.loads(self.console.ok("status", job, "--json")))


@pytest.fixture(scope="module")
def services(deployment: Deployment) -> Stack:
    services = Stack(deployment, deployment.new("producer"))
    for name in ("redis", "postgres"):
        services.start(name)
    for name in WORKERS:
        services.start(name)
    services.container("scheduler").start()
    return services


@dataclass
class Carried:
    """The results of the main job and of every restarted service; a long job surely runs during the restarts."""

    samples: int  # per seed
    lines: list[str]
    undisturbed: list[str]  # rows of the first seed, sampled without restarts
    exit_codes: dict[str, int]
    used: set[str]
    denied: str


@pytest.fixture(
    scope="module",
    params=["short", pytest.param("long", marks=pytest.mark.slow("test_an_emptied_broker_loses_nothing"))],
)
def carried(services: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    folder, console = tmp_path_factory.mktemp("in"), services.console
    folder.chmod(0o755)  # readable for the image's user
    (folder / "text.txt").write_text(make_text(800))
    training = ("tiny", "/in/text.txt", *TINY)
    console.ok("train", *training, "--wait", volumes={folder: "/in"})
    seeds = "".join(f"{line[:9]}\n" for line in make_text(SEEDS).splitlines()[:SEEDS])
    samples = SAMPLES[request.param]
    sampling = ("submit", *SAMPLING, "-n", str(samples))
    job = console.ok(*sampling, "--part-rows", str(PART_ROWS), stdin=seeds).strip()
    used, codes = set[str](), dict[str, int]()
    for name in PIECES:
        if request.param == "long":
            until(partial(services.has_done_more_than, services.parts_done), "a part")
        used |= services.used()
        codes[name] = services.container(name).stop()
        services.start(name) if name != "scheduler" else services.container(name).start()
    assert request.param == "short" or services.status(job)["state"] == "running", "the job was too quick for this test"
    console.ok("wait", job, timeout_s=500)
    again = console.ok(*sampling, "--wait", stdin=seeds.splitlines()[0]).strip()
    console.ok("doctor")
    lines, undisturbed = (console.ok("results", number).splitlines() for number in (job, again))
    return Carried(samples, lines, undisturbed, codes, used | services.used(), services.administrate("acl", "log"))


def test_every_row_exists_once_and_equals_a_run_without_faults(carried: Carried) -> None:
    assert [json.loads(line)["row"] for line in carried.lines] == list(range(SEEDS * carried.samples))
    assert carried.lines[: carried.samples] == carried.undisturbed


def test_every_service_stops_gracefully_at_sigterm(carried: Carried) -> None:
    # At SIGTERM a scheduler has nothing to requeue, and ends with the exit code that a shell reports for the signal
    assert carried.exit_codes == {**dict.fromkeys(PIECES, 0), "scheduler": -signal.SIGTERM}


def test_the_page_is_served_to_who_has_the_token(services: Stack, carried: Carried) -> None:
    container = services.container("web").start()
    until(lambda: "web interface at" in container.log, "the page")
    assert container.execute("python3", "-c", PAGE).stdout.split() == ["True", "401"]
    assert container.stop() == 0


def test_the_profile_metrics_serves_those_of_the_store(services: Stack, carried: Carried) -> None:
    container = services.container("metrics").start()
    until(lambda: "metrics at" in container.log, "the metrics")
    metrics = container.execute("python3", "-c", METRICS).stdout.splitlines()
    assert {f'charrnn_up{{service="{name}"}} 1.0' for name in ("broker", "files", "store")} <= set(metrics)
    assert container.stop() == -signal.SIGTERM


def test_the_broker_s_user_has_the_rights_that_are_used_and_no_others(carried: Carried) -> None:
    (rule,) = re.findall(r"^user charrnn .* -@all (.*)$", (ROOT / "deploy" / "redis.acl").read_text(), re.MULTILINE)
    assert carried.used == {word.removeprefix("+") for word in rule.split()}
    assert carried.denied.strip() == ""


def test_waiting_notifications_survive_a_broker_restart(services: Stack, carried: Carried) -> None:
    # Catches: `user default off` alone: Redis replays transactions as that user, and would drop them all
    assert "NOPERM" not in services.container("redis").log


def test_the_broker_rejects_unauthenticated_users(services: Stack) -> None:
    plain = services.container("redis").execute("valkey-cli", "-h", "redis", "ping")
    assert "PONG" not in plain.stdout + plain.stderr
    for user in ("charrnn", "default"):
        assert "NOAUTH" in services.broker(user, "guessed", "ping")


def test_the_user_of_the_health_check_can_only_ping(services: Stack) -> None:
    assert services.broker("health", "none", "ping").strip() == "PONG"
    assert "NOPERM" in services.broker("health", "none", "get", "charrnn:store")


def test_the_database_takes_no_connection_without_tls(services: Stack) -> None:
    done = services.container("postgres").execute("psql", "host=postgres user=charrnn sslmode=disable", "--no-password")
    assert "no encryption" in done.stderr


@pytest.mark.parametrize("server", ["broker", "store"])
def test_a_server_certificate_of_another_authority_is_rejected(services: Stack, server: str, tmp_path: Path) -> None:
    # Catches: TLS without a check of the certificate
    for name in ("secrets.sh", "redis.acl"):
        shutil.copy(ROOT / "deploy" / name, tmp_path)
    subprocess.run(["/bin/sh", tmp_path / "secrets.sh"], check=True, capture_output=True)
    done = services.console.run("doctor", "--json", volumes={tmp_path / "secrets" / "ca.crt": CA})
    assert done.returncode == 4
    (check,) = (check for check in json.loads(done.stdout) if check["name"] == server)
    assert not check["ok"]
    assert "certificate" in check["detail"]


def test_no_log_or_environment_contains_a_password(services: Stack, carried: Carried) -> None:
    secret = [services.deployment.secret(name).read_text().strip() for name in ("postgres_password", "redis_url")]
    passwords = (secret[0], secret[1].split(":")[2].split("@")[0])
    for container in services.deployment.containers.values():
        seen = f"{container.log if container.process else ''} {container.environment}"
        assert not [password for password in passwords if password in seen]
