"""The gate by itself: who is let in, how often, what is written down about it, and when a stream ends."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from rulecast.errors import InvalidInput, LimitExceeded, PermissionDenied, RulecastError, Unauthenticated, Unavailable
from rulecast.reasons import Reason
from rulecast.rpc.access import FORWARDED_PEER, Access, Caller, bearer, caller_now, host_of, unknown_token
from rulecast.rpc.audit import named
from rulecast.rpc.gate import Call, Gate
from rulecast.rpc.rate import Buckets, Rate
from rulecast.v1 import group_pb2, rule_pb2
from tests.support.waiting import wait_for

READ, WRITE, WRITE_ANYWHERE, UNDECLARED = "/x.X/Read", "/x.X/Write", "/x.X/WriteAnywhere", "/x.X/New"
DECLARED = {READ: Access.VIEWER, WRITE: Access.EDITOR, WRITE_ANYWHERE: Access.EDITOR_OF_ALL}
VIEWER = Caller("id-v", "vera", frozenset({Access.VIEWER}))
EDITOR = Caller("id-e", "eddie", frozenset({Access.VIEWER, Access.EDITOR}), frozenset({"env"}))


class Known:
    """Implements `Authenticator`: the tokens `v` and `e`, while they are let be."""

    def __init__(self) -> None:
        self.callers = {"v": VIEWER, "e": EDITOR}
        self.error: RulecastError | None = None
        self.asked = 0

    async def authenticate(self, token: str, host: str) -> Caller:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if token not in self.callers:
            raise unknown_token()
        return self.callers[token]


def call(method: str, token: str = "") -> Call:
    return Call(method, (("authorization", f"Bearer {token}"),) if token else (), "ipv4:10.0.0.1:5000")


async def enter(gate: Gate, made: Call) -> Caller | None:
    """Who the call is by, as its handler sees it."""
    async with gate.admitted(made):
        return caller_now()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found


@pytest.mark.parametrize(
    ("method", "token", "kind", "reason"),
    [
        (READ, "", Unauthenticated, Reason.TOKEN_MISSING),
        (READ, "x", Unauthenticated, Reason.TOKEN_UNKNOWN),
        (WRITE, "v", PermissionDenied, Reason.ROLE_MISSING),
        (WRITE_ANYWHERE, "v", PermissionDenied, Reason.ROLE_MISSING),
        (WRITE_ANYWHERE, "e", PermissionDenied, Reason.NAMESPACE_NOT_ALLOWED),
        (UNDECLARED, "e", PermissionDenied, Reason.METHOD_NOT_DECLARED),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "", Unauthenticated, Reason.TOKEN_MISSING),
    ],
)
async def test_who_is_not_let_in(
    lines: list[Any], method: str, token: str, kind: type[RulecastError], reason: Reason
) -> None:
    gate = Gate(DECLARED, authenticator=Known())
    with pytest.raises(kind) as refused:
        await enter(gate, call(method, token))
    assert refused.value.reason is reason
    (line,) = lines
    assert (line["method"], line["reason"], line["peer"]) == (method, reason, "ipv4:10.0.0.1:5000")


async def test_who_is_let_in_is_known_for_as_long_as_the_call_lasts() -> None:
    gate = Gate(DECLARED, authenticator=Known())
    assert await enter(gate, call(READ, "v")) == VIEWER
    assert await enter(gate, call(WRITE, "e")) == EDITOR
    assert caller_now() is None
    assert await enter(gate, call("/grpc.health.v1.Health/Check")) is None


async def test_without_authentication_everybody_is_let_in() -> None:
    gate = Gate(DECLARED)
    for method in (READ, WRITE, UNDECLARED):
        assert await enter(gate, call(method)) is None


async def test_reads_are_not_written_down_and_writes_are_with_what_became_of_them(lines: list[Any]) -> None:
    gate = Gate(DECLARED, authenticator=Known())
    await enter(gate, call(READ, "v"))
    assert lines == []
    made = call(WRITE, "e")
    async with gate.admitted(made):
        made.request = group_pb2.CreateGroupRequest(group=group_pb2.Group(id="prod"), validate_only=True)
        made.response = group_pb2.CreateGroupResponse()
        made.response.change.revision = 7
    with pytest.raises(InvalidInput):
        async with gate.admitted(call(WRITE, "e")):
            raise InvalidInput.of("group.id", Reason.ID_INVALID, "no")
    with pytest.raises(asyncio.CancelledError):
        async with gate.admitted(call(WRITE, "e")):
            raise asyncio.CancelledError
    done, wrong, left = lines
    assert (done["who"], done["token"], done["outcome"], done["revision"]) == ("eddie", "id-e", "OK", 7)
    assert (done["resource"], done["validate_only"]) == ({"group.id": "prod"}, True)
    assert (wrong["outcome"], wrong["reason"]) == ("INVALID_ARGUMENT", Reason.ID_INVALID)
    assert left["outcome"] == "CANCELLED"


async def test_each_caller_has_its_own_limit_and_writes_another_than_reads(lines: list[Any]) -> None:
    limited: list[str] = []
    gate = Gate(DECLARED, authenticator=Known(), reads=Rate(0.001, 2), writes=Rate(0.001, 1), limited=limited.append)
    for method, token in ((READ, "v"), (READ, "v"), (READ, "e"), (WRITE, "e")):
        await enter(gate, call(method, token))
    for method, token in ((READ, "v"), (WRITE, "e")):
        with pytest.raises(LimitExceeded) as refused:
            await enter(gate, call(method, token))
        assert refused.value.reason is Reason.RATE_LIMITED
        assert float(refused.value.metadata["retry_after"]) > 1
    assert limited == ["read", "write"]
    assert [line["outcome"] for line in lines] == ["OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]


async def test_without_tokens_other_hosts_are_limited_and_this_one_is_not() -> None:
    gate = Gate(DECLARED, reads=Rate(0.001, 1))
    for _ in range(5):
        await enter(gate, Call(READ, (), "ipv6:%5B::1%5D:5000"))
    await enter(gate, call(READ))
    with pytest.raises(LimitExceeded):
        await enter(gate, call(READ))


async def test_a_stream_ends_with_its_token_but_not_with_the_database() -> None:
    known, ended = Known(), asyncio.Event()
    gate = Gate(DECLARED, authenticator=known, recheck=0.001)

    async def stream() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.TaskGroup() as tasks:
        known.error = Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away")
        held = tasks.create_task(_refusal(gate.hold(call(READ, "v"), stream())), name="stream")
        await wait_for(lambda: known.asked >= 3, every=0)
        assert not ended.is_set()
        known.error = None
        del known.callers["v"]
    assert held.result().reason is Reason.TOKEN_UNKNOWN
    assert ended.is_set()


async def test_a_stream_that_ends_or_fails_by_itself_does_so() -> None:
    gate = Gate(DECLARED, authenticator=Known())

    async def fine() -> None:
        return

    async def failing() -> None:
        raise InvalidInput.of("hello", Reason.FIELD_INVALID, "no")

    await gate.hold(call(READ, "v"), fine())
    assert (await _refusal(gate.hold(call(READ, "v"), failing()))).reason is Reason.FIELD_INVALID


async def _refusal(awaited: Any) -> RulecastError:
    with pytest.raises(RulecastError) as raised:
        await awaited
    return raised.value


@pytest.mark.parametrize(
    ("peer", "metadata", "host"),
    [
        ("ipv4:10.0.0.1:5000", (), "10.0.0.1"),
        ("ipv6:%5B2001:db8::1%5D:5000", (), "2001:db8::1"),
        ("unix:", ((FORWARDED_PEER, "10.0.0.2"),), "10.0.0.2"),
        ("unix:%2Frun%2Fx", (), "unix"),
        # whoever is not on our own socket is not believed
        ("ipv4:10.0.0.1:5000", ((FORWARDED_PEER, "10.0.0.2"),), "10.0.0.1"),
    ],
)
def test_where_a_call_is_from(peer: str, metadata: Any, host: str) -> None:
    assert host_of(peer, metadata) == host


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer  ", "Basic abc", "abc"])
def test_no_token(given: str) -> None:
    with pytest.raises(Unauthenticated):
        bearer((("authorization", given),))


def test_a_token_whatever_the_case_of_the_words_around_it() -> None:
    assert bearer((("x", "y"), ("Authorization", "bearer  abc "))) == "abc"


def test_the_ids_of_a_message_and_none_of_its_texts() -> None:
    rule = rule_pb2.AlertRule(id="r" * 200, key="cpu", description="secret", template_id="t")
    request = rule_pb2.CreateAlertRuleRequest(rule=rule, request_id="again", reason="secret")
    assert named(request) == {"rule.id": "r" * 100}
    assert named(rule_pb2.DeleteAlertRuleRequest(id="x", etag="r1")) == {"id": "x"}
    assert named(None) == {}


def test_a_bucket_fills_again_with_time_and_never_above_its_burst() -> None:
    now = 100.0
    buckets = Buckets(Rate(2.0, 3), clock=lambda: now)
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("b") == 0.0
    now += 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") == pytest.approx(0.5)
    now += 1000.0
    assert [buckets.take("a") == 0.0 for _ in range(4)] == [True, True, True, False]


def test_buckets_are_bounded() -> None:
    buckets = Buckets(Rate(0.001, 1), capacity=10, clock=lambda: 0.0)
    for number in range(1000):
        buckets.take(str(number))
    refused = [number for number in range(1000) if buckets.wait(str(number))]
    assert refused == list(range(990, 1000))


def test_no_limit() -> None:
    buckets = Buckets(Rate(0, 1))
    assert [buckets.take("a") for _ in range(100)] == [0.0] * 100
