"""The chart in deploy/helm: results of its validators, and checks that validators do not make."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from charrnn.jobs.settings import Settings
from producer.web import PORT
from tests.fixtures.charts import AUTOSCALING, CHART, EXAMPLES, NAMESPACE, ROOT, VALUES, Charts, Object, of_kind, pods

SCHEMAS = ROOT / "tests" / "data" / "custom_resources"
VERSIONS = ("1.29", "1.37")  # of Kubernetes: the oldest that Chart.yaml names, and the newest that was known
SERVERS = {"redis": "broker.yaml", "postgres": "database.yaml"}
PAGE = ("--set", "web.enabled=true", "--set", "web.hosts={texts.example.org}")
CLAIM = ("--set", "files.claim=charrnn-files")
METRICS = ("--set", "metrics.enabled=true,metrics.serviceMonitor=true,metrics.prometheusRule=true")
SELECTED = ("--set", "metrics.labels.release=prometheus")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIALS|REDIS_URL|STORE_URL")


@pytest.fixture(scope="module")
def objects(charts: Charts) -> list[Object]:
    """The documents that the examples install, with autoscaling, the page and metrics."""
    return charts.render("--values", VALUES, "--values", AUTOSCALING, *PAGE, *METRICS, *SELECTED)


@pytest.fixture(scope="module")
def calm(charts: Charts) -> list[Object]:
    """The documents that a claim for files installs, without autoscaling."""
    return charts.render(*CLAIM)


@pytest.fixture(scope="module")
def servers() -> list[Object]:
    """The broker and the database of the examples."""
    return [found for name in SERVERS.values() for found in yaml.safe_load_all((EXAMPLES / name).read_text())]


def containers(objects: list[Object]) -> dict[str, Object]:
    """Return the container of each pod by the name of what makes the pod."""
    found = {name: template["spec"]["containers"] for name, template in pods(objects)}
    assert all(len(each) == 1 for each in found.values())
    return {name: each[0] for name, each in found.items()}


def validate(found: Object, version: str) -> None:
    schema = SCHEMAS / f"{found['kind'].lower()}.json"
    if schema.exists():
        jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(found)
    else:
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("values", [(*CLAIM,), ("--values", VALUES), ("--values", VALUES, "--values", AUTOSCALING)])
def test_helm_lints_the_chart(charts: Charts, values: tuple[str, ...]) -> None:
    charts.ok("helm", "lint", "--strict", CHART, *values)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(
    objects: list[Object], calm: list[Object], servers: list[Object], version: str
) -> None:
    namespace = yaml.safe_load((EXAMPLES / "namespace.yaml").read_text())
    for found in (*objects, *calm, *servers, namespace):
        validate(found, version)
    assert {schema.stem for schema in SCHEMAS.iterdir()} <= {found["kind"].lower() for found in objects}


def test_the_schema_of_values_describes_each_of_them() -> None:
    # Catches: a value without a schema, of which a misspelt name or wrong type has no effect
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)

    def check(values: Object, described: Object) -> None:
        described = schema["definitions"][described["$ref"].rpartition("/")[2]] if "$ref" in described else described
        if properties := described.get("properties"):
            assert values.keys() == properties.keys() - {"global"} == set(described["required"])
            assert described["additionalProperties"] is False
        for name, value in values.items():
            if isinstance(value, dict):
                check(value, (properties or {}).get(name) or described["additionalProperties"])

    check(yaml.safe_load((CHART / "values.yaml").read_text()), schema)


REFUSED = {
    "worker.cpu.replicas=1": "additional properties 'worker' not allowed",
    "workers.cpu.replicas=-1": "/workers/cpu/replicas",
    "workers.cpu.queues={sample}": "/workers/cpu/queues/0",
    "workers.cpu.device=tpu": "/workers/cpu/device",
    "workers.CPU.device=cpu": "invalid propertyName 'CPU'",
    "files.url=gs://bucket": "/files/url",
    "files.claim=charrnn-files": "Set one of files.url and files.claim",
    "settings.CHARRNN_STORE_URL=x": "settings.CHARRNN_STORE_URL would be readable",
    "settings.AWS_SECRET_ACCESS_KEY=x": "settings.AWS_SECRET_ACCESS_KEY would be readable",
    "settings.HTTPS_PROXY=http://user:password@proxy": "settings.HTTPS_PROXY contains a password",
    "settings.CHARRNN_DRAIN_S=60": "settings.CHARRNN_DRAIN_S has no effect",
    "settings.CHARRNN_WEB_TOKEN=x": "settings.CHARRNN_WEB_TOKEN would be readable",
    "settings.CHARRNN_WEB_TOKEN_FILE=/x": "settings.CHARRNN_WEB_TOKEN_FILE has no effect",
    "settings.TF_NUM_INTRAOP_THREADS=2": "settings.TF_NUM_INTRAOP_THREADS has no effect",
    r"workers.gpu.resources.limits.nvidia\.com/gpu=2": "in resources.limits: 2. Expected one GPU",
    r"workers.cpu.resources.limits.nvidia\.com/gpu=1": "workers.cpu has the device cpu and GPUs",
    "workers.gpu.autoscaling.enabled=true": "workers.gpu.autoscaling needs autoscaling.host",
    "autoscaling.sslmode=disable": "/autoscaling/sslmode",
    "metrics.serviceMonitor=true": "metrics.serviceMonitor and metrics.prometheusRule need metrics.enabled",
    "metrics.prometheusRule=true": "metrics.serviceMonitor and metrics.prometheusRule need metrics.enabled",
}


@pytest.mark.parametrize("value", REFUSED)
def test_values_that_cannot_work_are_refused(charts: Charts, value: str) -> None:
    option = "--set-string" if value.startswith("settings") else "--set"
    done = charts.run("helm", "template", CHART, "--values", VALUES, option, value)
    assert done.returncode == 1
    assert REFUSED[value] in done.stderr
    assert "password@" not in done.stderr


def test_the_chart_belongs_to_this_release(objects: list[Object]) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"], chart["name"]) == (release, release, "charrnn-jobs")
    assert set(re.findall(r"/\$image:(\S+)", (ROOT / "deploy" / "README.md").read_text())) == {release}
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    for container in containers(objects).values():
        name, tag = container["image"].rsplit("/", 1)[1].split(":")
        assert (name in stages, tag) == (True, release)


def test_selectors_match_the_pods_that_they_are_for(objects: list[Object]) -> None:
    # Catches: a budget or a policy for no pod, which nobody would notice
    labels = {name: template["metadata"]["labels"] for name, template in pods(objects)}
    for name, found in of_kind(objects, "Deployment").items():
        assert found["spec"]["selector"]["matchLabels"] == labels[name]
    for name, found in of_kind(objects, "PodDisruptionBudget").items():
        assert found["spec"]["selector"]["matchLabels"] == labels[name]
    policy = of_kind(objects, "NetworkPolicy")["charrnn-jobs"]
    assert all(policy["spec"]["podSelector"]["matchLabels"].items() <= each.items() for each in labels.values())
    # With a budget for the only pod of its kind, a node could not be drained
    budgets = of_kind(objects, "Deployment").keys() - {"charrnn-jobs-console", "charrnn-jobs-web"}
    assert of_kind(objects, "PodDisruptionBudget").keys() == budgets
    assert len({tuple(each.items()) for each in labels.values()}) == len(labels) == 6


def test_names_refer_to_what_is_installed(objects: list[Object]) -> None:
    for _, template in pods(objects):
        spec = template["spec"]
        assert spec["serviceAccountName"] in of_kind(objects, "ServiceAccount")
        assert spec.get("priorityClassName") in {*of_kind(objects, "PriorityClass"), None}
    for scaled in of_kind(objects, "ScaledObject").values():
        target = of_kind(objects, "Deployment")[scaled["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]  # Catches: an upgrade that undoes what KEDA has scaled
        for trigger in scaled["spec"]["triggers"]:
            assert trigger["authenticationRef"]["name"] in of_kind(objects, "TriggerAuthentication")


def test_mounted_volumes_exist_and_all_are_mounted(
    objects: list[Object], calm: list[Object], servers: list[Object]
) -> None:
    for found in (*objects, *calm, *servers):
        for _, template in pods([found]):
            claims = [claim["metadata"]["name"] for claim in found["spec"].get("volumeClaimTemplates", [])]
            volumes = [volume["name"] for volume in template["spec"]["volumes"]]
            (container,) = template["spec"]["containers"]
            assert sorted(mount["name"] for mount in container["volumeMounts"]) == sorted(volumes + claims)


def test_pods_keep_to_the_restricted_standard(objects: list[Object], servers: list[Object]) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/: no API server is here to enforce it
    for name, template in pods([*objects, *servers]):
        pod, container = template["spec"], containers([*objects, *servers])[name]
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostAliases"} & pod.keys()
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        allowed = {"secret", "projected", "configMap", "emptyDir", "persistentVolumeClaim"}
        assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
        assert pod["automountServiceAccountToken"] is False
        assert not [port for port in container.get("ports", []) if "hostPort" in port]


def test_pods_run_as_the_user_of_their_images(objects: list[Object]) -> None:
    (user,) = set(re.findall(r"--uid (\d+)", (ROOT / "deploy" / "Dockerfile").read_text()))
    for _, template in pods(objects):
        context = template["spec"]["securityContext"]
        assert [context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")] == [int(user)] * 3


def test_each_container_says_what_it_needs(objects: list[Object], servers: list[Object]) -> None:
    for container in containers([*objects, *servers]).values():
        needs = container["resources"]
        assert needs["requests"].keys() >= {"cpu", "memory"}
        assert needs["limits"]["memory"]
        assert "cpu" not in needs["limits"]  # it would slow a worker down on a node that has nothing else to do


def test_a_worker_for_gpus_has_one_and_never_computes_on_the_cpu(objects: list[Object]) -> None:
    gpu, cpu = (containers(objects)[f"charrnn-jobs-worker-{kind}"] for kind in ("gpu", "cpu"))
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]
    for container, device in ((gpu, "gpu"), (cpu, "cpu")):
        assert f"/worker-{device}:" in container["image"]
        assert container["args"][:2] == ["worker", f"--devices={device}"]  # Catches: auto, which may mean the CPU


@pytest.mark.parametrize("drain", [25, 300])
def test_a_stopped_worker_gets_its_drain_time_and_a_step(charts: Charts, drain: int) -> None:
    found = charts.render(*CLAIM, "--set", f"workers.cpu.drainSeconds={drain}")
    pod = dict(pods(found))["charrnn-jobs-worker-cpu"]["spec"]
    assert environment(pod["containers"][0])["CHARRNN_DRAIN_S"] == str(drain)
    assert pod["terminationGracePeriodSeconds"] == drain + 65


def test_signals_reach_a_process_that_has_no_handler(objects: list[Object]) -> None:
    # Catches: a scheduler with the process number 1, which the kernel shields from SIGTERM: each stop would take 30 s
    assert all(template["spec"]["shareProcessNamespace"] is True for _, template in pods(objects))


def test_the_schema_is_upgraded_before_the_first_pod_of_a_release(objects: list[Object]) -> None:
    (job,) = of_kind(objects, "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    assert containers([job])["charrnn-jobs-upgrade"]["args"] == ["store", "upgrade"]


def test_a_suspended_fleet_has_a_console_alone(charts: Charts, objects: list[Object]) -> None:
    suspended = ("--set", "suspended=true", "--set", "workers.cpu.replicas=3", *PAGE)
    found = charts.render("--values", VALUES, "--values", AUTOSCALING, *suspended)
    deployments = of_kind(found, "Deployment")
    replicas = {name.rsplit("-", 1)[1]: each["spec"].get("replicas") for name, each in deployments.items()}
    assert replicas == {"console": 1, "scheduler": 0, "cpu": 0, "gpu": None, "web": 0}
    (scaled,) = of_kind(found, "ScaledObject").values()
    # Catches: workers that KEDA starts while the database is restored
    assert scaled["metadata"]["annotations"] == {"autoscaling.keda.sh/paused-replicas": "0"}
    assert "annotations" not in of_kind(objects, "ScaledObject")[scaled["metadata"]["name"]]["metadata"]


def environment(container: Object) -> dict[str, Any]:
    """Return the variables of a container; the value of one that refers to something else is the reference."""
    found = {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
    assert len(found) == len(container["env"])
    return found


def test_no_value_is_a_secret(objects: list[Object]) -> None:
    assert not of_kind(objects, "Secret")  # the chart gets the name of one, and never its contents
    for container in containers(objects).values():
        variables = environment(container)
        secret = {name for name in variables if SECRET.search(name)}
        page = {"CHARRNN_WEB_TOKEN_FILE"} if container["name"] == "web" else set()
        assert secret == {"CHARRNN_REDIS_URL_FILE", "CHARRNN_STORE_URL_FILE", "AWS_SHARED_CREDENTIALS_FILE"} | page
        assert all(variables[name].startswith("/run/secrets/charrnn-jobs/") for name in secret)
        assert not [name for name in variables if "secretKeyRef" in str(variables[name])]


def test_variables_are_settings_and_their_files_are_mounted(objects: list[Object]) -> None:
    known = {f"CHARRNN_{name.upper()}{suffix}" for name in Settings.names() for suffix in ("", "_FILE")}
    for name, template in pods(objects):
        variables = environment(containers(objects)[name])
        assert {each for each in variables if each.startswith("CHARRNN_")} <= known
        (secrets,) = (each["projected"] for each in template["spec"]["volumes"] if "projected" in each)
        items = {item["path"]: source["secret"] for source in secrets["sources"] for item in source["secret"]["items"]}
        files = {Path(value).name for each, value in variables.items() if each.endswith("_FILE")}
        assert items.keys() == files | {"ca.crt"}  # the URLs name it
        assert [path for path, secret in items.items() if secret.get("optional")] == ["ca.crt", "aws_credentials"]
        assert secrets["defaultMode"] == 0o440  # Catches: files that every user of the container can read


def test_settings_reach_every_container(charts: Charts) -> None:
    found = charts.render("--values", VALUES, "--set-string", "settings.CHARRNN_LEASE_S=60")
    for container in containers(found).values():
        variables = environment(container)
        assert (variables["CHARRNN_LEASE_S"], variables["CHARRNN_FILES_URL"]) == ("60", "s3://bucket/folder")
    for container in containers(charts.render(*CLAIM)).values():
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert environment(container)["CHARRNN_FILES_URL"] == mounts["files"]


def test_pods_take_no_connection_and_open_few(objects: list[Object], calm: list[Object]) -> None:
    assert of_kind(calm, "NetworkPolicy").keys() == {"charrnn-jobs"}
    for found, ports in ((objects, [53, 6379, 5432, 443]), (calm, [53, 6379, 5432])):
        policy = of_kind(found, "NetworkPolicy")["charrnn-jobs"]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in policy["spec"]
        assert [rule["ports"][-1]["port"] for rule in policy["spec"]["egress"]] == ports


def test_the_chart_reaches_the_servers_of_the_examples(objects: list[Object], servers: list[Object]) -> None:
    policy = of_kind(objects, "NetworkPolicy")["charrnn-jobs"]
    for name, rule in zip(SERVERS, policy["spec"]["egress"][1:3], strict=True):
        service, stateful = of_kind(servers, "Service")[name], of_kind(servers, "StatefulSet")[name]
        labels = stateful["spec"]["template"]["metadata"]["labels"]
        assert labels == stateful["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
        assert rule["to"] == [{"podSelector": {"matchLabels": labels}}]
        assert rule["ports"][0]["port"] == service["spec"]["ports"][0]["port"]
        ingress = of_kind(servers, "NetworkPolicy")[name]["spec"]["ingress"][0]
        ours = {"app.kubernetes.io/name": "charrnn-jobs"}
        assert ingress["from"][0] == {"podSelector": {"matchLabels": ours}}
        assert all(ours.items() <= template["metadata"]["labels"].items() for _, template in pods(objects))


def test_the_page_alone_takes_connections_on_its_port(objects: list[Object]) -> None:
    name = "charrnn-jobs-web"
    service, policy = of_kind(objects, "Service")[name], of_kind(objects, "NetworkPolicy")[name]
    container = containers(objects)[name]
    assert container["args"] == ["web", "--host=0.0.0.0", f"--port={PORT}", "--allow-host=texts.example.org"]
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    assert service["spec"]["ports"] == [{"name": "http", "port": PORT, "targetPort": "http"}]
    assert policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": PORT}]}]
    selector = dict(pods(objects))[name]["metadata"]["labels"]
    assert service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] == selector


def test_schedulers_serve_metrics_on_a_port_of_their_own(objects: list[Object], calm: list[Object]) -> None:
    name = "charrnn-jobs-scheduler"
    service, policy = of_kind(objects, "Service")[name], of_kind(objects, "NetworkPolicy")[name]
    assert containers(objects)[name]["args"] == ["scheduler", "--log-format=json", "--metrics=0.0.0.0:9464"]
    assert containers(objects)[name]["ports"] == [{"name": "metrics", "containerPort": 9464}]
    assert service["spec"]["ports"] == [{"name": "metrics", "port": 9464, "targetPort": "metrics"}]
    assert policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 9464}]}]
    selector = dict(pods(objects))[name]["metadata"]["labels"]
    assert service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] == selector
    assert containers(calm)[name]["args"] == ["scheduler", "--log-format=json"]
    assert not [each for each in containers(calm).values() if "ports" in each]
    assert not of_kind(calm, "Service")  # Catches: metrics without a password that nobody has asked for


def test_the_page_and_the_metrics_alone_have_ports(objects: list[Object]) -> None:
    listening = {name for name, container in containers(objects).items() if "ports" in container}
    assert listening == of_kind(objects, "Service").keys() == {"charrnn-jobs-web", "charrnn-jobs-scheduler"}


@pytest.mark.parametrize(("component", "value"), [("web", "webFrom"), ("scheduler", "metricsFrom")])
def test_those_who_may_connect_can_be_named(charts: Charts, component: str, value: str) -> None:
    peer = f"networkPolicy.{value}[0].namespaceSelector.matchLabels.name=monitoring"
    policies = of_kind(charts.render(*CLAIM, *PAGE, *METRICS, "--set", peer), "NetworkPolicy")
    (ingress,) = policies.pop(f"charrnn-jobs-{component}")["spec"]["ingress"]
    assert ingress["from"] == [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    # Catches: the peers of the one port in the rule of the other
    assert not [policy for policy in policies.values() if "from" in str(policy["spec"].get("ingress"))]


def test_the_monitor_scrapes_the_service_and_is_selected(objects: list[Object]) -> None:
    monitor, service = (of_kind(objects, kind)["charrnn-jobs-scheduler"] for kind in ("ServiceMonitor", "Service"))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["relabelings"][0]["replacement"] == f"{service['metadata']['name']}.{NAMESPACE}.svc:9464"
    for kind in ("ServiceMonitor", "PrometheusRule"):
        (found,) = of_kind(objects, kind).values()
        assert found["metadata"]["labels"]["release"] == "prometheus"


def test_the_chart_has_exactly_the_alerts(charts: Charts, objects: list[Object], tmp_path: Path) -> None:
    charts.ok("helm", "package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.iterdir()
    packaged = yaml.safe_load_all(charts.ok("helm", "template", "packaged", package, *CLAIM, *METRICS))
    alerts = yaml.safe_load((CHART / "prometheus" / "alerts.yml").read_text())
    # Catches: Helm, if it takes the alerts' own {{ $value }} for its own; .helmignore, which leaves files out
    for found in (objects, [document for document in packaged if document]):
        (rule,) = of_kind(found, "PrometheusRule").values()
        assert rule["spec"] == alerts


def test_a_further_kind_of_worker_can_be_added_and_one_left_out(charts: Charts, tmp_path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    limits = {"memory": "8Gi", "nvidia.com/mig-1g.10gb": 1}
    mig = values["workers"]["gpu"] | {"resources": {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": limits}}
    added = tmp_path / "values.yaml"
    added.write_text(yaml.safe_dump({"workers": {"mig": mig, "cpu": None}}))
    found = of_kind(charts.render("--values", VALUES, "--values", added), "Deployment")
    assert found.keys() == {f"charrnn-jobs-{name}" for name in ("console", "scheduler", "worker-gpu", "worker-mig")}
