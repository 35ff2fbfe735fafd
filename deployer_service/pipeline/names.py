"""Which file names are ours. Pure."""

import re

_ID = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_OURS = re.compile(rf"(?P<kind>namespace|group)-(?P<id>{_ID})\.yml", re.ASCII)
_GLOBAL = "global.yml"

EXAMPLES = (_GLOBAL, "namespace-example.yml", "group-example.yml")
"""One name of each kind."""


def own_name(name: str) -> str | None:
    """The name, built anew from its checked parts; None if no file of ours has it.

    What comes from the wire or from a directory is never used itself as a path.
    """
    if name == _GLOBAL:
        return _GLOBAL
    found = _OURS.fullmatch(name)
    return f"{found['kind']}-{found['id']}.yml" if found else None
