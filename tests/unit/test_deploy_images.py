"""What the container files promise, as far as it can be read; `make test-images` builds and starts them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.process import REPOSITORY
from deployer_service.settings import Settings as DeployerSettings
from rule_service.settings import Settings as RuleServiceSettings

FOLDER = REPOSITORY / "deploy" / "docker"
PORTS = {
    "rule-service": (
        RuleServiceSettings.model_fields["grpc_listen"].default.port,
        RuleServiceSettings.model_fields["http_listen"].default.port,
    ),
    "deployer-service": (
        DeployerSettings.model_fields["grpc_listen"].default.port,
        DeployerSettings.model_fields["http_listen"].default.port,
    ),
}
SERVICES = sorted(PORTS)


@dataclass(frozen=True, slots=True)
class Stage:
    """One `FROM`: the image or stage it is made from, its name, and its instructions in order."""

    base: str
    name: str
    instructions: Sequence[tuple[str, str]]

    def last(self, instruction: str) -> str:
        return [value for name, value in self.instructions if name == instruction][-1]


def stages(path: Path) -> list[Stage]:
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE))
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    found: list[tuple[list[str], list[tuple[str, str]]]] = []
    for name, value in lines:
        if name == "FROM":
            found.append((value.split(), []))
        elif found:
            found[-1][1].append((name, value))
    return [Stage(words[0], words[2] if len(words) == 3 else "", instructions) for words, instructions in found]


def service_stage(service: str) -> Stage:
    """The one that holds the service, whatever is made from it."""
    return next(stage for stage in stages(FOLDER / f"{service}.Dockerfile") if stage.name in ("", "service"))


@pytest.mark.parametrize("service", SERVICES)
def test_it_runs_as_a_fixed_user_that_is_not_root(service: str) -> None:
    assert service_stage(service).last("USER") == "65532:65532"


@pytest.mark.parametrize("service", SERVICES)
def test_it_asks_itself_for_its_health_and_ends_on_sigterm(service: str) -> None:
    stage = service_stage(service)
    assert stage.last("HEALTHCHECK").endswith(f'CMD ["{service}", "health"]')
    # no shell in between, which would keep the signal to itself
    assert (stage.last("ENTRYPOINT"), stage.last("CMD")) == (f'["{service}"]', '["serve"]')


@pytest.mark.parametrize("service", SERVICES)
def test_it_names_the_ports_of_the_settings(service: str) -> None:
    assert tuple(int(port) for port in service_stage(service).last("EXPOSE").split()) == PORTS[service]


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_installed_is_what_was_locked(service: str) -> None:
    installs = [
        command
        for stage in stages(FOLDER / f"{service}.Dockerfile")
        for name, value in stage.instructions
        if name == "RUN"
        for command in re.findall(r"pip install ([^&]*)", value)
    ]
    assert len(installs) == 3
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)


@pytest.mark.parametrize("service", SERVICES)
def test_no_tool_of_the_build_is_left(service: str) -> None:
    """Only what is copied by name gets into it, and its base installs Python alone."""
    named = {stage.name: stage for stage in stages(FOLDER / f"{service}.Dockerfile")}
    copied = [value for name, value in service_stage(service).instructions if name == "COPY"]
    assert sorted(value.split()[-1] for value in copied) == ["/opt/rulecast", "/usr/local/bin/promtool"]
    assert re.findall(r"--no-install-recommends ([^&]*) &&", named["base"].last("RUN")) == ["python3"]


def test_both_are_built_in_the_same_way() -> None:
    """So the second one takes nearly all its layers from the first one's build."""
    first, second = (
        [stage for stage in stages(FOLDER / f"{service}.Dockerfile") if stage.name in ("base", "build", "promtool")]
        for service in SERVICES
    )
    assert first == second


def test_where_no_target_is_named_the_service_is_built() -> None:
    last = stages(FOLDER / "rule-service.Dockerfile")[-1]
    assert (last.base, list(last.instructions)) == ("service", [])
