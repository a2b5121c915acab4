"""Python programs in a box that use stockade's client library."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import stockade
from stockade import Policy, PolicyBuilder
from support.pythons import SYSTEM

INSIDE = "/opt/library"
ENVIRONMENT = {"PYTHONPATH": INSIDE, "PYTHONDONTWRITEBYTECODE": "1"}


def client_builder() -> PolicyBuilder:
    """A builder under which a Python program finds the library and may do whatever is not always refused."""
    library = Path(os.path.realpath(stockade.__file__)).parent
    builder = PolicyBuilder("client").danger_default_allow_all().add_python(SYSTEM)
    return builder.add_directory(library, inside=f"{INSIDE}/stockade")


@cache
def client_policy() -> Policy:
    """The policy of `client_builder`."""
    return client_builder().build()


def python(script: str, *arguments: str) -> list[str]:
    """The command line of such a program."""
    return [SYSTEM, "-c", script, *arguments]
