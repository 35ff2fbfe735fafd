"""What is in the database: so many rules, 100 in a group, each alert in every group with a threshold of its own."""

from collections.abc import Iterable, Sequence

import asyncpg

from rule_service.domain.layout import file_name
from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    AlertTemplate,
    Config,
    Exporter,
    Group,
    GroupScope,
    Parameter,
    ParameterType,
    Resource,
    Target,
)
from rule_service.store import history
from rule_service.store.encode import config_json, dump, exporters_json, scope_columns, spec_json
from rule_service.store.pool import Session
from rule_service.usecases.ports_changes import ResourceChange
from tests.support.edits import DO, open_edits
from tests.support.truth import contradictions

GROUP_SIZE = 100
"""Rules in a group, and so in a file."""


def group_id(number: int) -> str:
    return f"g-{number:04d}"


def rule_id(group: int, alert: int) -> str:
    return f"r-{group:04d}-{alert:02d}"


def file_of(group: int) -> str:
    return file_name(GroupScope(group_id(group)))


def metric(alert: int) -> str:
    return f"metric_{alert:02d}"


def group(number: int) -> Group:
    return Group(group_id(number), "default", group_id(number))


def template(alert: int) -> AlertTemplate:
    spec = AlertSpec(
        f"Alert{alert:02d}",
        "warning",
        f"{metric(alert)} > {{{{ .threshold }}}}",
        (Parameter("threshold", ParameterType.NUMBER, 90.0, 0.0, 1e9),),
        Config(for_duration="5m", annotations={"summary": "over {{ .threshold }} on {{ $labels.instance }}"}),
    )
    return AlertTemplate(f"t-{alert:02d}", f"alert-{alert:02d}", spec)


def rules(count: int) -> Iterable[AlertRule]:
    templates = [template(alert) for alert in range(GROUP_SIZE)]
    for group in range(count // GROUP_SIZE):
        for alert, source in enumerate(templates):
            yield AlertRule(
                id=rule_id(group, alert),
                key=source.key,
                scope=GroupScope(group_id(group)),
                spec=source.spec,
                config=Config(parameters={"threshold": float(50 + (group + alert) % 50)}),
                template_id=source.id,
                template_version=1,
            )


async def populate(url: str, count: int) -> None:
    """Fills a migrated database with so many rules and a tenth as many targets, and has RegenerateAll render them.

    Checks that the database agrees with itself then, and that rendering anew changes nothing.
    """
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        async with connection.transaction():
            await _insert(connection, count)
        await connection.execute("ANALYZE")
        async with open_edits(url, promtool=None) as edits:
            made = await edits.delivery.regenerate_all(DO)
            assert made.files == count // GROUP_SIZE, made
            again = await edits.delivery.regenerate_all(DO)
            assert (again.change.files, again.errors) == ((), ()), "rendering the same rules anew changes nothing"
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    wrong = await contradictions(url)
    assert not wrong, wrong


async def _insert(connection: "asyncpg.Connection[asyncpg.Record]", count: int) -> None:
    """The rows that so many Create calls would leave, in one revision."""
    session = Session(connection)
    counter = await history.raise_revision(session)
    stamp = (counter.revision, counter.at, counter.at)
    groups = [group(number) for number in range(count // GROUP_SIZE)]
    templates = [template(alert) for alert in range(GROUP_SIZE)]
    every = list(rules(count))
    hosts = [_target(number, len(groups)) for number in range(count // 10)]
    await connection.copy_records_to_table(
        "groups",
        columns=("id", "namespace_id", "label_value", "description", "revision", "created_at", "updated_at"),
        records=[(each.id, each.namespace_id, each.label_value, "", *stamp) for each in groups],
    )
    await connection.copy_records_to_table(
        "templates",
        columns=("id", "key", "spec", "version", "description", "revision", "created_at", "updated_at"),
        records=[(each.id, each.key, dump(spec_json(each.spec)), each.version, "", *stamp) for each in templates],
    )
    await connection.copy_records_to_table("rules", columns=_RULE, records=[(*_row(each), *stamp) for each in every])
    await connection.copy_records_to_table(
        "targets",
        columns=("id", "hostname", "address", "labels", "exporters", "revision", "created_at", "updated_at"),
        records=[
            (each.id, each.hostname, each.address, "{}", dump(exporters_json(each.exporters)), *stamp) for each in hosts
        ],
    )
    await connection.copy_records_to_table(
        "target_groups",
        columns=("target_id", "namespace_id", "group_id"),
        records=[(each.id, "default", each.group_ids[0]) for each in hosts],
    )
    resources: Sequence[tuple[str, Sequence[Resource]]] = (
        ("group", groups),
        ("template", templates),
        ("rule", every),
        ("target", hosts),
    )
    changes = [ResourceChange(kind, each.id, None, each) for kind, values in resources for each in values]
    await history.append(session, counter, "benchmark", "Populate", changes, (), "", None)


_RULE = (
    "id",
    "key",
    "scope_level",
    "scope_id",
    "spec",
    "config",
    "template_id",
    "template_version",
    "merge_strategy",
    "priority",
    "enabled",
    "description",
    "revision",
    "created_at",
    "updated_at",
)


def _row(rule: AlertRule) -> tuple[object, ...]:
    return (
        rule.id,
        rule.key,
        *scope_columns(rule.scope),
        dump(spec_json(rule.spec)),
        dump(config_json(rule.config)),
        rule.template_id,
        rule.template_version,
        rule.merge_strategy.value,
        rule.priority,
        rule.enabled,
        rule.description,
    )


def _target(number: int, groups: int) -> Target:
    name = f"h-{number:05d}"
    return Target(name, f"{name}.example", exporters=(Exporter("node", 9100),), group_ids=(group_id(number % groups),))
