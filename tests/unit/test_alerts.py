"""The alerts of deploy/prometheus: Prometheus's own tests of them, and what they refer to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charrnn.jobs.upkeep.metrics.definitions import DEFINITIONS
from tests.fixtures.prometheus import program

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
TESTS = ALERTS.with_name("alerts.test.yml")
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
    assert len(rules) == 8


def test_alerts_use_metrics_that_exist(rules: dict[str, dict[str, Any]]) -> None:
    names = {definition.name for definition in DEFINITIONS}
    used = {name for rule in rules.values() for name in re.findall(r"\bcharrnn_\w+", rule["expr"])}
    assert used <= names  # Catches: a metric that was renamed, whose alert would never fire


def test_each_alert_has_a_runbook(rules: dict[str, dict[str, Any]]) -> None:
    for name, rule in rules.items():
        assert rule["annotations"]["runbook"] == f"docs/metrics.md#{name.lower()}"
        assert f"\n### {name}\n" in DOCUMENT
        assert f"| [{name}](#{name.lower()}) | {rule['labels']['severity']} |" in DOCUMENT
