"""What docker-compose.yml describes, run without a container engine: each service's own command as a process.

A process has a root folder of its own (mounts that only it sees: secrets, volumes, hosts), its service's
environment and nothing else, its user without rights, and the network of the others. What the images of
Valkey and PostgreSQL bring is Debian's here: `valkey-server` is its Redis, their entry points are ENTRY_POINT.
Needs root, and Debian's iproute2, redis-tools and postgresql.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fix_hosts import (
    S3_PORT,
    Namespace,
    add_bridge,
    make_bucket,
    new_namespace,
    refuse,
    running_s3,
)

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
DEBIAN = {
    "valkey-server": "/usr/bin/redis-check-rdb",
    "valkey-cli": "/usr/bin/redis-cli",
}  # the server goes by its name
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USERS = {"data": "10001", "redis": "nobody", "postgres": "postgres"}  # volume → its image's user, or Debian's for it
IMAGE = "/run/image"  # where programs of the images are, in a container
IMAGES = {  # what an image brings besides: its entry point, folder, environment
    "valkey/valkey": ("docker-entrypoint.sh", "/data", {}),
    "postgres": ("docker-entrypoint.sh", "/", {"PGDATA": "/var/lib/postgresql/18/docker", "LANG": "C.UTF-8"}),
    "charrnn-jobs/": ("charrnn-jobs", "/", {"HOME": "/data/home", "CHARRNN_HOME": "/data/home"}),
}
ADDRESS = "10.0.0.1"
NAMES = ("redis", "postgres", "s3")
BUCKET = "charrnn"
ADMIN = "admin"  # of the broker: the test's own
TIMEOUT_S = 180

# What the services need of the entry points of their images, which do no more for a user who is not root.
ENTRY_POINT = """#!/bin/sh
set -eu
case $1 in
valkey-server) umask 0077 ;;
postgres)
    mkdir -p "$PGDATA"
    if [ ! -e "$PGDATA/PG_VERSION" ]; then
        initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth=scram-sha-256
        echo "create database $POSTGRES_USER" | postgres --single -D "$PGDATA" postgres
        echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    fi ;;
