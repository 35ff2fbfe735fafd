"""What a rule file says that Prometheus should run, and what Prometheus says that it runs, made comparable. Pure.

Every rendered rule carries one annotation `rulecast_rule`, the rule's id and a digest of all of it. So equal
(group, alert, annotation) means equal rule, whatever normal form Prometheus writes its expression in.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from deployer_service.pipeline.ports import LoadedRules
from deployer_service.state import FileVersion

ANNOTATION = "rulecast_rule"
_RULE_ID = re.compile(rb"rulecast_rule: ['\"]?([a-z0-9-]+)@")


class Unreadable(Exception):
    """The content is not a rule file."""


def rules_in(content: bytes) -> LoadedRules:
    """The rules of a rule file. Raises Unreadable, saying why."""
    try:
        document = yaml.load(content, yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise Unreadable(f"not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise Unreadable("not a rule file: it must have 'groups' at the top")
    try:
        return Counter(
            (str(group["name"]), _name(rule), str((rule.get("annotations") or {}).get(ANNOTATION, "")))
            for group in document.get("groups") or ()
            for rule in group.get("rules") or ()
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise Unreadable("not a rule file: each group needs a name and a list of rules") from error


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule["alert"] if "alert" in rule else rule["record"])


def version_of(content: bytes, sha256: bytes, revision: int) -> FileVersion:
    """Raises Unreadable."""
    rules = rules_in(content)
    return FileVersion(sha256, revision, rules.total(), fingerprint(rules), len(content))


def fingerprint(rules: LoadedRules) -> bytes:
    """16 bytes, equal for equal rules: kept instead of the rules, of which there may be 100,000."""
    whole = hashlib.blake2b(digest_size=16)
    for rule in sorted(rules):
        whole.update("\0".join((*rule, str(rules[rule]))).encode(errors="surrogatepass") + b"\n")
    return whole.digest()


def rule_ids(content: bytes) -> frozenset[bytes]:
    """The ids in the annotations, found without reading the YAML: fast, and good enough to choose an order by."""
    return frozenset(_RULE_ID.findall(content))


def difference(expected: LoadedRules, running: LoadedRules) -> str:
    """For people: what is missing and what is too much, with the first of each."""
    parts = []
    for words, rules in (("does not run", expected - running), ("runs instead or besides", running - expected)):
        if rules:
            group, alert, annotation = min(rules)
            more = f" and {rules.total() - 1} more" if rules.total() > 1 else ""
            parts.append(f"{words} {alert!r} of group {group!r} ({annotation or 'no annotation'}){more}")
    return "; ".join(parts)
