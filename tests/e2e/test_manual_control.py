"""What a person can ask for by hand: through the rule service, and at a deployer itself."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
import yaml

from deploy.local.parts import PrometheusParts
from rulecast.digest import manifest_hash
from rulecast.errors import FailedPrecondition, NotFound, RulecastError
from rulecast.reasons import Reason
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import common_pb2, delivery_pb2, deployer_pb2, distribution_pb2, group_pb2, rule_pb2
from rulecast.v1.distribution_pb2_grpc import DistributionServiceStub
from tests.support.cluster import reloads
from tests.support.system import RPC, Deployer, System, cpu_rule, global_scope, group_scope, running_system
from tests.support.waiting import wait_for

FILES = ("global.yml", "group-dev.yml", "group-prod.yml")


@pytest_asyncio.fixture(params=[1])
async def system(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> AsyncIterator[System]:
    """A rule service with so many deployers, and three files with a rule each, which run."""
    async with running_system(tmp_path, database, prometheus_parts, deployers=request.param) as running:
        for id in ("prod", "dev", "empty"):
            group = group_pb2.Group(id=id)
            await running.first.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group), timeout=RPC)
        for id, scope in (("everywhere", global_scope()), ("prod", group_scope("prod")), ("dev", group_scope("dev"))):
            await running.first.rules.CreateAlertRule(
                rule_pb2.CreateAlertRuleRequest(rule=cpu_rule(id, scope, 80), wait_for=common_pb2.ACTIVE), timeout=RPC
            )
        yield running


async def refusal(call: Awaitable[Any]) -> tuple[type[RulecastError], Reason, str]:
    """Kind, reason and field of what the call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    error = from_rpc_error(refused.value)
    return type(error), error.reason, error.violations[0].field


async def list_files(system: System, **fields: Any) -> delivery_pb2.ListRuleFilesResponse:
    request = delivery_pb2.ListRuleFilesRequest(**fields)
    answer: delivery_pb2.ListRuleFilesResponse = await system.first.delivery.ListRuleFiles(request, timeout=RPC)
    return answer


async def deployers(system: System) -> dict[str, delivery_pb2.Deployer]:
    answer = await system.first.delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
    return {each.id: each for each in answer.deployers}


async def stop(system: System, deployer: Deployer) -> None:
    assert await deployer.child.stop() == 0

    async def is_gone() -> bool:
        return not (await deployers(system))[deployer.id].connected

    await wait_for(is_gone, RPC)


async def test_regenerating_tells_what_was_done_and_has_everything_put_right(system: System) -> None:
    delivery = system.first.delivery
    done = await delivery.RegenerateAll(delivery_pb2.RegenerateAllRequest(), timeout=RPC)
    assert (done.groups_affected, done.files_generated, list(done.errors)) == (2, 3, [])
    assert done.duration.ToTimedelta().total_seconds() > 0
    assert not done.change.files, "the files were as they should be"

    # the next look for drift is half a minute away
    (deployer,) = system.deployers
    before = deployer.files()
    (deployer.rules / "group-prod.yml").unlink()
    (deployer.rules / "global.yml").write_text("groups: []\n")
    done = await delivery.RegenerateAll(delivery_pb2.RegenerateAllRequest(), timeout=RPC)
    assert (done.groups_affected, done.files_generated) == (2, 3)
    await wait_for(lambda: deployer.files() == before, 15.0)
    await system.settled()

    one = await delivery.RegenerateGroup(delivery_pb2.RegenerateGroupRequest(group_id="prod"), timeout=RPC)
    # the alert is the same one in all three
    assert (one.groups_affected, one.files_generated, list(one.errors)) == (2, 3, [])
    none = await delivery.RegenerateGroup(delivery_pb2.RegenerateGroupRequest(group_id="empty"), timeout=RPC)
    assert (none.groups_affected, none.files_generated) == (0, 0), "it has no rule"
    unknown = delivery.RegenerateGroup(delivery_pb2.RegenerateGroupRequest(group_id="nowhere"), timeout=RPC)
    assert await refusal(unknown) == (NotFound, Reason.GROUP_NOT_FOUND, "group_id")


TWO = pytest.mark.parametrize("system", [2], indirect=True)


