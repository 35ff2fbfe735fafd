"""The Kubernetes manifests: safe to run under the restricted profile, and fitting together."""

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import Draft7Validator

from deploy import manifests
from deploy.manifests import CHART, MANIFESTS, VARIANTS, broken_schemas, objects, problems, same_names
from deployer_service import settings as deployer_settings
from rule_service import settings as rule_service_settings
from rulecast.process.exposure import check_exposure, exposed
from rulecast.process.settings import Section, load_settings
from tests.support.promtool import promtool

NAMES = sorted(VARIANTS)
RULES = "/etc/prometheus/rules/generated"
MODELS: Mapping[str, tuple[type[Section], str]] = {
    "rule-service": (rule_service_settings.Settings, rule_service_settings.PREFIX),
    "deployer": (deployer_settings.Settings, deployer_settings.PREFIX),
}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
"""The kinds that the restricted profile allows."""
Thing = Mapping[str, Any]


def things(name: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in objects((MANIFESTS / name).read_text()) if each["kind"] == kind]


def thing(name: str, kind: str, its: str) -> dict[str, Any]:
    return next(each for each in things(name, kind) if each["metadata"]["name"] == its)


def pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The specification of every pod, by the name of what makes it. Of prometheus-operator's: what we add to it."""
    for each in objects((MANIFESTS / name).read_text()):
        if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]
        elif each["kind"] == "Prometheus":
            yield each["metadata"]["name"], each["spec"]


def containers(pod: Thing) -> list[Thing]:
    """All of a pod, but the operator's own, to which we add mounts alone."""
    return [each for each in (*pod.get("initContainers", []), *pod["containers"]) if "image" in each]


def asked(probe: Thing) -> str:
    """What a probe asks, and how."""
    if "exec" in probe:
        return " ".join(probe["exec"]["command"])
    return f"{probe['httpGet'].get('scheme', 'HTTP')} {probe['httpGet']['path']}"


EVERY_POD = [pytest.param(pod, id=f"{name}: {its}") for name in NAMES for its, pod in pods(name)]
EVERY_CONTAINER = [
    pytest.param(pod, each, id=f"{name}: {its}: {each['name']}")
    for name in NAMES
    for its, pod in pods(name)
    for each in containers(pod)
]


