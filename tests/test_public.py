"""The public names are there, documented, and loaded only when they are used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import stockade
from stockade import lowlevel

HEAVY = ("google", "ptrace", "pyseccomp", "psutil", "elftools", "rich", "ctypes", "asyncio")


@pytest.mark.parametrize("module", [stockade, lowlevel], ids=lambda module: module.__name__)
def test_every_public_name_exists_and_is_documented(module: ModuleType) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if hasattr(value, "DESCRIPTOR"):
            continue  # a message: documented in report.proto
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            assert value.__doc__, name


def test_dir_and_unknown_names() -> None:
    assert set(stockade.__all__) <= set(dir(stockade))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = stockade.no_such_name


def test_public_methods_of_the_main_classes_are_documented() -> None:
    for cls in (stockade.Executor, stockade.Process, stockade.Result, stockade.PolicyBuilder, stockade.Policy):
        for name, member in inspect.getmembers(cls):
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{cls.__name__}.{name}"


def test_import_is_lean() -> None:
    code = "import sys, stockade; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "stockade" in loaded
    before = subprocess.run(
        [sys.executable, "-c", code.replace(", stockade", "")], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [name for name in HEAVY if name in set(loaded) - set(before)]
