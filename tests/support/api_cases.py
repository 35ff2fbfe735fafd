"""What a client may ask, in this order of a service that has just been set up: every method, and its refusals."""

from dataclasses import dataclass, field
from typing import Any

from rulecast.reasons import Reason

THRESHOLD = {"name": "threshold", "type": "NUMBER", "minimum": 0, "maximum": 100}
CPU = {
    "alert_name": "HighCPU",
    "severity": "warning",
    "query": "cpu_percent > {{ .threshold }}",
    "parameters": [THRESHOLD],
    "default_config": {"for_duration": "5m", "annotations": {"summary": "{{ $labels.instance }}: {{ $value }} %"}},
}
GLOBAL: dict[str, Any] = {"global": {}}
DRY = {"validate_only": True}
TOKEN_ID = "the id of the token that was made"
"""Stands for it in a request."""


@dataclass(frozen=True)
class Case:
    """method, request: in JSON. code, reason, fields: of the refusal, where it is one."""

    method: str
    request: dict[str, Any] = field(default_factory=dict)
    code: str = "OK"
    reason: str = ""
    fields: tuple[str, ...] = ()


def _rule(id: str, scope: dict[str, Any], threshold: Any = 80, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "key": "cpu",
        "scope": scope,
        "spec": CPU,
        "config": {"parameters": {"threshold": threshold}},
        **more,
    }


def _refused(method: str, request: dict[str, Any], code: str, reason: Reason, *fields: str) -> Case:
    return Case(method, request, code, reason, fields)


_INVALID, _MISSING, _TAKEN = "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"

