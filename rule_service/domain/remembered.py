"""Remembers what a pure function found: in short texts, since the rules of one alert have few of them between them, and
in values that many rules share.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

LONGEST = 1024
"""Characters. A long text can have found much in it, and memory is for what comes often."""


def remembered(
    size: int, longest: int = LONGEST
) -> Callable[[Callable[Concatenate[str, P], R]], Callable[Concatenate[str, P], R]]:
    """Decorates a function of a text and more; all arguments have to be hashable. size: texts that are remembered.

    longest: characters of a text that is. What the function raises is found anew each time.
    """

    def decorate(function: Callable[Concatenate[str, P], R]) -> Callable[Concatenate[str, P], R]:
        cached = lru_cache(maxsize=size)(function)

        @wraps(function)
        def call(text: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if len(text) > longest:
                return function(text, *args, **kwargs)
            return cached(text, *args, **kwargs)  # type: ignore[arg-type]  # says nothing about hashing of P

        return call

    return decorate


class Same(Generic[T]):
    """An argument by which something is remembered: found again by the very same value, and by none that is equal."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def remembered_of_shared(size: int) -> Callable[[Callable[[T], R]], Callable[[T], R]]:
    """Decorates a function of one immutable value that is shared. size: values that are remembered."""

    def decorate(function: Callable[[T], R]) -> Callable[[T], R]:
        @lru_cache(maxsize=size)
        def cached(same: Same[T]) -> R:
            return function(same.value)

        @wraps(function)
        def call(value: T, /) -> R:
            return cached(Same(value))

        return call

    return decorate
