"""What a token looks like: `rc_<id>_<256 random bits>`, so that it can be recognised where it must not be."""

import hashlib
import secrets
from typing import Final

PREFIX: Final = "rc_"
MAX_TOKEN: Final = 200
"""Characters of anything that can be one."""


def new_id() -> str:
    """An id for a token. It is no secret."""
    return secrets.token_hex(6)


def new_token(id: str) -> str:
    """What its owner keeps. It is stored nowhere."""
    return f"{PREFIX}{id}_{secrets.token_urlsafe(32)}"


def hash_of(token: str) -> bytes:
    """By which a token is known. It has 256 random bits, so no slow hash is needed, and no time tells anything."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def looks_like_one(text: str) -> bool:
    """Whether it is worth looking for."""
    return text.startswith(PREFIX) and len(text) <= MAX_TOKEN
