"""What goes along with an error: the resource as it is now, where somebody else was faster."""

from typing import assert_never

from rule_service.api import encode
from rule_service.domain.model import AlertRule, AlertTemplate, Group, Namespace, Target
from rule_service.usecases.expect import EtagMismatch
from rule_service.usecases.show import ShownRule
from rulecast.v1 import history_pb2


def current_state(error: Exception) -> history_pb2.Resource | None:
    """Of an error about an etag; None for any other.

    A rule comes without what it renders to, a target without its status: neither is what an etag is about.
    """
    if not isinstance(error, EtagMismatch):
        return None
    message, record = history_pb2.Resource(), error.record
    match record.value:
        case Namespace():
            message.namespace.CopyFrom(encode.namespace(record))
        case Group():
            message.group.CopyFrom(encode.group(record))
        case Target():
            message.target.CopyFrom(encode.stored_target(record))
        case AlertTemplate():
            message.template.CopyFrom(encode.template(record))
        case AlertRule():
            message.rule.CopyFrom(encode.rule(ShownRule(record, None)))
        case _:
            assert_never(record.value)
    return message
