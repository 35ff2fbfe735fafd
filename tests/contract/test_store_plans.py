"""Each query that matters costs what its result costs: it goes by an index, however large the tables are."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from rule_service.domain.model import GlobalScope, GroupScope, NamespaceScope
from rule_service.domain.status import TargetStatus
from rule_service.store import (
    files,
    groups,
    heartbeats,
    history,
    namespaces,
    rendered,
    resources,
    revisions,
    rules,
    targets,
    templates,
    worlds,
)
from rule_service.store.pool import Database, Row, Session
from rule_service.usecases.filters import (
    GroupFilter,
    RuleFilter,
    ScrapeFilter,
    StatusFilter,
    TargetFilter,
    TemplateFilter,
)
from rule_service.usecases.ports_changes import ResourceFilter
from rule_service.usecases.ports_history import RevisionFilter
from tests.support.store import open_database

FILL = (
    """
    INSERT INTO groups (id, namespace_id, label_value, parent_id, description, owner, revision, created_at, updated_at)
    SELECT 'g' || n, 'default', 'g' || n, CASE WHEN n > 10 THEN 'g' || n / 10 END, '', 'o' || n % 500, 1, now(), now()
    FROM generate_series(1, 2000) AS n
    """,
    """
    INSERT INTO targets (id, hostname, address, labels, exporters, owner, revision, created_at, updated_at)
    SELECT 't' || n, 'host-' || n, '', '{}', '[]', 'o' || n % 500, 1, now(), now() FROM generate_series(1, 5000) AS n
    """,
    "INSERT INTO target_groups SELECT 't' || n, 'default', 'g' || n % 2000 + 1 FROM generate_series(1, 5000) AS n",
    """
    INSERT INTO templates (id, key, spec, version, description, owner, revision, created_at, updated_at)
    SELECT 't' || n, 'k' || n, jsonb_build_object('severity', 's' || n % 500), 1, '', 'o' || n % 500, 1, now(), now()
    FROM generate_series(1, 3000) AS n
    """,
    """
    INSERT INTO rules (id, key, scope_level, scope_id, spec, config, template_id, template_version, merge_strategy,
        priority, enabled, description, owner, revision, created_at, updated_at, deleted_at)
    SELECT 'r' || n, 'k' || n % 2000, 'group', 'g' || n % 1999 + 1,
        jsonb_build_object('severity', 's' || n % 500), '{}', 't' || n % 3000, 1, 'merge',
        0, true, '', 'o' || n % 500, 1, now(), now(), CASE WHEN n % 10 = 0 THEN now() END
    FROM generate_series(1, 20000) AS n
    """,
    """
    INSERT INTO rendered_rules (rule_id, key, scope_level, scope_id, file_name, alert_name, source_query, expr, labels,
        annotations, digest, text, warnings, revision)
    SELECT id, key, scope_level, scope_id, 'group-' || scope_id || '.yml', 'A', 'q', 'e', '{}', '{}', 'd', 't', '[]', 1
    FROM rules WHERE deleted_at IS NULL
    """,
    """
    INSERT INTO rendered_files (name, scope_level, scope_id, content, sha256, rule_count, revision, modified_at)
    SELECT 'group-g' || n || '.yml', 'group', 'g' || n, 'x', decode(repeat('00', 32), 'hex'), 1, 1, now()
    FROM generate_series(1, 2000) AS n
    """,
    """
    INSERT INTO change_log (revision, file_name, sha256)
    SELECT n, 'group-g' || n % 2000 || '.yml', NULL FROM generate_series(1, 20000) AS n
    """,
    """
    INSERT INTO history (revision, commit_id, at, author, method)
    SELECT n, gen_random_uuid(), now(), 'a' || n % 500, 'Test' FROM generate_series(1, 20000) AS n
    """,
    """
    INSERT INTO deleted_resources (kind, resource_id, value, refers_to, deleted_at)
    SELECT kind, 'd' || n, jsonb_build_object('id', 'd' || n, 'revision', 1), ARRAY['group g' || n % 2000], now()
    FROM generate_series(1, 3000) AS n, unnest(ARRAY['namespace', 'group', 'target', 'template']) AS kind
    """,
    """
    INSERT INTO target_heartbeats (target_id, status, seen_at)
    SELECT id, CASE WHEN id LIKE '%000' THEN 'DOWN' ELSE 'UP' END, now() FROM targets
    """,
    """
    INSERT INTO history_resources (revision, position, kind, resource_id, before, after)
    SELECT n, 1, 'rule', 'r' || n % 5000, '{}', '{"n": 1}' FROM generate_series(1, 20000) AS n
    """,
)
DELETED = "deleted_resources_pkey"
DOWN = StatusFilter(frozenset([TargetStatus.DOWN]), timedelta(minutes=5))
IN_VAIN = 60
"""So many rows a plan may look at and drop: about one page."""


class Recorder(Session):
    """Runs nothing: keeps what it is asked to run."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[object, ...]]] = []

    async def rows(self, sql: str, *args: object) -> list[Row]:
        self.asked.append((sql, args))
        return []

    async def row(self, sql: str, *args: object) -> Row | None:
        self.asked.append((sql, args))
        return None


