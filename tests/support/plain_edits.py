"""Random edits of a plain world: each as the RPC that asks for it, and the world afterwards or why there is none."""

import copy
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from rulecast.v1 import group_pb2, namespace_pb2, rule_pb2, target_pb2, template_pb2
from tests.support.plain_alerts import RECIPES, Subject, metric
from tests.support.plain_messages import put_settings, rule_message, spec_message
from tests.support.plain_worlds import EVERYWHERE, Division, Host, Part, Place, PlainWorld, Rule, Settings, Spec, Value

ODD = (
    *("a.b", "x|y", "p+q", "(z)", "[k]", "^s$", "back\\slash", 'qu"ote', "ap'os", "tick`", "new\nline", "cr\rlf\r\n"),
    *("ünï", "e\u0301", "\u00e9", "日本", "😀", "{{ .threshold }}", "{{ $value }}", "}}", "{{", "$1", "%s", "# c"),
    *("a: b", "- x", " lead", "trail ", "\ttab", "\u2028", "\u0085", "\x7f", "\x01", "null", "true", "~", "1e3", "*"),
    *("?", "\\E", "\\Qx", "A", "a", "a" * 300, '"', "\\", "\\n", "${x}", "{a,b}", "@", "\ufeff", "group-1", "0", "-"),
)
KEYS = ("busy", "disk-full", "k")
LABELS = ("team", "tier", "odd")
ALERT_NAMES = ("Busy", "Very busy: 100%", "Überlast", "Quiet{}")


@dataclass(frozen=True)
class Edit:
    """service: the attribute of a Replica. after: the world once it is done. refused: why it must be, if it must."""

    service: str
    method: str
    request: Any
    after: PlainWorld
    refused: frozenset[str] = frozenset()


@dataclass
class Dice:
    """Makes up edits. The same seed and the same answers make the same edits."""

    rng: random.Random
    world: PlainWorld = field(default_factory=PlainWorld)
    made: int = 0

    def name(self, kind: str) -> str:
        self.made += 1
        return f"{kind}{self.made}"

    def often(self, chance: float) -> bool:
        return self.rng.random() < chance

    def edit(self) -> Edit:
        """One edit that is possible now."""
        while True:
            (make,) = self.rng.choices([make for make, _ in _CHOICES], [weight for _, weight in _CHOICES])
            found = make(self)
            if found is not None:
                return found

    def odd(self) -> str:
        return self.rng.choice(ODD)

    def plain(self) -> str:
        """Text in which no template action is begun."""
        return self.rng.choice([text for text in ODD if "{{" not in text])

    def subjects(self, count: int) -> Iterator[Subject]:
        """The series of every target, and of `count` label sets that nobody stored."""
        names = [(f"host:{id}", self.world.series(id)) for id in self.world.targets]
        names += [(f"any:{at}", self.label_set()) for at in range(count)]
        for instance, labels in names:
            yield Subject(
                {**labels, "instance": instance},
                {key: self.rng.choice([1000, 1000, 1000, 77, 5]) for key in KEYS},
                {key: self.odd() for key in KEYS},
                frozenset(key for key in KEYS if self.often(0.15)),
            )

    def label_set(self) -> dict[str, str]:
        labels = {"mode": self.odd()} if self.often(0.5) else {}
        for id, division in self.world.namespaces.items():
            values = [part.value for part in self.world.groups.values() if part.namespace == id]
            values += ["", self.odd(), *(value + "x" for value in values), *(value.upper() for value in values)]
            if self.often(0.75):
                labels[division.label] = self.rng.choice(values)
        return labels

    def settings(self, spec: Spec, *, of_template: bool = False) -> Settings:
        """A config that a rule with this spec may have."""
        found: Settings = {}
        for path, choices in (
            ("for_duration", ["0s", "1m", "90s", "5m", "1h"]),
            ("keep_firing_for", ["0s", "2m"]),
            ("interval", ["15s", "30s", "1m"]),
        ):
            if self.often(0.25):
                found[path] = self.rng.choice(choices)
        for label in LABELS:
            if self.often(0.25):
                found[f"labels.{label}"] = self.text(spec, of_template)
        if self.often(0.1):
            found["labels.severity"] = self.rng.choice(["page", "", "info"])
        for annotation in ("summary", "note"):
            if self.often(0.3):
                found[f"annotations.{annotation}"] = self.text(spec, of_template)
        for name in spec.holes:
            if self.often(0.35):
                found[f"parameters.{name}"] = self.value(name, spec)
        return found

    def text(self, spec: Spec, of_template: bool) -> str:
        """A label or an annotation. Placeholders mostly in templates, since not every rule below declares them."""
        words = [self.plain(), "{{ $labels.instance }}", "{{ $value }}"]
        if spec.holes and self.often(0.6 if of_template else 0.1):
            words.append(f"{{{{ .{self.rng.choice(list(spec.holes))} }}}}")
        return "" if self.often(0.1) else " of ".join(self.rng.sample(words, self.rng.randint(1, len(words))))

    def value(self, name: str, spec: Spec) -> Value:
        match name:
            case "threshold":
                return self.rng.choice([0.0, 5.0, 50.0, 76.5, 80.0, 95.0, 999.25])
            case "text":
                return self.odd()
            case "pattern":
                return self.rng.choice(["[^x]*", "a|b|", "(?i:a)", "", "A|a[.]b", r"\$1|\?"])
            case "label":
                return "mode"
            case "window":
                return self.rng.choice(["5m", "1m30s", "300s"])
            case _:
                return str(spec.holes["metric"])

    def spec(self, key: str) -> Spec:
        recipe = self.rng.choice(RECIPES)
        # two alerts of one name and the same labels are no two alerts to Prometheus
        spec = Spec(recipe, f"{self.rng.choice(ALERT_NAMES)} {key}", self.rng.choice(["warning", "critical"]))
        if "metric" in recipe.parameters:
            spec.holes["metric"] = metric("value", key)
        for name in recipe.parameters:
            if name not in spec.holes:
                spec.holes[name] = None if self.often(0.12) else self.value(name, spec)
        spec.defaults = self.settings(spec, of_template=True)
        return spec

    def place(self) -> Place:
        roll = self.rng.random()
        if roll < 0.15 or not self.world.groups:
            return EVERYWHERE
        if roll < 0.35:
            return Place("namespace", self.rng.choice(list(self.world.namespaces)))
        return Place("group", self.rng.choice(list(self.world.groups)))

    def changed(self) -> PlainWorld:
        return copy.deepcopy(self.world)


