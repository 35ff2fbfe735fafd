"""Whether Prometheus's `rule_files` load our directory. Pure."""

import posixpath
from collections.abc import Sequence
from fnmatch import fnmatchcase

from deployer_service.pipeline.names import EXAMPLES
from deployer_service.pipeline.ports import Configuration
from deployer_service.state import Notice
from rulecast.reasons import Reason


def is_covered(globs: Sequence[str], directories: Sequence[str]) -> bool:
    """Whether some glob matches every kind of our file names.

    directories: the paths that our directory may have for Prometheus. Prometheus allows wildcards only in the last
    part of a path (`config.go`, patRulePath), so the front of a glob is a plain path.
    """
    return all(any(_matches(glob, directories, name) for glob in globs) for name in EXAMPLES)


def notices(configuration: Configuration, directories: Sequence[str], work: str) -> tuple[Notice, ...]:
    """What is wrong with Prometheus's configuration for us. work: the name of our own subdirectory."""
    found: list[Notice] = []
    globs = configuration.rule_globs
    if not is_covered(globs, directories):
        listed = ", ".join(globs) or "none"
        found.append(
            Notice(
                Reason.RULE_FILES_NOT_COVERED,
                f"Prometheus does not load our rule files: add {directories[0]}/*.yml to rule_files of its "
                f"configuration (it has: {listed}), or say under which path Prometheus sees this directory",
            )
        )
    found.extend(
        Notice(
            "RULE_FILES_TOO_WIDE",
            f"the rule_files entry {glob} also matches our working directory {work}, which Prometheus can not load: "
            f"write {directories[0]}/*.yml instead",
        )
        for glob in globs
        if _matches(glob, directories, work)
    )
    if configuration.auto_reload:
        found.append(
            Notice(
                "AUTO_RELOAD",
                "Prometheus reloads changed files by itself (--config.auto-reload): it may load a batch before it is "
                "complete, or one that is about to be rolled back; switch that off",
            )
        )
    return tuple(found)


def _matches(glob: str, directories: Sequence[str], name: str) -> bool:
    front, last = posixpath.split(posixpath.normpath(glob))
    # Go writes a negated character class [^a], Python [!a]
    return front in directories and fnmatchcase(name, last.replace("[^", "[!"))
