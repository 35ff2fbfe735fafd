"""A second, plain reading of DESIGN 1: which rule evaluates a series, what it is configured with, which alerts fire.

Everything is looked up the long way, one series at a time, and nothing of the services is imported: what this says and
what the services say can only agree by both being right.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Value = str | float
Settings = dict[str, Value]
"""A config, flat: `for_duration`, `labels.team`, `annotations.summary`, `parameters.threshold` and so on."""


@dataclass
class Division:
    """A namespace."""

    label: str
    policy_priority: int = 0


@dataclass
class Part:
    """A group."""

    namespace: str
    value: str
    parent: str = ""


@dataclass(frozen=True)
class Recipe:
    """A query, and all that is needed to say for which series it holds.

    keeps: the labels of the series that the alert keeps; None for all of them.
    parameters: the type of each.
    """

    name: str
    query: str
    parameters: Mapping[str, str]
    keeps: tuple[str, ...] | None = None
    scope_mode: str = "SCOPE_MODE_UNSPECIFIED"
    excludes: tuple[str, ...] = ()


@dataclass
class Spec:
    """defaults: flat, `parameters.x` as far as the default config sets them. holes: the default of each parameter."""

    recipe: Recipe
    alert_name: str
    severity: str
    defaults: Settings = field(default_factory=dict)
    holes: dict[str, Value | None] = field(default_factory=dict)


class Place(NamedTuple):
    """A scope: `global`, `namespace` or `group`, and whose."""

    level: str
    id: str = ""

    @property
    def file_name(self) -> str:
        return "global.yml" if self.level == "global" else f"{self.level}-{self.id}.yml"


EVERYWHERE = Place("global")


@dataclass
class Rule:
    key: str
    place: Place
    spec: Spec
    config: Settings = field(default_factory=dict)
    template: str = ""
    override: bool = False
    priority: int = 0
    enabled: bool = True


@dataclass
class Host:
    labels: dict[str, str]
    groups: list[str]


class Said(NamedTuple):
    """A value, and the rule that said it: by its `DEFAULTS` or in its `CONFIG`."""

    value: Value
    rule: str
    origin: str


@dataclass
class PlainWorld:
    """Everything that lives, by id. Deleted rules are not in it. deleted: namespaces, which keep their ids."""

    namespaces: dict[str, Division] = field(default_factory=lambda: {"default": Division("group_id")})
    groups: dict[str, Part] = field(default_factory=dict)
    templates: dict[str, tuple[str, Spec]] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    targets: dict[str, Host] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def ancestors(self, group: str) -> list[str]:
        """The groups above, from the top."""
        parent = self.groups[group].parent
        return [*self.ancestors(parent), parent] if parent else []

    def children(self, group: str) -> list[str]:
        return [id for id, part in self.groups.items() if part.parent == group]

    def holds(self, place: Place, series: Mapping[str, str]) -> bool:
        """Whether the series is in the scope."""
        if place.level == "global":
            return True
        if place.level == "namespace":
            return series.get(self.namespaces[place.id].label, "") != ""
        part = self.groups[place.id]
        own = series.get(self.namespaces[part.namespace].label, "")
        covered = [place.id, *(id for id in self.groups if place.id in self.ancestors(id))]
        return own in [self.groups[id].value for id in covered]

    def namespace_of(self, place: Place) -> str:
        return self.groups[place.id].namespace if place.level == "group" else place.id

    def _beats(self, one: Rule, other: Rule) -> bool:
        """Both hold the series."""
        levels = ["global", "namespace", "group"]
        if one.place.level != other.place.level:
            return levels.index(one.place.level) > levels.index(other.place.level)
        mine, theirs = self.namespace_of(one.place), self.namespace_of(other.place)
        if mine == theirs:
            return other.place.id in self.ancestors(one.place.id)
        here, there = self.namespaces[mine], self.namespaces[theirs]
        if one.priority != other.priority:
            return one.priority > other.priority
        if here.policy_priority != there.policy_priority:
            return here.policy_priority > there.policy_priority
        return mine < theirs

    def candidates(self, key: str, series: Mapping[str, str]) -> list[str]:
        """The rules of the key whose scope holds the series."""
        return [id for id, rule in self.rules.items() if rule.key == key and self.holds(rule.place, series)]

    def winner(self, key: str, series: Mapping[str, str]) -> str | None:
        """The one rule that evaluates the alert for this series."""
        held = self.candidates(key, series)
        speakers = [id for id in held if not self._deeper_one(id, held)]
        for id in speakers:
            if all(other == id or self._beats(self.rules[id], self.rules[other]) for other in speakers):
                return id
        assert not held, f"nobody wins {key} for {series}: {held}"
        return None

    def _deeper_one(self, id: str, held: list[str]) -> bool:
        """Whether a group below the rule's has a rule too: then that one speaks for the namespace."""
        place = self.rules[id].place
        below = [self.rules[other].place for other in held if other != id]
        return place.level == "group" and any(
            each.level == "group" and place.id in self.ancestors(each.id) for each in below
        )

    def lineage(self, id: str) -> list[str]:
        """The rules of the same key above a rule, from the top."""
        rule = self.rules[id]
        above = [EVERYWHERE] if rule.place.level != "global" else []
        if rule.place.level == "group":
            above.append(Place("namespace", self.groups[rule.place.id].namespace))
            above += [Place("group", group) for group in self.ancestors(rule.place.id)]
        at = {each.place: name for name, each in self.rules.items() if each.key == rule.key}
        return [at[place] for place in above if place in at]

    def inherits_from(self, id: str) -> list[str]:
        """The rules whose configs come before a rule's own, in this order."""
        if self.rules[id].override:
            return []
        above = self.lineage(id)
        overriding = [at for at, name in enumerate(above) if self.rules[name].override]
        return above[overriding[-1] :] if overriding else above

    def told(self, id: str) -> dict[str, list[Said]]:
        """For each setting of a rule what was said of it, the valid one last."""
        rule = self.rules[id]
        layers: list[tuple[str, str, Settings]] = [(id, "DEFAULTS", {"labels.severity": rule.spec.severity})]
        holes: Settings = {f"parameters.{name}": value for name, value in rule.spec.holes.items() if value is not None}
        layers += [(id, "DEFAULTS", holes), (id, "DEFAULTS", rule.spec.defaults)]
        layers += [(name, "CONFIG", self.rules[name].config) for name in [*self.inherits_from(id), id]]
        found: dict[str, list[Said]] = {}
        for name, origin, settings in layers:
            for path, value in settings.items():
                if self._is_known(rule.spec, path):
                    found.setdefault(path, []).append(Said(value, name, origin))
        return found

    def _is_known(self, spec: Spec, path: str) -> bool:
        return not path.startswith("parameters.") or path.removeprefix("parameters.") in spec.holes

    def ignored(self, id: str) -> list[tuple[str, str]]:
        """The inherited parameters that a rule's spec does not declare: the rule that sets it, and its name."""
        return [
            (name, path.removeprefix("parameters."))
            for name in self.inherits_from(id)
            for path in self.rules[name].config
            if not self._is_known(self.rules[id].spec, path)
        ]

    def settings(self, id: str) -> Settings:
        """The merged config, empty labels and annotations included: they say that nothing stands there."""
        return {path: said[-1].value for path, said in self.told(id).items()}

    def missing(self, id: str) -> list[str]:
        """The parameters of a rule that nobody sets."""
        known = self.settings(id)
        return [name for name in self.rules[id].spec.holes if f"parameters.{name}" not in known]

    def series(self, target: str) -> dict[str, str]:
        """The labels that a target's series carry: its own and those of its groups."""
        host = self.targets[target]
        parts = [self.groups[group] for group in host.groups]
        return {**host.labels, **{self.namespaces[part.namespace].label: part.value for part in parts}}

    def alert_keys(self) -> list[str]:
        return sorted({rule.key for rule in self.rules.values()})

    def files(self) -> dict[str, list[str]]:
        """The rule files there are, and the rules in each."""
        found: dict[str, list[str]] = {}
        for id, rule in self.rules.items():
            if rule.enabled:
                found.setdefault(rule.place.file_name, []).append(id)
        return found

    def occupants(self, group: str) -> Iterator[str]:
        """What stands in the way of deleting a group."""
        yield from self.children(group)
        yield from (id for id, rule in self.rules.items() if rule.place == Place("group", group))
        yield from (id for id, host in self.targets.items() if group in host.groups)
