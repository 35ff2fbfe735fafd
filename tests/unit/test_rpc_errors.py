"""What a caller is told about an error, and that both ends understand each other."""

import base64
from collections.abc import Sequence

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from rulecast.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Position,
    RulecastError,
    Unavailable,
    Violation,
)
from rulecast.reasons import Reason
from rulecast.rpc.errors import MAX_STATUS_BYTES, RETRY_AFTER, from_rpc_error, retry_after, to_status

METADATA_LIMIT = 8192


def detail(status: status_pb2.Status, kind: type) -> object:
    found = kind()
    for packed in status.details:
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {kind.__name__}")


def sent(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    """The error as a client's call raises it."""
    known = rpc_status.to_status(status)
    metadata = grpc.aio.Metadata(*known.trailing_metadata)
    return grpc.aio.AioRpcError(known.code, grpc.aio.Metadata(), metadata, known.details)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
        (NotFound, grpc.StatusCode.NOT_FOUND),
        (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
        (FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
        (Conflict, grpc.StatusCode.ABORTED),
        (LimitExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable, grpc.StatusCode.UNAVAILABLE),
        (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_each_kind_has_its_code_and_comes_back_as_itself(kind: type[RulecastError], code: grpc.StatusCode) -> None:
    error = kind.of("rule.id", Reason.ID_TAKEN, "'cpu' is taken: choose another", etag="r7")

    status = to_status(error)
    back = from_rpc_error(sent(status))

    assert status.code == code.value[0]
    assert type(back) is kind
    assert back.reason is Reason.ID_TAKEN
    assert back.metadata["etag"] == "r7"
    if not issubclass(kind, Unavailable):
        assert back.violations == error.violations


def test_a_violation_names_field_reason_and_position() -> None:
    error = InvalidInput.of("spec.query", Reason.QUERY_INVALID, "unexpected ')'", Position(2, 14))

    status = to_status(error)

    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (  # type: ignore[attr-defined]
        "QUERY_INVALID",
        "rulecast",
        {"line": "2", "column": "14"},
    )
    [violation] = detail(status, error_details_pb2.BadRequest).field_violations  # type: ignore[attr-defined]
    assert violation.field == "spec.query"
    assert violation.reason == "QUERY_INVALID"
    assert violation.description == "unexpected ')' (line 2, column 14)"
    assert from_rpc_error(sent(status)).violations == error.violations


def test_a_failed_precondition_says_which() -> None:
    status = to_status(FailedPrecondition.of("group_id", Reason.GROUP_NOT_EMPTY, "it has rules: delete them first"))

    [violation] = detail(status, error_details_pb2.PreconditionFailure).violations  # type: ignore[attr-defined]
    assert (violation.type, violation.subject) == ("GROUP_NOT_EMPTY", "group_id")


def test_unavailable_says_when_to_retry() -> None:
    assert retry_after(Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "down")) == 1.0
    assert retry_after(NotFound.of("id", Reason.RULE_NOT_FOUND, "no such rule")) is None


def test_any_error_can_say_when_to_retry() -> None:
    error = FailedPrecondition.of("", Reason.DUPLICATE_DEPLOYER, "another one is connected", retry_after="12.5")

    status = to_status(error)

    assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() == 12.5  # type: ignore[attr-defined]
    assert retry_after(from_rpc_error(sent(status))) == 12.5


def test_an_unexpected_exception_tells_the_caller_nothing() -> None:
    status = to_status(KeyError("postgresql://user:secret@db"), request_id="abc")

    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert b"secret" not in status.SerializeToString()
    assert detail(status, error_details_pb2.RequestInfo).request_id == "abc"  # type: ignore[attr-defined]


def test_an_error_raised_inside_a_task_group_is_that_error() -> None:
    error = NotFound.of("id", Reason.RULE_NOT_FOUND, "no such rule")

    status = to_status(ExceptionGroup("tasks", [ExceptionGroup("tasks", [error])]))

    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]


def test_violations_that_find_no_room_are_counted() -> None:
    many = tuple(Violation(f"rules[{n}].query", Reason.QUERY_INVALID, "x" * 200) for n in range(500))

    status = to_status(InvalidInput(many))

    shown = len(detail(status, error_details_pb2.BadRequest).field_violations)  # type: ignore[attr-defined]
    info = detail(status, error_details_pb2.ErrorInfo)
    assert shown > 3
    assert shown + int(info.metadata["violations_left_out"]) == 500  # type: ignore[attr-defined]


texts = st.one_of(st.text(max_size=50), st.text(min_size=1, max_size=20).map(lambda part: part * 400))


@given(
    violations=st.lists(st.tuples(texts, texts), min_size=1, max_size=40),
    metadata=st.dictionaries(st.text(max_size=5), texts, max_size=30),
    kind=st.sampled_from([InvalidInput, FailedPrecondition, Unavailable]),
)
def test_whatever_the_error_holds_it_fits_into_the_metadata(
    violations: Sequence[tuple[str, str]], metadata: dict[str, str], kind: type[RulecastError]
) -> None:
    metadata.pop(RETRY_AFTER, None)
    error = kind(tuple(Violation(field, Reason.FIELD_INVALID, text) for field, text in violations), metadata)

    status = to_status(error, request_id="r" * 128)

    assert status.ByteSize() <= MAX_STATUS_BYTES
    percent_encoded = sum(1 if 0x20 <= byte <= 0x7E else 3 for byte in status.message.encode())
    assert len(base64.b64encode(status.SerializeToString())) + percent_encoded < METADATA_LIMIT
    assert type(from_rpc_error(sent(status))) is kind


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable, Reason.INTERNAL),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded, Reason.DEADLINE_EXCEEDED),
        (grpc.StatusCode.UNIMPLEMENTED, RulecastError, Reason.INTERNAL),
    ],
)
def test_a_status_without_details_is_known_by_its_code(
    code: grpc.StatusCode, kind: type[RulecastError], reason: Reason
) -> None:
    error = from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "words"))

    assert type(error) is kind
    assert error.reason is reason
    assert str(error) == "words"


def test_details_of_a_stranger_are_left_alone() -> None:
    metadata = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))

    error = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), metadata, "gone"))

    assert type(error) is NotFound
    assert str(error) == "gone"


def test_a_reason_of_a_newer_peer_is_no_crash() -> None:
    status = to_status(InvalidInput.of("a", Reason.FIELD_INVALID, "wrong"))
    newer = status_pb2.Status.FromString(status.SerializeToString().replace(b"FIELD_INVALID", b"FIELD_TOO_NEW"))

    assert from_rpc_error(sent(newer)).reason is Reason.INTERNAL
