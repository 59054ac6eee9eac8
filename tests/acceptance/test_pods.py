"""The commands of the chart's pods complete the main job with the servers of its examples, and its runbooks work."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass

import pytest

from tests.fixtures.model import make_text
from tests.fixtures.pods import README, Cluster, Pod
from tests.fixtures.processes import TINY, until
from tests.fixtures.sandbox import ADDRESS

SERVERS = ("redis", "postgres")
SAMPLING = ("submit", "-m", "tiny", "--seeds", "-", "-n", "4", "-l", "100", "--rng-seed", "5")
SEEDS = "".join(f"{line[:9]}\n" for line in make_text(25).splitlines()[:25])
METRICS = f'import urllib.request as r; print(r.urlopen("http://{ADDRESS}:9464/metrics", timeout=30).read().decode())'
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@dataclass
class Fleet:
    """The pods that the examples of deploy/README.md start, without GPUs."""

    cluster: Cluster
    console: Pod

    def start(self, name: str, host: str = "") -> Pod:
        pod = self.cluster.new(name, host)
        pod.start()
        return pod

    def start_worker(self, host: str) -> Pod:
        """Start a worker and wait until it serves."""
        worker = self.start("worker-cpu", host)
        until(lambda: "worker ready" in worker.running_log, "a ready worker")
        return worker

    def ok(self, *words: str, stdin: str = "") -> str:
        """Run a command in the console, as `kubectl exec` does."""
        return self.console.execute_ok("charrnn-jobs", *words, stdin=stdin)


def finish(pod: Pod) -> tuple[int, str]:
    """Wait for the end of a pod that ends by itself. Return its exit code and its log."""
    assert pod.process
    return pod.process.wait(180), pod.log


@pytest.fixture(scope="module")
def fleet(cluster: Cluster) -> Fleet:
    for name in SERVERS:
        pod = cluster.new(name)
        pod.start()
        until(lambda pod=pod: pod.answers("readinessProbe"), f"a ready {name}")  # type: ignore[misc]
    console = cluster.new("console")
    console.start()
    return Fleet(cluster, console)


@dataclass
class Story:
    """An installation, the main job, an upgrade, and the end of the pods, as observed."""

    doctor: str
    probes: dict[str, int]  # exit codes, by pod and probe
    job: str
    export: str
    metrics: str
    upgrade: tuple[int, str]
    exit_codes: dict[str, int]


@pytest.fixture(scope="module")
def story(fleet: Fleet) -> Story:
    scheduler, worker = fleet.start("scheduler"), fleet.start_worker("worker-1")
    doctor = fleet.ok("doctor")
    web = fleet.start("web")
    until(lambda: "web interface at" in web.running_log, "the page")
    pods = {name: fleet.cluster.containers[name] for name in (*SERVERS, "worker-1", "web")}
    probes = {
        f"{name} {probe}": pod.probe(probe).returncode
        for name, pod in pods.items()
        for probe in PROBES
        if isinstance(pod, Pod) and probe in pod.container
    }
    (fleet.cluster.folder / "volumes" / "console" / "tmp" / "text.txt").write_text(make_text(800))
    fleet.ok("train", "tiny", "/tmp/text.txt", *TINY, "--wait")  # noqa: S108  # in the console's own /tmp
    job = fleet.ok(*SAMPLING, "--wait", stdin=SEEDS).strip()
    export = fleet.ok("results", job)
    metrics = fleet.console.execute_ok("python3", "-c", METRICS)
    upgrade = finish(fleet.start("upgrade"))
    codes = {pod.name: pod.stop() for pod in (worker, scheduler, web)}
    return Story(doctor, probes, job, export, metrics, upgrade, codes)


def runbook(name: str) -> str:
    """Return a command that deploy/README.md assigns to a variable of the shell."""
    (command,) = re.findall(rf"^{name}='(.*?)'$", README.read_text(), re.MULTILINE | re.DOTALL)
    return str(command)


def test_the_pods_complete_the_main_job(story: Story) -> None:
    assert [json.loads(line)["row"] for line in story.export.splitlines()] == list(range(100))
    assert "broker, store and files belong together" in story.doctor


def test_a_scheduler_serves_metrics_to_other_pods(story: Story) -> None:
    # Catches: an address on which only the pod itself reaches them
    assert 'charrnn_jobs{kind="generate",state="done"} 1.0' in story.metrics.splitlines()


def test_every_probe_of_a_healthy_pod_succeeds(story: Story) -> None:
    assert story.probes == dict.fromkeys(story.probes, 0)
    assert len(story.probes) == 9


def test_the_probe_of_a_worker_fails_where_none_runs(fleet: Fleet, story: Story) -> None:
    # Catches: a probe that succeeds whatever happens, such as one without its option
    worker = fleet.cluster.new("worker-cpu", "idle")
    assert worker.run(*worker.container["livenessProbe"]["exec"]["command"][1:]).returncode == 1


def test_a_worker_for_gpus_ends_where_there_is_none(fleet: Fleet) -> None:
    code, log = finish(fleet.start("worker-gpu"))
    assert (code, "--devices gpu found no GPU" in log) == (2, True)  # Catches: a pod that computes on the CPU


def test_the_job_of_an_upgrade_ends(story: Story) -> None:
    code, log = story.upgrade
    assert (code, "the schema is up to date" in log) == (0, True)


def test_pods_end_in_time_when_they_are_stopped(story: Story) -> None:
    # Without a handler the exit code is that of the signal; a pod that outlives its grace period fails the fixture
    assert story.exit_codes == {"worker-1": 0, "scheduler": -signal.SIGTERM, "web": 0}


@pytest.mark.slow("test_a_restored_database_continues_and_rejects_older_commits")
def test_the_runbook_restores_what_was_backed_up(fleet: Fleet, story: Story) -> None:
    database = fleet.cluster.containers["postgres"]
    database.execute_ok("sh", "-c", f"({runbook('dump')}) >/tmp/store.dump")
    lost = fleet.ok(*SAMPLING, "--key", "lost", stdin=SEEDS).strip()
    database.execute_ok("sh", "-euc", f"({runbook('restore')}) </tmp/store.dump")
    fleet.ok("store", "recover")
    check = fleet.ok("store", "check")
    assert "problem" not in check
    assert "has no row in the database" in check  # the seeds of the lost job
    assert fleet.ok("results", story.job) == story.export
    worker = fleet.start_worker("worker-2")
    again = fleet.ok(*SAMPLING, "--key", "lost", "--wait", stdin=SEEDS).strip()
    assert int(again) > int(lost)  # Catches: no `store recover`, so that an id means two jobs
    assert fleet.ok("results", again) == story.export
    assert worker.stop() == 0


def test_the_scaler_gets_its_password_without_a_newline(cluster: Cluster) -> None:
    # Catches: a line of a file, which the database would take for another password
    stored = cluster.stored("Secret", "charrnn-scaler") / "password"
    assert re.fullmatch(r"[0-9a-f]{48}", stored.read_text())


def test_no_log_or_environment_of_a_pod_contains_a_password(fleet: Fleet, story: Story) -> None:
    secrets = fleet.cluster.folder / "deploy" / "secrets"
    passwords = [(secrets / name).read_text().strip() for name in ("postgres_password", "web_token")]
    passwords.append((secrets / "redis_url").read_text().split(":")[2].split("@")[0])
    for pod in fleet.cluster.containers.values():
        seen = f"{pod.log if pod.process else ''} {pod.environment}"
        assert not [password for password in passwords if password in seen]
