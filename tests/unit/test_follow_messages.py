"""What is said on the stream."""

from datetime import UTC, datetime

import pytest

from deployer_service.follow import messages
from deployer_service.follow.commands import failure, result_of
from deployer_service.state import (
    Active,
    BatchResult,
    Deferred,
    FileReport,
    FileVersion,
    Notice,
    Outcome,
    PipelineState,
    PrometheusStatus,
    Record,
    Rejected,
    RolledBack,
    Unchanged,
    Why,
)
from rulecast.digest import manifest_hash
from rulecast.errors import Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2
from tests.support.follow import IDENTITY

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WHY = Why(Reason.PROMTOOL_CHECK_FAILED, "line 3: parse error", "group", "Alert")
State = common_pb2.Rollout


def report(name: str, outcome: Outcome, sha256: bytes = b"s" * 32) -> FileReport:
    return FileReport(name, sha256, outcome, NOW)


def state(files: dict[str, bytes] | None = None, *troubles: FileReport) -> PipelineState:
    versions = {name: FileVersion(sha256, 5) for name, sha256 in (files or {}).items()}
    record = Record(revision=7, epoch=3, history_id="h", files=versions, troubles={t.file_name: t for t in troubles})
    return PipelineState(record, PrometheusStatus(up=True, version="2.42.0"))


def test_hello_says_what_was_recorded_and_what_is_on_disk() -> None:
    hello = messages.hello(IDENTITY, state({"global.yml": b"a" * 32})).hello

    assert (hello.deployer_id, hello.process_id, hello.protocol_version) == ("one", b"p" * 16, 1)
    assert (hello.epoch, hello.history_id, hello.revision) == (3, "h", 7)
    assert hello.manifest_hash == manifest_hash({"global.yml": b"a" * 32})


def test_the_inventory_has_every_file_with_its_revision() -> None:
    now = state({"group-b.yml": b"b" * 32, "global.yml": b"a" * 32})
    (request,) = messages.inventory(now, fragmented=True)
    files = request.inventory.files

    assert [(file.file_name, file.sha256, file.revision) for file in files] == [
        ("global.yml", b"a" * 32, 5),
        ("group-b.yml", b"b" * 32, 5),
    ]


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ((), State.ACTIVE),
        ((Active(), Unchanged()), State.ACTIVE),
        ((Active(), Deferred(WHY)), State.DEFERRED),
        ((Deferred(WHY), RolledBack(WHY)), State.ROLLED_BACK),
        ((Rejected(WHY), RolledBack(WHY), Deferred(WHY)), State.REJECTED),
    ],
)
def test_the_state_of_an_answer_is_the_worst_of_its_files(outcomes: tuple[Outcome, ...], worst: int) -> None:
    reports = {f"group-{n}.yml": report(f"group-{n}.yml", outcome) for n, outcome in enumerate(outcomes)}

    (request,) = messages.answer(9, BatchResult(reports, 7, {}), 1.5, ())
    status = request.status

    assert (status.nonce, status.revision, status.state) == (9, 7, worst)
    assert status.took.ToTimedelta().total_seconds() == 1.5


def test_an_answer_names_the_troubles_and_what_was_once_in_trouble() -> None:
    outcomes: dict[str, Outcome] = {
        "group-a.yml": Active(),
        "group-b.yml": Unchanged(),
        "group-c.yml": Rejected(WHY),
        "group-d.yml": Active(),
    }
    reports = {name: report(name, outcome) for name, outcome in outcomes.items()}

    (request,) = messages.answer(1, BatchResult(reports, 7, {}), 0.0, {"group-b.yml", "group-z.yml"})
    status = request.status

    assert [(file.file_name, file.state) for file in status.files] == [
        ("group-b.yml", State.ACTIVE),
        ("group-c.yml", State.REJECTED),
    ]
    refused = status.files[1]
    assert (refused.reason, refused.message) == ("PROMTOOL_CHECK_FAILED", "line 3: parse error")
    assert (refused.group, refused.rule, refused.sha256) == ("group", "Alert", b"s" * 32)
    assert refused.time.ToDatetime(UTC) == NOW


def test_how_things_stand_is_every_trouble_and_the_files_asked_about() -> None:
    trouble = report("group-bad.yml", Deferred(WHY))
    now = state({"group-bad.yml": b"1" * 32, "group-ok.yml": b"2" * 32}, trouble)

    everything = messages.standing(now, None, NOW)
    some = messages.standing(now, {"group-bad.yml", "group-gone.yml"}, NOW)

    assert everything == [trouble, report("group-ok.yml", Active(), b"2" * 32)]
    assert some == [trouble, report("group-gone.yml", Active(), b"")]


