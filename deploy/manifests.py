"""Plain Kubernetes manifests from the Helm chart: `python -m deploy.manifests` renders them, and needs helm.

`--check` writes nothing, needs no helm and no cluster, and exits with 1 if a manifest was not rendered from the chart
as it is, or breaks a schema of a supported version of Kubernetes. Where helm is there, it compares what it renders.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "deploy" / "kubernetes" / "chart"
MANIFESTS: Final = ROOT / "deploy" / "kubernetes" / "manifests"
RELEASE: Final = "rulecast"
LONG_RELEASE: Final = "a-release-whose-name.is-as-long-as-helm-takes-any-one"
VARIANTS: Final = {
    "statefulset.yaml": "prometheus.kind=StatefulSet",
    "prometheus-operator.yaml": "prometheus.kind=Operator",
}
"""Each manifest, and the value of the chart that makes it."""
TRIED: Final = (
    "prometheus.kind=StatefulSet,security.insecure=true",
    "prometheus.kind=Operator,security.insecure=true",
    "prometheus.kind=None",
    "networkPolicy.enabled=false,database.migrateKey=admin,prometheus.alertmanagers={alertmanager:9093}",
)
"""Other values, whose manifests are checked and not kept."""
SUPPORTED: Final = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
"""Versions of Kubernetes."""
OTHERS: Final = frozenset({"monitoring.coreos.com/v1"})
"""APIs that are not Kubernetes's own, and have no schema here."""


def chart_digest() -> str:
    """Of all files of the chart, by name."""
    digest = hashlib.sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(CHART).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def head() -> str:
    """The first line of each manifest: what tells, without helm, that the chart has changed since."""
    return f"# From deploy/kubernetes/chart by `python -m deploy.manifests`; the chart's SHA-256: {chart_digest()}\n"


def render(helm: str, values: str, release: str = RELEASE) -> str:
    """A manifest as it should be. Ends the program with helm's message if it fails."""
    command = [helm, "template", release, str(CHART), "--kube-version", f"{SUPPORTED[0]}.0", "--set", values]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"helm failed:\n{done.stderr.strip()}")
    return head() + done.stdout


def objects(manifest: str) -> list[dict[str, Any]]:
    """All objects of a manifest's text, in its order."""
    return [each for each in yaml.safe_load_all(manifest) if each is not None]


def broken_schemas(name: str, manifest: str) -> Iterator[str]:
    """What a supported version of Kubernetes would not accept, in words. name: of the manifest whose text it is."""
    for thing in objects(manifest):
        if thing["apiVersion"] in OTHERS:
            continue
        for version in SUPPORTED:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(part) for part in error.path)
                named = f"{thing['kind']} {thing['metadata']['name']}"
                yield f"{name}: {named}: {place}: {error.message} (Kubernetes {version})"


def same_names(name: str, manifest: str) -> Iterator[str]:
    """Where one object of a manifest would take another one's place, in words."""
    counted = Counter((each["kind"], each["metadata"]["name"]) for each in objects(manifest))
    for (kind, its), times in counted.items():
        if times > 1:
            yield f"{name}: {times} objects are called {kind} {its}"


def wrong(name: str, manifest: str) -> Iterator[str]:
    """What no cluster would take as it is meant, in words."""
    yield from broken_schemas(name, manifest)
    yield from same_names(name, manifest)


def stale(name: str, helm: str | None) -> bool:
    """Whether the manifest is missing or another one than the chart gives, as far as can be told."""
    path = MANIFESTS / name
    if not path.exists():
        return True
    text = path.read_text()
    return text != render(helm, VARIANTS[name]) if helm else not text.startswith(head())


def problems(helm: str | None) -> Iterator[str]:
    """All that is wrong with what is committed, in words."""
    for name in VARIANTS:
        if stale(name, helm):
            yield f"{name} is not from the chart as it is: run `python -m deploy.manifests` (it needs helm)"
        else:
            yield from wrong(name, (MANIFESTS / name).read_text())
    for path in sorted(MANIFESTS.glob("*.yaml")):
        if path.name not in VARIANTS:
            yield f"{path.name} is made by nothing: remove it"
    if helm is None:
        return
    for values in TRIED:
        yield from wrong(f"the chart with {values}", render(helm, values))
    for values in VARIANTS.values():
        yield from wrong(f"{LONG_RELEASE} with {values}", render(helm, values, LONG_RELEASE))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.manifests", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell what is wrong with the committed manifests")
    helm = shutil.which("helm")
    if parser.parse_args().check:
        if found := list(problems(helm)):
            sys.exit("\n".join(found))
        return
    if helm is None:
        sys.exit("helm is not on PATH, and rendering needs it: see https://helm.sh")
    MANIFESTS.mkdir(exist_ok=True)
    for name, value in VARIANTS.items():
        (MANIFESTS / name).write_text(render(helm, value))


if __name__ == "__main__":
    main()
