"""The manifests as the API server of a real cluster takes them: strictly, with no warning, and twice."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator

import pytest
import yaml

from deploy.manifests import MANIFESTS, OTHERS, VARIANTS, objects

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

PROFILE = "pod-security.kubernetes.io"
GENERATIONS = ("deployments", "statefulsets", "networkpolicies", "poddisruptionbudgets")
"""Kinds whose objects count how often they were changed."""


def kubectl(*arguments: str, given: str = "") -> str:
    """What it printed. Fails the test with what it said."""
    command = ["kubectl", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


@pytest.fixture
def namespace() -> Iterator[str]:
    """A new one, of the restricted profile; gone at the end. Fails where no cluster is named: it writes there."""
    if shutil.which("kubectl") is None or not os.environ.get("KUBECONFIG"):
        pytest.fail("`make test-kube` needs kubectl, and KUBECONFIG to name a cluster where namespaces may be made")
    name = f"rulecast-test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, f"{PROFILE}/enforce=restricted", f"{PROFILE}/warn=restricted")
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def apply(namespace: str, name: str) -> None:
    """Everything of the manifest but what a fresh cluster has no API for."""
    ours = [each for each in objects((MANIFESTS / name).read_text()) if each["apiVersion"] not in OTHERS]
    text = yaml.safe_dump_all(ours)
    kubectl("-n", namespace, "apply", "--validate=strict", "--warnings-as-errors", "-f", "-", given=text)


def generations(namespace: str) -> dict[str, int]:
    found = json.loads(kubectl("-n", namespace, "get", ",".join(GENERATIONS), "-o", "json"))["items"]
    return {f"{each['kind']} {each['metadata']['name']}": each["metadata"]["generation"] for each in found}


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_it_takes_everything_and_a_second_time_changes_nothing(namespace: str, name: str) -> None:
    apply(namespace, name)
    first = generations(namespace)
    apply(namespace, name)
    assert generations(namespace) == first
    assert "Deployment rulecast-rule-service" in first
    assert set(first.values()) == {1}