def test_the_effective_state_says_what_is_wrong_around() -> None:
    seen = PrometheusStatus(up=True, version="2.42.0", last_reload_time=NOW, last_reload_ok=True)
    now = PipelineState(state().record, seen, ("group-a.yml",), (Notice("AUTO_RELOAD", "switch it off"),))

    effective = messages.effective_state(now)

    assert (effective.prometheus_up, effective.prometheus_version, effective.last_reload_ok) == (True, "2.42.0", True)
    assert effective.last_reload_time.ToDatetime(UTC) == NOW
    assert list(effective.drifted_files) == ["group-a.yml"]
    assert [(each.code, each.message) for each in effective.warnings] == [("AUTO_RELOAD", "switch it off")]


def test_a_prometheus_never_seen_to_reload_has_no_time() -> None:
    assert not messages.effective_state(state()).HasField("last_reload_time")


@pytest.mark.parametrize("text", ["x" * 10_000, "ü" * 5_000, "\ud800" * 10, "fine"])
def test_words_are_valid_and_bounded(text: str) -> None:
    cleaned = messages.clean(text)

    assert len(cleaned.encode()) <= 4096
    assert cleaned[:4] == text.encode("utf-8", "replace").decode()[:4]


MANY = {f"group-{number:05}-{'x' * 50}.yml": b"s" * 32 for number in range(40_000)}


def test_very_many_refusals_go_in_several_messages_and_the_last_one_is_the_answer() -> None:
    refusal = Rejected(Why(Reason.PROMTOOL_CHECK_FAILED, "x" * 4096))
    reports = {name: report(name, refusal) for name in MANY}

    requests = messages.answer(3, BatchResult(reports, 7, {}), 0.0, ())

    assert all(request.ByteSize() < 1.1 * 1024 * 1024 for request in requests)
    assert [request.status.nonce for request in requests] == [*[0] * (len(requests) - 1), 3]
    assert {request.status.state for request in requests} == {State.REJECTED}
    assert [file.file_name for request in requests for file in request.status.files] == list(MANY)


def test_a_large_inventory_goes_in_several_messages_to_whom_can_take_them() -> None:
    requests = messages.inventory(state(MANY), fragmented=True)

    assert all(request.ByteSize() < 1.1 * 1024 * 1024 for request in requests)
    assert [request.inventory.more for request in requests] == [*[True] * (len(requests) - 1), False]
    assert [file.file_name for request in requests for file in request.inventory.files] == list(MANY)
    (whole,) = messages.inventory(state(MANY), fragmented=False)
    assert len(whole.inventory.files) == len(MANY)


def test_a_large_effective_state_goes_in_several_messages_to_whom_can_take_them() -> None:
    whole = messages.effective_state(state(MANY))

    requests = messages.effective(whole, fragmented=True)

    assert all(request.ByteSize() < 1.1 * 1024 * 1024 for request in requests)
    assert [request.effective.more for request in requests] == [*[True] * (len(requests) - 1), False]
    assert [file.file_name for request in requests for file in request.effective.files] == list(MANY)
    assert [request.effective.manifest_hash for request in requests] == [
        whole.manifest_hash,
        *[b""] * (len(requests) - 1),
    ]
    assert [request.effective for request in messages.effective(whole, fragmented=False)] == [whole]
    (none,) = messages.effective(messages.effective_state(state()), fragmented=True)
    assert not none.effective.more


def test_a_command_is_ok_when_no_file_is_in_trouble() -> None:
    good = result_of(4, [report("group-a.yml", Active())])
    bad = result_of(5, [report(f"group-{n}.yml", RolledBack(WHY)) for n in range(5)])
    failed = failure(6, Unavailable.of("", Reason.PROMETHEUS_UNREACHABLE, "away"))

    assert (good.id, good.ok, good.reason) == (4, True, "")
    assert (bad.id, bad.ok, bad.reason) == (5, False, "PROMTOOL_CHECK_FAILED")
    assert bad.message.endswith("; and 2 more files")
    assert (failed.id, failed.ok, failed.reason, failed.message) == (6, False, "PROMETHEUS_UNREACHABLE", "away")


def test_a_number_of_a_newer_peer_has_no_name_but_is_shown() -> None:
    assert messages.name_of(State.State, State.ACTIVE) == "ACTIVE"
    assert messages.name_of(State.State, 99) == "99"
