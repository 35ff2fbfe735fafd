"""Which files are ours, what a batch comes to, and in which order files are moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer_service.pipeline.drift import find_drift, steps_to
from deployer_service.pipeline.names import EXAMPLES, own_name
from deployer_service.pipeline.plan import in_order, is_mass_deletion, make_plan
from deployer_service.pipeline.ports import Step
from deployer_service.state import Batch, FileVersion, Put
from rulecast.digest import file_sha256
from rulecast.reasons import Reason
from tests.support.rule_files import batch

HOSTILE_NAMES = [
    "",
    ".yml",
    "../global.yml",
    "/etc/passwd",
    "group-../../x.yml",
    "group-a/b.yml",
    "group-.yml",
    "group--a.yml",
    "group-a-.yml",
    "group-A.yml",
    "group-a.yaml",
    "group-a.yml\n",
    "group-a.yml\0",
    "group-a.yml.new",
    "group-ä.yml",
    "group-１.yml",
    "group-" + "a" * 64 + ".yml",
    "namespace.yml",
    ".global.yml",
    "global.yml/",
    ".rulecast",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_is_not_built_from_a_checked_id_is_not_ours(name: str) -> None:
    assert own_name(name) is None


@pytest.mark.parametrize("name", [*EXAMPLES, "group-a.yml", "group-" + "a" * 63 + ".yml", "namespace-0-9.yml"])
def test_names_of_ours(name: str) -> None:
    assert own_name(name) == name


@given(st.text())
def test_no_name_of_ours_leaves_the_directory(text: str) -> None:
    for name in (text, f"group-{text}.yml"):
        own = own_name(name)
        assert own is None or ("/" not in own and "\0" not in own and not own.startswith("."))


def on_disk(**files: bytes) -> dict[str, FileVersion]:
    return {f"group-{name}.yml": FileVersion(file_sha256(content)) for name, content in files.items()}


def test_only_what_differs_is_done() -> None:
    files = on_disk(same=b"1", other=b"2", gone=b"3")
    plan = make_plan(
        files,
        batch(
            {"group-same.yml": b"1", "group-other.yml": b"new", "group-added.yml": b"4"},
            ["group-gone.yml", "group-never.yml"],
        ),
    )
    assert plan.puts.keys() == {"group-other.yml", "group-added.yml"}
    assert plan.deletes == {"group-gone.yml"}
    assert plan.same == {"group-same.yml", "group-never.yml"}
    assert not plan.rejected


def test_foreign_names_are_rejected_and_the_rest_goes_on() -> None:
    plan = make_plan(on_disk(), batch({"../x.yml": b"1", "global.yml": b"2"}, ["prometheus.yml"]))
    assert plan.puts.keys() == {"global.yml"}
    assert {name: fate.why.reason for name, fate in plan.rejected.items()} == {
        "../x.yml": Reason.ID_INVALID,
        "prometheus.yml": Reason.ID_INVALID,
    }
    assert not plan.deletes


def test_a_content_with_another_hash_is_rejected() -> None:
    plan = make_plan({}, Batch({"global.yml": Put(b"torn", file_sha256(b"whole"))}, frozenset(), 1))
    assert plan.rejected["global.yml"].why.reason is Reason.HASH_MISMATCH
    assert not plan.puts


def test_a_name_both_put_and_deleted_is_put() -> None:
    plan = make_plan(on_disk(a=b"1"), batch({"group-a.yml": b"2"}, ["group-a.yml"]))
    assert plan.puts.keys() == {"group-a.yml"}
    assert not plan.deletes


@pytest.mark.parametrize(
    ("deleted", "existing", "is_mass"),
    [(0, 0, False), (1, 1, False), (1, 2, False), (2, 2, True), (2, 3, True), (2, 4, False), (3, 4, True)],
)
def test_mass_deletion_is_more_than_half_and_more_than_one(deleted: int, existing: int, is_mass: bool) -> None:
    assert is_mass_deletion(deleted, existing) is is_mass


def test_a_mass_deletion_is_refused_and_the_puts_go_on() -> None:
    files = on_disk(a=b"1", b=b"2", c=b"3")
    plan = make_plan(files, batch({"group-d.yml": b"4"}, ["group-a.yml", "group-b.yml"]))
    assert not plan.deletes
    assert {fate.why.reason for fate in plan.rejected.values()} == {Reason.MASS_DELETION}
    assert plan.rejected.keys() == {"group-a.yml", "group-b.yml"}
    assert plan.puts.keys() == {"group-d.yml"}


def test_a_mass_deletion_that_was_asked_for_is_done() -> None:
    files = on_disk(a=b"1", b=b"2")
    plan = make_plan(files, batch({}, ["group-a.yml", "group-b.yml"], mass_deletion_allowed=True))
    assert plan.deletes == files.keys()


def ids(*names: str) -> frozenset[bytes]:
    return frozenset(name.encode() for name in names)


def test_a_rule_that_moves_is_in_its_new_file_before_it_leaves_the_old_one() -> None:
    steps = [Step("group-a.yml", b"a"), Step("group-b.yml", b"b"), Step("group-c.yml", None), Step("group-d.yml", b"d")]
    before = {"group-a.yml": ids("r1", "r2"), "group-b.yml": ids("r3"), "group-c.yml": ids("r4")}
    after = {"group-a.yml": ids("r1"), "group-b.yml": ids("r2", "r3"), "group-d.yml": ids("r4")}
    names = [step.file_name for step in in_order(steps, before, after)]
    assert names == ["group-b.yml", "group-d.yml", "group-a.yml", "group-c.yml"]


def test_a_new_rule_is_there_before_the_old_one_leaves_its_series_out_and_goes_after_it_takes_them_back() -> None:
    alone = {"global.yml": ids("everywhere")}
    both = {**alone, "group-prod.yml": ids("prod")}
    created = [Step("global.yml", b"all but prod"), Step("group-prod.yml", b"prod")]
    assert [step.file_name for step in in_order(created, alone, both)] == ["group-prod.yml", "global.yml"]
    deleted = [Step("global.yml", b"all"), Step("group-prod.yml", None)]
    assert [step.file_name for step in in_order(deleted, both, alone)] == ["global.yml", "group-prod.yml"]


@given(
    st.dictionaries(st.sampled_from("abcde"), st.frozensets(st.sampled_from([b"1", b"2", b"3"]), min_size=1)),
    st.dictionaries(st.sampled_from("abcde"), st.frozensets(st.sampled_from([b"1", b"2", b"3"]), min_size=1)),
)
def test_a_rule_of_both_states_is_lost_in_between_only_by_a_swap(
    before: dict[str, frozenset[bytes]], after: dict[str, frozenset[bytes]]
) -> None:
    steps = [Step(name, b"x" if name in after else None) for name in sorted(before.keys() | after.keys())]
    now = dict(before)
    lasting = frozenset().union(*before.values()) & frozenset().union(*after.values())
    swaps = any(before[name] - after[name] and after[name] - before[name] for name in before.keys() & after.keys())
    for step in in_order(steps, before, after):
        if step.sha256 is None:
            now.pop(step.file_name)
        else:
            now[step.file_name] = after[step.file_name]
        assert swaps or lasting <= frozenset().union(*now.values())


def test_drift_is_told_apart_and_put_right() -> None:
    files = on_disk(edited=b"1", missing=b"2", same=b"3")
    disk = {"group-edited.yml": b"x", "group-same.yml": file_sha256(b"3"), "group-new.yml": b"y"}
    drift = find_drift(disk, files)
    assert (drift.edited, drift.missing, drift.unexpected) == (
        ("group-edited.yml",),
        ("group-missing.yml",),
        ("group-new.yml",),
    )
    assert steps_to(files, disk, frozenset(drift.names)) == [
        Step("group-edited.yml", file_sha256(b"1")),
        Step("group-missing.yml", file_sha256(b"2")),
        Step("group-new.yml", None),
    ]


def test_a_disk_as_it_should_be_needs_no_step() -> None:
    files = on_disk(a=b"1")
    assert steps_to(files, {"group-a.yml": file_sha256(b"1")}, frozenset(files)) == []
    assert find_drift({"group-a.yml": file_sha256(b"1")}, files).names == ()
