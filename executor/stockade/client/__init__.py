"""For programs that know that they are sandboxed: `Client`, and `is_sandboxed` for any program.

Imports nothing of stockade but the packages on the floors below, and nothing heavy of the standard library.
"""

from __future__ import annotations

from stockade.client.client import Client
from stockade.client.detect import is_sandboxed
from stockade.client.errors import ClientError

__all__ = ["Client", "ClientError", "is_sandboxed"]
