"""How often Python looks for garbage that only its collector finds.

Its defaults are for small programs: with a thousand streams open, a change that wakes them all makes more objects in a
moment than the youngest generation holds, dozens of times over, and half of the work was looking through what is alive.
"""

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 2, 2)
"""Objects, more made than freed, after which the youngest are looked through; and how often that is done before older
ones are. Python's own are 700, 10 and 10: here there is more between two looks, and fewer looks before all is seen."""


def settle() -> None:
    """To be called once, when all is made and nothing has begun: what there is now is never looked through again.

    What refers to itself in a circle stays for longer; anything else is freed at once as ever.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
