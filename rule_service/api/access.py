"""What each method needs. A method that is not here may be called by nobody; a test walks all of them."""

from collections.abc import Mapping
from typing import Final

from rulecast.rpc.access import Access

_VIEWER, _EDITOR, _ALL, _ADMIN = Access.VIEWER, Access.EDITOR, Access.EDITOR_OF_ALL, Access.ADMIN

_SERVICES: Final[Mapping[str, Mapping[str, Access]]] = {
    "NamespaceService": {
        # a namespace's label and priority decide about the rules of others
        "CreateNamespace": _ALL,
        "GetNamespace": _VIEWER,
        "ListNamespaces": _VIEWER,
        "UpdateNamespace": _ALL,
        "DeleteNamespace": _ALL,
        "UndeleteNamespace": _ALL,
        "PurgeNamespace": _ALL,
        "BatchGetNamespaces": _VIEWER,
    },
    "GroupService": {
        "CreateGroup": _EDITOR,
        "GetGroup": _VIEWER,
        "ListGroups": _VIEWER,
        "UpdateGroup": _EDITOR,
        "DeleteGroup": _EDITOR,
        "UndeleteGroup": _EDITOR,
        "PurgeGroup": _ALL,
        "BatchGetGroups": _VIEWER,
    },
    "TargetService": {
        "CreateTarget": _EDITOR,
        "GetTarget": _VIEWER,
        "ListTargets": _VIEWER,
        "UpdateTarget": _EDITOR,
        "DeleteTarget": _EDITOR,
        # no target's namespace is looked at
        "HeartbeatTargets": _ALL,
        "UndeleteTarget": _EDITOR,
        "PurgeTarget": _ALL,
        "BatchGetTargets": _VIEWER,
    },
    "AlertTemplateService": {
        "CreateAlertTemplate": _ALL,
        "GetAlertTemplate": _VIEWER,
        "ListAlertTemplates": _VIEWER,
        "UpdateAlertTemplate": _ALL,
        "DeleteAlertTemplate": _ALL,
        "LoadLibrary": _ALL,
        "UndeleteAlertTemplate": _ALL,
        "PurgeAlertTemplate": _ALL,
        "BatchGetAlertTemplates": _VIEWER,
    },
    "AlertRuleService": {
        "CreateAlertRule": _EDITOR,
        "GetAlertRule": _VIEWER,
        "ListAlertRules": _VIEWER,
        "UpdateAlertRule": _EDITOR,
        "DeleteAlertRule": _EDITOR,
        "UndeleteAlertRule": _EDITOR,
        "PurgeAlertRule": _ALL,
        "BatchGetAlertRules": _VIEWER,
        "RebaseAlertRules": _EDITOR,
        "GetEffectiveRules": _VIEWER,
        "ExplainRule": _VIEWER,
        "EnableAlertRule": _EDITOR,
        "DisableAlertRule": _EDITOR,
    },
    "DeliveryService": {
        "RegenerateAll": _ALL,
        "RegenerateGroup": _ALL,
        "ListRuleFiles": _VIEWER,
        "GetRuleFile": _VIEWER,
        "ReloadPrometheus": _ALL,
        # it can allow a mass deletion
        "ResyncDeployers": _ADMIN,
        "ListDeployers": _VIEWER,
        "DeleteDeployer": _ADMIN,
        "GetRollout": _VIEWER,
        "WatchRollout": _VIEWER,
        "WaitForRollout": _VIEWER,
    },
    "DiscoveryService": {
        "ListScrapeTargets": _VIEWER,
    },
    "HistoryService": {
        "ListRevisions": _VIEWER,
        "GetRevision": _VIEWER,
        "DiffRevisions": _VIEWER,
        "Rollback": _EDITOR,
    },
    "BundleService": {
        "ApplyBundle": _EDITOR,
        "ExportBundle": _VIEWER,
    },
    "PreviewService": {
        "PreviewChange": _EDITOR,
    },
    "TokenService": {
        "CreateToken": _ADMIN,
        "ListTokens": _ADMIN,
        "RevokeToken": _ADMIN,
    },
    "DistributionService": {
        "Sync": Access.DEPLOYER,
        "GetManifest": _VIEWER,
    },
}

METHODS: Final[Mapping[str, Access]] = {
    f"/rulecast.v1.{service}/{method}": access
    for service, methods in _SERVICES.items()
    for method, access in methods.items()
}