@TWO
async def test_the_files_of_one_deployer_are_those_on_its_disk(system: System) -> None:
    first, second = system.deployers
    wanted = list((await list_files(system)).files)
    assert [file.file_name for file in wanted] == list(FILES)

    async def are_listed(deployer: Deployer) -> bool:
        return list((await list_files(system, deployer_id=deployer.id)).files) == wanted

    for deployer in system.deployers:
        await wait_for(lambda: are_listed(deployer), RPC)  # noqa: B023

    await stop(system, second)
    change = cpu_rule("prod", group_scope("prod"), 70)
    request = rule_pb2.UpdateAlertRuleRequest(rule=change, wait_for=common_pb2.ACTIVE)
    request.update_mask.paths.append("config.parameters.threshold")
    await system.first.rules.UpdateAlertRule(request, timeout=RPC)
    newer = list((await list_files(system)).files)
    assert newer[2].revision > wanted[2].revision
    there = list((await list_files(system, deployer_id=second.id)).files)
    assert there == wanted, "what it has, not what it should have"
    for file in there:
        content = second.files()[file.file_name]
        rules = [rule for group in yaml.safe_load(content)["groups"] for rule in group["rules"]]
        assert (file.sha256, file.size_bytes) == (hashlib.sha256(content).digest(), len(content))
        assert file.rule_count == len(rules)

    page = await list_files(system, deployer_id=first.id, page_size=2)
    rest = await list_files(system, deployer_id=first.id, page_size=2, page_token=page.next_page_token)
    assert [file.file_name for file in (*page.files, *rest.files)] == list(FILES)
    assert not rest.next_page_token
    unknown = list_files(system, deployer_id="nobody")
    assert await refusal(unknown) == (NotFound, Reason.DEPLOYER_NOT_FOUND, "deployer_id")
    async with aiohttp.ClientSession(base_url=system.first.url) as http:
        path = "/api/v1/prometheus/rules/files"
        async with http.get(path, params={"deployer_id": second.id}) as answer:
            assert [file["file_name"] for file in await answer.json()] == list(FILES)


@TWO
async def test_deployers_are_reloaded_listed_and_forgotten(system: System) -> None:
    first, second = system.deployers
    delivery = system.first.delivery

    def counts() -> list[int]:
        return [reloads(first), reloads(second)]

    before = counts()
    answer = await delivery.ReloadPrometheus(delivery_pb2.ReloadPrometheusRequest(), timeout=RPC)
    assert list(answer.deployer_ids) == [first.id, second.id]
    await wait_for(lambda: counts() == [before[0] + 1, before[1] + 1], RPC)
    request = delivery_pb2.ReloadPrometheusRequest(deployer_id=second.id)
    answer = await delivery.ReloadPrometheus(request, timeout=RPC)
    assert list(answer.deployer_ids) == [second.id]
    await wait_for(lambda: counts() == [before[0] + 1, before[1] + 2], RPC)

    unknown = delivery.ReloadPrometheus(delivery_pb2.ReloadPrometheusRequest(deployer_id="nobody"), timeout=RPC)
    assert await refusal(unknown) == (NotFound, Reason.DEPLOYER_NOT_FOUND, "deployer_id")
    await stop(system, second)
    away = delivery.ReloadPrometheus(request, timeout=RPC)
    assert await refusal(away) == (FailedPrecondition, Reason.DEPLOYER_NOT_CONNECTED, "deployer_id")
    answer = await delivery.ReloadPrometheus(delivery_pb2.ReloadPrometheusRequest(), timeout=RPC)
    assert list(answer.deployer_ids) == [first.id]
    await second.start()
    await system.settled()

    async def both_up() -> bool:
        return all(each.prometheus_up and each.last_reload_ok for each in (await deployers(system)).values())

    await wait_for(both_up, RPC)
    listed = await deployers(system)
    assert listed.keys() == {first.id, second.id}
    for deployer in system.deployers:
        each = listed[deployer.id]
        assert (each.connected, each.state, list(each.files)) == (True, common_pb2.Rollout.ACTIVE, [])
        assert each.prometheus_url.rstrip("/") == deployer.prometheus.url
        assert each.prometheus_version.partition("+")[0] == deployer.prometheus.parts.version.partition("+")[0]
        assert each.software_version
        assert each.HasField("last_reload_time")
        assert not each.warnings

    connected = delivery.DeleteDeployer(delivery_pb2.DeleteDeployerRequest(id=second.id), timeout=RPC)
    assert await refusal(connected) == (FailedPrecondition, Reason.DEPLOYER_CONNECTED, "id")
    await stop(system, second)
    assert (await deployers(system))[second.id].state == common_pb2.Rollout.ACTIVE, "all that there is was taken up"
    await delivery.DeleteDeployer(delivery_pb2.DeleteDeployerRequest(id=second.id), timeout=RPC)
    assert (await deployers(system)).keys() == {first.id}
    again = delivery.DeleteDeployer(delivery_pb2.DeleteDeployerRequest(id=second.id), timeout=RPC)
    assert await refusal(again) == (NotFound, Reason.DEPLOYER_NOT_FOUND, "id")
    # forgotten is not forbidden
    await second.start()
    await system.connected()
    await system.settled()


