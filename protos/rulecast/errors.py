"""The errors a caller is told about.

RulecastError
├── InvalidInput        the request is wrong, whatever the state     INVALID_ARGUMENT
├── NotFound            a named thing is not there                   NOT_FOUND
├── AlreadyExists       an id, key, label or value is taken          ALREADY_EXISTS
├── FailedPrecondition  the state forbids it                         FAILED_PRECONDITION
├── Conflict            somebody else was faster: read, then retry   ABORTED
├── LimitExceeded       a size or count is over its limit            RESOURCE_EXHAUSTED
├── Unauthenticated     it is not known who calls                    UNAUTHENTICATED
├── PermissionDenied    who calls may not do this                    PERMISSION_DENIED
└── Unavailable         a part we need does not answer: retry        UNAVAILABLE
    └── DeadlineExceeded  it did not answer in time: retry           DEADLINE_EXCEEDED

`rulecast.rpc.errors` is the one place that turns them into a gRPC status.
"""

from dataclasses import dataclass, field
from typing import Self

from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a text: line and column, both from 1; the column counts characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong.

    field: path of the field in the request, e.g. `rule.config.parameters[threshold]`.
    message: what is wrong and what would be right, one sentence or two.
    """

    field: str
    reason: Reason
    message: str
    position: Position | None = None

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        at = f" (line {self.position.line}, column {self.position.column})" if self.position else ""
        return f"{where}{self.message}{at}"


@dataclass(eq=False)
class RulecastError(Exception):
    """Base of all. `metadata` goes into ErrorInfo as is: ids, the current etag, limits."""

    violations: tuple[Violation, ...]
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Exception.__init__(self, str(self))

    def __str__(self) -> str:
        return "; ".join(str(violation) for violation in self.violations)

    @property
    def reason(self) -> Reason:
        return self.violations[0].reason

    @classmethod
    def of(cls, field: str, reason: Reason, message: str, position: Position | None = None, **metadata: str) -> Self:
        """The error with one violation."""
        return cls((Violation(field, reason, message, position),), metadata)


class InvalidInput(RulecastError):
    pass


class NotFound(RulecastError):
    pass


class AlreadyExists(RulecastError):
    pass


class FailedPrecondition(RulecastError):
    pass


class Conflict(RulecastError):
    pass


class LimitExceeded(RulecastError):
    pass


class Unauthenticated(RulecastError):
    pass


class PermissionDenied(RulecastError):
    pass


class Unavailable(RulecastError):
    pass


class DeadlineExceeded(Unavailable):
    pass