@pytest.mark.parametrize("pod", EVERY_POD)
def test_a_pod_keeps_to_the_restricted_profile(pod: Thing) -> None:
    """The rules of https://kubernetes.io/docs/concepts/security/pod-security-standards/ that are about the pod."""
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] != 0
    assert security["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
    assert not security.get("sysctls")
    assert all(set(volume) - {"name"} <= VOLUMES for volume in pod["volumes"])


@pytest.mark.parametrize(("pod", "container"), EVERY_CONTAINER)
def test_a_container_keeps_to_the_restricted_profile(pod: Thing, container: Thing) -> None:
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security.get("privileged")
    assert security.get("runAsNonRoot", True) is True
    assert security.get("runAsUser", pod["securityContext"]["runAsUser"]) != 0
    assert "seccompProfile" not in security
    assert "procMount" not in security
    assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize(("pod", "container"), EVERY_CONTAINER)
def test_a_container_has_a_read_only_root_and_room_for_what_it_writes(pod: Thing, container: Thing) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    if container["image"].startswith("rulecast/"):
        tmp = next(mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp")
        assert next(volume for volume in pod["volumes"] if volume["name"] == tmp)["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize(("pod", "container"), EVERY_CONTAINER)
def test_a_container_says_what_it_needs_and_which_image_it_is(pod: Thing, container: Thing) -> None:
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert container["image"].rpartition(":")[2] not in ("", "latest", container["image"])


@pytest.mark.parametrize(("pod", "container"), EVERY_CONTAINER)
def test_what_serves_is_probed_and_what_lives_is_not_killed_for_its_database(pod: Thing, container: Thing) -> None:
    if container in pod.get("initContainers", []):
        return
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    alive, ready = (asked(container[probe]) for probe in ("livenessProbe", "readinessProbe"))
    assert (alive, ready) in {
        ("HTTPS /health/live", "HTTPS /health/ready"),
        ("HTTP /-/healthy", "HTTP /-/ready"),
        ("deployer-service health --live", "deployer-service health"),
    }


@pytest.mark.parametrize("pod", EVERY_POD)
def test_no_pod_may_speak_to_kubernetes(pod: Thing) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"].startswith("rulecast-")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_selected_is_there(name: str) -> None:
    """By services, disruption budgets and network policies."""
    labels = [
        *(each["spec"]["template"]["metadata"]["labels"] for each in things(name, "Deployment")),
        *(each["spec"]["template"]["metadata"]["labels"] for each in things(name, "StatefulSet")),
        *(each["spec"]["podMetadata"]["labels"] for each in things(name, "Prometheus")),
    ]
    selectors = [
        *(each["spec"]["selector"] for each in things(name, "Service")),
        *(each["spec"]["selector"]["matchLabels"] for each in things(name, "PodDisruptionBudget")),
        *(each["spec"]["podSelector"]["matchLabels"] for each in things(name, "NetworkPolicy")),
    ]
    assert len(selectors) >= 6
    for selector in selectors:
        assert any(selector.items() <= its.items() for its in labels), selector


@pytest.mark.parametrize("name", NAMES)
def test_several_replicas_serve_and_one_at_a_time_is_taken_away(name: str) -> None:
    deployment = thing(name, "Deployment", "rulecast-rule-service")["spec"]
    assert deployment["replicas"] >= 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert {each["spec"]["maxUnavailable"] for each in things(name, "PodDisruptionBudget")} == {1}


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_is_migrated_before_a_replica_serves(name: str, tmp_path: Path) -> None:
    pod = dict(pods(name))["rulecast-rule-service"]
    (migrate,), (serve,) = pod["initContainers"], pod["containers"]
    assert migrate["args"] == ["migrate"]
    assert migrate["image"] == serve["image"]
    assert loaded(name, "rule-service", serve, tmp_path).database.migrate is False


@pytest.mark.parametrize("name", NAMES)
def test_the_database_is_named_by_a_secret_alone(name: str) -> None:
    for container in containers(dict(pods(name))["rulecast-rule-service"]):
        (url,) = (each for each in container["env"] if each["name"] == "RULE_SERVICE_DATABASE_URL")
        assert url["valueFrom"]["secretKeyRef"] == {"name": "rulecast-database", "key": "url"}
    assert "postgresql://" not in (MANIFESTS / name).read_text()


def loaded(name: str, part: str, container: Thing, folder: Path) -> Any:
    """The settings, as the container's service would load them."""
    (config,) = (each["value"] for each in container["env"] if each["name"] == "RULECAST_CONFIG")
    assert config == f"/etc/rulecast/{part}.yaml"
    file = folder / "settings.yaml"
    file.write_text(thing(name, "ConfigMap", f"rulecast-{part}")["data"][f"{part}.yaml"])
    given = {"DEPLOYER_ID": "rulecast-prometheus-0", "RULE_SERVICE_DATABASE_URL": "postgresql://db/rulecast"}
    environment = {each["name"]: each.get("value") or given[each["name"]] for each in container["env"]}
    model, prefix = MODELS[part]
    return load_settings(model, prefix, file, environment).settings


def by_name(pod: Thing, name: str) -> Thing:
    return next(each for each in pod["containers"] if each["name"] == name)


def mount(container: Thing, path: str) -> Thing:
    return next(each for each in container["volumeMounts"] if each["mountPath"] == path)


@pytest.mark.parametrize("name", NAMES)
def test_the_deployer_writes_what_prometheus_reads_on_a_disk_that_stays(name: str, tmp_path: Path) -> None:
    pod = dict(pods(name))["rulecast-prometheus"]
    deployer, prometheus = by_name(pod, "deployer"), by_name(pod, "prometheus")
    settings = loaded(name, "deployer", deployer, tmp_path)
    assert str(settings.prometheus.rule_path) == RULES
    there, here = mount(prometheus, RULES), mount(deployer, RULES)
    assert (there["name"], there["subPath"]) == (here["name"], here["subPath"]) == ("data", "rulecast-rules")
    assert there["readOnly"] is True
    assert "readOnly" not in here
    assert "data" not in {volume["name"] for volume in pod["volumes"]}  # it is the claim's
    assert deployer["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"]


@pytest.mark.parametrize("name", NAMES)
def test_the_deployer_knows_its_prometheus_and_the_rule_service(name: str, tmp_path: Path) -> None:
    deployer = by_name(dict(pods(name))["rulecast-prometheus"], "deployer")
    settings = loaded(name, "deployer", deployer, tmp_path)
    assert settings.prometheus.url.get_secret_value() == "http://localhost:9090"
    assert [str(address) for address in settings.rule_service] == ["rulecast-rule-service:50051"]
    ports = {port["port"] for port in thing(name, "Service", "rulecast-rule-service")["spec"]["ports"]}
    assert ports == {50051, 8080}
    (named,) = (each for each in deployer["env"] if each["name"] == "DEPLOYER_ID")
    assert named["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}  # no two pods share one


@pytest.mark.parametrize("name", NAMES)
def test_prometheus_accepts_its_configuration_and_finds_its_targets_by_rulecast(name: str, tmp_path: Path) -> None:
    if name == "statefulset.yaml":
        text = thing(name, "ConfigMap", "rulecast-prometheus")["data"]["prometheus.yml"]
    else:
        text = thing(name, "Secret", "prometheus-rulecast-prometheus")["stringData"]["prometheus.yaml.gz"]
    for file in ("ca.crt", "token"):
        (tmp_path / file).write_text("")  # promtool looks whether they are there
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/rulecast-access/", f"{tmp_path}/"))
    done = promtool("check", "config", "prometheus.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load(text)
    assert config["rule_files"] == [f"{RULES}/*.yml"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (discovery,) = jobs["node"]["http_sd_configs"]
    assert discovery == {
        "url": "https://rulecast-rule-service:8080/api/v1/sd/prometheus",
        # before 2.48 Prometheus takes no type to be Bearer here, and sends a header that is nothing (its issue 12762)
        "authorization": {"type": "Bearer", "credentials_file": "/etc/rulecast-access/token"},
        "tls_config": {"ca_file": "/etc/rulecast-access/ca.crt"},
    }
    assert mount(by_name(dict(pods(name))["rulecast-prometheus"], "prometheus"), "/etc/rulecast-access")["readOnly"]


def test_prometheus_may_be_told_to_reload() -> None:
    """The operator says so itself."""
    prometheus = by_name(dict(pods("statefulset.yaml"))["rulecast-prometheus"], "prometheus")
    assert "--web.enable-lifecycle" in prometheus["args"]


@pytest.mark.parametrize("name", NAMES)
def test_the_database_is_the_only_way_out_of_the_rule_service(name: str) -> None:
    policy = thing(name, "NetworkPolicy", "rulecast-rule-service")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 5432}
    assert all("from" in rule for rule in policy["ingress"])


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_service_speaks_tls_and_wants_tokens(name: str, tmp_path: Path) -> None:
    pod = dict(pods(name))["rulecast-rule-service"]
    (serve,) = pod["containers"]
    settings = loaded(name, "rule-service", serve, tmp_path)
    assert not settings.security.insecure
    assert settings.security.needs_tokens(settings.listens)
    check_exposure(settings.security, settings.listens, settings.tls, rule_service_settings.PREFIX)
    files = (settings.tls.certificate, settings.tls.key)
    assert [str(file) for file in files] == ["/etc/rulecast-tls/tls.crt", "/etc/rulecast-tls/tls.key"]
    its = mount(serve, "/etc/rulecast-tls")["name"]
    secret = next(volume for volume in pod["volumes"] if volume["name"] == its)["secret"]
    assert secret == {"secretName": "rulecast-tls", "defaultMode": 0o440}


@pytest.mark.parametrize("name", NAMES)
def test_each_deployer_shows_a_token_of_its_own_and_listens_on_loopback(name: str, tmp_path: Path) -> None:
    deployer = by_name(dict(pods(name))["rulecast-prometheus"], "deployer")
    settings = loaded(name, "deployer", deployer, tmp_path)
    assert not exposed(settings.listens)
    assert not settings.security.insecure
    assert str(settings.upstream.ca) == f"{mount(deployer, '/etc/rulecast-access')['mountPath']}/ca.crt"
    assert str(settings.upstream.token_file) == "/etc/rulecast-tokens/$(DEPLOYER_ID)"
    names = [each["name"] for each in deployer["env"]]
    # only what stands before it is put in its place
    assert names.index("DEPLOYER_ID") < names.index("DEPLOYER_UPSTREAM_TOKEN_FILE")


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_is_mounted_from_a_secret_can_be_read_by_the_group(name: str) -> None:
    for _, pod in pods(name):
        modes = [
            volume[kind]["defaultMode"]
            for volume in pod["volumes"]
            for kind in ("secret", "projected")
            if kind in volume
        ]
        assert modes
        assert set(modes) == {0o440}


def test_a_chart_that_was_changed_since_is_found_without_helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(manifests.CHART, chart)
    monkeypatch.setattr(manifests, "CHART", chart)
    assert list(problems(None)) == []
    with (chart / "values.yaml").open("a") as values:
        values.write("# changed\n")
    assert [each.split()[0] for each in problems(None)] == list(VARIANTS)


def test_what_a_schema_refuses_is_named() -> None:
    broken = thing(NAMES[0], "Deployment", "rulecast-rule-service")
    broken["spec"]["template"]["spec"]["containers"][0]["image"] = 7
    broken["spec"]["replica"] = 3
    said = "\n".join(broken_schemas("broken.yaml", yaml.safe_dump(broken)))
    assert "broken.yaml: Deployment rulecast-rule-service" in said
    assert "(Kubernetes 1.29)" in said
    assert "(Kubernetes 1.37)" in said


def test_objects_that_would_take_each_others_place_are_named() -> None:
    text = (MANIFESTS / NAMES[0]).read_text()
    assert list(same_names("right.yaml", text)) == []
    config = thing(NAMES[0], "ConfigMap", "rulecast-deployer")
    twice = f"{text}\n---\n{yaml.safe_dump(config)}"
    assert list(same_names("wrong.yaml", twice)) == ["wrong.yaml: 2 objects are called ConfigMap rulecast-deployer"]


def refused(change: Mapping[str, Any]) -> list[str]:
    """What the chart's schema says against its values with a change."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path, value in change.items():
        *parents, last = path.split(".")
        reduce(lambda inner, key: inner[key], parents, values)[last] = value
    schema = json.loads((CHART / "values.schema.json").read_text())
    return [each.message for each in Draft7Validator(schema).iter_errors(values)]


def test_the_charts_own_values_keep_to_its_schema() -> None:
    assert refused({}) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("prometheus.kind", "none"),
        ("prometheus.replica", 3),
        ("promtheus", {}),
        ("image.registry", "registry.example.com"),
        ("image.tag", 20260101),
        ("networkPolicy.database.port", "5432"),
        ("security.insecure", "true"),
    ],
)
def test_a_value_that_is_misspelt_or_of_another_kind_is_refused(path: str, value: object) -> None:
    assert refused({path: value})


def test_the_recipe_for_the_operator_adds_to_its_prometheus_and_has_it_load_our_files() -> None:
    """It leaves the configuration to us only where it is given no selector."""
    spec = things("prometheus-operator.yaml", "Prometheus")[0]["spec"]
    assert not [key for key in spec if key.endswith("Selector")]
    ours = by_name(spec, "prometheus")
    assert ours.keys() == {"name", "volumeMounts"}
    assert spec["storage"]["volumeClaimTemplate"]["metadata"]["name"] == "data"
