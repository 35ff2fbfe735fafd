"""What each reason means and what to do about it, for `docs/en/reference/errors.md` (written by `deploy.reference`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rulecast.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    RulecastError,
    Unauthenticated,
    Unavailable,
)
from rulecast.reasons import Reason

_WRONG: Final = (InvalidInput,)
_MISSING: Final = (NotFound,)
_TAKEN: Final = (AlreadyExists,)
_FORBIDDEN: Final = (FailedPrecondition,)
_AWAY: Final = (Unavailable,)
_UNKNOWN: Final = (Unauthenticated,)
_DENIED: Final = (PermissionDenied,)


@dataclass(frozen=True, slots=True)
class Guide:
    """kinds: the errors that have the reason; none for what is only ever an outcome at a deployer.

    what: what happened. then: what to do. Each one sentence, in Markdown.
    """

    kinds: tuple[type[RulecastError], ...]
    what: str
    then: str


GUIDE: Final[Mapping[Reason, Guide]] = MappingProxyType(
    {
        # requests
        Reason.FIELD_REQUIRED: Guide(_WRONG, "A field that is needed is not there.", "Give the field that is named."),
        Reason.FIELD_INVALID: Guide(
            _WRONG,
            "A field has a value that it can not have, or there is no such field.",
            "The message says what fits.",
        ),
        Reason.FIELD_IMMUTABLE: Guide(
            _WRONG, "A field is changed that can not change.", "Leave it as it is, or create another resource."
        ),
        Reason.ID_INVALID: Guide(
            _WRONG, "An id has characters or a length that ids do not have.", "Use `a-z`, `0-9` and `-`, at most 63."
        ),
        Reason.DURATION_INVALID: Guide(
            _WRONG, "A duration is none as Prometheus writes it.", "Write it with its unit, e.g. `5m` or `1h30m`."
        ),
        Reason.LABEL_NAME_INVALID: Guide(
            _WRONG,
            "A label or an annotation has a name that Prometheus does not take.",
            "Use `[a-zA-Z_][a-zA-Z0-9_]*`.",
        ),
        Reason.LABEL_RESERVED: Guide(
            _WRONG,
            "A label is set that Rulecast, Prometheus or a namespace sets.",
            "Remove it; to say where a rule holds, choose its scope.",
        ),
        Reason.TOO_LARGE: Guide(
            (InvalidInput, LimitExceeded),
            "A size or a count is over its limit.",
            "Send less; where the metadata names a `setting`, an operator can raise it.",
        ),
        Reason.PAGE_TOKEN_INVALID: Guide(
            _WRONG, "A page token was not made by this service.", "Use `next_page_token` as it is, or begin anew."
        ),
        Reason.ETAG_MISMATCH: Guide(
            (Conflict,), "Somebody else has changed it since it was read.", "Read it again, then decide again."
        ),
        Reason.CONTENTION: Guide((Conflict,), "Others kept changing the same alert meanwhile.", "Try again."),
        Reason.CONCURRENT_CHANGE: Guide((Conflict,), "The database could not order two changes.", "Try again."),
        Reason.REQUEST_ID_REUSED: Guide(
            _WRONG, "The `request_id` was used for another request.", "Take a new id for each request."
        ),
        Reason.PATH_UNKNOWN: Guide(_MISSING, "There is nothing at this HTTP path.", "See `/api/v1/docs`."),
        Reason.VERB_NOT_ALLOWED: Guide(
            _WRONG,
            "The HTTP path does not take this verb (405).",
            "Use one of those in the header `Allow`.",
        ),
        Reason.MEDIA_TYPE_UNSUPPORTED: Guide(
            _WRONG,
            "An HTTP body is not JSON, or compressed (415).",
            "Send `Content-Type: application/json`, uncompressed.",
        ),
        Reason.TOO_MANY_CALLS: Guide(
            (LimitExceeded,),
            "The replica works on as many calls as it may.",
            "Try again after the time in `RetryInfo`; an operator can raise `limits.calls_at_once`.",
        ),
        # resources
        Reason.NAMESPACE_NOT_FOUND: Guide(
            _MISSING, "There is no such namespace.", "ListNamespaces has those there are."
        ),
        Reason.GROUP_NOT_FOUND: Guide(_MISSING, "There is no such group.", "ListGroups has those there are."),
        Reason.TARGET_NOT_FOUND: Guide(_MISSING, "There is no such target.", "ListTargets has those there are."),
        Reason.TEMPLATE_NOT_FOUND: Guide(
            _MISSING, "There is no such template.", "ListAlertTemplates has those there are; LoadLibrary brings more."
        ),
        Reason.RULE_NOT_FOUND: Guide(
            _MISSING, "There is no such rule, or it is deleted.", "ListAlertRules with `show_deleted` has them all."
        ),
        Reason.DEPLOYER_NOT_FOUND: Guide(
            _MISSING, "No deployer of this name has ever connected.", "ListDeployers has those there are."
        ),
        Reason.DEPLOYER_NOT_CONNECTED: Guide(
            _FORBIDDEN, "The deployer has no stream, or has not said what it has.", "Look at its log and its status."
        ),
        Reason.DEPLOYER_CONNECTED: Guide(
            _FORBIDDEN, "A deployer that is connected can not be forgotten.", "Stop it first."
        ),
        Reason.FILE_NOT_FOUND: Guide(
            _MISSING, "There is no such rule file: its scope has no enabled rule.", "ListRuleFiles has those there are."
        ),
        Reason.REVISION_NOT_FOUND: Guide(
            _MISSING, "There is no such revision, or it is forgotten.", "ListRevisions has those that are kept."
        ),
        Reason.RULE_NOT_DELETED: Guide(
            (AlreadyExists, FailedPrecondition), "The rule is not deleted.", "Delete it first, if it is to go for good."
        ),
        Reason.NAMESPACE_NOT_DELETED: Guide(
            (AlreadyExists, FailedPrecondition),
            "The namespace is not deleted.",
            "Delete it first, if it is to go for good.",
        ),
        Reason.GROUP_NOT_DELETED: Guide(
            (AlreadyExists, FailedPrecondition),
            "The group is not deleted.",
            "Delete it first, if it is to go for good.",
        ),
        Reason.TARGET_NOT_DELETED: Guide(
            (AlreadyExists, FailedPrecondition),
            "The target is not deleted.",
            "Delete it first, if it is to go for good.",
        ),
        Reason.TEMPLATE_NOT_DELETED: Guide(
            (AlreadyExists, FailedPrecondition),
            "The template is not deleted.",
            "Delete it first, if it is to go for good.",
        ),
        Reason.OWNED_BY_ANOTHER: Guide(
            _FORBIDDEN,
            "The resource belongs to another bundle.",
            "Change that bundle, or say `take_over` if it is to be this one's.",
        ),
        Reason.ID_TAKEN: Guide(
            (AlreadyExists, InvalidInput),
            "The id is in use, or twice in one bundle.",
            "Choose another, or update what is there.",
        ),
        Reason.KEY_TAKEN: Guide(
            _TAKEN, "The scope has a live rule of this key.", "Update that rule, or choose another scope or key."
        ),
        Reason.LABEL_TAKEN: Guide(
            (AlreadyExists, FailedPrecondition),
            "The label belongs to another namespace, or rules set it.",
            "Choose another label, or remove it from those rules.",
        ),
        Reason.LABEL_VALUE_TAKEN: Guide(
            _TAKEN, "Another group of the namespace has this label value.", "Choose another value."
        ),
        Reason.GROUP_CYCLE: Guide(
            _FORBIDDEN, "A group would be its own ancestor.", "Choose a parent that is not below it."
        ),
        Reason.GROUP_NOT_EMPTY: Guide(
            _FORBIDDEN, "The group has children, rules or targets.", "Remove these first, or delete it with `force`."
        ),
        Reason.NAMESPACE_NOT_EMPTY: Guide(_FORBIDDEN, "The namespace has groups or rules.", "Delete these first."),
        Reason.NAMESPACE_PROTECTED: Guide(
            _FORBIDDEN, "The namespace `default` can not be deleted.", "Leave it; it does no harm without rules."
        ),
        Reason.TWO_GROUPS_OF_ONE_NAMESPACE: Guide(
            _WRONG, "A target is put into two groups of one namespace.", "Name one of them."
        ),
        # templates, parameters, queries
        Reason.PARAMETER_UNKNOWN: Guide(
            _WRONG, "A parameter is set or used that the template does not declare.", "Declare it, or remove it."
        ),
        Reason.PARAMETER_MISSING: Guide(
            _WRONG, "A parameter has no value, neither set nor inherited nor by default.", "Set it in the `config`."
        ),
        Reason.PARAMETER_UNUSED: Guide(
            _WRONG, "A declared parameter stands in no text.", "Write `{{ .name }}` where it belongs, or remove it."
        ),
        Reason.PARAMETER_TYPE: Guide(
            _WRONG, "A value is of another type than its parameter.", "Write what the declaration asks for."
        ),
        Reason.PARAMETER_OUT_OF_BOUNDS: Guide(
            _WRONG, "A value is outside the bounds or the list of its parameter.", "The message names what is allowed."
        ),
        Reason.PARAMETER_MISPLACED: Guide(
            _WRONG, "A placeholder stands where a value of its type can not stand.", "The message says where it can."
        ),
        Reason.TEMPLATE_SYNTAX: Guide(
            _WRONG, "A text has `{{` without what must follow.", "Write `{{ .name }}`; line and column are given."
        ),
        Reason.QUERY_INVALID: Guide(
            _WRONG, "The query is no PromQL, or promtool refuses the rule.", "The message has line, column and words."
        ),
        Reason.QUERY_TOO_DEEP: Guide(
            _WRONG, "The query is nested too deeply.", "Simplify it, or use a recording rule."
        ),
        Reason.QUERY_NOT_SCOPED: Guide(
            _WRONG,
            "Below the global scope, nothing in the query can be limited to the scope.",
            'Use a selector, `__scope__="on"`, or the global scope.',
        ),
        Reason.QUERY_NEVER_MATCHES: Guide(
            _WRONG, "The query's own matchers exclude the scope.", "Remove the matcher, or choose the scope it means."
        ),
        # outcomes at a deployer
        Reason.PROMTOOL_CHECK_FAILED: Guide(
            (), "The promtool beside Prometheus refuses the file; the one before stays.", "Correct the rule it names."
        ),
        Reason.PROMTOOL_MISSING: Guide(
            _AWAY, "promtool was not found or can not be run.", "Install it, or say where it is: `PROMTOOL_PATH`."
        ),
        Reason.PROMTOOL_TIMEOUT: Guide(
            _AWAY, "promtool did not end in time.", "Raise its timeout, or look at the load."
        ),
        Reason.PROMTOOL_UNUSABLE: Guide(
            _AWAY, "promtool failed in a way that says nothing of the rules.", "The message has its words."
        ),
        Reason.DIRECTORY_MISSING: Guide(
            (), "The rule directory is not there and can not be made.", "Make it, or mount it."
        ),
        Reason.PERMISSION_DENIED: Guide(
            (), "The rule directory does not let the deployer write.", "Give its user the right to."
        ),
        Reason.READ_ONLY: Guide((), "The file system is mounted read-only.", "Mount it for writing."),
        Reason.CONFIG_CHECK_FAILED: Guide(
            _FORBIDDEN,
            "`promtool check config` refuses Prometheus's own configuration.",
            "Mend it; the message names the place. Until then no file is put in place.",
        ),
        Reason.QUOTA_EXCEEDED: Guide((), "The deployer's user has used up its disk quota.", "Raise it, or make room."),
        Reason.FILE_SIZE_LIMITED: Guide(
            (), "The process may not write files as large as this one.", "Raise its limit (`ulimit -f`, `LimitFSIZE=`)."
        ),
        Reason.DISK_FULL: Guide((), "The disk has no room.", "Make room; it is tried again by itself."),
        Reason.WRITE_FAILED: Guide(_AWAY, "Writing failed for another reason.", "The message has the system's words."),
        Reason.HASH_MISMATCH: Guide(
            (), "A file arrived with other bytes than it was announced with.", "Nothing: it is sent again."
        ),
        Reason.RELOAD_REFUSED: Guide(
            _FORBIDDEN,
            "Prometheus takes no reload over HTTP, and was not found to be signalled.",
            "Start it with `--web.enable-lifecycle`, or name its pid file.",
        ),
        Reason.RELOAD_FAILED: Guide(
            _FORBIDDEN, "Prometheus could not load its configuration; the files were put back.", "See its log."
        ),
        Reason.RELOAD_TIMEOUT: Guide(
            _AWAY, "The reload did not end in time, and may still be going on.", "Raise `PROMETHEUS_RELOAD_TIMEOUT`."
        ),
        Reason.RELOAD_DISABLED: Guide(
            _FORBIDDEN,
            "The deployer was told not to reload Prometheus.",
            "Reload it yourself, or set `PROMETHEUS_RELOAD_ENABLED=true`.",
        ),
        Reason.NOT_LOADED: Guide(
            (), "After the reload Prometheus does not run the rules of the file.", "Check its `rule_files`."
        ),
        Reason.PROMETHEUS_UNREACHABLE: Guide(
            _AWAY, "Prometheus does not answer.", "Nothing for the rules: it is tried until it does."
        ),
        Reason.RULE_FILES_NOT_COVERED: Guide(
            (), "Prometheus's `rule_files` do not load the rule directory.", "Add `<rule_path>/*.yml` to them."
        ),
        Reason.MASS_DELETION: Guide(
            (),
            "One update would delete more than half of the files.",
            "If it is meant: ResyncDeployers with `mass_deletion_allowed`.",
        ),
        Reason.DRIFT: Guide((), "Somebody else changed a rule file.", "Nothing: it is put right."),
        # the stream
        Reason.DUPLICATE_DEPLOYER: Guide(
            _FORBIDDEN, "Another live deployer has this name, or this directory.", "Give each its own `DEPLOYER_ID`."
        ),
        Reason.PROTOCOL_UNSUPPORTED: Guide(
            _FORBIDDEN, "Deployer and rule service speak no common version.", "Update the older one."
        ),
        Reason.STALE_EPOCH: Guide(
            (Conflict, Unavailable), "A newer connection has taken over.", "Nothing: the newer one goes on."
        ),
        Reason.ACK_TIMEOUT: Guide(
            (DeadlineExceeded,), "A deployer did not answer an update in time.", "Look at its log; it connects again."
        ),
        Reason.STREAM_LOST: Guide(
            (Unavailable, DeadlineExceeded), "The stream broke.", "Nothing: the deployer connects again."
        ),
        Reason.TOO_MANY_STREAMS: Guide(
            (LimitExceeded,), "The replica has as many streams as it takes.", "Add a replica."
        ),
        Reason.NOT_CONNECTED: Guide(
            _FORBIDDEN, "The deployer has no stream to a rule service now.", "Try again once it has."
        ),
        # services
        Reason.DATABASE_UNAVAILABLE: Guide(
            _AWAY, "PostgreSQL does not answer.", "Try again; where the message says so, read first what was saved."
        ),
        Reason.DEADLINE_EXCEEDED: Guide(
            (DeadlineExceeded,),
            "The call's deadline was over; it was cancelled.",
            "Read what there is, then try again.",
        ),
        Reason.INTERNAL: Guide(
            (RulecastError,), "A mistake of ours.", "The log has more, by the id in `RequestInfo`; tell us."
        ),
        # access
        Reason.TOKEN_MISSING: Guide(
            _UNKNOWN, "The call has no token.", "Send the header `authorization: Bearer <token>`."
        ),
        Reason.TOKEN_UNKNOWN: Guide(_UNKNOWN, "There is no such token.", "Look whether all of it was sent."),
        Reason.TOKEN_EXPIRED: Guide(_UNKNOWN, "The token's time is over.", "Ask an admin for a new one."),
        Reason.TOKEN_REVOKED: Guide(_UNKNOWN, "The token was revoked.", "Ask an admin for a new one."),
        Reason.TOKEN_NOT_FOUND: Guide(_MISSING, "There is no token of this id.", "ListTokens shows those there are."),
        Reason.CERTIFICATE_MISSING: Guide(
            _UNKNOWN, "The connection has shown no client certificate.", "Use one of the authority `tls.client_ca`."
        ),
        Reason.ROLE_MISSING: Guide(
            _DENIED, "The token has not the role that the method needs.", "Use one that has: the message names it."
        ),
        Reason.NAMESPACE_NOT_ALLOWED: Guide(
            _DENIED,
            "The token may not change this namespace, or what is global.",
            "Use one of an editor of that namespace, or of all.",
        ),
        Reason.DEPLOYER_NOT_ALLOWED: Guide(
            _DENIED, "The token is that of another deployer.", "Give each deployer a token of its own name."
        ),
        Reason.METHOD_NOT_DECLARED: Guide(
            _DENIED, "The method does not say who may call it.", "This is a fault of the service: report it."
        ),
        Reason.RATE_LIMITED: Guide(
            (LimitExceeded,), "The caller makes too many calls.", "Wait as long as `RetryInfo` says."
        ),
        Reason.CROSS_SITE_REQUEST: Guide(
            _DENIED,
            "A browser sent it for a page of another site.",
            "Send it from a page of the service's own address, or from a program that is no browser.",
        ),
    }
)
