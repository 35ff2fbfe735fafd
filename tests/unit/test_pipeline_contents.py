"""What a file says, what Prometheus's configuration covers, and the record as JSON."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer_service.adapters.record_json import (
    NotARecord,
    decode_generation,
    decode_record,
    encode_generation,
    encode_record,
)
from deployer_service.pipeline.contents import Unreadable, difference, fingerprint, rule_ids, rules_in, version_of
from deployer_service.pipeline.coverage import is_covered, notices
from deployer_service.pipeline.ports import Configuration
from deployer_service.state import (
    Deferred,
    FileReport,
    FileVersion,
    Generation,
    Record,
    Rejected,
    Reported,
    RolledBack,
    Why,
    differing,
)
from rulecast.digest import file_sha256
from rulecast.reasons import Reason
from tests.support.rule_files import rule_file

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def test_the_rules_of_a_file() -> None:
    assert rules_in(rule_file("a", "b", version=1)) == Counter(
        {("g", "Alert_a", f"a@{1:016x}"): 1, ("g", "Alert_b", f"b@{1:016x}"): 1}
    )
    assert rules_in(b"groups:\n- name: r\n  rules:\n  - record: x\n    expr: up\n") == Counter({("r", "x", ""): 1})
    assert rules_in(b"groups:\n") == Counter()


def test_equal_rules_are_counted() -> None:
    assert rules_in(rule_file("a", "a")).total() == 2
    assert fingerprint(rules_in(rule_file("a", "a"))) != fingerprint(rules_in(rule_file("a")))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a",
        b"groups: [",
        b"\xff\xfe\x00",
        b"groups: [1]",
        b"groups: [{rules: []}, {rules: [{}]}]",
        b"groups: [{name: a, rules: [{expr: up}]}]",
        b"groups: {}\n\0",
        b"!!python/object:os.system {}",
        b"groups: 7",
    ],
)
def test_what_is_not_a_rule_file(content: bytes) -> None:
    with pytest.raises(Unreadable):
        rules_in(content)


def test_the_fingerprint_is_that_of_the_rules_and_not_of_the_bytes() -> None:
    content = rule_file("a", "b")
    version = version_of(content, file_sha256(content), 7)
    assert (version.revision, version.rules) == (7, 2)
    assert version.fingerprint == fingerprint(rules_in(b"# a comment\n" + content))
    assert version.fingerprint != fingerprint(rules_in(rule_file("a", "b", version=1)))
    assert version.fingerprint != fingerprint(rules_in(rule_file("a", "b", group="h")))


@given(st.lists(st.tuples(st.text(), st.text(), st.text())), st.lists(st.tuples(st.text(), st.text(), st.text())))
def test_equal_fingerprints_mean_equal_rules(
    one: list[tuple[str, str, str]], other: list[tuple[str, str, str]]
) -> None:
    # no rule has a NUL: Prometheus refuses it
    ones, others = ([rule for rule in rules if "\0" not in "".join(rule)] for rules in (one, other))
    assert (fingerprint(Counter(ones)) == fingerprint(Counter(others))) == (Counter(ones) == Counter(others))


def test_the_ids_in_a_file() -> None:
    assert rule_ids(rule_file("a", "b-c")) == {b"a", b"b-c"}
    assert rule_ids(b"          rulecast_rule: a-1@00ff\n          rulecast_rule: 'b@11'\n") == {b"a-1", b"b"}


def test_a_difference_is_told_by_its_first_rules() -> None:
    expected, running = rules_in(rule_file("a", "b", "c")), rules_in(rule_file("c", "d"))
    assert difference(expected, running) == (
        f"does not run 'Alert_a' of group 'g' (a@{0:016x}) and 1 more; "
        f"runs instead or besides 'Alert_d' of group 'g' (d@{0:016x})"
    )
    assert difference(expected, expected) == ""


@pytest.mark.parametrize(
    ("globs", "covered"),
    [
        (["/rules/*.yml"], True),
        (["/rules/*"], True),
        (["/other/*.yml", "/rules/./*.y?l"], True),
        (["/rules/global.yml", "/rules/group-*.yml", "/rules/namespace-*.yml"], True),
        (["/rules/group-*.yml"], False),
        (["/rules/*.yaml"], False),
        (["/rules/[^x]*.yml"], True),
        (["/rules/sub/*.yml", "/*.yml", "/rules2/*.yml"], False),
        ([], False),
    ],
)
def test_which_globs_cover_the_directory(globs: list[str], covered: bool) -> None:
    assert is_covered(globs, ("/rules", "/real/rules")) is covered


def test_the_real_path_of_the_directory_counts_too() -> None:
    assert is_covered(["/real/rules/*.yml"], ("/rules", "/real/rules"))


def test_notices() -> None:
    def codes(configuration: Configuration) -> list[str]:
        return [notice.code for notice in notices(configuration, ("/rules",), ".rulecast")]

    assert codes(Configuration(("/rules/*.yml",))) == []
    assert codes(Configuration(("/rules/*",))) == ["RULE_FILES_TOO_WIDE"]
    assert codes(Configuration(("/rules/*.yml",), auto_reload=True)) == ["AUTO_RELOAD"]
    (notice,) = notices(Configuration(("/x/*.yml",)), ("/rules",), ".rulecast")
    assert notice.code == Reason.RULE_FILES_NOT_COVERED
    assert "/rules/*.yml" in notice.message
    assert "/x/*.yml" in notice.message


def report(name: str, kind: type[Rejected | RolledBack | Deferred]) -> FileReport:
    return FileReport(name, b"s" * 32, kind(Why(Reason.NOT_LOADED, "words\n\u2028", "g", None)), NOW)


RECORD = Record(
    generation=7,
    revision=12,
    epoch=3,
    history_id="h",
    commit_id="c",
    files={"global.yml": FileVersion(b"a" * 32, 5, 2, b"f" * 16), "group-a.yml": FileVersion(b"b" * 32)},
    good={"global.yml": FileVersion(b"c" * 32, 4, 1, b"")},
    troubles={
        "group-a.yml": report("group-a.yml", Rejected),
        "group-b.yml": report("group-b.yml", RolledBack),
        "../odd": report("../odd", Deferred),
    },
    verified_at=NOW,
    reported=Reported("2.42.0", {"global.yml": b"p" * 16}),
)


@pytest.mark.parametrize("record", [RECORD, Record(), replace(RECORD, verified_at=None)])
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


def test_a_record_of_an_older_deployer_is_read() -> None:
    document = json.loads(encode_record(RECORD))
    document["reported"] = document.pop("told")
    del document["commit_id"]
    assert decode_record(json.dumps(document).encode()) == replace(RECORD, reported=Reported(), commit_id="")


def test_a_generation_comes_back_as_it_was() -> None:
    generation = Generation(7, RECORD.files)
    assert decode_generation(encode_generation(generation)) == generation


@pytest.mark.parametrize("cut", range(0, len(encode_record(RECORD)) - 2, 37))
def test_a_torn_record_is_refused(cut: int) -> None:
    with pytest.raises(NotARecord):
        decode_record(encode_record(RECORD)[:cut])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("generation", -1),
        ("revision", "1"),
        ("epoch", True),
        ("files", {"../x": ["00" * 32, 1, 1, ""]}),
        ("files", {"global.yml": ["00", 1, 1, ""]}),
        ("files", {"global.yml": ["00" * 32, 1, 1]}),
        ("good", []),
        ("troubles", [{}]),
        ("verified_at", "yesterday"),
        ("told", {"version": "2.42.0", "prints": {"global.yml": "x"}}),
    ],
)
def test_a_record_that_somebody_else_wrote_is_refused(key: str, value: object) -> None:
    document = json.loads(encode_record(RECORD))
    with pytest.raises(NotARecord):
        decode_record(json.dumps({**document, key: value}).encode())


def test_files_differ_by_their_bytes_alone() -> None:
    one = {"global.yml": FileVersion(b"a", 1), "group-a.yml": FileVersion(b"b"), "group-b.yml": FileVersion(b"c")}
    other = {"global.yml": FileVersion(b"a", 2), "group-a.yml": FileVersion(b"x"), "group-c.yml": FileVersion(b"d")}
    assert differing(one, other) == {"group-a.yml", "group-b.yml", "group-c.yml"}
