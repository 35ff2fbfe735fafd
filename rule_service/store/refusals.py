"""The database's refusals in the words of the caller's errors: the one place that reads an asyncpg error.

Use cases check first and say it better; what is here is the last word, when two writers were too close.
"""

from collections.abc import Mapping
from typing import NamedTuple

import asyncpg

from rulecast.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    RulecastError,
    Unavailable,
)
from rulecast.reasons import Reason


class _Words(NamedTuple):
    kind: type[RulecastError]
    field: str
    reason: Reason
    message: str


def _id_taken(kind: str) -> _Words:
    return _Words(
        AlreadyExists, f"{kind}.id", Reason.ID_TAKEN, f"there is a {kind} of this id already: choose another id"
    )


_DUPLICATES: Mapping[str, _Words] = {
    "namespaces_pkey": _id_taken("namespace"),
    "groups_pkey": _id_taken("group"),
    "targets_pkey": _id_taken("target"),
    "templates_pkey": _id_taken("template"),
    "rules_pkey": _id_taken("rule"),
    "namespaces_label_key": _Words(
        AlreadyExists,
        "namespace.label",
        Reason.LABEL_TAKEN,
        "another namespace has this label, and no two share one: choose another label",
    ),
    "groups_label_value_excl": _Words(
        AlreadyExists,
        "group.label_value",
        Reason.LABEL_VALUE_TAKEN,
        "another group of the namespace has this label value: choose another one",
    ),
    "rules_live_key": _Words(
        AlreadyExists,
        "rule.key",
        Reason.KEY_TAKEN,
        "there is a rule of this key at this scope already: change that one, or choose another key or scope",
    ),
    "target_groups_pkey": _Words(
        InvalidInput,
        "target.group_ids",
        Reason.TWO_GROUPS_OF_ONE_NAMESPACE,
        "two of the groups are of one namespace: a target is in at most one group of each",
    ),
}

_NO_SUCH_NAMESPACE = "there is no such namespace: create it first"
_NO_SUCH_GROUP = "there is no such group: create it first"

_MISSING: Mapping[str, _Words] = {
    "groups_namespace_fkey": _Words(NotFound, "group.namespace_id", Reason.NAMESPACE_NOT_FOUND, _NO_SUCH_NAMESPACE),
    "groups_parent_fkey": _Words(
        NotFound, "group.parent_id", Reason.GROUP_NOT_FOUND, "there is no such group in this namespace"
    ),
    "target_groups_group_fkey": _Words(NotFound, "target.group_ids", Reason.GROUP_NOT_FOUND, _NO_SUCH_GROUP),
    "rules_namespace_fkey": _Words(NotFound, "rule.scope.namespace_id", Reason.NAMESPACE_NOT_FOUND, _NO_SUCH_NAMESPACE),
    "rules_group_fkey": _Words(NotFound, "rule.scope.group_id", Reason.GROUP_NOT_FOUND, _NO_SUCH_GROUP),
}

_NAMESPACE_IN_USE = _Words(
    FailedPrecondition, "id", Reason.NAMESPACE_NOT_EMPTY, "the namespace has groups or rules: delete these first"
)
_GROUP_IN_USE = _Words(
    FailedPrecondition, "id", Reason.GROUP_NOT_EMPTY, "the group has child groups, rules or targets: remove these first"
)

_IN_USE: Mapping[str, _Words] = {
    "groups_namespace_fkey": _NAMESPACE_IN_USE,
    "rules_namespace_fkey": _NAMESPACE_IN_USE,
    "groups_parent_fkey": _GROUP_IN_USE,
    "target_groups_group_fkey": _GROUP_IN_USE,
    "rules_group_fkey": _GROUP_IN_USE,
}

_CYCLE = _Words(
    InvalidInput, "group.parent_id", Reason.GROUP_CYCLE, "a group can not be its own parent: choose another one"
)

_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # the server shuts down, starts up, or has cancelled the statement
    asyncpg.InsufficientResourcesError,  # no connection or no disk space left
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a failover has made this server a standby
    asyncpg.TargetServerAttributeNotMatched,
)
_RACES = (
    asyncpg.TransactionRollbackError,  # deadlock, serialisation failure
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,  # the schema was migrated meanwhile
    asyncpg.OutdatedSchemaCacheError,
)

Refused = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Everything that asyncpg raises by itself."""


def refusal(
    error: BaseException, *, deleting: bool = False, closed: bool = False, racing: bool = False
) -> RulecastError | None:
    """What a caller is to be told; None for an error that is a mistake of ours.

    deleting: the statement deletes rows, so that a foreign key that is hurt means: still in use.
    closed: the connection is closed, so that any complaint of asyncpg about its state means: lost.
    racing: nothing was locked, so that a constraint may be hurt by what another transaction has written meanwhile.
    """
    if isinstance(error, _LOST) or (
        closed and isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError))
    ):
        return unavailable(error)
    if isinstance(error, _RACES) or (racing and isinstance(error, asyncpg.IntegrityConstraintViolationError)):
        return Conflict.of("", Reason.CONCURRENT_CHANGE, "somebody else changed the same thing meanwhile: try again")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return denied(error)
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)):
        message = f"the database's schema is not up to date ({error}); `rule-service migrate` brings it there"
        return Unavailable.of("", Reason.DATABASE_UNAVAILABLE, message)
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return _constraint(error, deleting)
    if isinstance(error, (asyncpg.DataError, asyncpg.ProgramLimitExceededError)):
        message = f"the database can not hold this value: {error}"
        return InvalidInput.of("", Reason.FIELD_INVALID, message)
    return None


def unavailable(error: BaseException) -> Unavailable:
    """PostgreSQL can not be used now, and why."""
    said = str(error) or type(error).__name__
    return Unavailable.of("", Reason.DATABASE_UNAVAILABLE, f"the database can not be used now ({said}): try again")


def denied(error: asyncpg.InsufficientPrivilegeError) -> Unavailable:
    """The database's user is not allowed what the service has to do; somebody can grant it while it runs."""
    message = (
        f"the database does not allow this to its user ({error}): grant it, or let the owner of the tables connect"
    )
    return Unavailable.of("", Reason.DATABASE_UNAVAILABLE, message)


def _constraint(error: asyncpg.IntegrityConstraintViolationError, deleting: bool) -> RulecastError | None:
    match error:
        case asyncpg.UniqueViolationError() | asyncpg.ExclusionViolationError():
            words = _DUPLICATES.get(error.constraint_name or "")
        case asyncpg.ForeignKeyViolationError():
            words = (_IN_USE if deleting else _MISSING).get(error.constraint_name or "")
        case asyncpg.CheckViolationError(constraint_name="groups_parent_check"):
            words = _CYCLE
        case _:
            words = None
    return words.kind.of(words.field, words.reason, words.message) if words else None
