"""What a text policy was read from: files and variables. As long as they are the same, so is the policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class Source:
    """A file that a policy was read from: its path as it was opened, and the Blake2b-256 digest of the bytes read."""

    path: str
    digest: bytes

    @classmethod
    def of(cls, path: str, data: bytes) -> Source:
        """Give the source for a file in which `data` was found."""
        return cls(path, digest_of(data))


def digest_of(data: bytes) -> bytes:
    """Give the Blake2b-256 digest of `data`."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()
