"""What the rule service can ask for besides updates, and the answer."""

from collections.abc import Sequence
from typing import Final

from deployer_service.follow.messages import clean
from deployer_service.state import Deferred, FileReport, Rejected, RolledBack
from rulecast.errors import RulecastError
from rulecast.v1 import distribution_pb2 as pb

_NAMED: Final = 3


def result_of(command_id: int, reports: Sequence[FileReport]) -> pb.CommandResult:
    """Ok when no file is in trouble."""
    troubles = [
        (report.file_name, report.outcome.why)
        for report in reports
        if isinstance(report.outcome, Rejected | RolledBack | Deferred)
    ]
    if not troubles:
        return pb.CommandResult(id=command_id, ok=True)
    named = "; ".join(f"{name}: {why.message}" for name, why in troubles[:_NAMED])
    more = f"; and {len(troubles) - _NAMED} more files" if len(troubles) > _NAMED else ""
    return pb.CommandResult(id=command_id, reason=troubles[0][1].reason, message=clean(named + more))


def failure(command_id: int, error: RulecastError) -> pb.CommandResult:
    return pb.CommandResult(id=command_id, reason=error.reason, message=clean(str(error)))
