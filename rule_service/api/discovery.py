"""DiscoveryService."""

import asyncio
from collections.abc import Sequence

from rule_service.api import decode
from rule_service.api.calls import Context
from rule_service.usecases.discover import Discovery, ScrapeTarget
from rule_service.usecases.filters import ScrapeFilter
from rule_service.usecases.heartbeats import TargetHeartbeats
from rulecast.v1 import discovery_pb2 as pb
from rulecast.v1.discovery_pb2_grpc import DiscoveryServiceServicer


class DiscoveryApi(DiscoveryServiceServicer):
    def __init__(self, discovery: Discovery, heartbeats: TargetHeartbeats) -> None:
        self._discovery = discovery
        self._heartbeats = heartbeats

    async def ListScrapeTargets(
        self, request: pb.ListScrapeTargetsRequest, context: Context
    ) -> pb.ListScrapeTargetsResponse:
        where = ScrapeFilter(
            request.group_id or None,
            request.namespace_id or None,
            request.exporter or None,
            self._heartbeats.filter(decode.statuses(request.statuses)),
        )
        found = await self._discovery.scrape_targets(where)
        return await asyncio.to_thread(_response, found)


def _response(found: Sequence[ScrapeTarget]) -> pb.ListScrapeTargetsResponse:
    return pb.ListScrapeTargetsResponse(
        groups=[pb.ScrapeTargetGroup(targets=[each.address], labels=each.labels) for each in found]
    )
