"""The files of deploy/ and docker-compose.yml: results of their validators, and checks that validators do not make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from producer.web import PORT

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
REQUIREMENTS = DEPLOY / "requirements"
README = DEPLOY / "README.md"
UNITS = ("charrnn-worker@0.service", "charrnn-scheduler.service")
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
NO_SYSTEMD = "needs systemd: apt-get install systemd"
SERVERS = ("redis", "postgres")
DECLARED = ("secrets", "configs", "networks")  # sections that a service refers to by a list of names or sources

Compose = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> Compose:
    return dict(yaml.safe_load(COMPOSE.read_text()))


@pytest.fixture(scope="module")
def services(compose: Compose) -> dict[str, Compose]:
    return dict(compose["services"])


@pytest.fixture(scope="module")
def stages() -> dict[str, list[str]]:
    """Return the instructions of each stage of the Dockerfile by name, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("FROM "):
            found[line.split()[-1]] = stage = [line]
        elif line and not line.startswith("#"):
            stage.append(line)
    return found


def run(*words: str | Path, code: int = 0) -> str:
    """Run a program that must end with that exit code and return all its output."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT)
    assert done.returncode == code, done.stdout
    return done.stdout


def beside_python(program: str) -> Path:
    return Path(sys.executable).with_name(program)


def test_the_compose_file_is_of_its_schema() -> None:
    run(beside_python("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_the_dockerfile_passes_its_linter() -> None:
    assert run(beside_python("hadolint"), "--failure-threshold", "style", DOCKERFILE) == ""


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if not (shutil.which("systemd-analyze") and SYSTEM_UNITS.is_dir()):
        assert os.environ.get("CI") != "true", NO_SYSTEMD
        pytest.skip(NO_SYSTEMD)
    shutil.copytree(SYSTEM_UNITS, tmp_path / SYSTEM_UNITS.relative_to("/"), symlinks=True)
    shutil.copytree(DEPLOY / "systemd", tmp_path / "etc/systemd/system")
    program = tmp_path / "opt/charrnn-jobs/bin/charrnn-jobs"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    assert run("systemd-analyze", "verify", f"--root={tmp_path}", *UNITS) == ""  # it warns of what it ignores


def test_a_systemd_worker_has_one_gpu_and_requeues_its_work() -> None:
    unit = (DEPLOY / "systemd/charrnn-worker@.service").read_text()
    assert re.search(r"^ExecStart=\S+ worker --devices %i$", unit, re.MULTILINE)
    assert "\nKillMode=mixed\n" in unit


def names(service: Compose, kind: str) -> set[str]:
    return {entry if isinstance(entry, str) else entry["source"] for entry in service.get(kind, [])}


@pytest.mark.parametrize("kind", DECLARED)
def test_services_name_what_is_declared_and_all_of_it(compose: Compose, kind: str) -> None:
    used = set[str]().union(*(names(service, kind) for service in compose["services"].values()))
    assert used == set(compose[kind])


def test_volumes_are_declared_and_used(compose: Compose) -> None:
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])}
    assert used == set(compose["volumes"])


def test_services_required_to_be_healthy_have_a_health_check(services: dict[str, Compose]) -> None:
    waits = [needed for service in services.values() for needed in service.get("depends_on", {}).items()]
    assert {(name, how["condition"]) for name, how in waits} == {(name, "service_healthy") for name in SERVERS}
    assert all(services[name]["healthcheck"]["test"][0] == "CMD" for name, _ in waits)


def test_every_build_target_is_a_stage_of_the_dockerfile(
    services: dict[str, Compose], stages: dict[str, list[str]]
) -> None:
    builds = {name: service["build"] for name, service in services.items() if "build" in service}
    assert {build["dockerfile"] for build in builds.values()} == {str(DOCKERFILE.relative_to(ROOT))}
    assert {build["target"] for build in builds.values()} == {"producer", "worker-cpu", "worker-gpu"} <= stages.keys()
    assert all(services[name]["image"] == f"charrnn-jobs/{build['target']}" for name, build in builds.items())


def test_files_copied_by_the_dockerfile_exist_and_are_not_ignored(stages: dict[str, list[str]]) -> None:
    lines = [line for stage in stages.values() for line in stage]
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    bound = {found for line in lines for found in re.findall(r"type=bind,source=(\S+?),", line)}
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    assert all((ROOT / path).exists() for path in copied | bound)
    assert all(any(Path(path).is_relative_to(entry) for entry in allowed) for path in copied | bound)


def test_no_port_is_published_but_those_of_page_and_metrics_on_loopback(services: dict[str, Compose]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"web": [f"127.0.0.1:{PORT}:{PORT}"], "metrics": ["127.0.0.1:9464:9464"]}
    assert all(services[name]["profiles"] == [name] for name in published)  # nobody gets them without asking
    assert not [name for name, service in services.items() if "network_mode" in service]


def test_only_these_services_reach_broker_and_database(compose: Compose) -> None:
    assert compose["networks"]["inside"] == {"internal": True}
    assert all(compose["services"][name]["networks"] == ["inside"] for name in SERVERS)


def test_services_have_no_unneeded_rights(services: dict[str, Compose]) -> None:
    for service in services.values():
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & service.keys()
        assert "build" in service or service["user"] in ("valkey", "postgres")  # the Dockerfile sets the user otherwise


def test_mounts_of_read_only_containers_are_files(compose: Compose) -> None:
    # Catches: inline content, which Compose would copy into the containers
    mounted = [*compose["configs"].values(), *compose["secrets"].values()]
    assert all(entry.keys() == {"file"} for entry in mounted)


def test_the_runbooks_name_every_service_that_works_on_jobs(services: dict[str, Compose]) -> None:
    # Catches: a scheduler that continues while the database is restored, or that keeps the previous release
    command = r"`docker compose (?:stop|start|up --detach --no-deps) ([a-z -]*scheduler[a-z -]*)`"
    named = [set(found.split()) for found in re.findall(command, README.read_text())]
    assert named == [{name for name, service in services.items() if "build" in service} - {"producer"}] * 3


def test_each_row_of_a_table_is_one_line() -> None:
    # Catches: a row that is broken like prose, of which the page shows the rest as a row of its own
    assert [line for line in README.read_text().splitlines() if line.lstrip()[:1] == "|" != line[-1:]] == []


def test_gpus_are_reserved_only_in_their_profile(services: dict[str, Compose]) -> None:
    assert {name for name, service in services.items() if "deploy" in service} == {"worker-gpu"}
    gpu = services["worker-gpu"]
    (devices,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (gpu["profiles"], devices["capabilities"]) == (["gpu"], ["gpu"])
    assert gpu["command"][:3] == [
        "worker",
        "--devices",
        "gpu",
    ]  # Catches: auto, which means the CPU where the driver is missing


def test_images_end_as_a_numbered_user_that_is_not_root(stages: dict[str, list[str]]) -> None:
    for stage in ("producer", "worker-cpu", "worker-gpu"):
        assert [line for line in stages[stage] if line.startswith("USER ")][-1] == "USER 10001"


def test_signals_reach_the_command_itself(stages: dict[str, list[str]]) -> None:
    # Catches: the shell form, where SIGTERM ends the shell and the worker is killed later
    lines = [line for stage in stages.values() for line in stage if line.split()[0] in ("ENTRYPOINT", "CMD")]
    assert len(lines) == 4
    assert all(re.fullmatch(r'[A-Z]+ \["[^"]+"(, "[^"]+")*\]', line) for line in lines)


def test_everything_installed_is_pinned_and_hashed(stages: dict[str, list[str]]) -> None:
    installs = [line for stage in stages.values() for line in stage if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps /wheels" in line for line in installs)
    assert len(installs) == 5


def test_the_image_gets_all_that_the_wheel_is_made_of(stages: dict[str, list[str]]) -> None:
    # Catches: a package or module that the wheel of the image lacks, without an error in its build
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {word for line in stages["wheel"] if line.startswith("COPY ") for word in line.split()[1:-1]}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(wheel["packages"]) - (copied & sent) == set()


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[.*?\])?==(\S+)", path.read_text(), re.MULTILINE))


def test_images_have_the_versions_that_the_tests_ran_with() -> None:
    tested = pins(ROOT / "requirements.txt")
    for path in REQUIREMENTS.iterdir():
        installed = pins(path)
        assert {name: version for name, version in installed.items() if tested.get(name, version) != version} == {}
        assert installed.keys() - tested.keys() == set() or path.stem == "worker-gpu"


def test_only_workers_have_a_backend() -> None:
    found = {path.stem: pins(path).keys() & {"jax", "tensorflow", "tensorflow-cpu"} for path in REQUIREMENTS.iterdir()}
    assert (found["producer"], found["worker-gpu"]) == (set(), {"jax"})
    assert "tensorflow-cpu" in found["worker-cpu"]


def texts() -> Iterator[str]:
    """Yield the text of every committed deployment file."""
    for path in (COMPOSE, *DEPLOY.rglob("*")):
        if path.is_file() and "secrets" not in path.relative_to(ROOT).parts and REQUIREMENTS not in path.parents:
            yield path.read_text()


def test_no_file_contains_a_secret(services: dict[str, Compose]) -> None:
    for text in texts():
        assert not re.search(r"PRIVATE KEY|://[^/\s$]*:(?!password@)[^/\s$]+@|[0-9a-f]{40}", text)
    variables = {name for service in services.values() for name in service.get("environment", {})}
    secret = {name for name in variables if re.search("PASSWORD|SECRET|TOKEN|KEY|REDIS_URL|STORE_URL", name)}
    assert secret
    assert all(name.endswith("_FILE") for name in secret)


def test_a_secret_s_file_is_never_committed() -> None:
    run("git", "check-ignore", "deploy/secrets/redis_url")


def test_the_script_makes_each_secret_once(compose: Compose, tmp_path: Path) -> None:
    for name in ("secrets.sh", "redis.acl"):
        shutil.copy(DEPLOY / name, tmp_path)
    assert "made in deploy/secrets" in run("sh", tmp_path / "secrets.sh")
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {entry["file"] for entry in compose["secrets"].values()} == {f"deploy/secrets/{name}" for name in made}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    # Catches: files that containers cannot read, and those that their owner cannot fill in or copy back
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o644}
    assert made["postgres_password"] in made["store_url"]
    assert "is there already" in run("sh", tmp_path / "secrets.sh", code=1)
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


def test_the_broker_user_can_use_the_listed_commands_on_project_keys() -> None:
    (rule,) = re.findall(r"^user charrnn (.*)$", (DEPLOY / "redis.acl").read_text(), re.MULTILINE)
    words = rule.split()
    assert words[:5] == ["on", "#PASSWORD_SHA256", "~charrnn:*", "resetchannels", "-@all"]
    assert all(re.fullmatch(r"\+[a-z|]+", word) for word in words[5:])
    dangerous = {"+config", "+eval", "+flushall", "+flushdb", "+keys", "+module", "+shutdown", "+debug", "+acl"}
    assert not dangerous & set(words)
