"""Golden cases: a text file each, with what it shows, what is given as YAML, and exactly what comes out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rule_service.domain.check import check_group, check_namespace, check_rule
from rule_service.domain.layout import assemble_file
from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    Config,
    GlobalScope,
    Group,
    GroupScope,
    KeyWorld,
    MergeStrategy,
    Namespace,
    NamespaceScope,
    Parameter,
    ParameterType,
    Scope,
    ScopeMode,
)
from rule_service.domain.render import RenderedRule
from rulecast.errors import RulecastError
from tests.support.rendering import render_key

_MARK = "=== "


@dataclass(frozen=True)
class Case:
    """intro: what it shows. given: YAML text. sections: what comes out, by file name, `warnings` or `refused`."""

    intro: str
    given: str
    sections: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> "Case":
        intro, *parts = path.read_text(encoding="utf-8").split(f"\n{_MARK}")
        titled = dict(part.split("\n", 1) for part in parts)
        return cls(intro.rstrip("\n"), titled.pop("given"), titled)

    def write(self, path: Path) -> None:
        parts = [self.intro, f"given\n{self.given}", *(f"{title}\n{text}" for title, text in self.sections.items())]
        path.write_text(f"\n{_MARK}".join(part.rstrip("\n") + "\n" for part in parts), encoding="utf-8")


def outcome(given: str) -> dict[str, str]:
    """All files that the given rules become, and the warnings; or why they are refused."""
    document = yaml.safe_load(given)
    try:
        rendered = [rule for world in _worlds(document) for rule in render_key(world)]
    except RulecastError as refused:
        lines = (f"{type(refused).__name__} {each.reason}: {each}\n" for each in refused.violations)
        return {"refused": "".join(lines)}
    files = sorted((_file(scope, rendered) for scope in {rule.scope for rule in rendered}), key=lambda each: each[0])
    warnings = "".join(
        f"{rule.rule_id}: {warning.code}: {warning.message}\n" for rule in rendered for warning in rule.warnings
    )
    return dict(files) | ({"warnings": warnings} if warnings else {})


def _file(scope: Scope, rendered: Iterable[RenderedRule]) -> tuple[str, str]:
    file = assemble_file(scope, [rule for rule in rendered if rule.scope == scope])
    return file.name, file.content.decode()


def _worlds(document: Mapping[str, Any]) -> list[KeyWorld]:
    namespaces = [Namespace(**each) for each in document.get("namespaces", ())]
    groups = [_group(each) for each in document.get("groups", ())]
    for namespace in namespaces:
        check_namespace(namespace, namespaces)
    for group in groups:
        check_group(group, {each.id: each for each in groups if each.namespace_id == group.namespace_id})
    specs = {each.pop("id"): _spec(each) for each in document.get("templates", ())}
    labels = {namespace.label for namespace in namespaces}
    rules = [check_rule(_rule(each, specs), labels) for each in document["rules"]]
    return [
        KeyWorld(
            key,
            {each.id: each for each in namespaces},
            {each.id: each for each in groups},
            tuple(rule for rule in rules if rule.key == key),
        )
        for key in sorted({rule.key for rule in rules})
    ]


def _group(written: Mapping[str, Any]) -> Group:
    return Group(written["id"], written["namespace"], written.get("label_value", written["id"]), written.get("parent"))


def _spec(written: Mapping[str, Any]) -> AlertSpec:
    return AlertSpec(
        alert_name=written["alert_name"],
        severity=written.get("severity", "warning"),
        query=written["query"],
        parameters=tuple(_parameter(each) for each in written.get("parameters", ())),
        defaults=_config(written.get("defaults", {})),
        scope_mode=ScopeMode(written.get("scope_mode", "auto")),
        scope_exclude_metrics=tuple(written.get("scope_exclude_metrics", ())),
    )


def _parameter(written: Mapping[str, Any]) -> Parameter:
    return Parameter(
        **{**written, "type": ParameterType(written["type"]), "allowed": tuple(written.get("allowed", ()))}
    )


def _config(written: Mapping[str, Any]) -> Config:
    return Config(**written)


def _rule(written: Mapping[str, Any], specs: Mapping[str, AlertSpec]) -> AlertRule:
    scope = _scope(written["scope"])
    template_id = written.get("template")
    return AlertRule(
        id=written["id"],
        key=written.get("key", template_id or "alert"),
        scope=scope,
        spec=specs[template_id] if template_id else _spec(written["spec"]),
        config=_config(written.get("config", {})),
        template_id=template_id,
        merge_strategy=MergeStrategy(written.get("merge_strategy", "merge")),
        priority=written.get("priority", 0),
        enabled=written.get("enabled", True),
    )


def _scope(written: str | Mapping[str, str]) -> Scope:
    match written:
        case "global":
            return GlobalScope()
        case {"namespace": id_}:
            return NamespaceScope(id_)
        case {"group": id_}:
            return GroupScope(id_)
    raise ValueError(f"not a scope: {written}")