async def check_manifest(system: System) -> None:
    """The manifest is what the deployer has."""
    stub: Any = DistributionServiceStub
    distribution = stub(system.first.channel)
    hashes = {name: hashlib.sha256(content).digest() for name, content in system.deployers[0].files().items()}
    for deployer_id in ("", "deployer-0"):
        request = distribution_pb2.GetManifestRequest(deployer_id=deployer_id)
        manifest = await distribution.GetManifest(request, timeout=RPC)
        assert {file.file_name: file.sha256 for file in manifest.files} == hashes
        assert manifest.manifest_hash == manifest_hash(hashes)
        status = await system.deployers[0].service.GetStatus(deployer_pb2.GetStatusRequest(), timeout=RPC)
        assert (status.manifest_hash, status.revision) == (manifest.manifest_hash, manifest.revision)
    unknown = distribution.GetManifest(distribution_pb2.GetManifestRequest(deployer_id="nobody"), timeout=RPC)
    assert await refusal(unknown) == (NotFound, Reason.DEPLOYER_NOT_FOUND, "deployer_id")


async def test_a_deployer_can_be_asked_itself(system: System) -> None:
    (deployer,) = system.deployers
    service = deployer.service
    listed = await service.ListFiles(deployer_pb2.ListFilesRequest(), timeout=RPC)
    assert [file.file_name for file in listed.files] == list(FILES)
    await check_manifest(system)
    for file in listed.files:
        path = deployer.rules / file.file_name
        assert (file.path, file.size_bytes) == (str(path), path.stat().st_size)
        assert file.sha256 == hashlib.sha256(path.read_bytes()).digest()
        assert file.modified_at.ToNanoseconds() // 10**9 == int(path.stat().st_mtime)
        assert (file.rule_count, file.state) == (1, common_pb2.Rollout.ACTIVE)
        assert file.revision > 0

    before = reloads(deployer)
    reloaded = await service.Reload(deployer_pb2.ReloadRequest(), timeout=RPC)
    assert (list(reloaded.files), reloads(deployer)) == ([], before + 1)
    assert reloaded.took.ToTimedelta().total_seconds() > 0

    assert not (await service.Validate(deployer_pb2.ValidateRequest(), timeout=RPC)).files
    bad = deployer.rules / "group-prod.yml"
    good = bad.read_bytes()
    bad.write_bytes(good.replace(b"> 80", b"> > 80"))
    (refused,) = (await service.Validate(deployer_pb2.ValidateRequest(), timeout=RPC)).files
    assert (refused.file_name, refused.state) == ("group-prod.yml", common_pb2.Rollout.REJECTED)
    assert (refused.reason, refused.rule) == (Reason.PROMTOOL_CHECK_FAILED, "HighCPU")

    await service.Resync(deployer_pb2.ResyncRequest(), timeout=RPC)
    await wait_for(lambda: bad.read_bytes() == good, 15.0)
    await system.settled()
    await system.first.child.stop()

    async def is_alone() -> bool:
        return not (await service.GetStatus(deployer_pb2.GetStatusRequest(), timeout=RPC)).connected

    await wait_for(is_alone, RPC)
    alone = service.Resync(deployer_pb2.ResyncRequest(), timeout=RPC)
    assert await refusal(alone) == (FailedPrecondition, Reason.NOT_CONNECTED, "")
    # all else goes on without a rule service
    answers = await asyncio.gather(
        service.Reload(deployer_pb2.ReloadRequest(), timeout=RPC),
        service.ListFiles(deployer_pb2.ListFilesRequest(), timeout=RPC),
        service.Validate(deployer_pb2.ValidateRequest(), timeout=RPC),
    )
    assert [len(answer.files) for answer in answers] == [0, 3, 0]
