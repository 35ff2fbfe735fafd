"""What is valid but probably not meant: kept with a rule and shown to its author."""

from dataclasses import dataclass
from enum import StrEnum

from rulecast.errors import Position


class WarningCode(StrEnum):
    """Stable codes, beside those of `promql.scoping_lint.ScopingRisk`."""

    PARAMETER_IGNORED = "PARAMETER_IGNORED"
    PARSER_DISAGREES = "PARSER_DISAGREES"
    SCOPE_LABEL_IN_QUERY = "SCOPE_LABEL_IN_QUERY"
    EVERYWHERE = "EVERYWHERE"
    SAME_IDENTITY = "SAME_IDENTITY"
    CAN_NOT_BE_ENABLED = "CAN_NOT_BE_ENABLED"


@dataclass(frozen=True, slots=True)
class RuleWarning:
    """code: for programs. message: what is odd and what would be right. position: in the query before scoping."""

    code: str
    message: str
    position: Position | None = None