Query = Callable[[Session], Awaitable[Any]]

QUERIES: dict[str, tuple[Query, str]] = {
    "a rule by id": (lambda s: rules.get(s, "r77"), "rules_pkey"),
    "the world of a key": (lambda s: worlds.of_keys(s, ["k77"]), "rules_live_key"),
    "the part of a world around a group": (
        lambda s: worlds.parts_of_keys(s, ["k77"], ["g77"]),
        "rules_live_key|rules_key",
    ),
    "rules of a key": (lambda s: rules.page(s, "", 50, RuleFilter(key="k77")), "rules_live_key|rules_key"),
    "rules of a key, deleted too": (
        lambda s: rules.page(s, "", 50, RuleFilter(key="k70", show_deleted=True)),
        "rules_key",
    ),
    "rules at a scope": (
        lambda s: rules.page(s, "", 50, RuleFilter(scope=GroupScope("g77"))),
        "rules_live_scope|rules_scope",
    ),
    "rules at a scope, deleted too": (
        lambda s: rules.page(s, "", 50, RuleFilter(scope=GroupScope("g77"), show_deleted=True)),
        "rules_scope",
    ),
    "rules of a template": (lambda s: rules.page(s, "", 50, RuleFilter(template_id="t77")), "rules_template"),
    "rules of a severity": (lambda s: rules.page(s, "", 50, RuleFilter(severity="s77")), "rules_severity"),
    "rules of a namespace": (
        lambda s: rules.page(s, "", 50, RuleFilter(namespace_id="team")),
        "rules_live_scope|rules_scope",
    ),
    "rules by their ids": (lambda s: rules.by_id(s, ["r77", "r78"]), "rules_pkey"),
    "a page of all rules": (lambda s: rules.page(s, "r5", 50, RuleFilter()), "rules_pkey"),
    "live rules at a group": (lambda s: rules.live_at(s, GroupScope("g77"), 50), "rules_live_scope|rules_scope"),
    "live rules at a namespace": (
        lambda s: rules.live_at(s, NamespaceScope("default"), 50),
        "rules_live_scope|rules_scope",
    ),
    "live rules at the global scope": (lambda s: rules.live_at(s, GlobalScope(), 50), "rules_live_scope|rules_scope"),
    "rules for a series": (lambda s: rules.for_series(s, ["g77"], ["default"], None), "rules_live_group"),
    "rules of a key for a series": (lambda s: rules.for_series(s, ["g77"], ["default"], "k77"), "rules_live_group"),
    "keys around a group": (lambda s: rules.keys_around_groups(s, ["g150"]), "rules_live_group"),
    "a group by label value": (lambda s: groups.by_label_value(s, [("default", "g77")]), "groups_label_value_excl"),
    "the groups above a label value": (
        lambda s: groups.lineage_of_label_values(s, [("default", "g77")]),
        "groups_label_value_excl",
    ),
    "the ancestors of a group": (lambda s: groups.with_ancestors(s, ["g1999"]), "groups_pkey"),
    "the children of a group": (lambda s: groups.children(s, "g77"), "groups_parent"),
    "groups of a namespace": (
        lambda s: groups.page(s, "g5", 50, GroupFilter("default")),
        "groups_namespace_id_key|groups_pkey",
    ),
    "targets of a group": (lambda s: targets.page(s, "", 50, TargetFilter("g77")), "target_groups_group"),
    "groups below one": (lambda s: groups.page(s, "g5", 50, GroupFilter(parent_id="g77")), "groups_parent"),
    "groups of a namespace below one": (
        lambda s: groups.page(s, "g5", 50, GroupFilter("default", "g77")),
        "groups_parent",
    ),
    "groups, deleted too": (lambda s: groups.page(s, "g5", 50, GroupFilter(show_deleted=True)), DELETED),
    "a namespace, deleted too": (lambda s: resources.by_id(s, namespaces.TABLE, ["n77"]), DELETED),
    "a target, deleted too": (lambda s: resources.by_id(s, targets.TABLE, ["t77", "d77"]), "targets_pkey"),
    "what was deleted with a group": (
        lambda s: resources.deleted_that_refer_to(s, "group", "g77", 6),
        "deleted_resources_refers_to",
    ),
    "targets of a namespace": (
        lambda s: targets.page(s, "t5", 50, TargetFilter(namespace_id="default")),
        "target_groups_namespace",
    ),
    "targets of a group and its namespace": (
        lambda s: targets.page(s, "", 50, TargetFilter("g77", "default")),
        "target_groups_group",
    ),
    "targets of a group, deleted too": (
        lambda s: targets.page(s, "", 50, TargetFilter("g77", show_deleted=True)),
        "target_groups_group",
    ),
    "targets that are down": (
        lambda s: targets.page(s, "", 50, TargetFilter(status=DOWN)),
        "target_heartbeats_status",
    ),
    "what was heard of a target": (
        lambda s: heartbeats.heard(s, ["t77"], timedelta(minutes=5)),
        "target_heartbeats_pkey",
    ),
    "templates, deleted too": (
        lambda s: templates.page(s, "t5", 50, TemplateFilter(show_deleted=True)),
        DELETED,
    ),
    "targets of a hostname": (lambda s: targets.page(s, "", 50, TargetFilter(hostname="host-77")), "targets_hostname"),
    "what to scrape in a group": (
        lambda s: targets.placed(s, ScrapeFilter(group_id="g77", namespace_id="default")),
        "target_groups_group",
    ),
    "templates of a severity": (lambda s: templates.page(s, "", 50, TemplateFilter("s77")), "templates_severity"),
    "rendered rules of a key": (lambda s: rendered.of_keys(s, ["k77"]), "rendered_rules_key"),
    "rendered rules by id": (lambda s: rendered.in_files(s, ["r77", "r78"]), "rendered_rules_pkey"),
    "what a file is made of": (lambda s: rendered.ingredients(s, ["group-g77.yml"]), "rendered_rules_file"),
    "how many rules are beside one": (lambda s: rendered.in_files(s, ["r77"]), "rendered_rules_file"),
    "a file by name": (lambda s: files.get(s, "group-g77.yml"), "rendered_files_pkey"),
    "a page of revisions": (lambda s: revisions.page(s, 15_000, 50, RevisionFilter()), "history_pkey"),
    "revisions of an author": (lambda s: revisions.page(s, 15_000, 50, RevisionFilter(author="a77")), "history_author"),
    "revisions of a rule": (
        lambda s: revisions.page(s, 15_000, 50, RevisionFilter(kind="rule", id="r77")),
        "history_resources_resource",
    ),
    "what a revision changed": (lambda s: revisions.changed(s, 777, 0, 50), "history_resources_pkey"),
    "what revisions changed first": (lambda s: revisions.first_changed(s, [777, 778], 20), "history_resources_pkey"),
    "what a rule was and is": (
        lambda s: revisions.changes_after(s, 777, ResourceFilter("rule", "r77")),
        "history_resources_resource",
    ),
    "what revisions touched": (lambda s: revisions.touched(s, 19_980, 19_990), "history_resources_pkey"),
    "the files that revisions touched": (lambda s: revisions.touched(s, 19_980, 19_990), "change_log_pkey"),
    "what changed lately": (lambda s: revisions.changes_after(s, 19_990, ResourceFilter()), "history_resources_pkey"),
    "rules of an owner": (lambda s: rules.page(s, "", 50, RuleFilter(owner="o77")), "rules_owner"),
    "groups of an owner": (lambda s: groups.page(s, "", 50, GroupFilter(owner="o77")), "groups_owner"),
    "targets of an owner": (lambda s: targets.page(s, "", 50, TargetFilter(owner="o77")), "targets_owner"),
    "templates of an owner": (lambda s: templates.page(s, "", 50, TemplateFilter(owner="o77")), "templates_owner"),
    "who has a key at a scope": (
        lambda s: rules.live_in_places(s, [("k77", GroupScope("g78")), ("k78", GroupScope("g79"))]),
        "rules_live_key",
    ),
    "what is in a group": (lambda s: groups.contents(s, [], ["g77"]), "groups_parent"),
    "the rendered rules of a file": (lambda s: rendered.of_files(s, ["group-g77.yml"]), "rendered_rules_file"),
    "the files of a revision": (lambda s: history.changed_files(s, 777), "change_log_pkey"),
}


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database) as pool:
        async with pool.session() as session:
            for statement in FILL:
                await session.run(statement)
            await session.run("ANALYZE")
        yield pool


async def test_every_query_goes_by_its_index(pool: Database) -> None:
    wrong: dict[str, str] = {}
    async with pool.session() as session:
        for name, (query, index) in QUERIES.items():
            recorder = Recorder()
            await query(recorder)
            ((sql, args),) = recorder.asked
            plan = json.loads(await session.value(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args))[0]["Plan"]
            if complaint := complaint_about(list(nodes(plan)), index):
                wrong[name] = complaint
    assert not wrong


def complaint_about(plan: list[dict[str, Any]], index: str) -> str | None:
    used = {node["Index Name"] for node in plan if "Index Name" in node}
    if not used & set(index.split("|")):
        return f"used {used}, not {index}"
    done = [node for node in plan if node["Actual Loops"]]
    scanned = {node["Relation Name"] for node in done if node["Node Type"] == "Seq Scan"} - {"namespaces"}
    if scanned:
        return f"read all of {scanned}"
    dropped = sum(node.get("Rows Removed by Filter", 0) * node["Actual Loops"] for node in plan)
    return f"looked at {dropped} rows in vain" if dropped > IN_VAIN else None


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
