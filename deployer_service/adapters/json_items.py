"""The items of one long array of a JSON document, told one by one while its bytes come in. Pure.

    items = JsonItems(("data", "groups"), take)   # {"data": {"groups": [1, 2]}} -> take(1), take(2)
    for chunk in chunks:
        items.feed(chunk)
    items.close()

What was told is kept no longer, so a document needs the memory of its largest item. An item is decoded by the standard
library's scanner in one go: measured, a quarter of the time that ijson takes with its C backend.
"""

import codecs
import contextlib
import json
import re
from collections.abc import Callable, Generator, Sequence
from typing import Any

_SIGN = re.compile(r"[^ \t\n\r]")
_AFTER_VALUE = re.compile(r"[ \t\n\r]*[,:\]}]")
_decode = json.JSONDecoder().raw_decode

_Text = Generator[None, str, None]
_Sign = Generator[None, str, str]
_Value = Generator[None, str, Any]


class JsonItems:
    """path: the keys that lead to the array, from the top. take: is told each item.

    `feed` and `close` raise ValueError for what is not JSON or not of this form, KeyError where a key of the path is
    missing, and what `take` raises. Whether the document was whole is known when `close` has returned.
    """

    def __init__(self, path: Sequence[str], take: Callable[[Any], None]) -> None:
        self._take = take
        self._text = ""
        self._at = 0  # what is before it was read
        self._ended = False
        self._bytes = codecs.getincrementaldecoder("utf-8")()
        self._reading = self._document(path)
        next(self._reading)

    def feed(self, chunk: bytes) -> None:
        self._reading.send(self._bytes.decode(chunk))

    def close(self) -> None:
        """Everything was fed."""
        rest = self._bytes.decode(b"", final=True)
        self._ended = True
        with contextlib.suppress(StopIteration):
            self._reading.send(rest)

    def _document(self, path: Sequence[str]) -> _Text:
        yield from self._object(path)
        while _SIGN.search(self._text, self._at) is None:
            if self._ended:
                return
            self._at = len(self._text)
            yield from self._more(1)
        raise ValueError("more text after the end of the document")

    def _object(self, path: Sequence[str]) -> _Text:
        yield from self._sign("{")
        key, *deeper = path
        found, sign = False, ","
        while sign == ",":
            name = yield from self._value()
            yield from self._sign(":")
            if name == key:
                found = True
                yield from self._object(deeper) if deeper else self._array()
            else:
                yield from self._value()
            sign = yield from self._sign(",}")
        if not found:
            raise KeyError(key)

    def _array(self) -> _Text:
        yield from self._sign("[")
        sign = yield from self._next()
        if sign == "]":
            self._at += 1
            return
        sign = ","
        while sign == ",":
            self._take((yield from self._value()))
            sign = yield from self._sign(",]")

    def _value(self) -> _Value:
        while True:
            yield from self._next()
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError:
                pass
            else:
                # 12 may be the beginning of 123
                if _AFTER_VALUE.match(self._text, end):
                    self._at = end
                    return value
            # tried again with each little piece, a large item would take the square of its time
            yield from self._more(2 * (len(self._text) - self._at))

    def _sign(self, wanted: str) -> _Sign:
        """Goes past the next sign, which has to be one of these."""
        sign = yield from self._next()
        if sign not in wanted:
            raise ValueError(f"{sign!r} where one of {wanted!r} is expected")
        self._at += 1
        return sign

    def _next(self) -> _Sign:
        """Goes to the next sign that is no space."""
        while (found := _SIGN.search(self._text, self._at)) is None:
            self._at = len(self._text)
            yield from self._more(1)
        self._at = found.start()
        return found.group()

    def _more(self, least: int) -> _Text:
        """Waits until so many characters are there that were not read, or all are."""
        if self._ended:
            raise ValueError("the document is not whole")
        parts = [self._text[self._at :]]
        size = len(parts[0])
        while size < least and not self._ended:
            parts.append((yield))
            size += len(parts[-1])
        self._text, self._at = "".join(parts), 0
