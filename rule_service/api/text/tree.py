"""YAML and JSON as one kind of tree, which remembers where everything stood. Hostile texts are refused here."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import yaml

from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput, LimitExceeded, Position
from rulecast.reasons import Reason

MAX_DEPTH = 32
"""Of lists and maps in each other; what is written in the words of the API needs about ten."""


@dataclass(frozen=True, slots=True)
class TextLimits:
    """Of one text. max_bytes: in UTF-8. max_values: keys, scalars, lists and maps."""

    max_bytes: int
    max_values: int


class Sort(Enum):
    """QUOTED: a text for sure. PLAIN: of YAML, whatever its place needs. The others are of JSON."""

    QUOTED = auto()
    PLAIN = auto()
    NUMBER = auto()
    BOOL = auto()
    NULL = auto()


@dataclass(frozen=True, slots=True)
class Scalar:
    text: str
    sort: Sort
    at: Position | None = None

    @property
    def is_null(self) -> bool:
        return self.sort is Sort.NULL or (self.sort is Sort.PLAIN and self.text in ("", "~", "null"))


@dataclass(slots=True)
class Items:
    at: Position | None = None
    nodes: list["Node"] = field(default_factory=list)


@dataclass(slots=True)
class Entries:
    """at: where it begins. key_at: where each key stands."""

    at: Position | None = None
    nodes: dict[str, "Node"] = field(default_factory=dict)
    key_at: dict[str, Position | None] = field(default_factory=dict)


Node = Scalar | Items | Entries


def parse_yaml(text: str, limits: TextLimits, name: str) -> Node:
    """One document. name: of the field, for errors. Raises InvalidInput with the position, LimitExceeded."""
    _check_size(text, limits, name)
    builder = _Builder(limits, name)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise _no(name, f"it is not YAML: {said}", _position(error.problem_mark)) from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise _no(name, f"it is not YAML: {said}") from None
    return builder.root


def parse_json(text: str, limits: TextLimits, name: str) -> Node:
    """As `parse_yaml`; a position is known of what is not JSON at all, and of nothing else."""
    _check_size(text, limits, name)
    try:
        value = json.loads(
            text, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_Pairs
        )
    except json.JSONDecodeError as error:
        raise _no(name, f"it is not JSON: {error.msg}", Position(error.lineno, error.colno)) from None
    except RecursionError:
        raise _too_deep(name, None) from None
    return _of_json(value, limits, name)


class _Number(str):
    """A number of JSON as it is written."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with all its keys, those that stand in it twice too."""


class _Builder:
    """Makes the tree from YAML's events, which come one by one: a bomb is noticed before it goes off."""

    def __init__(self, limits: TextLimits, name: str) -> None:
        self.root: Node = Scalar("", Sort.NULL)
        self._limits = limits
        self._name = name
        self._open: list[Items | Entries] = []
        self._keys: list[tuple[str, Position | None] | None] = []
        self._count = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _no(
                        self._name, "a second document begins here: put all into one", _position(event.start_mark)
                    )
            case yaml.ScalarEvent():
                self._check(event)
                sort = Sort.PLAIN if event.style in (None, "") else Sort.QUOTED
                self._add(Scalar(event.value, sort, _position(event.start_mark)))
            case yaml.SequenceStartEvent():
                self._begin(event, Items(_position(event.start_mark)))
            case yaml.MappingStartEvent():
                self._begin(event, Entries(_position(event.start_mark)))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
                self._keys.pop()
            case yaml.AliasEvent():
                message = f"the alias *{event.anchor} is not taken: write out what it stands for"
                raise _no(self._name, message, _position(event.start_mark))

    def _check(self, event: Any) -> None:
        self._count += 1
        if self._count > self._limits.max_values:
            raise _too_many(self._name, self._limits, _position(event.start_mark))
        if event.tag is not None and event.tag != "!":
            message = f"the tag {shown(event.tag)} is not taken: the place of a value says what it is"
            raise _no(self._name, message, _position(event.start_mark))

    def _begin(self, event: Any, node: Items | Entries) -> None:
        self._check(event)
        if len(self._open) >= MAX_DEPTH:
            raise _too_deep(self._name, node.at)
        self._add(node)
        self._open.append(node)
        self._keys.append(None)

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        inside, key = self._open[-1], self._keys[-1]
        if isinstance(inside, Items):
            inside.nodes.append(node)
        elif key is not None:
            _put(inside, key[0], node, key[1], self._name)
            self._keys[-1] = None
        elif isinstance(node, Scalar):
            self._keys[-1] = (node.text, node.at)
        else:
            raise _no(self._name, "a key is a name, not a list or a map", node.at)


def _of_json(value: Any, limits: TextLimits, name: str) -> Node:
    """Without recursion: what is nested too deep is refused, not met by an exception."""
    count = 0
    root = Items()
    waiting: list[tuple[Any, Items | Entries, str, int]] = [(value, root, "", 0)]
    while waiting:
        each, inside, key, depth = waiting.pop()
        count += 1
        if count > limits.max_values:
            raise _too_many(name, limits, None)
        node = _node(each)
        if isinstance(inside, Items):
            inside.nodes.append(node)
        else:
            _put(inside, key, node, None, name)
        if not isinstance(node, Scalar):
            if depth >= MAX_DEPTH:
                raise _too_deep(name, None)
            pairs: Iterable[tuple[str, Any]] = each if isinstance(each, _Pairs) else (("", inner) for inner in each)
            waiting += reversed([(inner, node, key, depth + 1) for key, inner in pairs])
    return root.nodes[0]


def _node(value: Any) -> Node:
    match value:
        case _Pairs():
            return Entries()
        case list():
            return Items()
        case _Number():
            return Scalar(str(value), Sort.NUMBER)
        case str():
            return Scalar(value, Sort.QUOTED)
        case bool():
            return Scalar(str(value).lower(), Sort.BOOL)
        case _:
            return Scalar("null", Sort.NULL)


def _put(inside: Entries, key: str, node: Node, at: Position | None, name: str) -> None:
    if key in inside.nodes:
        raise _no(name, f"the key {shown(key)} stands here twice: once is enough", at)
    inside.nodes[key] = node
    inside.key_at[key] = at


def _check_size(text: str, limits: TextLimits, name: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.max_bytes:
        message = f"it has {size} bytes: at most {limits.max_bytes} are allowed; cut it into several"
        raise LimitExceeded.of(name, Reason.TOO_LARGE, message, limit=str(limits.max_bytes))


def _too_many(name: str, limits: TextLimits, at: Position | None) -> LimitExceeded:
    message = f"it has more than {limits.max_values} keys and values: cut it into several"
    return LimitExceeded.of(name, Reason.TOO_LARGE, message, at, limit=str(limits.max_values))


def _too_deep(name: str, at: Position | None) -> InvalidInput:
    return _no(name, f"more than {MAX_DEPTH} lists and maps stand in each other: nothing here is so deep", at)


def _no(name: str, message: str, at: Position | None = None) -> InvalidInput:
    return InvalidInput.of(name, Reason.FIELD_INVALID, message, at)


def _position(mark: Any) -> Position | None:
    return None if mark is None else Position(mark.line + 1, mark.column + 1)
