"""The hashes both ends compare: of one file, and of the manifest of all files."""

import hashlib
from collections.abc import Mapping


def file_sha256(content: bytes) -> bytes:
    """SHA-256 of a rule file's bytes, 32 raw bytes."""
    return hashlib.sha256(content).digest()


def manifest_hash(files: Mapping[str, bytes]) -> bytes:
    """One hash over all files: SHA-256 of `name NUL sha256` in the order of the names, 32 raw bytes.

    `files` maps a file name to the SHA-256 of its bytes.
    """
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(name.encode() + b"\0" + files[name])
    return whole.digest()
