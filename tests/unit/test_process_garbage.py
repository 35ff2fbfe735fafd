"""What the garbage collector is told at start."""

import subprocess
import sys

from rulecast.process.garbage import THRESHOLDS

_PROGRAM = """
import gc
from rulecast.process.garbage import settle
settle()
print(gc.isenabled(), gc.get_freeze_count() > 0, *gc.get_threshold())
"""


def test_what_there_is_is_left_alone_and_the_young_are_looked_through_less_often() -> None:
    """In a process of its own: this one's collector stays as it is."""
    told = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["True", "True", *map(str, THRESHOLDS)]
