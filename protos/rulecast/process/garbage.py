"""How often Python looks for garbage that only its collector finds.

Its defaults are for small programs: with a thousand streams open, a change that wakes them all makes more objects in a
moment than the youngest generation holds, dozens of times over, and half of the work was looking through what is alive.
"""

import gc
from typing import Final

YOUNG: Final = 20_000
"""Objects, more made than freed, after which the youngest are looked through. Python's own is 700."""


def settle() -> None:
    """To be called once, when all is imported and nothing has begun: what there is now is never looked through again.

    What refers to itself in a circle stays for longer; anything else is freed at once as ever.
    """
    gc.collect()
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(YOUNG, middle, old)
