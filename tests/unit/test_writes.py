"""Every write can be tried, says what it changes, and can be previewed."""

from google.protobuf.descriptor import MethodDescriptor

from rule_service.api.http.bindings import bindings_of
from rule_service.wiring import PUBLIC
from rulecast.v1 import preview_pb2

NO_WRITES = frozenset(
    {
        *("GetEffectiveRules", "ExplainRule", "PreviewChange"),
        # of deployers, not of what is stored
        *("ReloadPrometheus", "ResyncDeployers", "DeleteDeployer"),
        # of what is told of targets, and of who may call
        *("HeartbeatTargets", "CreateToken", "RevokeToken"),
    }
)
REGENERATION = frozenset({"RegenerateAll", "RegenerateGroup"})
"""They change no resource, and no file of which the database has not lost track."""


def writes() -> list[MethodDescriptor]:
    verbs = {each.method.rpartition("/")[2]: each.verb for each in bindings_of(PUBLIC)}
    methods = (method for service in PUBLIC for method in service.methods)
    return [method for method in methods if verbs.get(method.name, "GET") != "GET" and method.name not in NO_WRITES]


def test_every_write_can_be_tried_and_says_why() -> None:
    for method in writes():
        fields = method.input_type.fields_by_name
        assert "validate_only" in fields, method.full_name
        assert "reason" in fields or method.name in REGENERATION, method.full_name


def test_every_write_says_what_it_changes() -> None:
    for method in writes():
        assert "change" in method.output_type.fields_by_name or method.name in REGENERATION, method.full_name


def test_every_write_can_be_previewed() -> None:
    previewed = {field.message_type for field in preview_pb2.PreviewChangeRequest.DESCRIPTOR.fields}
    assert previewed == {method.input_type for method in writes() if method.name not in REGENERATION}
