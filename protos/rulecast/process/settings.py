"""Settings from a YAML file and the environment, strict about both.

The environment wins over the file, and the file over the defaults. The model of a service's settings is made of
`Section`s; from it follows what may be set:

- in the file, the key of a value is its path: `prometheus.url` is `url` in the mapping `prometheus`;
- in the environment, its name is the prefix and the path in upper case: `DEPLOYER_HTTP_LISTEN`. `Env` gives a value,
  or all values of a section, another name: with `Env("PROMETHEUS")` on the section it is `PROMETHEUS_URL`.

A list is written in the environment with commas. A variable that is set to nothing counts as not set. A key of the file
that does not exist, a variable with our prefix that does not, and a file that is not there are errors, since a
misspelt setting that is silently ignored is found by an outage.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from rulecast.process.settings_file import FileText, SettingsError, read_file
from rulecast.process.settings_types import SecretUrl

CONFIG_VARIABLE: Final = "RULECAST_CONFIG"
"""Names the settings file, where `--config` does not."""

S = TypeVar("S", bound="Section")
PathOf = tuple[str, ...]

# what Kubernetes sets in every pod for a service named, say, `rule-service`
_KUBERNETES: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_KUBERNETES_PORT: Final = re.compile(r"(tcp|udp|sctp)://")
_CLOSE: Final = 0.85


class Section(BaseModel):
    """Base of every mapping in the settings. Immutable; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _none_is_empty(cls, given: object) -> object:
        """A key whose whole mapping is commented out."""
        return {} if given is None else given


@dataclass(frozen=True, slots=True)
class Env:
    """In `Annotated[...]`: the variable's name, or on a section the prefix of its variables."""

    name: str


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """The settings, and for each path where the value is from: `default`, `file:line` or `environment NAME`."""

    settings: S
    sources: Mapping[PathOf, str]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that can be set: where it stands, and the variable that sets it."""

    path: PathOf
    variable: str
    field: FieldInfo


def load_settings(model: type[S], prefix: str, config: Path | None, environment: Mapping[str, str]) -> Loaded[S]:
    """Reads, merges and checks. Raises SettingsError with every problem found.

    prefix: of the variables, without the underscore at its end. config: the file; None leaves it to RULECAST_CONFIG.
    """
    leaves = list(leaves_of(model, (), prefix))
    text = _file(config, environment)
    problems = _unknown_variables(leaves, prefix, environment)
    values: dict[str, Any] = text.values
    sources = {leaf.path: text.where(leaf.path) or "default" for leaf in leaves}
    for leaf in leaves:
        if given := environment.get(leaf.variable, "").strip():
            _put(values, leaf.path, _decoded(given, leaf.field))
            sources[leaf.path] = f"environment {leaf.variable}"
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems += [_problem(model, leaves, sources, text, wrong) for wrong in error.errors(include_url=False)]
        raise SettingsError(problems) from None
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, sources)


def print_settings(loaded: Loaded[S]) -> str:
    """The settings in force as YAML, secrets masked, each value with where it is from."""
    return "".join(line + "\n" for line in _lines(loaded.settings, loaded.sources, ()))


def leaves_of(model: type[BaseModel], path: PathOf, prefix: str) -> Iterator[Leaf]:
    """Every value that can be set, in order. path: of the section that `model` is; prefix: of its variables."""
    for name, field in model.model_fields.items():
        named = next((mark.name for mark in field.metadata if isinstance(mark, Env)), None)
        variable = named or f"{prefix}_{name.upper()}"
        section = _section(field.annotation)
        if section is None:
            yield Leaf((*path, name), variable, field)
        else:
            yield from leaves_of(section, (*path, name), variable)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is a section, optional or not."""
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for choice in choices:
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def _file(config: Path | None, environment: Mapping[str, str]) -> FileText:
    if config is not None:
        return read_file(config, "--config")
    if named := environment.get(CONFIG_VARIABLE, "").strip():
        return read_file(Path(named), CONFIG_VARIABLE)
    return FileText("", {}, {})


