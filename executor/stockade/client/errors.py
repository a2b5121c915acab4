"""What the client library raises."""

from __future__ import annotations


class ClientError(RuntimeError):
    """The program asks for something that its sandbox, or the lack of one, does not have."""