esac
exec "$@"
"""

# Run in a mount namespace: a new root folder of the host's folders, but for those that a container has of its own.
# Arguments: the new root; pairs of what is mounted ("tmpfs": an empty folder) and where; --; host name; folder; words.
ENTER = """
set -eu
root=$1; shift
mount -t tmpfs -o mode=755 tmpfs "$root"
for path in /*; do
    case $path in /tmp | /run | /etc | /data | /root | /home) continue ;; esac
    if [ -L "$path" ]; then cp -P "$path" "$root$path"; continue; fi
    [ -d "$path" ] || continue
    mkdir "$root$path"
    mount --rbind "$path" "$root$path"
done
cp -a /etc "$root/etc"
echo "charrnn:x:10001:10001::/data/home:/bin/false" >>"$root/etc/passwd"
mkdir "$root/run" "$root/tmp"
while [ "$1" != -- ]; do
    if [ -f "$1" ]; then mkdir -p "$root${2%/*}"; : >"$root$2"; else mkdir -p "$root$2"; fi
    if [ "$1" = tmpfs ]; then mount -t tmpfs -o mode=1777 tmpfs "$root$2"; else mount --bind "$1" "$root$2"; fi
    shift 2
done
mount -o remount,ro "$root"
hostname "$2"
folder=$3; shift 3
exec chroot "$root" sh -c 'cd "$1"; shift; exec "$@"' sh "$folder" "$@"
"""


@dataclass
class Deployment:
    """The services of a Compose file in one network namespace."""

    namespace: Namespace
    folder: Path
    environment: dict[str, str]  # what `docker compose` would be called with
    containers: dict[str, Container] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.compose = yaml.safe_load(interpolate((ROOT / "docker-compose.yml").read_text(), self.environment))
        for name in ("empty", "image", "deploy"):
            (self.folder / name).mkdir()
        self._make_programs()
        self._make_secrets()
        hosts = "".join(f"{ADDRESS} {name}\n" for name in NAMES)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")

    def _make_programs(self) -> None:
        image = self.folder / "image"
        for name, program in DEBIAN.items():
            (image / name).symlink_to(program)
        (image / "docker-entrypoint.sh").write_text(ENTRY_POINT)
        (image / "docker-entrypoint.sh").chmod(0o755)
        for program in POSTGRES[-1].iterdir():
            (image / program.name).symlink_to(program)
        (image / "charrnn-jobs").symlink_to(Path(sys.executable).with_name("charrnn-jobs"))

    def _make_secrets(self) -> None:
        """As people are told to, with the bucket's keys, and a user of the broker's for the test."""
        for name in ("secrets.sh", "redis.acl"):
            shutil.copy(ROOT / "deploy" / name, self.folder / "deploy")
        subprocess.run(["/bin/sh", self.folder / "deploy" / "secrets.sh"], check=True, capture_output=True)
        self.admin_password = secrets.token_hex(16)
        with open(self.secret("redis.acl"), "a") as rules:
            rules.write(f"user {ADMIN} on >{self.admin_password} ~* &* +@all\n")
        words = ("[default]", f"aws_access_key_id = {secrets.token_hex(10)}")
        self.secret("aws_credentials").write_text(
            "\n".join((*words, f"aws_secret_access_key = {secrets.token_hex(20)}"))
        )

    def secret(self, name: str) -> Path:
        return self.folder / "deploy" / "secrets" / name

    def volume(self, name: str) -> Path:
        """The folder of a volume; a new one is the image's user's, as its folder in the image is."""
        path = self.folder / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True)
            _give_to(USERS[name], path)
            if name == "data":
                (path / "home").mkdir()
                _give_to(USERS[name], path / "home")
        return path

    def new(self, service: str, name: str | None = None) -> Container:
        name = name or service
        return self.containers.setdefault(name, Container(self, name, self.compose["services"][service]))

    def end(self) -> None:
        self.namespace.kill()
        for container in self.containers.values():
            if container.process:
                container.process.wait()


@dataclass
class Container:
    """A container of a service."""

    deployment: Deployment
    name: str
    service: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        return self.deployment.folder / f"{self.name}.log"

    def start(self) -> Container:
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                self._words(self.service["command"]),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def stop(self) -> int:
        """As `docker stop` does -> the exit code; a container that must be killed fails the test."""
        assert self.process
        self.process.send_signal(signal.Signals[self.service.get("stop_signal", "SIGTERM")])
        return self.process.wait(seconds(self.service["stop_grace_period"]))

    def run(
        self, *command: str, stdin: str = "", volumes: Mapping[Path, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """As `docker compose run --rm` does, to its end, whatever that is."""
        return subprocess.run(
            self._words(command, volumes),
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ok(self, *command: str, **options: Any) -> str:
        """Run what must succeed -> its standard output."""
        done = self.run(*command, **options)
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """As `docker exec` does."""
        assert self.process
        assert self.process.poll() is None, self.log
        here = ("nsenter", "--target", str(self.process.pid), "--mount", "--uts", "--net", "--root", "--wd")
        words = [*here, *self._rights, *command]
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )

    def is_healthy(self) -> bool:
        return self.execute(*health_check(self.service)).returncode == 0

    @property
    def environment(self) -> dict[str, str]:
        """The service's own and its image's, and nothing of ours."""
        given = self.service.get("environment", {})
        passed = {name: self.deployment.environment.get(name) if text is None else text for name, text in given.items()}
        path = f"{IMAGE}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, **self._image[2], **{name: text for name, text in passed.items() if text is not None}}

    @property
    def _image(self) -> tuple[str, str, dict[str, str]]:
        return next(image for name, image in IMAGES.items() if self.service["image"].startswith(name))

    @property
    def _rights(self) -> tuple[str, ...]:
        """The image's user, without capabilities."""
        user = USERS[self.service["volumes"][0].split(":")[0]]
        return (
            "setpriv",
            f"--reuid={user}",
            "--regid=nogroup",
            "--clear-groups",
            "--bounding-set=-all",
            "--no-new-privs",
        )

    def _words(self, command: Sequence[str], volumes: Mapping[Path, str] | None = None) -> list[str]:
        entry, folder, _ = self._image
        enter = ("unshare", "--mount", "--uts", "sh", "-c", ENTER, "sh", str(self.deployment.folder / "empty"))
        mounts = [str(word) for pair in self._mounts(volumes or {}) for word in pair]
        start = self.service.get("entrypoint", [entry])
        prefix = self.deployment.namespace.prefix
        return [*prefix, *enter, *mounts, "--", self.name, folder, *self._rights, *start, *command]

    def _mounts(self, volumes: Mapping[Path, str]) -> Iterator[tuple[Path | str, Path | str]]:
        deployment = self.deployment
        yield from (("tmpfs", path) for path in ("/run", *self.service.get("tmpfs", [])))
        yield from ((path, path) for path in {ROOT, Path(sys.prefix), Path(sys.base_prefix)} - {Path("/usr")})
        yield deployment.folder / "image", IMAGE
        yield deployment.folder / "hosts", "/etc/hosts"
        yield from ((deployment.secret(name), f"/run/secrets/{name}") for name in self.service["secrets"])
        for config in self.service.get("configs", []):
            yield ROOT / deployment.compose["configs"][config["source"]]["file"], config["target"]
        for volume in self.service["volumes"]:
            name, target = volume.split(":")
            yield deployment.volume(name), target
        yield from volumes.items()


def _give_to(user: str, path: Path) -> None:
    shutil.chown(path, int(user) if user.isdecimal() else user)


def health_check(service: Mapping[str, Any]) -> list[str]:
    """The service's own, or its image's."""
    if "healthcheck" in service:
        return list(service["healthcheck"]["test"][1:])
    (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    return list(json.loads(command))


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Compose's `${NAME:-default}` and `$$`."""

    def put(match: re.Match[str]) -> str:
        return environment.get(match[2]) or match[3] if match[2] else "$"

    return re.sub(r"\$(\$|\{(\w+):-([^}]*)\})", put, text)


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Services of docker-compose.yml, none of them started, and an S3 server beside them."""
    if not (POSTGRES and all(Path(program).exists() for program in DEBIAN.values())):
        refuse("there is no Redis or no PostgreSQL (Debian: apt-get install redis-tools postgresql)")
    with new_namespace("compose", ADDRESS) as namespace, tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        add_bridge(namespace)
        Path(folder).chmod(0o755)
        with running_s3(namespace):
            make_bucket(namespace, BUCKET)
            environment = {
                "CHARRNN_FILES_URL": f"s3://{BUCKET}/jobs",
                "AWS_ENDPOINT_URL": f"http://s3:{S3_PORT}",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            deployment = Deployment(namespace, Path(folder), environment)
            try:
                yield deployment
            finally:
                deployment.end()
