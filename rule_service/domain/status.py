"""How a target is, as far as anybody has said."""

from enum import StrEnum


class TargetStatus(StrEnum):
    """UNKNOWN: nobody has said. STALE: nobody has said anything for too long; all others can be reported."""

    UP = "UP"
    DOWN = "DOWN"
    MAINTENANCE = "MAINTENANCE"
    UNKNOWN = "UNKNOWN"
    STALE = "STALE"
