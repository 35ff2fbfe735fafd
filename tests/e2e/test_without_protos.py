"""What somebody can do who has an address and no proto file: by reflection alone, and with grpcurl where it is."""

from pathlib import Path

import pytest

from rule_service.wiring import PUBLIC
from tests.support.system import replica
from tests.support.without_protos import Client, Refused, clients

ALWAYS = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
PACKAGE = "rulecast.v1"


async def test_reflection_is_all_that_a_client_needs(tmp_path: Path, database: str, promtool: Path) -> None:
    one = replica(tmp_path, database, promtool)
    try:
        await one.start()
        for number, client in enumerate(clients(one.address)):
            await does_its_work(client, f"group-{number}")
    finally:
        await one.child.stop()
        await one.channel.close()


async def does_its_work(client: Client, group: str) -> None:
    assert set(await client.services()) >= ALWAYS | {service.full_name for service in PUBLIC}
    for service in PUBLIC:
        assert set(await client.methods(service.full_name)) == {method.full_name for method in service.methods}

    created = await client.call(f"{PACKAGE}.GroupService/CreateGroup", {"group": {"id": group, "labelValue": "ö"}})
    assert created["group"]["label_value"] == "ö"
    assert int(created["change"]["revision"]) >= 1
    rule = {
        "id": f"rule-{group}",
        "key": "cpu",
        "scope": {"group_id": group},
        "spec": {
            "alert_name": "HighCPU",
            "severity": "warning",
            "query": "cpu_percent > {{ .threshold }}",
            "parameters": [{"name": "threshold", "type": "NUMBER"}],
        },
        "config": {"parameters": {"threshold": 80}},
    }
    written = await client.call(f"{PACKAGE}.AlertRuleService/CreateAlertRule", {"rule": rule})
    assert written["rule"]["rendered"]["expr"] == 'cpu_percent{group_id="ö"} > 80'
    read = await client.call(f"{PACKAGE}.AlertRuleService/GetAlertRule", {"id": rule["id"]})
    assert read["config"]["parameters"] == {"threshold": 80}
    assert (await client.call("grpc.health.v1.Health/Check", {}))["status"] == "SERVING"

    with pytest.raises(Refused) as refused:
        await client.call(f"{PACKAGE}.GroupService/GetGroup", {"id": "nowhere"})
    assert (refused.value.code, refused.value.message) == ("NotFound", 'id: there is no group "nowhere"')
    # the value is the namespace's, so the next client needs another one
    await client.call(f"{PACKAGE}.GroupService/DeleteGroup", {"id": group, "force": True})
