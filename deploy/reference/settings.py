"""docs/en/reference/settings.md: every setting of both services, from their models."""

import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from deploy.reference.markdown import code, table
from deployer_service import settings as deployer
from rule_service import settings as rule
from rulecast.process.addresses import HostPort
from rulecast.process.settings import CONFIG_VARIABLE, Leaf, PathOf, leaves_of
from rulecast.process.settings_types import SecretUrl, parse_duration, show_duration

_INTRODUCTION: Final = f"""\
# Settings

Written by `python -m deploy.reference` from `rule_service/settings.py` and `deployer_service/settings.py`.

A value comes from the environment, else from the YAML file, else it is the default. The file is named by `--config` or
by `{CONFIG_VARIABLE}`; a key there is a path, so `stream.heartbeat` is `heartbeat` in the mapping `stream`. What is
misspelt is refused at the start. `check-config` prints the values in force and where each one is from.

A duration is written with its unit: `30s`, `1m30s`, `100ms`. A list is written in the environment with commas.

"""
_NAMED: Final = re.compile(r"(?:(?<=\s)|^)((?:[a-z_0-9]+, )*[a-z_0-9]+): ")
_NAMES: Final[dict[Any, str]] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    HostPort: "`host:port`",
    SecretUrl: "URL",
}
_CONSTRAINTS: Final = (("gt", "more than"), ("ge", "at least"), ("le", "at most"), ("lt", "less than"))


def settings_page() -> str:
    services = (("Rule service", rule.Settings, rule.PREFIX), ("Deployer service", deployer.Settings, deployer.PREFIX))
    return _INTRODUCTION + "\n".join(f"## {title}\n\n{_section(model, prefix)}" for title, model, prefix in services)


def rows_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Key, variable, type, default and meaning of every value."""
    for leaf in leaves_of(model, (), prefix):
        yield (
            code(".".join(leaf.path)),
            code(leaf.variable),
            _type(leaf.field),
            _default(leaf.field),
            meaning(model, leaf),
        )


def meaning(model: type[BaseModel], leaf: Leaf) -> str:
    """As the docstring of its section or its own description say it; empty where neither does."""
    section = _model_at(model, leaf.path[:-1])
    said = (_said_in(section, leaf.path[-1]), leaf.field.description or "")
    return " ".join(_sentence(each) for each in said if each)


def _section(model: type[BaseModel], prefix: str) -> str:
    heads = ("Key", "Variable", "Type", "Default", "Meaning")
    return table(heads, rows_of(model, prefix))


def _model_at(model: type[BaseModel], path: PathOf) -> type[BaseModel]:
    for name in path:
        kind = model.model_fields[name].annotation
        # a section that may be left out is a union with None
        (model,) = (each for each in (*get_args(kind), kind) if isinstance(each, type) and issubclass(each, BaseModel))
    return model


def _said_in(section: type[BaseModel], name: str) -> str:
    """What stands behind `name:` in the docstring, up to the next such name or the end of the paragraph."""
    for paragraph in (section.__doc__ or "").split("\n\n"):
        text = " ".join(paragraph.split())
        found = [each for each in _NAMED.finditer(text) if section.model_fields.keys() >= {*each[1].split(", ")}]
        for at, match in enumerate(found):
            if name in match[1].split(", "):
                end = found[at + 1].start() if at + 1 < len(found) else len(text)
                return text[match.end() : end]
    return ""


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    first = text.partition(" ")[0].rstrip(":,;")
    return f"{text[0].upper()}{text[1:]}." if first.isalpha() else f"{text}."


def _type(field: FieldInfo) -> str:
    return ", ".join([_kind(field), *_bounds(field)])


def _kind(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if _is_duration(field):
        return "duration"
    if get_origin(kind) is tuple:
        return f"list of {_name(get_args(kind)[0])}s"
    choices = [each for each in get_args(kind) if each is not type(None)] or [kind]
    return " or ".join(_name(each) for each in choices)


def _name(kind: Any) -> str:
    # an annotated kind says what it is by its first part
    kind = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(code(each.value) for each in kind)
    return _NAMES[kind]


def _bounds(field: FieldInfo) -> Iterator[str]:
    show: Callable[[Any], str] = show_duration if _is_duration(field) else "{:,}".format
    for mark in field.metadata:
        for attribute, words in _CONSTRAINTS:
            if (bound := getattr(mark, attribute, None)) is not None:
                yield f"{words} {show(bound)}"


def _is_duration(field: FieldInfo) -> bool:
    return any(isinstance(mark, BeforeValidator) and mark.func is parse_duration for mark in field.metadata)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    if field.default_factory is not None:
        return "*made*"
    return _shown(field.default, is_duration=_is_duration(field))


def _shown(value: Any, *, is_duration: bool) -> str:
    match value:
        case None | ():
            return ""
        case bool():
            return code(str(value).lower())
        case Enum():
            return code(str(value.value))
        case tuple():
            return code(",".join(map(str, value)))
        case _:
            return code(show_duration(value) if is_duration else str(value))


def without_meaning(model: type[BaseModel], prefix: str) -> list[str]:
    """The keys of which nothing is said."""
    return [key for key, *_, said in rows_of(model, prefix) if not said]