NAMESPACES = [
    Case("CreateNamespace", {"namespace": {"id": "env", "policy_priority": 5}, **DRY}),
    Case("CreateNamespace", {"namespace": {"id": "env", "policy_priority": 5}, "reason": "a first one"}),
    _refused("CreateNamespace", {"namespace": {"id": "env"}}, _TAKEN, Reason.ID_TAKEN, "namespace.id"),
    _refused(
        "CreateNamespace", {"namespace": {"id": "e", "label": "env"}}, _TAKEN, Reason.LABEL_TAKEN, "namespace.label"
    ),
    _refused(
        "CreateNamespace", {"namespace": {"id": "../x", "label": "x"}}, _INVALID, Reason.ID_INVALID, "namespace.id"
    ),
    Case("GetNamespace", {"id": "env"}),
    _refused("GetNamespace", {"id": "none"}, _MISSING, Reason.NAMESPACE_NOT_FOUND, "id"),
    Case("ListNamespaces", {"page_size": 1}),
    _refused("ListNamespaces", {"page_size": -1}, _INVALID, Reason.FIELD_INVALID, "page_size"),
    _refused("ListNamespaces", {"page_token": "x"}, _INVALID, Reason.PAGE_TOKEN_INVALID, "page_token"),
    Case("UpdateNamespace", {"namespace": {"id": "env", "description": "Ω"}, "update_mask": "description"}),
    _refused(
        "UpdateNamespace",
        {"namespace": {"id": "env", "etag": "r0", "description": "x"}},
        "ABORTED",
        Reason.ETAG_MISMATCH,
        "namespace.etag",
    ),
    _refused("DeleteNamespace", {"id": "default"}, "FAILED_PRECONDITION", Reason.NAMESPACE_PROTECTED, "id"),
]
GROUPS = [
    Case("CreateGroup", {"group": {"id": "prod", "namespace_id": "env"}, "request_id": "once"}),
    Case("CreateGroup", {"group": {"id": "prod", "namespace_id": "env"}, "request_id": "once"}),
    _refused(
        "CreateGroup", {"group": {"id": "b"}, "request_id": "once"}, _INVALID, Reason.REQUEST_ID_REUSED, "request_id"
    ),
    Case("CreateGroup", {"group": {"id": "web", "parent_id": "prod"}, "wait_for": "ACTIVE", "wait_timeout": "5s"}),
    _refused(
        "CreateGroup", {"group": {"id": "x", "parent_id": "none"}}, _MISSING, Reason.GROUP_NOT_FOUND, "group.parent_id"
    ),
    _refused("CreateGroup", {"group": {"id": "x"}, "wait_for": 99}, _INVALID, Reason.FIELD_INVALID, "wait_for"),
    Case("GetGroup", {"id": "web"}),
    Case("ListGroups", {"namespace_id": "env", "page_size": 1}),
    Case("UpdateGroup", {"group": {"id": "web", "label_value": "www"}}),
    _refused(
        "UpdateGroup",
        {"group": {"id": "prod", "parent_id": "web"}},
        "FAILED_PRECONDITION",
        Reason.GROUP_CYCLE,
        "group.parent_id",
    ),
    _refused(
        "UpdateGroup", {"group": {"id": "web"}, "update_mask": "none"}, _INVALID, Reason.FIELD_INVALID, "update_mask"
    ),
    _refused("DeleteGroup", {"id": "prod"}, "FAILED_PRECONDITION", Reason.GROUP_NOT_EMPTY, "id"),
]
TARGETS = [
    Case(
        "CreateTarget",
        {
            "target": {
                "id": "web-1",
                "hostname": "web-1.example",
                "labels": {"rack": "7"},
                "exporters": [{"name": "node", "port": 9100}],
                "group_ids": ["web"],
            }
        },
    ),
    _refused(
        "CreateTarget",
        {"target": {"id": "x", "hostname": "h", "exporters": [{"name": "n", "port": 0}, {"name": "", "port": 1}]}},
        _INVALID,
        Reason.FIELD_INVALID,
        "target.exporters[0].port",
        "target.exporters[1].name",
    ),
    Case("GetTarget", {"id": "web-1"}),
    Case("ListTargets", {"group_id": "web", "hostname": "web-1.example"}),
    Case("UpdateTarget", {"target": {"id": "web-1", "address": "10.0.0.1"}, "update_mask": "address"}),
    Case("ListScrapeTargets", {"namespace_id": "env", "exporter": "node"}),
    _refused("ListScrapeTargets", {"group_id": "none"}, _MISSING, Reason.GROUP_NOT_FOUND, "group_id"),
]
TEMPLATES = [
    Case("CreateAlertTemplate", {"template": {"id": "cpu", "spec": CPU}}),
    _refused("CreateAlertTemplate", {"template": {"id": "x"}}, _INVALID, Reason.FIELD_REQUIRED, "template.spec"),
    _refused(
        "CreateAlertTemplate",
        {"template": {"id": "x", "spec": {**CPU, "query": "cpu_percent >\n > {{ .threshold }}"}}},
        _INVALID,
        Reason.QUERY_INVALID,
        "template.spec.query",
    ),
    Case("GetAlertTemplate", {"id": "cpu"}),
    Case("ListAlertTemplates", {"severity": "warning"}),
    Case("UpdateAlertTemplate", {"template": {"id": "cpu", "description": "x"}}),
    Case("LoadLibrary", {"ids": ["host-down"]}),
]
RULES = [
    Case("CreateAlertRule", {"rule": _rule("everywhere", GLOBAL), **DRY}),
    Case("CreateAlertRule", {"rule": _rule("everywhere", GLOBAL)}),
    Case(
        "CreateAlertRule",
        {
            "rule": {
                "id": "web",
                "template_id": "cpu",
                "scope": {"group_id": "web"},
                "priority": -3,
                "config": {"parameters": {"threshold": 99.5}, "labels": {"team": "ops"}},
            }
        },
    ),
    _refused("CreateAlertRule", {"rule": _rule("x", GLOBAL)}, _TAKEN, Reason.KEY_TAKEN, "rule.key"),
    _refused("CreateAlertRule", {"rule": {"id": "x"}}, _INVALID, Reason.FIELD_REQUIRED, "rule.scope"),
    _refused(
        "CreateAlertRule",
        {"rule": _rule("x", {"group_id": "prod"}, 101)},
        _INVALID,
        Reason.PARAMETER_OUT_OF_BOUNDS,
        "rule.config.parameters[threshold]",
    ),
    _refused(
        "CreateAlertRule",
        {"rule": _rule("x", {"group_id": "prod"}, True)},
        _INVALID,
        Reason.PARAMETER_TYPE,
        "rule.config.parameters[threshold]",
    ),
    Case("GetAlertRule", {"id": "web"}),
    Case("ListAlertRules", {"scope": {"group_id": "web"}, "enabled": True, "text": "cpu", "show_deleted": True}),
    Case(
        "UpdateAlertRule",
        {
            "rule": {"id": "web", "config": {"parameters": {"threshold": 90}}},
            "update_mask": "config.parameters.threshold",
        },
    ),
    Case("BatchGetAlertRules", {"ids": ["web", "everywhere"]}),
    _refused("BatchGetAlertRules", {"ids": ["web", "none"]}, _MISSING, Reason.RULE_NOT_FOUND, "ids[1]"),
    _refused("BatchGetAlertRules", {}, _INVALID, Reason.FIELD_INVALID, "ids"),
    Case("GetEffectiveRules", {"target_id": "web-1"}),
    Case("GetEffectiveRules", {"series": {"labels": {"env": "prod"}}, "key": "cpu"}),
    _refused("GetEffectiveRules", {"target_id": "none"}, _MISSING, Reason.TARGET_NOT_FOUND, "target_id"),
    Case("ExplainRule", {"target_id": "web-1", "key": "cpu"}),
    Case("ExplainRule", {"rule_id": "everywhere"}),
    _refused("ExplainRule", {}, _INVALID, Reason.FIELD_REQUIRED, "subject"),
    Case("RebaseAlertRules", {"template_id": "cpu", **DRY}),
    _refused("RebaseAlertRules", {}, _INVALID, Reason.FIELD_REQUIRED, "rule_ids"),
    Case("DeleteAlertRule", {"id": "web"}),
    Case("UndeleteAlertRule", {"id": "web"}),
    _refused("UndeleteAlertRule", {"id": "web"}, _TAKEN, Reason.RULE_NOT_DELETED, "id"),
    _refused("PurgeAlertRule", {"id": "web"}, "FAILED_PRECONDITION", Reason.RULE_NOT_DELETED, "id"),
    Case("DeleteAlertRule", {"id": "web"}),
    Case("PurgeAlertRule", {"id": "web"}),
    _refused("DeleteAlertRule", {"id": "web"}, _MISSING, Reason.RULE_NOT_FOUND, "id"),
]
DELIVERY = [
    Case("RegenerateAll", DRY),
    Case("RegenerateAll"),
    Case("RegenerateGroup", {"group_id": "web"}),
    _refused("RegenerateGroup", {"group_id": "none"}, _MISSING, Reason.GROUP_NOT_FOUND, "group_id"),
    Case("ListRuleFiles"),
    _refused("ListRuleFiles", {"deployer_id": "none"}, _MISSING, Reason.DEPLOYER_NOT_FOUND, "deployer_id"),
    Case("GetRuleFile", {"file_name": "global.yml"}),
    _refused("GetRuleFile", {"file_name": "group-web.yml"}, _MISSING, Reason.FILE_NOT_FOUND, "file_name"),
    Case("ReloadPrometheus"),
    Case("ResyncDeployers", {"mass_deletion_allowed": True}),
    _refused("ResyncDeployers", {"deployer_id": "none"}, _MISSING, Reason.DEPLOYER_NOT_FOUND, "deployer_id"),
    Case("ListDeployers"),
    _refused("DeleteDeployer", {"id": "none"}, _MISSING, Reason.DEPLOYER_NOT_FOUND, "id"),
    Case("GetRollout", {"revision": "3"}),
    _refused("GetRollout", {"revision": "999"}, _MISSING, Reason.REVISION_NOT_FOUND, "revision"),
    Case("WaitForRollout", {"revision": "3", "timeout": "1s"}),
    _refused("WaitForRollout", {"revision": "3", "timeout": "-1s"}, _INVALID, Reason.FIELD_INVALID, "timeout"),
]
HISTORY = [
    Case("ListRevisions", {"kind": "RULE", "page_size": 2}),
    Case("GetRevision", {"revision": "5"}),
    _refused("GetRevision", {"revision": "999"}, _MISSING, Reason.REVISION_NOT_FOUND, "revision"),
    Case("DiffRevisions", {"from_revision": "1", "to_revision": "9"}),
    Case("Rollback", {"revision": "9", "everything": {}, **DRY}),
    _refused("Rollback", {"revision": "9"}, _INVALID, Reason.FIELD_REQUIRED, "subject"),
]
ENDS = [
    Case("DeleteAlertTemplate", {"id": "cpu"}),
    Case("DeleteTarget", {"id": "web-1"}),
    Case("DeleteGroup", {"id": "prod", "force": True}),
    Case("DeleteGroup", {"id": "web"}),
    Case("DeleteNamespace", {"id": "env"}),
]
_FAILED = "FAILED_PRECONDITION"
DELETED = [
    _refused("CreateNamespace", {"namespace": {"id": "env"}}, _TAKEN, Reason.ID_TAKEN, "namespace.id"),
    _refused("UndeleteGroup", {"id": "web"}, _MISSING, Reason.NAMESPACE_NOT_FOUND, "group.namespace_id"),
    _refused("PurgeNamespace", {"id": "env"}, _FAILED, Reason.NAMESPACE_NOT_EMPTY, "id"),
    Case("UndeleteNamespace", {"id": "env"}),
    _refused("UndeleteNamespace", {"id": "env"}, _TAKEN, Reason.NAMESPACE_NOT_DELETED, "id"),
    Case("BatchGetNamespaces", {"ids": ["env", "default"]}),
    _refused("BatchGetNamespaces", {"ids": ["env", "none"]}, _MISSING, Reason.NAMESPACE_NOT_FOUND, "ids[1]"),
    _refused("PurgeNamespace", {"id": "env"}, _FAILED, Reason.NAMESPACE_NOT_DELETED, "id"),
    Case("UndeleteGroup", {"id": "prod", **DRY}),
    Case("UndeleteGroup", {"id": "prod"}),
    Case("UndeleteGroup", {"id": "web"}),
    _refused("UndeleteGroup", {"id": "web"}, _TAKEN, Reason.GROUP_NOT_DELETED, "id"),
    Case("BatchGetGroups", {"ids": ["web"]}),
    _refused("BatchGetGroups", {"ids": ["none"]}, _MISSING, Reason.GROUP_NOT_FOUND, "ids[0]"),
    _refused("PurgeGroup", {"id": "web"}, _FAILED, Reason.GROUP_NOT_DELETED, "id"),
    Case("UndeleteTarget", {"id": "web-1"}),
    _refused("UndeleteTarget", {"id": "web-1"}, _TAKEN, Reason.TARGET_NOT_DELETED, "id"),
    Case("HeartbeatTargets", {"heartbeats": [{"target_id": "web-1"}, {"target_id": "none", "status": "DOWN"}]}),
    _refused("HeartbeatTargets", {}, _INVALID, Reason.FIELD_INVALID, "heartbeats"),
    Case("BatchGetTargets", {"ids": ["web-1"]}),
    _refused("BatchGetTargets", {"ids": ["none"]}, _MISSING, Reason.TARGET_NOT_FOUND, "ids[0]"),
    _refused("PurgeTarget", {"id": "web-1"}, _FAILED, Reason.TARGET_NOT_DELETED, "id"),
    Case("UndeleteAlertTemplate", {"id": "cpu"}),
    _refused("UndeleteAlertTemplate", {"id": "cpu"}, _TAKEN, Reason.TEMPLATE_NOT_DELETED, "id"),
    Case("BatchGetAlertTemplates", {"ids": ["cpu", "host-down"]}),
    _refused("BatchGetAlertTemplates", {"ids": ["none"]}, _MISSING, Reason.TEMPLATE_NOT_FOUND, "ids[0]"),
    _refused("PurgeAlertTemplate", {"id": "cpu"}, _FAILED, Reason.TEMPLATE_NOT_DELETED, "id"),
]
SWITCHES = [
    Case("DisableAlertRule", {"id": "everywhere", "reason": "the lab is off"}),
    Case("EnableAlertRule", {"id": "everywhere", **DRY}),
    Case("EnableAlertRule", {"id": "everywhere"}),
    _refused("EnableAlertRule", {"id": "none"}, _MISSING, Reason.RULE_NOT_FOUND, "id"),
    _refused("DisableAlertRule", {"id": "none"}, _MISSING, Reason.RULE_NOT_FOUND, "id"),
]
_BUNDLE = {
    "groups": [{"id": "lab", "namespace_id": "env", "parent_id": "prod"}],
    "rules": [_rule("lab", {"group_id": "lab"}, 95)],
}
BUNDLES = [
    Case("ApplyBundle", {"bundle": _BUNDLE, "owner": "ops", **DRY}),
    Case("ApplyBundle", {"bundle": _BUNDLE, "owner": "ops", "request_id": "apply", "reason": "the lab"}),
    Case("ApplyBundle", {"bundle": _BUNDLE, "owner": "ops", "request_id": "apply", "reason": "the lab"}),
    Case("ExportBundle", {"owner": "ops"}),
    Case("ExportBundle", {"namespace_id": "env", "format": "JSON"}),
    _refused("ExportBundle", {"namespace_id": "none"}, _MISSING, Reason.NAMESPACE_NOT_FOUND, "namespace_id"),
    Case("ApplyBundle", {"content": "groups: []", "mode": "SYNC", "owner": "ops", **DRY}),
    _refused("ApplyBundle", {"content": "groups: []", "mode": "SYNC"}, _INVALID, Reason.FIELD_REQUIRED, "owner"),
    _refused("ApplyBundle", {"content": "nothing: []"}, _INVALID, Reason.FIELD_INVALID, "nothing"),
    _refused("ApplyBundle", {}, _INVALID, Reason.FIELD_REQUIRED, "content"),
    Case("PreviewChange", {"delete_alert_rule": {"id": "everywhere"}}),
    Case("PreviewChange", {"apply_bundle": {"content": "groups: []", "mode": "SYNC", "owner": "ops"}}),
    _refused(
        "PreviewChange", {"delete_alert_rule": {"id": "none"}}, _MISSING, Reason.RULE_NOT_FOUND, "delete_alert_rule.id"
    ),
    _refused(
        "PreviewChange",
        {"delete_alert_rule": {"id": "everywhere", "etag": "r0"}},
        "ABORTED",
        Reason.ETAG_MISMATCH,
        "delete_alert_rule.etag",
    ),
    _refused("PreviewChange", {}, _INVALID, Reason.FIELD_REQUIRED, "change"),
]
TOKENS = [
    Case("CreateToken", {"token": {"name": "ci@example.org", "role": "EDITOR", "namespaces": ["env"]}}),
    _refused("CreateToken", {"token": {"name": "ci"}}, _INVALID, Reason.FIELD_REQUIRED, "token.role"),
    Case("ListTokens"),
    _refused("ListTokens", {"page_token": "x"}, _INVALID, Reason.PAGE_TOKEN_INVALID, "page_token"),
    Case("RevokeToken", {"id": TOKEN_ID}),
    _refused("RevokeToken", {"id": "none"}, _MISSING, Reason.TOKEN_NOT_FOUND, "id"),
]
PURGES = [
    Case("DeleteTarget", {"id": "web-1"}),
    Case("PurgeTarget", {"id": "web-1", **DRY}),
    Case("PurgeTarget", {"id": "web-1"}),
    _refused("UndeleteTarget", {"id": "web-1"}, _MISSING, Reason.TARGET_NOT_FOUND, "id"),
    Case("DeleteAlertTemplate", {"id": "host-down"}),
    Case("PurgeAlertTemplate", {"id": "host-down"}),
    Case("DeleteGroup", {"id": "web"}),
    Case("PurgeGroup", {"id": "web"}),
    Case("CreateNamespace", {"namespace": {"id": "team"}}),
    Case("DeleteNamespace", {"id": "team"}),
    Case("PurgeNamespace", {"id": "team"}),
]
CASES = [
    *(*NAMESPACES, *GROUPS, *TARGETS, *TEMPLATES, *RULES, *DELIVERY, *HISTORY, *ENDS),
    *(*DELETED, *SWITCHES, *BUNDLES, *TOKENS, *PURGES),
]
