"""Waiting for a condition instead of sleeping for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def wait_for(condition: Callable[[], Awaitable[T]], timeout: float = 10.0, *, every: float = 0.02) -> T: ...
@overload
async def wait_for(condition: Callable[[], T], timeout: float = 10.0, *, every: float = 0.02) -> T: ...
async def wait_for(condition: Callable[[], T | Awaitable[T]], timeout: float = 10.0, *, every: float = 0.02) -> T:
    """Polls the condition until it gives something true, and gives that back.

    Raises AssertionError with the last value after `timeout` seconds; what the condition raises goes to the caller.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            name = getattr(condition, "__name__", repr(condition))
            raise AssertionError(f"not so after {timeout:g} s: {name}; the last value was {value!r}")
        await asyncio.sleep(every)