def complaints(world: PlainWorld, saved: str = "") -> frozenset[str]:
    """Why no such world may be saved, if not. saved: the rule that says something new.

    A rule that is off needs no value for its parameters, and answers for what it says itself.
    """
    found = set()
    for id, rule in world.rules.items():
        if rule.enabled and _unknown(rule.spec, world.settings(id)):
            found.add("PARAMETER_UNKNOWN")
        if rule.enabled and world.missing(id):
            found.add("PARAMETER_MISSING")
        if id == saved and _unknown(rule.spec, rule.spec.defaults | rule.config):
            found.add("PARAMETER_UNKNOWN")
    return frozenset(found)


def _unknown(spec: Spec, settings: Settings) -> bool:
    """Whether a text asks for a parameter that the spec does not declare."""
    texts = [str(value) for path, value in settings.items() if not path.startswith("parameters.")]
    return any(set(re.findall(r"\{\{ \.(\w+) \}\}", text)) - set(spec.holes) for text in texts)


def because(reason: str, *, true: object) -> frozenset[str]:
    return frozenset([reason]) if true else frozenset()


def create_namespace(dice: Dice) -> Edit | None:
    free = [id for id in ("aa", "zone", "m-1", "zz") if id not in dice.world.namespaces]
    if not free or len(dice.world.namespaces) > 3:
        return None
    id, priority, after = dice.rng.choice(free), dice.rng.choice([0, 0, 1, 5, -3]), dice.changed()
    after.namespaces[id] = Division(id.replace("-", "_"), priority)
    request = namespace_pb2.CreateNamespaceRequest(namespace=namespace_pb2.Namespace(id=id, policy_priority=priority))
    refused = because("ID_TAKEN", true=id in dice.world.deleted)
    return Edit("namespaces", "CreateNamespace", request, after, refused)


def update_namespace(dice: Dice) -> Edit:
    id, after = dice.rng.choice(list(dice.world.namespaces)), dice.changed()
    request = namespace_pb2.UpdateNamespaceRequest(namespace=namespace_pb2.Namespace(id=id))
    if dice.often(0.5):
        label = dice.name("label_")
        after.namespaces[id].label = request.namespace.label = label
        request.update_mask.paths.append("label")
    else:
        priority = dice.rng.choice([0, 1, 5, 9, -3])
        after.namespaces[id].policy_priority = request.namespace.policy_priority = priority
        request.update_mask.paths.append("policy_priority")
    return Edit("namespaces", "UpdateNamespace", request, after)


