"""DeliveryService."""

from collections.abc import AsyncIterator
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from rule_service.api import encode
from rule_service.api.calls import Context, page_after, page_size, page_token, wait_seconds, wait_until, write_options
from rule_service.domain.model import GroupScope
from rule_service.usecases.delivery import Delivery, Regenerated
from rule_service.usecases.ports import Reads
from rule_service.usecases.ports_delivery import Deployers
from rule_service.usecases.ports_fates import DeployerFacts
from rule_service.usecases.ports_rendered import FileFacts
from rule_service.usecases.rollout import state_now
from rulecast.v1 import common_pb2
from rulecast.v1 import delivery_pb2 as pb
from rulecast.v1.delivery_pb2_grpc import DeliveryServiceServicer

FILES_PAGE = 1000
MAX_FILES_PAGE = 10_000
_LARGEST = 2**32 - 1


class DeliveryApi(DeliveryServiceServicer):
    def __init__(self, delivery: Delivery, deployers: Deployers, reads: Reads) -> None:
        self._delivery = delivery
        self._deployers = deployers
        self._reads = reads

    async def RegenerateAll(self, request: pb.RegenerateAllRequest, context: Context) -> pb.RegenerateResponse:
        return _regenerated(await self._delivery.regenerate_all(write_options(request, "RegenerateAll", context)))

    async def RegenerateGroup(self, request: pb.RegenerateGroupRequest, context: Context) -> pb.RegenerateResponse:
        options = write_options(request, "RegenerateGroup", context)
        return _regenerated(await self._delivery.regenerate_group(request.group_id, options))

    async def ListRuleFiles(self, request: pb.ListRuleFilesRequest, context: Context) -> pb.ListRuleFilesResponse:
        size = page_size(request.page_size, FILES_PAGE, MAX_FILES_PAGE)
        after = page_after(request.page_token)
        if request.deployer_id:
            page = await self._delivery.deployed_files(request.deployer_id, after, size)
        else:
            page = await self._reads.files(after, size)
        return pb.ListRuleFilesResponse(
            files=[_file(each) for each in page.items], next_page_token=page_token(page.next_after)
        )

    async def GetRuleFile(self, request: pb.GetRuleFileRequest, context: Context) -> pb.RuleFile:
        file = await self._delivery.file(request.file_name)
        message = _file(file.facts)
        message.content = file.content.decode()
        return message

    async def ReloadPrometheus(
        self, request: pb.ReloadPrometheusRequest, context: Context
    ) -> pb.ReloadPrometheusResponse:
        return pb.ReloadPrometheusResponse(deployer_ids=await self._delivery.reload(request.deployer_id))

    async def ResyncDeployers(self, request: pb.ResyncDeployersRequest, context: Context) -> pb.ResyncDeployersResponse:
        told = await self._delivery.resync(request.deployer_id, request.mass_deletion_allowed)
        return pb.ResyncDeployersResponse(deployer_ids=told)

    async def ListDeployers(self, request: pb.ListDeployersRequest, context: Context) -> pb.ListDeployersResponse:
        revision = await self._reads.revision()
        deployers = await self._reads.deployers()
        return pb.ListDeployersResponse(deployers=[_deployer(each, revision) for each in deployers], revision=revision)

    async def DeleteDeployer(self, request: pb.DeleteDeployerRequest, context: Context) -> pb.DeleteDeployerResponse:
        await self._deployers.delete_deployer(request.id)
        return pb.DeleteDeployerResponse()

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Context) -> common_pb2.Rollout:
        return encode.rollout(await self._delivery.rollout(request.revision))

    async def WatchRollout(self, request: pb.GetRolloutRequest, context: Context) -> AsyncIterator[common_pb2.Rollout]:
        async for rollout in self._delivery.watch(request.revision):
            yield encode.rollout(rollout)

    async def WaitForRollout(self, request: pb.WaitForRolloutRequest, context: Context) -> common_pb2.Rollout:
        timeout = wait_seconds(request.timeout, "timeout", context)
        until = wait_until(request.wait_for or common_pb2.ACTIVE, "ACTIVE or ACTIVE_OR_REFUSED")
        return encode.rollout(await self._delivery.wait(request.revision, timeout, until))


def _regenerated(value: Regenerated) -> pb.RegenerateResponse:
    duration = Duration()
    duration.FromNanoseconds(round(value.seconds * 1e9))
    return pb.RegenerateResponse(
        groups_affected=value.groups,
        files_generated=value.files,
        errors=value.errors,
        duration=duration,
        change=encode.change(value.change),
    )


def _file(facts: FileFacts) -> pb.RuleFile:
    return pb.RuleFile(
        file_name=facts.name,
        group_id=facts.scope.group_id if isinstance(facts.scope, GroupScope) else "",
        scope=encode.scope(facts.scope),
        rule_count=facts.rule_count,
        size_bytes=min(facts.size, _LARGEST),
        modified_at=_timestamp(facts.modified_at),
        sha256=facts.sha256,
        revision=facts.revision,
    )


def _deployer(facts: DeployerFacts, revision: int) -> pb.Deployer:
    return pb.Deployer(
        id=facts.id,
        connected=facts.connected,
        revision=facts.revision,
        state=common_pb2.Rollout.State.Value(state_now(facts, revision).name),
        files=encode.fates(facts.fates),
        software_version=facts.software_version,
        prometheus_version=facts.prometheus_version,
        prometheus_url=facts.prometheus_url,
        prometheus_up=facts.prometheus_up,
        drifted_files=facts.drifted_files,
        seen_time=encode.timestamp(facts.seen_at),
        epoch=facts.epoch,
        serves=[encode.scope(each) for each in facts.serves],
        warnings=[common_pb2.Warning(code=code, message=message) for code, message in facts.warnings],
        last_reload_time=_timestamp(facts.last_reload_at),
        last_reload_ok=facts.last_reload_ok,
    )


def _timestamp(value: datetime | None) -> Timestamp | None:
    return None if value is None else encode.timestamp(value)
