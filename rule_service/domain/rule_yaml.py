"""Rule files as YAML: a writer for their one fixed shape, made to be read by a person.

Every string arrives unchanged in Prometheus (go-yaml) and in PyYAML. Wherever the two could differ, or a plain
scalar could be read as something else (`yes`, `1e3`, U+2028 as a line break), the string is quoted.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rule_service.domain.form import BLANK, Form
from rule_service.domain.remembered import remembered

# Read as a string by YAML 1.1 and 1.2, in block context: starts with a letter, `_` or `(`, has no `: ` and no ` #`;
# or is a duration.
_PLAIN = re.compile(
    r"[A-Za-z_(](?:[^\x00-\x1f\x7f:#]|:(?=[^\s])|(?<!\s)#)*(?<![\s:])|(?:[0-9]+(?:ms|[ywdhms]))+", re.ASCII
)
_NOT_STRINGS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
# What a YAML reader may refuse or take for a line break: C0 and C1 controls, U+2028 and U+2029, the byte order mark,
# surrogates and noncharacters.
_NOT_PRINTABLE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff"
_ESCAPED = re.compile(rf'["\\\t\n{_NOT_PRINTABLE}]')
_NEEDS_ESCAPES = re.compile(rf"[\t\n{_NOT_PRINTABLE}]")
# Lines, the first neither empty nor indented (its indentation counts for all), none of white space alone, and at
# most one line feed at the end.
_BLOCK = re.compile(rf"(?![ \t])[^\n{_NOT_PRINTABLE}]+(?:\n+(?![ \t]*(?:\n|\Z))[^\n{_NOT_PRINTABLE}]+)*\n?")
# No field's value has a line that is indented less than the labels.
_LABELS = re.compile(r"^        labels:\n((?:(?:          .*)?\n)*)", re.MULTILINE)
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}


@dataclass(frozen=True, slots=True)
class GroupText:
    """One Prometheus group. interval: None is Prometheus's own. rules: as `rule_fragment` made them."""

    name: str
    interval: str | None
    rules: Sequence[str]


def rule_fragment(
    alert_name: str,
    expr: str,
    *,
    for_duration: str | None,
    keep_firing_for: str | None,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> str:
    """One alerting rule, indented to stand in a group. None leaves a field out; maps are written by name."""
    form = rule_form(
        alert_name,
        for_duration=for_duration,
        keep_firing_for=keep_firing_for,
        labels=labels,
        annotations=annotations,
    )
    return form.filled(expr_scalar(expr))


def rule_form(
    alert_name: str,
    *,
    for_duration: str | None,
    keep_firing_for: str | None,
    labels: Mapping[str, str | None],
    annotations: Mapping[str, str | None],
) -> Form:
    """`rule_fragment` with a blank for an `expr_scalar`, and then one for a `value_scalar` at each None in the maps."""
    lines = [f"      - alert: {scalar(alert_name, 10)}\n        expr: {BLANK}\n"]
    if for_duration is not None:
        lines.append(f"        for: {scalar(for_duration, 10)}\n")
    if keep_firing_for is not None:
        lines.append(f"        keep_firing_for: {scalar(keep_firing_for, 10)}\n")
    for title, values in (("labels", labels), ("annotations", annotations)):
        if values:
            lines.append(f"        {title}:\n")
            lines += [_line(values[name], name) for name in sorted(values)]
    return Form("".join(lines))


def _line(value: str | None, name: str) -> str:
    return f"          {key(name)}: {value_scalar(value) if value is not None else BLANK}\n"


def expr_scalar(expr: str) -> str:
    """The expression of a rule, as it stands in a fragment."""
    return scalar(expr, 10)


def value_scalar(value: str) -> str:
    """The value of a label or an annotation, as it stands in a fragment."""
    return scalar(value, 12)


def name_in(fragment: str) -> str:
    """What `rule_fragment` wrote of the alert's name."""
    return fragment.partition("\n        expr:")[0]


def identity_in(fragment: str) -> tuple[str, str]:
    """What `rule_fragment` wrote of the alert's name and labels: alike for two rules whose alerts have the same."""
    labels = _LABELS.search(fragment)
    return name_in(fragment), labels[1] if labels is not None else ""


def recording_fragment(name: str, expr: str) -> str:
    """One recording rule, indented to stand in a group."""
    return f"      - record: {scalar(name, 10)}\n        expr: {scalar(expr, 10)}\n"


def rule_file(comments: Iterable[str], groups: Iterable[GroupText]) -> str:
    """A whole rule file. comments: lines of its head, without `#`."""
    parts = [f"# {comment}\n" for comment in comments]
    parts.append("groups:\n")
    for group in groups:
        parts.append(f"  - name: {scalar(group.name, 6)}\n")
        if group.interval is not None:
            parts.append(f"    interval: {scalar(group.interval, 6)}\n")
        parts.append("    rules:\n")
        parts.extend(group.rules)
    return "".join(parts)


def scalar(text: str, indent: int) -> str:
    """A string as the most readable YAML scalar that is safe. indent: of the lines of a block, in spaces."""
    if "\n" in text and _BLOCK.fullmatch(text):
        return _block(text, indent)
    return _on_one_line(text)


@remembered(1_024)
def key(text: str) -> str:
    """A string as the key of a mapping, which has to be on one line."""
    return _on_one_line(text)


def _on_one_line(text: str) -> str:
    if _NEEDS_ESCAPES.search(text) is None:
        if _PLAIN.fullmatch(text) and text.lower() not in _NOT_STRINGS:
            return text
        return "'" + text.replace("'", "''") + "'" if '"' in text or "\\" in text else f'"{text}"'
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _block(text: str, indent: int) -> str:
    lines = text.removesuffix("\n").split("\n")
    margin = "\n" + " " * indent
    header = "|" if text.endswith("\n") else "|-"
    return header + "".join(margin + line if line else "\n" for line in lines)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    short = _SHORT_ESCAPES.get(character)
    if short is not None:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
