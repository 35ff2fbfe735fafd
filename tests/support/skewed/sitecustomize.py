"""On PYTHONPATH it sets the wall clock that our code reads (`datetime.now`) off by SKEW_SECONDS.

Not `time.time`: gRPC measures deadlines with it against its own clock, which in a real process is the same one.
"""

import datetime
import os

_OFF = float(os.environ.get("SKEW_SECONDS", "0"))


class _Skewed(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "_Skewed":
        return super().now(tz) + datetime.timedelta(seconds=_OFF)


if _OFF:
    datetime.datetime = _Skewed  # type: ignore[misc]  # what is imported from here on sees it
