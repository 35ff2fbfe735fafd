"""Resources as YAML for people, and how two of them differ."""

import difflib
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.message import Message


class _Dumper(yaml.SafeDumper):
    """Texts of more than one line as blocks, so that a diff shows the line that differs."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def unified_diff(before: Message | None, after: Message | None, old: str, new: str) -> str:
    """A unified diff of two resources, with these names for the two sides; None: there is nothing."""
    lines = difflib.unified_diff(_lines(before), _lines(after), old, new, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _lines(message: Message | None) -> list[str]:
    if message is None:
        return []
    fields: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    text: str = yaml.dump(fields, Dumper=_Dumper, allow_unicode=True, width=1_000_000)
    return text.splitlines()
