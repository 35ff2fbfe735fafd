"""The deployer's way to a rule service that is not there."""

import pytest

from deployer_service.adapters.upstream import GrpcUpstream
from rulecast.errors import Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb
from tests.support.ports import free_port


async def greet(address: str) -> None:
    async with GrpcUpstream().connect(address) as stream:
        await stream.send(pb.SyncRequest(hello=pb.Hello(deployer_id="dep")))
        await stream.receive()


async def test_nobody_at_the_address_is_a_lost_stream_and_no_fault_inside() -> None:
    with pytest.raises(Unavailable) as lost:
        await greet(f"127.0.0.1:{free_port()}")
    assert lost.value.reason is Reason.STREAM_LOST
    assert "connect" in str(lost.value)