def _unknown_variables(leaves: list[Leaf], prefix: str, environment: Mapping[str, str]) -> list[str]:
    known = [leaf.variable for leaf in leaves]
    families = {variable.partition("_")[0] + "_" for variable in known}
    problems = []
    for variable, value in sorted(environment.items()):
        if variable in known or _from_kubernetes(variable, value):
            continue
        if variable.startswith(f"{prefix}_"):
            problems.append(f"environment {variable}: there is no such setting{_nearest(variable, known, 0.6)}")
        elif variable.startswith(tuple(families)) and (hint := _nearest(variable, known, _CLOSE)):
            # others may own such names (PROMETHEUS_MULTIPROC_DIR), so only what is nearly one of ours is refused
            problems.append(f"environment {variable}: there is no such setting{hint}")
    return problems


def _from_kubernetes(variable: str, value: str) -> bool:
    if variable.endswith("_PORT"):
        return _KUBERNETES_PORT.match(value) is not None
    return _KUBERNETES.fullmatch(variable) is not None


def _nearest(name: str, known: list[str], cutoff: float) -> str:
    close = difflib.get_close_matches(name, known, 1, cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def _put(values: dict[str, Any], path: PathOf, value: object) -> None:
    for name in path[:-1]:
        inner = values.get(name)
        if inner is None:
            inner = values[name] = {}
        if not isinstance(inner, dict):
            return  # a wrong file stays wrong: the check that follows names the key
        values = inner
    values[path[-1]] = value


def _decoded(given: str, field: FieldInfo) -> object:
    if get_origin(field.annotation) in (tuple, list, frozenset, set):
        return [part.strip() for part in given.split(",") if part.strip()]
    return given


def _problem(
    model: type[BaseModel], leaves: list[Leaf], sources: Mapping[PathOf, str], text: FileText, wrong: Any
) -> str:
    location = tuple(str(part) for part in wrong["loc"])
    key = ".".join(location)
    if wrong["type"] == "extra_forbidden":
        hint = _nearest_key(model, leaves, location)
        return f"{text.where(location)}: there is no setting '{key}'{hint}"
    leaf = next((leaf for leaf in leaves if location[: len(leaf.path)] == leaf.path), None)
    if wrong["type"] == "missing":
        name = f", or {leaf.variable} in the environment" if leaf else ""
        return f"'{key}' is needed: set it in the file{name}"
    where = sources.get(leaf.path, "") if leaf else text.where(location)
    given = f" (given: {wrong['input']!r})" if leaf and _shows(leaf.field, wrong["input"]) else ""
    return f"{where}: '{key}': {wrong['msg'].removeprefix('Value error, ')}{given}"


def _shows(field: FieldInfo, given: object) -> bool:
    hidden = (SecretStr, SecretUrl)
    named = (field.annotation, *get_args(field.annotation))
    return isinstance(given, str | int | float | bool) and not any(kind in hidden for kind in named)


def _nearest_key(model: type[BaseModel], leaves: list[Leaf], location: PathOf) -> str:
    parent: type[BaseModel] | None = model
    for name in location[:-1]:
        field = parent.model_fields.get(name) if parent else None
        parent = _section(field.annotation) if field else None
    siblings = [".".join((*location[:-1], name)) for name in parent.model_fields] if parent else []
    key = ".".join(location)
    if hint := _nearest(key, siblings, 0.6):
        return hint
    elsewhere = {leaf.path[-1]: ".".join(leaf.path) for leaf in leaves}
    close = difflib.get_close_matches(location[-1], list(elsewhere), 1, 0.8)
    return f"; did you mean {elsewhere[close[0]]}?" if close else f"; there are: {', '.join(siblings)}"


def _lines(section: BaseModel, sources: Mapping[PathOf, str], path: PathOf) -> Iterator[str]:
    shown = section.model_dump(mode="json")
    indent = "  " * len(path)
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, sources, (*path, name))
        else:
            source = sources.get((*path, name), "default")
            yield f"{indent}{name}: {json.dumps(shown[name], ensure_ascii=False)}  # {source}"
