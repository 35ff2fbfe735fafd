"""What rules are rendered to, as it is stored: files, their parts, and where rules stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from rule_service.domain.model import AlertRule, KeyWorld, Scope
from rule_service.domain.render import RenderedRule


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a rendered file without its bytes. `sha256` is 32 raw bytes; `size` in bytes.

    modified_at: when the revision was made that made it. Of a deployer's file: None where that is not known any more,
    and revision 0 where it never was.
    """

    name: str
    scope: Scope
    sha256: bytes
    revision: int
    rule_count: int
    size: int
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredFile:
    facts: FileFacts
    content: bytes


@dataclass(frozen=True, slots=True)
class InFile:
    """A rule as it is stored in its file. beside: how many of the file's rules have its interval, itself included."""

    rule: RenderedRule
    beside: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """The rendered text of one rule, from which files are assembled. The fields `assemble_file` needs."""

    rule_id: str
    key: str
    interval: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Ingredients:
    """The stored texts of a file's rules; none where it has no rule. sha256: of the stored file, if there is one."""

    fragments: tuple[Fragment, ...]
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Parts:
    """Of the worlds of keys, what counts for some groups: without the rules at other groups of their namespaces, unless
    these are above or below one of the groups.

    rendered: what is stored as rendered for these rules, and at the groups themselves, by rule id.
    """

    worlds: Mapping[str, KeyWorld]
    rendered: Mapping[str, RenderedRule]


@dataclass(frozen=True, slots=True)
class RenderedTexts:
    """What a rendered rule has in its file."""

    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule and what it is rendered to, read in one state of the database; None while it is off."""

    rule: AlertRule
    rendered: RenderedTexts | None


@dataclass(frozen=True, slots=True)
class Placement:
    """The keys with rules at a scope. namespace_id: of a group; empty for other scopes, and a group that is gone."""

    scope: Scope
    namespace_id: str
    keys: frozenset[str]
