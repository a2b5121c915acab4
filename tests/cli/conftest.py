"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import CommandLine


@pytest.fixture
def stockade(public_tmp: Path) -> CommandLine:
    """The command line, run in `public_tmp`."""
    return CommandLine(public_tmp)


@pytest.fixture
def writable(public_tmp: Path) -> Path:
    """A directory that every user may write to."""
    directory = public_tmp / "writable"
    directory.mkdir()
    directory.chmod(0o777)
    return directory
