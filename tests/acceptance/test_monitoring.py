"""A real Prometheus that scrapes the scheduler of a real fleet: the queries of the dashboard, and the alerts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from charrnn.release import MODULE
from tests.fixtures.charts import Charts, of_kind
from tests.fixtures.disks import full, small_disk
from tests.fixtures.fleet import Fleet, make_fleet
from tests.fixtures.model import make_text
from tests.fixtures.processes import until
from tests.fixtures.prometheus import Prometheus, program, scraping

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "charrnn-jobs.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy" / "helm" / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
ALERTS = {rule["alert"]: rule["expr"] for rule in RULES}
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
STOP_S = 30.0

pytestmark = pytest.mark.slow("test_prometheus_accepts_the_alerts_and_their_tests", "test_metrics_that_exist_are_used")


@pytest.fixture(scope="module")
def fleet(archive: Path) -> Iterator[Fleet]:
    """A fleet whose maintenance is rare, so that a fault is seen before it is repaired."""
    program("prometheus")  # it may skip the tests before anything is started
    with make_fleet("sqlite", archive, make_text(3)) as fleet:
        fleet.settings |= {"CHARRNN_MAINTAIN_S": "20", "CHARRNN_LEASE_S": "3"}
        yield fleet


@contextmanager
def serving(fleet: Fleet) -> Iterator[str]:
    """Run a scheduler while the block runs. Yield the host and port of its metrics."""
    log = fleet.home / "scheduler.log"
    with open(log, "wb") as file:
        words = [*MODULE, "worker.scheduler", "--metrics", "127.0.0.1:0"]
        process = subprocess.Popen(words, env=fleet.environment, stdout=file, stderr=file)
    try:
        found = until(lambda: re.search(r"metrics at http://(127.0.0.1:\d+)/metrics", log.read_text()), "the scheduler")
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0, log.read_text()


@pytest.fixture(scope="module")
def metrics(fleet: Fleet) -> Iterator[str]:
    with serving(fleet) as address:
        yield address


@pytest.fixture(scope="module")
def prometheus(metrics: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping([{"targets": [metrics]}], tmp_path_factory.mktemp("prometheus")) as server:
        yield server


def true_alerts(prometheus: Prometheus, disk: str = "") -> set[str]:
    """Return the alerts whose expressions are true at the last scrape, and of the disks only one that a test made."""
    scraped = until(lambda: prometheus.query("max(timestamp(charrnn_up))"), "a scrape that was in time")
    now = float(scraped[0]["value"][1])
    found = {name: prometheus.query(expression, now) for name, expression in ALERTS.items()}
    # The disk of the machine that runs the tests may be full.
    found["CharrnnDiskFull"] = [series for series in found["CharrnnDiskFull"] if series["metric"]["disk"] == disk]
    return {name for name, series in found.items() if series}


def is_calm(prometheus: Prometheus) -> bool:
    return not true_alerts(prometheus)


def submit(fleet: Fleet) -> int:
    """Submit a job whose parts take a worker a while."""
    words = ("-m", "tiny", "--seeds", str(fleet.home / "seeds.txt"), "-n", "3000", "-l", "300", "--part-rows", "300")
    return int(fleet.ok("submit", *words))


def test_every_query_of_the_dashboard_has_an_answer(fleet: Fleet, prometheus: Prometheus) -> None:
    assert len(QUERIES) > 15
    job = ("--", "submit", "-m", "tiny", "--seeds", str(fleet.home / "seeds.txt"), "-n", "1", "-l", "5")
    fleet.ok("schedules", "add", "nightly", "--cron", "0 3 * * *", *job)
    fleet.start_workers(1)
    fleet.ok("schedules", "run", "nightly")

    def unanswered() -> list[str]:
        asked = {query: query.replace("$__rate_interval", "2m") for query in QUERIES}
        return [query for query, text in asked.items() if not prometheus.query(text)]

    # Catches: a metric or a label that was renamed
    until(lambda: not unanswered(), "an answer to each query of the dashboard")
    fleet.stop_workers()
    until(lambda: is_calm(prometheus), "no alert")


def test_each_fault_makes_its_own_alert_true_and_no_other(fleet: Fleet, prometheus: Prometheus) -> None:
    until(lambda: is_calm(prometheus), "no alert")
    (worker,) = fleet.start_workers(1)
    first = submit(fleet)
    fleet.part_in_work(first)
    until(lambda: is_calm(prometheus), "no alert of a fleet at work")

    # A worker is killed, with its host: nothing tells the store.
    worker.end(signal.SIGKILL, group=True)
    fleet.workers.clear()
    until(lambda: true_alerts(prometheus) == {"CharrnnNoWorker"}, "the alert of a queue without a worker")
    (worker,) = fleet.start_workers(1)
    until(lambda: is_calm(prometheus), "no alert")

    def empty() -> bool:
        with fleet.broker.client() as client:
            client.flushall()
        return true_alerts(prometheus) == {"CharrnnNotificationsLost"}

    # The broker is emptied while parts wait; again if maintenance was quicker.
    fleet.part_in_work(first)
    until(empty, "the alert of lost notifications")
    fleet.ok("cancel", str(first))
    fleet.wait(first)
    until(lambda: is_calm(prometheus), "no alert")

    # A schedule does not run: its seeds are gone.
    seeds = fleet.home / "gone.txt"
    seeds.write_text("a\n")
    fleet.ok("schedules", "add", "gone", "--cron", "0 3 * * *", "--", "submit", "-m", "tiny", "--seeds", str(seeds))
    seeds.unlink()
    fleet.run("schedules", "run", "gone")
    until(lambda: true_alerts(prometheus) == {"CharrnnScheduleMissed"}, "the alert of a schedule")
    fleet.ok("schedules", "remove", "gone")
    until(lambda: is_calm(prometheus), "no alert")


def test_a_full_disk_makes_its_own_alert_true_and_no_other(archive: Path, tmp_path: Path) -> None:
    program("prometheus")
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk())
        files = {"CHARRNN_FILES_URL": str(disk / "files")}
        fleet = stack.enter_context(make_fleet("sqlite", archive, make_text(3), **files))
        prometheus = stack.enter_context(scraping([{"targets": [stack.enter_context(serving(fleet))]}], tmp_path))
        fleet.start_workers(1)
        job = submit(fleet)
        fleet.part_in_work(job)
        until(lambda: true_alerts(prometheus, "files") == set(), "no alert of a fleet at work")
        with full(disk):
            until(lambda: any(part.progress.waits for part in fleet.parts(job)), "a worker that waits for the disk")
            # Catches: free space of another disk, and a service that is down because its disk is full
            until(lambda: true_alerts(prometheus, "files") == {"CharrnnDiskFull"}, "the alert of a full disk")
            assert "0" in {series["value"][1] for series in prometheus.query(ALERTS["CharrnnDiskFull"])}
        fleet.wait(job)
        assert len(list(fleet.ok("results", str(job)).splitlines())) == 9000
        until(lambda: not true_alerts(prometheus, "files"), "no alert")


def test_schedulers_of_the_chart_are_one_target(charts: Charts, metrics: str, tmp_path: Path) -> None:
    enabled = "metrics.enabled=true,metrics.serviceMonitor=true"
    objects = charts.render("--set", "files.claim=files", "--set", enabled)
    (endpoint,) = of_kind(objects, "ServiceMonitor")["charrnn-jobs-scheduler"]["spec"]["endpoints"]
    address, drop = endpoint["relabelings"]
    rules = [{"target_label": address["targetLabel"], "replacement": metrics}, drop]  # the service, without a cluster
    # As the operator labels the pods of a service
    pods = [
        {
            "targets": [f"10.0.0.{number}:9464"],
            "labels": {"service": "scheduler", "pod": f"{number}", "node": f"{number}"},
        }
        for number in range(2)
    ]
    with scraping(pods, tmp_path, relabel_configs=rules, honor_labels=endpoint["honorLabels"]) as server:
        # Catches: each metric once for each scheduler, so that the dashboard's sums are too high
        (target,) = server.ask("targets")["activeTargets"]
        assert target["labels"] == {"job": "charrnn", "service": "scheduler", "instance": metrics}
        # Catches: a label of the operator in place of the metric's own, so that an alert names the wrong service
        assert len(server.query('charrnn_up{service="store"}')) == 1
