"""Field masks: what an update changes, and what it leaves."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value

from rule_service.api.mask import merged
from rulecast.errors import InvalidInput
from rulecast.v1 import rule_pb2, target_pb2, template_pb2


def rule(**fields: object) -> rule_pb2.AlertRule:
    return rule_pb2.AlertRule(**fields)  # type: ignore[arg-type]


def config(**fields: object) -> template_pb2.AlertConfig:
    return template_pb2.AlertConfig(**fields)  # type: ignore[arg-type]


CURRENT = rule(
    id="cpu",
    priority=3,
    enabled=True,
    description="old",
    config=config(
        for_duration="5m",
        labels={"team": "web", "tier": "1"},
        parameters={"threshold": Value(number_value=80), "window": Value(string_value="5m")},
    ),
)


def test_without_a_mask_what_is_set_is_taken_and_maps_are_merged_by_key() -> None:
    patch = rule(enabled=False, config=config(parameters={"threshold": Value(number_value=90)}))
    result = merged(CURRENT, patch, FieldMask())
    assert not result.enabled
    assert result.config.parameters["threshold"].number_value == 90
    assert result.config.parameters["window"].string_value == "5m"
    assert (result.description, result.priority, dict(result.config.labels)) == ("old", 3, dict(CURRENT.config.labels))


def test_without_a_mask_a_list_is_replaced_as_a_whole() -> None:
    current = target_pb2.Target(group_ids=["a", "b"])
    assert merged(current, target_pb2.Target(group_ids=["c"]), FieldMask()).group_ids == ["c"]


def test_a_path_into_a_map_changes_one_entry() -> None:
    patch = rule(config=config(labels={"team": "db", "tier": "9"}))
    result = merged(CURRENT, patch, FieldMask(paths=["config.labels.team"]))
    assert dict(result.config.labels) == {"team": "db", "tier": "1"}


def test_a_named_entry_that_is_not_set_is_removed() -> None:
    result = merged(CURRENT, rule(), FieldMask(paths=["config.parameters.window"]))
    assert list(result.config.parameters) == ["threshold"]


def test_a_key_with_dots_is_written_in_backticks() -> None:
    patch = rule(config=config(annotations={"a.b": "x"}))
    result = merged(CURRENT, patch, FieldMask(paths=["config.annotations.`a.b`"]))
    assert dict(result.config.annotations) == {"a.b": "x"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("description", rule(description="")),
        ("priority", rule(priority=0)),
        ("config", rule()),
        ("enabled", rule()),
        ("config.for_duration", rule()),
    ],
)
def test_a_named_field_that_is_not_set_is_cleared(path: str, expected: rule_pb2.AlertRule) -> None:
    result = merged(CURRENT, rule(), FieldMask(paths=[path]))
    value: object = result
    wanted: object = expected
    for name in path.split("."):
        value, wanted = getattr(value, name), getattr(wanted, name)
    assert value == wanted
    assert result.id == "cpu"


def test_several_paths_change_only_what_they_name() -> None:
    patch = rule(priority=9, description="new", config=config(for_duration="1m", interval="30s"))
    result = merged(CURRENT, patch, FieldMask(paths=["priority", "config.for_duration"]))
    assert (result.priority, result.config.for_duration) == (9, "1m")
    assert (result.description, result.config.interval) == ("old", "")


def test_a_star_replaces_everything() -> None:
    assert merged(CURRENT, rule(id="other"), FieldMask(paths=["*"])) == rule(id="other")


def test_what_was_there_is_not_touched() -> None:
    before = CURRENT.SerializeToString(deterministic=True)
    merged(CURRENT, rule(config=config(labels={"x": "y"})), FieldMask())
    assert CURRENT.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("prioritty", "did you mean 'priority'?"),
        ("config.forduration", "did you mean 'for_duration'?"),
        ("priority.x", "has no fields"),
        ("nothing_like_it_at_all", "there are: id, key"),
    ],
)
def test_a_path_that_is_not_there_is_refused_with_what_would_be_right(path: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        merged(CURRENT, rule(), FieldMask(paths=[path]))
    assert refused.value.violations[0].field == "update_mask"
    assert hint in str(refused.value)
