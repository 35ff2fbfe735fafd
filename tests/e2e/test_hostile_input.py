"""Hostile input over gRPC and HTTP: refused with a status, a field and what would be right, or stored exactly."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
import yaml

from deploy.local.parts import PrometheusParts
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import delivery_pb2, group_pb2, namespace_pb2, rule_pb2, target_pb2
from tests.support.system import RPC, Replica, cpu_rule, global_scope, group_scope, replica

StatusCode = grpc.StatusCode
QUERY = "cpu_percent > {{ .threshold }}"


@pytest_asyncio.fixture
async def service(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[Replica]:
    """A rule service alone, with one good rule."""
    one = replica(tmp_path, database, prometheus_parts.promtool)
    try:
        await one.start()
        await create(one, cpu_rule("good", global_scope(), 90))
        yield one
    finally:
        await one.child.stop()
        await one.channel.close()


async def create(service: Replica, rule: rule_pb2.AlertRule) -> rule_pb2.AlertRule:
    answer = await service.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), timeout=RPC)
    stored: rule_pb2.AlertRule = answer.rule
    return stored


async def files(service: Replica) -> dict[str, bytes]:
    listed = await service.delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC)
    return {file.file_name: file.sha256 for file in listed.files}


async def text_of(service: Replica, name: str) -> Any:
    file = await service.delivery.GetRuleFile(delivery_pb2.GetRuleFileRequest(file_name=name), timeout=RPC)
    return yaml.safe_load(file.content)


def other(**fields: Any) -> rule_pb2.AlertRule:
    """A rule that would be good but for what a case does to it."""
    rule = cpu_rule("other", global_scope(), 80)
    rule.key = "other"
    for name, value in fields.items():
        if name in ("id", "key"):
            setattr(rule, name, value)
        else:
            setattr(rule.spec, name, value)
    return rule


def with_config(change: Callable[[Any], object]) -> rule_pb2.AlertRule:
    rule = other()
    change(rule.config)
    return rule


INVALID, TOO_MUCH = StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED
RULES: dict[str, tuple[rule_pb2.AlertRule, StatusCode, str]] = {
    "a path for an id": (other(id="../../etc/passwd"), INVALID, "rule.id"),
    "an id too long": (other(id="a" * 64), INVALID, "rule.id"),
    "a key with a line break": (other(key="a\nb"), INVALID, "rule.key"),
    "a query of 3 MB": (other(query=f"{QUERY} # {'a' * 3_000_000}"), TOO_MUCH, "rule.spec.query"),
    "parentheses 5,000 deep": (other(query="(" * 5000 + QUERY + ")" * 5000), INVALID, "rule.spec.query"),
    "a NUL in the query": (other(query=f"{QUERY} \0"), INVALID, "rule.spec.query"),
    "a regex that explodes": (
        other(query=f'x{{a=~"((a{{1000}}){{1000}}){{1000}}"}} + {QUERY}'),
        INVALID,
        "rule.spec.query",
    ),
    "a selector of everything": (other(query="{} > {{ .threshold }}"), INVALID, "rule.spec.query"),
    "a query that goes on after its end": (other(query=f"{QUERY}\n}} or vector(1) #"), INVALID, "rule.spec.query"),
    "logic in a template": (other(query="{{ if true }}1{{ end }} > {{ .threshold }}"), INVALID, "rule.spec.query"),
    "an alert name with a NUL": (other(alert_name="A\0"), INVALID, "rule.spec.alert_name"),
    "a severity with quotes": (other(severity='a"b'), INVALID, "rule.spec.severity"),
    "a NUL in a label": (with_config(lambda c: c.labels.update(a="x\0")), INVALID, "rule.config.labels[a]"),
    "a label of Prometheus": (with_config(lambda c: c.labels.update(__name__="x")), INVALID, "rule.config.labels"),
    "ten thousand labels": (
        with_config(lambda c: c.labels.update({f"l{at}": "x" for at in range(10_000)})),
        TOO_MUCH,
        "rule.config.labels",
    ),
    "an action never closed": (
        with_config(lambda c: c.annotations.update(s="{{ $value")),
        INVALID,
        "rule.config.annotations[s]",
    ),
    "our own annotation": (
        with_config(lambda c: c.annotations.update(rulecast_rule="x")),
        INVALID,
        "rule.config.annotations[rulecast_rule]",
    ),
    "a duration that overflows": (
        with_config(lambda c: setattr(c, "for_duration", "99999999999y")),
        INVALID,
        "rule.config.for_duration",
    ),
    "not a number": (
        with_config(lambda c: setattr(c.parameters["threshold"], "number_value", float("nan"))),
        INVALID,
        "rule.config.parameters[threshold]",
    ),
    "infinity": (
        with_config(lambda c: setattr(c.parameters["threshold"], "number_value", float("inf"))),
        INVALID,
        "rule.config.parameters[threshold]",
    ),
    "a truth for a number": (
        with_config(lambda c: setattr(c.parameters["threshold"], "bool_value", True)),
        INVALID,
        "rule.config.parameters[threshold]",
    ),
}


async def test_every_one_is_refused_by_field_and_changes_nothing(service: Replica) -> None:
    before = await files(service)
    for what, (rule, code, field) in RULES.items():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(service, rule)
        told = from_rpc_error(refused.value)
        assert (what, refused.value.code()) == (what, code)
        assert told.violations[0].field.startswith(field), (what, told)
        assert told.violations[0].message, what
    assert await files(service) == before
    assert await service.serving()


async def test_other_calls_are_as_strict(service: Replica) -> None:
    value = group_pb2.CreateGroupRequest(group=group_pb2.Group(id="g", parent_id="g"))
    label = namespace_pb2.Namespace(id="n", label="__name__")
    address = target_pb2.Target(id="t", hostname="a b")
    await service.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group_pb2.Group(id="twice")), timeout=RPC)
    twice = target_pb2.Target(id="t", hostname="t", group_ids=["twice", "twice"])
    calls: list[tuple[Awaitable[object], StatusCode]] = [
        (service.groups.CreateGroup(value, timeout=RPC), StatusCode.FAILED_PRECONDITION),
        (
            service.namespaces.CreateNamespace(namespace_pb2.CreateNamespaceRequest(namespace=label), timeout=RPC),
            INVALID,
        ),
        (service.targets.CreateTarget(target_pb2.CreateTargetRequest(target=address), timeout=RPC), INVALID),
        (service.rules.ListAlertRules(rule_pb2.ListAlertRulesRequest(page_token="!"), timeout=RPC), INVALID),
        (service.rules.ListAlertRules(rule_pb2.ListAlertRulesRequest(page_token="YWEA"), timeout=RPC), INVALID),
        (service.rules.ListAlertRules(rule_pb2.ListAlertRulesRequest(page_size=-1), timeout=RPC), INVALID),
        (service.targets.CreateTarget(target_pb2.CreateTargetRequest(target=twice), timeout=RPC), INVALID),
        (
            service.delivery.GetRuleFile(delivery_pb2.GetRuleFileRequest(file_name="../../x.yml"), timeout=RPC),
            StatusCode.NOT_FOUND,
        ),
        (service.delivery.GetRollout(delivery_pb2.GetRolloutRequest(revision=-5), timeout=RPC), StatusCode.NOT_FOUND),
        (create(service, other(query="a" * 10_000_000)), TOO_MUCH),
    ]
    for call, code in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is code
    assert await service.serving()


async def test_what_is_odd_but_legal_arrives_exactly(service: Replica) -> None:
    odd = 'a"b\nc\\d.*|{}$'
    group = group_pb2.CreateGroupRequest(group=group_pb2.Group(id="odd", label_value=odd))
    await service.groups.CreateGroup(group, timeout=RPC)
    rule = cpu_rule("odd", group_scope("odd"), 80)
    rule.key = "odd"
    rule.spec.alert_name = "A: 'b' # \"c\""
    rule.config.annotations["summary"] = "- a: b\n---\n# no comment\n{{ $value }}\t\u2028é😀"
    await create(service, rule)
    (found,) = (await text_of(service, "group-odd.yml"))["groups"][0]["rules"]
    assert found["alert"] == rule.spec.alert_name
    assert found["annotations"]["summary"] == rule.config.annotations["summary"]
    assert found["labels"]["group_id"] == odd
    assert found["expr"] == 'cpu_percent{group_id="a\\"b\\nc\\\\d.*|{}$"} > 80'


JSON = {"Content-Type": "application/json"}
BODIES: dict[str, tuple[bytes | str, int]] = {
    "no JSON": ("{", 400),
    "nested without end": ("[" * 100_000, 400),
    "half a surrogate": ('{"rule": {"id": "a\\ud800"}}', 400),
    "no UTF-8": (b'{"rule": {"id": "\xff"}}', 400),
    "a word that is no number": ('{"rule": {"scope": {"global": {}}, "priority": NaN}}', 400),
    "an unknown choice": ('{"rule": {"merge_strategy": 77, "scope": {"global": {}}}}', 400),
    "two scopes": ('{"rule": {"scope": {"global": {}, "group_id": "x"}}}', 400),
    "an unknown field": ('{"rule": {"treshold": 1}}', 400),
    "too large": ('{"rule": {"description": "' + "a" * 5_000_000 + '"}}', 413),
}


async def test_http_refuses_in_the_one_shape_of_all_errors(service: Replica) -> None:
    before = await files(service)
    async with aiohttp.ClientSession(base_url=service.url) as http:
        for what, (body, status) in BODIES.items():
            data = io.BytesIO(body if isinstance(body, bytes) else body.encode())
            async with http.post("/api/v1/alert-rules", data=data, headers=JSON) as answer:
                error = (await answer.json())["error"]
            assert (what, answer.status, error["code"]) == (what, status, status)
            assert error["message"], what
    assert await files(service) == before
    assert await service.serving()
