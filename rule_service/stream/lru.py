"""What was used lately, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteLru(Generic[Key, Value]):
    """limit: bytes of all values together. A value that is larger by itself is not kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes of all values together."""
        return self._size

    def get(self, key: Key) -> Value | None:
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """size: bytes of the value."""
        self._size -= self._values.pop(key, (None, 0))[1]
        if size > self._limit:
            return
        self._values[key] = (value, size)
        self._size += size
        while self._size > self._limit:
            _, (_, freed) = self._values.popitem(last=False)
            self._size -= freed
