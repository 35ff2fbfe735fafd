"""Random worlds: namespaces, nested groups, rules that overlap in every way, and the series that they meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

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
)

MAX_GROUPS = 30
VALUE = 50
"""Of every synthetic series; thresholds lie on both sides of it."""

# Values that a careless regular expression, string or template would widen, narrow or break.
LABEL_VALUES = (
    "prod",
    "prod.eu",
    "prodxeu",
    "a|b",
    "a",
    "(b)",
    "b*",
    "[c]",
    "^d$",
    "e+",
    "{2}",
    "\\d",
    '"q"',
    "'s'",
    "é😀",
    "l\nm",
    "l",
    " ",
    "\t",
    "`r`",
    ".*",
    ".+",
    "\\n",
    "p/q-r,s",
    "{{ 1 }}",
    "{{ $value",
    "\u2028",
    "e\u0301",
    "é",
)
_STRANGERS = ("nowhere", "pro", "prod-eu-1", "b", "bb", "c", "d", "ee", "5", "n", "1", "")
_THRESHOLDS = tuple(Parameter("threshold", ParameterType.NUMBER, default=default) for default in (40.0, 60.0))


@dataclass(frozen=True)
class World:
    """keys: all that decides, for each key. series: the labels of each synthetic series, without its `target`."""

    keys: tuple[KeyWorld, ...]
    series: tuple[Mapping[str, str], ...]


def _spec(query: str, key: str) -> AlertSpec:
    return AlertSpec(
        alert_name=f"Alert {key}",
        severity="warning",
        query=query,
        parameters=_THRESHOLDS[:1],
        defaults=Config(annotations={"summary": "over {{ .threshold }} on {{ $labels.target }}"}),
    )


# the second drops every label but one, so that a group's rules have to add theirs
SPECS = {
    "plain": _spec("x > {{ .threshold }}", "plain"),
    "sum": _spec("sum by (target) (x) > {{ .threshold }} # of all\n", "sum"),
}

configs = st.builds(
    Config,
    interval=st.sampled_from([None, None, "30s"]),
    labels=st.dictionaries(st.sampled_from(["team", "tier", "severity"]), st.sampled_from(["a", "b", ""]), max_size=2),
    annotations=st.dictionaries(
        st.sampled_from(["page", "summary"]), st.sampled_from(["p {{ .threshold }}", "q", ""]), max_size=1
    ),
    parameters=st.dictionaries(st.just("threshold"), st.sampled_from([10.0, 45.0, 55.0, 90.0]), max_size=1),
)


@st.composite
def namespaces_(draw: st.DrawFn) -> tuple[Namespace, ...]:
    ids = draw(st.permutations(["a", "b", "c"]))
    labels = ("env", "cluster", "team_of")[: draw(st.sampled_from([1, 2, 2, 3, 3]))]
    return tuple(Namespace(id_, label, draw(st.integers(0, 1))) for id_, label in zip(ids, labels, strict=False))


@st.composite
def groups_(draw: st.DrawFn, namespaces: Sequence[Namespace]) -> tuple[Group, ...]:
    groups: list[Group] = []
    for at in range(draw(st.integers(0, MAX_GROUPS))):
        namespace = draw(st.sampled_from(namespaces))
        beside = [group for group in groups if group.namespace_id == namespace.id]
        parent = draw(st.sampled_from([None, *beside[-4:]]))
        value = draw(st.sampled_from(LABEL_VALUES))
        if value in [group.label_value for group in beside]:
            value += str(at)
        groups.append(Group(f"g{at}", namespace.id, value, parent.id if parent else None))
    return tuple(groups)


@st.composite
def rules_(draw: st.DrawFn, key: str, scopes: Sequence[Scope]) -> tuple[AlertRule, ...]:
    return tuple(
        AlertRule(
            id=f"{key}-{at}",
            key=key,
            scope=scope,
            spec=replace(SPECS[key], parameters=(draw(st.sampled_from(_THRESHOLDS)),)),
            config=draw(configs),
            merge_strategy=draw(st.sampled_from([MergeStrategy.MERGE, MergeStrategy.MERGE, MergeStrategy.OVERRIDE])),
            priority=draw(st.sampled_from([0, 0, 1, -1])),
            enabled=draw(st.sampled_from([True, True, False])),
        )
        for at, scope in enumerate(scopes)
        if draw(st.booleans())
    )


@st.composite
def series_(draw: st.DrawFn, namespaces: Sequence[Namespace], groups: Sequence[Group]) -> Mapping[str, str]:
    labels = {}
    for namespace in namespaces:
        values = [group.label_value for group in groups if group.namespace_id == namespace.id]
        value = draw(st.sampled_from([*values, *values, *values, *_STRANGERS]))
        # an empty label and none are the same to Prometheus
        if value or draw(st.booleans()):
            labels[namespace.label] = value
    return labels


@st.composite
def worlds(draw: st.DrawFn) -> World:
    namespaces = draw(namespaces_())
    groups = draw(groups_(namespaces))
    scopes: list[Scope] = [
        GlobalScope(),
        *(NamespaceScope(each.id) for each in namespaces),
        *(GroupScope(each.id) for each in groups),
    ]
    keys = tuple(
        _key_world(key, draw(rules_(key, scopes)), namespaces, groups, whole=draw(st.booleans())) for key in SPECS
    )
    drawn = draw(st.lists(series_(namespaces, groups), min_size=6, max_size=16))
    labels = {namespace.id: namespace.label for namespace in namespaces}
    # always: for each group a series that is in no other, one in all namespaces and no group, and one without labels
    alone = [{labels[group.namespace_id]: group.label_value} for group in groups]
    in_no_group = dict.fromkeys(labels.values(), _STRANGERS[0])
    return World(keys, (*drawn, *alone, in_no_group, {}))


def _key_world(
    key: str, rules: tuple[AlertRule, ...], namespaces: Sequence[Namespace], groups: Sequence[Group], *, whole: bool
) -> KeyWorld:
    """All namespaces and groups, or only those that a KeyWorld must have."""
    by_id = {group.id: group for group in groups}
    ruled = {rule.scope.group_id for rule in rules if isinstance(rule.scope, GroupScope)}
    lines = {group.id: _line(group, by_id) for group in groups}
    needed = {id_ for line in lines.values() if ruled & set(line) for id_ in line}
    kept = {id_: group for id_, group in by_id.items() if whole or id_ in needed}
    used = {rule.scope.namespace_id for rule in rules if isinstance(rule.scope, NamespaceScope)}
    used |= {group.namespace_id for group in kept.values()}
    return KeyWorld(key, {each.id: each for each in namespaces if whole or each.id in used}, kept, rules)


def _line(group: Group, by_id: Mapping[str, Group]) -> list[str]:
    line = [group.id]
    while (parent := by_id[line[-1]].parent_id) is not None:
        line.append(parent)
    return line


def _tied(policy_priority: int) -> World:
    """Two namespaces whose rules differ in nothing but the namespace. policy_priority: of the one that comes last."""
    namespaces = (Namespace("a", "env"), Namespace("b", "cluster", policy_priority))
    groups = (Group("g0", "a", "prod"), Group("g1", "b", "prod"))
    scopes: list[Scope] = [NamespaceScope("a"), NamespaceScope("b"), GroupScope("g0"), GroupScope("g1")]
    keys = tuple(
        _key_world(
            key,
            tuple(AlertRule(f"{key}-{at}", key, scope, SPECS[key]) for at, scope in enumerate(scopes)),
            namespaces,
            groups,
            whole=False,
        )
        for key in SPECS
    )
    values = ("prod", "nowhere")
    return World(keys, tuple({"env": env, "cluster": cluster} for env in values for cluster in values))


TIED_BUT_FOR_THE_NAME = _tied(policy_priority=0)
TIED_BUT_FOR_THE_POLICY_PRIORITY = _tied(policy_priority=1)
