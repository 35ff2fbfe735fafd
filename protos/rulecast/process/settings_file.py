"""Reading a settings file: YAML without its traps, and the line of each key."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class SettingsError(Exception):
    """The settings are wrong; `problems` has one sentence for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class FileText:
    """What a file says. `lines` maps a path of keys to its line, from 1."""

    name: str
    values: dict[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def where(self, path: tuple[str, ...]) -> str:
        """`file:line` of the key, for what is inside a list that of the list; empty when the file does not have it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                inside = path[length:]
                return f"{self.name}:{self.lines[path[:length]]}" if not inside or inside[0].isdigit() else ""
        return ""


def read_file(path: Path, named_by: str) -> FileText:
    """Raises SettingsError for a file that is not there, is no YAML mapping, or says a key twice.

    named_by: what named the file, for the message.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path} is not UTF-8: {error.reason} at byte {error.start}"]) from error
    except OSError as error:
        raise SettingsError([f"{path} ({named_by}): {error.strerror}{_near(path)}"]) from error
    loader = yaml.SafeLoader(content)
    try:
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else {}
    except yaml.YAMLError as error:
        raise SettingsError([f"{path} is not valid YAML: {' '.join(str(error).split())}"]) from error
    finally:
        loader.dispose()
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingsError([f"{path}: a mapping of settings is expected, e.g. 'log:' and below it '  level: info'"])
    lines: dict[tuple[str, ...], int] = {}
    twice: list[str] = []
    if isinstance(node, yaml.MappingNode):
        _note_lines(node, (), lines, twice)
    if twice:
        raise SettingsError([f"{path}:{problem}" for problem in twice])
    return FileText(str(path), values, lines)


def _note_lines(
    node: yaml.MappingNode, path: tuple[str, ...], lines: dict[tuple[str, ...], int], twice: list[str]
) -> None:
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in lines:
            twice.append(f"{line}: '{'.'.join(here)}' is set already in line {lines[here]}: remove one of them")
        lines[here] = line
        if isinstance(value, yaml.MappingNode):
            _note_lines(value, here, lines, twice)


def _near(path: Path) -> str:
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, siblings, 1, 0.6)
    return f"; did you mean {path.parent / close[0]}?" if close and close[0] != path.name else ""
