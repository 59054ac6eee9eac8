"""The alerts and the dashboard of deploy/: Prometheus's own tests of alerts, and what both refer to."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charrnn.jobs.upkeep.metrics.definitions import DEFINITIONS
from tests.fixtures.prometheus import program

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "helm" / "prometheus" / "alerts.yml"
TESTS = ALERTS.with_name("alerts.test.yml")
DASHBOARD = ROOT / "deploy" / "grafana" / "charrnn-jobs.json"
NOT_SHOWN = {"charrnn_build_info", "charrnn_queue_workers"}
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()


@pytest.fixture(scope="module")
def rules() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@pytest.mark.parametrize("words", [("check", "rules", "--lint=all", "--lint-fatal", ALERTS), ("test", "rules", TESTS)])
def test_prometheus_accepts_the_alerts_and_their_tests(words: tuple[str | Path, ...]) -> None:
    # Catches: a threshold or `for:` that was changed, or a label that an alert loses
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_when_it_fires_and_when_it_does_not(rules: dict[str, dict[str, Any]]) -> None:
    checks = [check for test in yaml.safe_load(TESTS.read_text())["tests"] for check in test["alert_rule_test"]]
    for fires in (True, False):
        assert {check["alertname"] for check in checks if ("exp_alerts" in check) == fires} == set(rules)
    assert len(rules) == 9


def used_in(text: str) -> set[str]:
    return set(re.findall(r"\bcharrnn_\w+", text))


def test_metrics_that_exist_are_used(rules: dict[str, dict[str, Any]]) -> None:
    names = {definition.name for definition in DEFINITIONS}
    assert used_in(str([rule["expr"] for rule in rules.values()])) <= names
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    shown = {re.sub("_seconds_(bucket|sum)$", "_seconds", name) for name in used_in(str(queries))}
    # Catches: a metric that was renamed, whose alert would never fire and whose panel would be empty
    assert shown == names - NOT_SHOWN


def test_each_alert_has_a_runbook(rules: dict[str, dict[str, Any]]) -> None:
    for name, rule in rules.items():
        assert rule["annotations"]["runbook"] == f"docs/metrics.md#{name.lower()}"
        assert f"\n### {name}\n" in DOCUMENT
        assert f"| [{name}](#{name.lower()}) | {rule['labels']['severity']} |" in DOCUMENT
