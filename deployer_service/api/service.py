"""DeployerService of deployer.proto. Answers with no rule service in reach."""

from typing import Any

from deployer_service.follow.follower import Follower
from deployer_service.follow.messages import Identity, duration, file_outcome, state_of, timestamp, warnings
from deployer_service.pipeline.run import Pipeline
from rulecast.v1 import deployer_pb2 as pb
from rulecast.v1.deployer_pb2_grpc import DeployerServiceServicer


class DeployerApi(DeployerServiceServicer):
    """Errors are RulecastErrors; the interceptor makes statuses of them."""

    def __init__(self, identity: Identity, pipeline: Pipeline, follower: Follower) -> None:
        self._identity = identity
        self._pipeline = pipeline
        self._follower = follower

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.DeployerStatus:
        state = self._pipeline.state()
        connection = self._follower.connection
        prometheus = state.prometheus
        return pb.DeployerStatus(
            deployer_id=self._identity.deployer_id,
            connected=connection.connected,
            rule_service=connection.address,
            revision=state.record.revision,
            manifest_hash=state.manifest_hash,
            file_count=len(state.record.files),
            generation=state.record.generation,
            prometheus_url=self._identity.prometheus_url,
            prometheus_up=prometheus.up,
            prometheus_version=prometheus.version,
            last_reload_time=timestamp(prometheus.last_reload_time),
            last_reload_ok=prometheus.last_reload_ok,
            files=[file_outcome(report) for _, report in sorted(state.record.troubles.items())],
            drifted_files=state.drifted,
            warnings=warnings(state),
            software_version=self._identity.software_version,
        )

    async def ListFiles(self, request: pb.ListFilesRequest, context: Any) -> pb.ListFilesResponse:
        return pb.ListFilesResponse(
            files=[
                pb.DeployedFile(
                    file_name=file.name,
                    path=file.path,
                    rule_count=file.version.rules,
                    size_bytes=file.size_bytes,
                    modified_at=timestamp(file.modified_at),
                    sha256=file.version.sha256,
                    revision=file.version.revision,
                    state=state_of(file.outcome),
                )
                for file in await self._pipeline.list_files()
            ]
        )

    async def Reload(self, request: pb.ReloadRequest, context: Any) -> pb.ReloadResponse:
        result = await self._pipeline.reload()
        return pb.ReloadResponse(files=[file_outcome(report) for report in result.reports], took=duration(result.took))

    async def Resync(self, request: pb.ResyncRequest, context: Any) -> pb.ResyncResponse:
        await self._follower.resync()
        return pb.ResyncResponse()

    async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:
        return pb.ValidateResponse(files=[file_outcome(report) for report in await self._pipeline.validate()])
