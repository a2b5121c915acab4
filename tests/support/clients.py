"""Python programs that know of their sandbox: how the tests run them."""

from __future__ import annotations

from stockade import Policy, PolicyBuilder
from support.pythons import SYSTEM

# Where `add_client` shows the package, and a home so that the interpreter does not look one up.
ENVIRONMENT = {"PYTHONPATH": "/usr/lib/stockade", "HOME": "/"}


def client_builder() -> PolicyBuilder:
    """A builder under which CPython runs scripts that import the client library; no processes, no network."""
    return PolicyBuilder.from_policy(Policy.profile("python3")).add_client()


def script(source: str, *arguments: str) -> list[str]:
    """The command that runs this source."""
    return [SYSTEM, "-c", source, *arguments]