def delete_namespace(dice: Dice) -> Edit:
    id, after = dice.rng.choice(list(dice.world.namespaces)), dice.changed()
    after.namespaces.pop(id)
    after.deleted.add(id)
    occupied = [group for group, part in dice.world.groups.items() if part.namespace == id]
    occupied += [rule for rule, each in dice.world.rules.items() if each.place == Place("namespace", id)]
    refused = because("NAMESPACE_NOT_EMPTY", true=occupied) | because("NAMESPACE_PROTECTED", true=id == "default")
    return Edit("namespaces", "DeleteNamespace", namespace_pb2.DeleteNamespaceRequest(id=id), after, refused)


def create_group(dice: Dice) -> Edit | None:
    if len(dice.world.groups) > 13:
        return None
    id, after = dice.name("g"), dice.changed()
    parent = dice.rng.choice(list(dice.world.groups)) if dice.world.groups and dice.often(0.6) else ""
    namespace = dice.world.groups[parent].namespace if parent else dice.rng.choice(list(dice.world.namespaces))
    value = dice.odd() if dice.often(0.7) else ""
    siblings = [part.value for part in dice.world.groups.values() if part.namespace == namespace]
    after.groups[id] = Part(namespace, value or id, parent)
    message = group_pb2.Group(id=id, parent_id=parent, label_value=value)
    message.namespace_id = "" if parent and dice.often(0.5) else namespace
    refused = because("LABEL_VALUE_TAKEN", true=(value or id) in siblings)
    return Edit("groups", "CreateGroup", group_pb2.CreateGroupRequest(group=message), after, refused)


def update_group(dice: Dice) -> Edit | None:
    if not dice.world.groups:
        return None
    id, after = dice.rng.choice(list(dice.world.groups)), dice.changed()
    mine = dice.world.groups[id]
    kin = {name: part for name, part in dice.world.groups.items() if part.namespace == mine.namespace}
    request = group_pb2.UpdateGroupRequest(group=group_pb2.Group(id=id))
    if dice.often(0.5):
        value = after.groups[id].value = request.group.label_value = dice.odd()
        request.update_mask.paths.append("label_value")
        taken = value in [part.value for name, part in kin.items() if name != id]
        refused = because("LABEL_VALUE_TAKEN", true=taken)
        return Edit("groups", "UpdateGroup", request, after, refused)
    parent = after.groups[id].parent = request.group.parent_id = dice.rng.choice(["", *kin])
    request.update_mask.paths.append("parent_id")
    if parent == id or (parent and id in dice.world.ancestors(parent)):
        return Edit("groups", "UpdateGroup", request, dice.world, frozenset(["GROUP_CYCLE"]))
    return Edit("groups", "UpdateGroup", request, after, complaints(after))


def delete_group(dice: Dice) -> Edit | None:
    if not dice.world.groups:
        return None
    id, force, after = dice.rng.choice(list(dice.world.groups)), dice.often(0.7), dice.changed()
    gone = after.groups.pop(id)
    for part in after.groups.values():
        if part.parent == id:
            part.parent = gone.parent
    after.rules = {name: rule for name, rule in after.rules.items() if rule.place != Place("group", id)}
    for host in after.targets.values():
        host.groups = [group for group in host.groups if group != id]
    refused = because("GROUP_NOT_EMPTY", true=not force and list(dice.world.occupants(id))) or complaints(after)
    return Edit("groups", "DeleteGroup", group_pb2.DeleteGroupRequest(id=id, force=force), after, refused)


def create_template(dice: Dice) -> Edit | None:
    if len(dice.world.templates) > 5:
        return None
    id, key, after = dice.name("t"), dice.rng.choice(KEYS), dice.changed()
    spec = dice.spec(key)
    after.templates[id] = (key, spec)
    message = template_pb2.AlertTemplate(id=id, key=key, spec=spec_message(spec, key))
    request = template_pb2.CreateAlertTemplateRequest(template=message)
    return Edit("templates", "CreateAlertTemplate", request, after)


def update_template(dice: Dice) -> Edit | None:
    """No rule changes by this."""
    if not dice.world.templates:
        return None
    id, after = dice.rng.choice(list(dice.world.templates)), dice.changed()
    key, _ = after.templates[id]
    spec = dice.spec(key)
    after.templates[id] = (key, spec)
    message = template_pb2.AlertTemplate(id=id, spec=spec_message(spec, key))
    request = template_pb2.UpdateAlertTemplateRequest(template=message, update_mask=FieldMask(paths=["spec"]))
    return Edit("templates", "UpdateAlertTemplate", request, after)


