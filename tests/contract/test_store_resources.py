"""Each resource is stored and read back equal, listed by id, and refused in the caller's words."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    AlertTemplate,
    Config,
    Exporter,
    GlobalScope,
    Group,
    GroupScope,
    MergeStrategy,
    Namespace,
    NamespaceScope,
    Parameter,
    ParameterType,
    ScopeMode,
    Target,
)
from rule_service.store.unit_of_work import PostgresStore, PostgresTransaction
from rule_service.usecases.filters import GroupFilter, RuleFilter, TargetFilter, TemplateFilter
from rulecast.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound, RulecastError
from rulecast.reasons import Reason
from tests.support.store import add, open_database, writing
from tests.support.worlds import SPEC, group, rule

FULL_SPEC = AlertSpec(
    alert_name="DiskFull",
    severity="critical",
    query="disk_free{mount=~{{ .mounts }}} < {{ .bytes }}",
    parameters=(
        Parameter("bytes", ParameterType.NUMBER, default=1e9, minimum=0.0, maximum=1e15, description="free bytes"),
        Parameter("mounts", ParameterType.REGEX, allowed=("/.*", "/home|/var")),
    ),
    defaults=Config(
        for_duration="5m",
        keep_firing_for="1h",
        interval="30s",
        labels={"team": "ops"},
        annotations={"summary": "{{ $value }}"},
    ),
    scope_mode=ScopeMode.MANUAL,
    scope_exclude_metrics=("up", "kube_*"),
)
TARGET = Target(
    "web-1",
    "web-1.example.com",
    "10.0.0.1",
    {"rack": "r1"},
    (Exporter("node", 9100), Exporter("gpu", 9400, "/m", "https")),
    ("dc-a", "prod"),
)


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with open_database(database) as pool:
        store = PostgresStore(pool)
        await add(
            store,
            Namespace("env", "env", 10),
            Namespace("dc", "datacenter"),
            group("env/prod"),
            group("env/prod/web"),
            group("dc/dc-a"),
        )
        yield store


async def test_a_namespace_comes_back_as_it_was_stored(store: PostgresStore) -> None:
    team = Namespace("team", "team", -5, "who is paged — 担当")
    async with store.transaction() as transaction:
        revision = await transaction.take_revision()
        created = await transaction.insert_namespace(team)
    assert created.value == team
    assert created.etag == f"r{revision}"
    assert created.created_at == created.updated_at
    assert created == await store.namespace("team")

    async with writing(store) as transaction:
        updated = await transaction.update_namespace(replace(team, label="owner"))
    assert updated.value.label == "owner"
    assert updated.revision == revision + 1
    assert updated.created_at == created.created_at
    assert updated.updated_at > created.updated_at

    async with writing(store) as transaction:
        await transaction.delete_namespace("team")
    assert await store.namespace("team") is None


async def test_the_default_namespace_is_there_from_the_start(store: PostgresStore) -> None:
    namespaces = await store.all_namespaces()
    assert namespaces["default"].label == "group_id"
    assert set(namespaces) == {"default", "env", "dc"}


async def test_a_group_comes_back_as_it_was_stored(store: PostgresStore) -> None:
    lab = Group("lab", "env", 'a "label" value\n' + "x" * 3_000, "prod", "bench hosts")
    async with writing(store) as transaction:
        created = await transaction.insert_group(lab)
        assert created.value == lab
        moved = await transaction.update_group(replace(lab, parent_id=None, label_value="lab"))
    assert moved.value.parent_id is None
    assert await store.group("lab") == moved
    assert await store.groups_by_label_value([("env", "lab"), ("dc", "lab"), ("env", "nothing")]) == {
        "lab": moved.value
    }


async def test_the_groups_of_label_values_come_with_their_ancestors(store: PostgresStore) -> None:
    lab = Group("lab", "env", "lab", "prod", "bench hosts")
    async with writing(store) as transaction:
        await transaction.insert_group(lab)
    prod = await store.group("prod")
    assert prod is not None
    wanted = [("env", "lab"), ("dc", "lab"), ("env", "nothing")]
    assert await store.lineage_of_label_values(wanted) == {"lab": lab, "prod": prod.value}
    assert await store.lineage_of_label_values([]) == {}


async def test_a_target_comes_back_with_its_groups_in_order(store: PostgresStore) -> None:
    async with writing(store) as transaction:
        created = await transaction.insert_target(replace(TARGET, group_ids=("prod", "dc-a")))
    assert created.value == TARGET
    assert await store.target("web-1") == created

    async with writing(store) as transaction:
        updated = await transaction.update_target(replace(TARGET, labels={}, exporters=(), group_ids=("web",)))
        assert [each.id for each in await transaction.targets_in_group("web", 10)] == ["web-1"]
        await transaction.remove_group_from_targets("web")
    assert updated.value.group_ids == ("web",)
    left = await store.target("web-1")
    assert left is not None
    assert left.value.group_ids == ()

    async with writing(store) as transaction:
        await transaction.delete_target("web-1")
    assert await store.target("web-1") is None


async def test_targets_are_listed_by_group_and_hostname(store: PostgresStore) -> None:
    async with writing(store) as transaction:
        for number in range(5):
            await transaction.insert_target(Target(f"t{number}", f"host-{number % 2}", group_ids=("prod",)))
        await transaction.insert_target(Target("t9", "host-1", group_ids=("web",)))
    first = await store.targets("", 3, TargetFilter("prod"))
    assert [record.value.id for record in first.items] == ["t0", "t1", "t2"]
    assert first.next_after == "t2"
    rest = await store.targets("t2", 3, TargetFilter("prod"))
    assert [record.value.id for record in rest.items] == ["t3", "t4"]
    assert rest.next_after is None

    async def ids(**wanted: object) -> list[str]:
        page = await store.targets("", 9, TargetFilter(**wanted))  # type: ignore[arg-type]
        return [record.value.id for record in page.items]

    assert await ids(hostname="host-1") == ["t1", "t3", "t9"]
    assert await ids(group_id="web", hostname="host-1") == ["t9"]
    assert await ids(namespace_id="env", hostname="host-0") == ["t0", "t2", "t4"]
    assert await ids(group_id="web", namespace_id="env") == ["t9"]
    assert await ids(group_id="web", namespace_id="dc") == []
    assert await ids(text="HOST-0") == ["t0", "t2", "t4"]


async def test_a_template_comes_back_as_it_was_stored(store: PostgresStore) -> None:
    template = AlertTemplate("disk-full", "disk", FULL_SPEC, description="Clean up.\n\nThen look again.")
    async with writing(store) as transaction:
        created = await transaction.insert_template(template)
        assert created.value == template
        updated = await transaction.update_template(replace(template, version=2, spec=SPEC))
    assert await store.template("disk-full") == updated
    assert updated.value.spec == SPEC
    assert await store.existing_template_ids(["disk-full", "other"]) == {"disk-full"}
    assert [each.value.id for each in (await store.templates("", 9, TemplateFilter("warning"))).items] == ["disk-full"]
    assert (await store.templates("", 9, TemplateFilter("critical"))).items == ()

    async with writing(store) as transaction:
        await transaction.delete_template("disk-full")
    assert await store.template("disk-full") is None


async def test_a_rule_comes_back_as_it_was_stored_and_stays_when_deleted(store: PostgresStore) -> None:
    full = AlertRule(
        "disk-prod",
        "disk",
        GroupScope("prod"),
        FULL_SPEC,
        Config("10m", "0s", "1m", {"severity": "page"}, {"summary": ""}, {"bytes": 0.1, "mounts": "/.*"}),
        "disk-full",
        7,
        MergeStrategy.OVERRIDE,
        -3,
        False,
        "why",
    )
    async with writing(store) as transaction:
        created = await transaction.insert_rule(full)
    assert created.value == full
    assert await store.rule("disk-prod") == created

    async with writing(store) as transaction:
        changed = await transaction.update_rule(replace(full, enabled=True))
        deleted = await transaction.delete_rule("disk-prod")
    assert changed.value.enabled
    assert deleted.deleted_at == deleted.updated_at
    assert await store.rule("disk-prod") == deleted
    assert (await store.rules("", 9, RuleFilter())).items == ()
    assert (await store.rules("", 9, RuleFilter(show_deleted=True))).items == (deleted,)


async def test_a_deleted_rule_outlives_its_group_and_frees_its_key(store: PostgresStore) -> None:
    await add(store, rule("group:web"))
    async with writing(store) as transaction:
        await transaction.delete_rule("group-web")
        await transaction.insert_rule(rule("group:web", id="again"))
        await transaction.delete_rule("again")
        await transaction.delete_group("web")
    kept = await store.rule("group-web")
    assert kept is not None
    assert kept.value.scope == GroupScope("web")


async def test_rules_are_listed_by_what_was_asked_for(store: PostgresStore) -> None:
    await add(
        store,
        rule("global"),
        rule("namespace:env", enabled=False),
        rule("group:prod", template_id="t", template_version=1),
        rule("global", id="other", key="disk"),
    )

    async def ids(**wanted: object) -> list[str]:
        page = await store.rules("", 9, RuleFilter(**wanted))  # type: ignore[arg-type]
        return [record.value.id for record in page.items]

    assert await ids() == ["global", "group-prod", "namespace-env", "other"]
    assert await ids(scope=GlobalScope()) == ["global", "other"]
    assert await ids(scope=NamespaceScope("env")) == ["namespace-env"]
    assert await ids(scope=GlobalScope(), key="disk") == ["other"]
    assert await ids(template_id="t") == ["group-prod"]
    assert await ids(enabled=False) == ["namespace-env"]
    page = await store.rules("group-prod", 1, RuleFilter())
    assert [record.value.id for record in page.items] == ["namespace-env"]
    assert page.next_after == "namespace-env"


async def test_lists_are_in_the_order_of_code_points(store: PostgresStore) -> None:
    ids = ["a", "a-b", "a0", "ab", "b"]
    await add(store, *(Group(id, "dc", id) for id in reversed(ids)))
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await store.groups(after, 2, GroupFilter("dc"))
        seen += [record.value.id for record in page.items]
        after = page.next_after
    assert seen == sorted([*ids, "dc-a"])


Write = Callable[[PostgresTransaction], Awaitable[object]]

REFUSED: dict[str, tuple[Write, type[RulecastError], Reason, str]] = {
    "namespace id": (
        lambda transaction: transaction.insert_namespace(Namespace("env", "other")),
        AlreadyExists,
        Reason.ID_TAKEN,
        "namespace.id",
    ),
    "namespace label": (
        lambda transaction: transaction.insert_namespace(Namespace("new", "datacenter")),
        AlreadyExists,
        Reason.LABEL_TAKEN,
        "namespace.label",
    ),
    "group id": (
        lambda transaction: transaction.insert_group(Group("prod", "dc", "prod")),
        AlreadyExists,
        Reason.ID_TAKEN,
        "group.id",
    ),
    "group label value": (
        lambda transaction: transaction.insert_group(Group("new", "env", "prod")),
        AlreadyExists,
        Reason.LABEL_VALUE_TAKEN,
        "group.label_value",
    ),
    "group namespace": (
        lambda transaction: transaction.insert_group(Group("new", "nowhere", "new")),
        NotFound,
        Reason.NAMESPACE_NOT_FOUND,
        "group.namespace_id",
    ),
    "group parent": (
        lambda transaction: transaction.insert_group(Group("new", "env", "new", "nobody")),
        NotFound,
        Reason.GROUP_NOT_FOUND,
        "group.parent_id",
    ),
    "group parent of another namespace": (
        lambda transaction: transaction.insert_group(Group("new", "env", "new", "dc-a")),
        NotFound,
        Reason.GROUP_NOT_FOUND,
        "group.parent_id",
    ),
    "group its own parent": (
        lambda transaction: transaction.update_group(Group("prod", "env", "prod", "prod")),
        InvalidInput,
        Reason.GROUP_CYCLE,
        "group.parent_id",
    ),
    "group with children": (
        lambda transaction: transaction.delete_group("prod"),
        FailedPrecondition,
        Reason.GROUP_NOT_EMPTY,
        "id",
    ),
    "group with rules": (
        lambda transaction: transaction.delete_group("web"),
        FailedPrecondition,
        Reason.GROUP_NOT_EMPTY,
        "id",
    ),
    "group with targets": (
        lambda transaction: transaction.delete_group("dc-a"),
        FailedPrecondition,
        Reason.GROUP_NOT_EMPTY,
        "id",
    ),
    "namespace with groups": (
        lambda transaction: transaction.delete_namespace("env"),
        FailedPrecondition,
        Reason.NAMESPACE_NOT_EMPTY,
        "id",
    ),
    "namespace with rules": (
        lambda transaction: transaction.delete_namespace("default"),
        FailedPrecondition,
        Reason.NAMESPACE_NOT_EMPTY,
        "id",
    ),
    "target id": (
        lambda transaction: transaction.insert_target(Target("web-1", "h")),
        AlreadyExists,
        Reason.ID_TAKEN,
        "target.id",
    ),
    "target group": (
        lambda transaction: transaction.insert_target(Target("new", "h", group_ids=("prod", "nobody"))),
        NotFound,
        Reason.GROUP_NOT_FOUND,
        "target.group_ids",
    ),
    "two groups of one namespace": (
        lambda transaction: transaction.insert_target(Target("new", "h", group_ids=("prod", "web"))),
        InvalidInput,
        Reason.TWO_GROUPS_OF_ONE_NAMESPACE,
        "target.group_ids",
    ),
    "template id": (
        lambda transaction: transaction.insert_template(AlertTemplate("cpu", "cpu", SPEC)),
        AlreadyExists,
        Reason.ID_TAKEN,
        "template.id",
    ),
    "rule id": (
        lambda transaction: transaction.insert_rule(rule("global", id="group-web")),
        AlreadyExists,
        Reason.ID_TAKEN,
        "rule.id",
    ),
    "rule key": (
        lambda transaction: transaction.insert_rule(rule("group:web", id="new")),
        AlreadyExists,
        Reason.KEY_TAKEN,
        "rule.key",
    ),
    "rule key at the namespace": (
        lambda transaction: transaction.insert_rule(rule("namespace:default", id="new")),
        AlreadyExists,
        Reason.KEY_TAKEN,
        "rule.key",
    ),
    "rule namespace": (
        lambda transaction: transaction.insert_rule(rule("namespace:nowhere")),
        NotFound,
        Reason.NAMESPACE_NOT_FOUND,
        "rule.scope.namespace_id",
    ),
    "rule group": (
        lambda transaction: transaction.insert_rule(rule("group:nobody")),
        NotFound,
        Reason.GROUP_NOT_FOUND,
        "rule.scope.group_id",
    ),
    "number too large": (
        lambda transaction: transaction.insert_rule(rule("global", priority=2**31)),
        InvalidInput,
        Reason.FIELD_INVALID,
        "",
    ),
    "unknown namespace": (
        lambda transaction: transaction.update_namespace(Namespace("nowhere", "x")),
        NotFound,
        Reason.NAMESPACE_NOT_FOUND,
        "id",
    ),
    "unknown group": (lambda transaction: transaction.delete_group("nobody"), NotFound, Reason.GROUP_NOT_FOUND, "id"),
    "unknown target": (
        lambda transaction: transaction.update_target(Target("nobody", "h")),
        NotFound,
        Reason.TARGET_NOT_FOUND,
        "id",
    ),
    "unknown template": (
        lambda transaction: transaction.delete_template("none"),
        NotFound,
        Reason.TEMPLATE_NOT_FOUND,
        "id",
    ),
    "unknown rule": (lambda transaction: transaction.delete_rule("none"), NotFound, Reason.RULE_NOT_FOUND, "id"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_the_database_refuses_is_told_in_the_callers_words(store: PostgresStore, case: str) -> None:
    write, kind, reason, field = REFUSED[case]
    await add(store, rule("group:web"), rule("namespace:default"))
    async with writing(store) as transaction:
        await transaction.insert_target(replace(TARGET, group_ids=("dc-a",)))
        await transaction.insert_template(AlertTemplate("cpu", "cpu", SPEC))
    before = await store.revision()
    with pytest.raises(kind) as caught:
        async with writing(store) as transaction:
            await write(transaction)
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, field)
    assert await store.revision() == before


async def test_a_rule_can_be_deleted_only_once(store: PostgresStore) -> None:
    await add(store, rule("global"))
    async with writing(store) as transaction:
        await transaction.delete_rule("global")
    with pytest.raises(NotFound) as caught:
        async with writing(store) as transaction:
            await transaction.delete_rule("global")
    assert caught.value.reason is Reason.RULE_NOT_FOUND