def create_rule(dice: Dice) -> Edit:
    id, key, template, after = dice.name("r"), dice.rng.choice(KEYS), "", dice.changed()
    if dice.world.templates and dice.often(0.6):
        template = dice.rng.choice(list(dice.world.templates))
        key, spec = copy.deepcopy(dice.world.templates[template])
    else:
        spec = dice.spec(key)
    rule = Rule(key, dice.place(), spec, dice.settings(spec), template)
    rule.override, rule.enabled, rule.priority = dice.often(0.25), dice.often(0.8), dice.rng.choice([0, 0, 0, 1, 7, -2])
    taken = any((each.key, each.place) == (key, rule.place) for each in dice.world.rules.values())
    after.rules[id] = rule
    refused = because("KEY_TAKEN", true=taken) | complaints(after, id)
    return Edit(
        "rules", "CreateAlertRule", rule_pb2.CreateAlertRuleRequest(rule=rule_message(id, rule)), after, refused
    )


def update_rule(dice: Dice) -> Edit | None:
    if not dice.world.rules:
        return None
    id, after = dice.rng.choice(list(dice.world.rules)), dice.changed()
    rule, message = after.rules[id], rule_pb2.AlertRule(id=id)
    paths = [dice.rng.choice(["config", "one", "enabled", "priority", "merge_strategy", "spec", "unmasked"])]
    match paths[0]:
        case "config":
            rule.config = dice.settings(rule.spec)
            put_settings(message.config, rule.config)
        case "one" | "unmasked":
            new = dice.settings(rule.spec)
            rule.config |= new
            put_settings(message.config, new)
            paths = [f"config.{path}" for path in new] if paths == ["one"] else []
            if not new:
                return None
        case "enabled":
            message.enabled = rule.enabled = not rule.enabled
        case "priority":
            message.priority = rule.priority = dice.rng.choice([0, 1, 7, -2])
        case "merge_strategy":
            rule.override = not rule.override
            message.merge_strategy = rule_pb2.OVERRIDE if rule.override else rule_pb2.MERGE
        case _:
            if rule.template:
                return None
            rule.spec = dice.spec(rule.key)
            message.spec.CopyFrom(spec_message(rule.spec, rule.key))
            if {path for path in rule.config if path.startswith("parameters.")} - {
                f"parameters.{name}" for name in rule.spec.holes
            }:
                return None
    request = rule_pb2.UpdateAlertRuleRequest(rule=message, update_mask=FieldMask(paths=paths))
    return Edit("rules", "UpdateAlertRule", request, after, complaints(after, id))


def delete_rule(dice: Dice) -> Edit | None:
    if not dice.world.rules:
        return None
    id, after = dice.rng.choice(list(dice.world.rules)), dice.changed()
    del after.rules[id]
    return Edit("rules", "DeleteAlertRule", rule_pb2.DeleteAlertRuleRequest(id=id), after, complaints(after))


def create_target(dice: Dice) -> Edit | None:
    if len(dice.world.targets) > 11:
        return None
    id, after = dice.name("h"), dice.changed()
    host = after.targets[id] = _host(dice)
    message = target_pb2.Target(id=id, hostname=f"{id}.example", labels=host.labels, group_ids=host.groups)
    request = target_pb2.CreateTargetRequest(target=message)
    return Edit("targets", "CreateTarget", request, after, _two_of_one(dice, host))


def update_target(dice: Dice) -> Edit | None:
    if not dice.world.targets:
        return None
    id, after = dice.rng.choice(list(dice.world.targets)), dice.changed()
    host = after.targets[id] = _host(dice)
    message = target_pb2.Target(id=id, labels=host.labels, group_ids=host.groups)
    request = target_pb2.UpdateTargetRequest(target=message, update_mask=FieldMask(paths=["labels", "group_ids"]))
    return Edit("targets", "UpdateTarget", request, after, _two_of_one(dice, host))


def _host(dice: Dice) -> Host:
    groups = list(dice.world.groups)
    labels = {name: dice.odd() for name in ("mode", "team", "rack") if dice.often(0.4)}
    return Host(labels, dice.rng.sample(groups, min(len(groups), dice.rng.choice([0, 1, 1, 1, 2, 3]))))


def _two_of_one(dice: Dice, host: Host) -> frozenset[str]:
    namespaces = [dice.world.groups[group].namespace for group in host.groups]
    return because("TWO_GROUPS_OF_ONE_NAMESPACE", true=len(set(namespaces)) < len(namespaces))


_CHOICES: tuple[tuple[Callable[[Dice], Edit | None], int], ...] = (
    (create_namespace, 6),
    (update_namespace, 3),
    (delete_namespace, 1),
    (create_group, 14),
    (update_group, 7),
    (delete_group, 4),
    (create_template, 6),
    (update_template, 3),
    (create_rule, 26),
    (update_rule, 16),
    (delete_rule, 4),
    (create_target, 12),
    (update_target, 4),
)
