"""What `import stockade` costs: nothing heavy is loaded before it is used."""

from __future__ import annotations

import pytest

from support.runs import run_python

HEAVY = ("google", "ptrace", "pyseccomp", "psutil", "elftools", "rich", "jinja2", "asyncio", "numpy")


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\nbefore = set(sys.modules)\n{statement}\nprint(*sorted(set(sys.modules) - before))"
    return set(run_python(script).stdout.split())


def test_the_package_alone_loads_nothing() -> None:
    loaded = loaded_by("import stockade")
    assert {name for name in loaded if name.startswith("stockade")} == {"stockade"}
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


@pytest.mark.parametrize("name", ["ptrace", "pyseccomp", "psutil", "elftools", "rich", "asyncio"])
def test_a_run_loads_nothing_of_what_it_does_not_need(name: str) -> None:
    assert name not in loaded_by("from stockade import Executor, PolicyBuilder, Limits, Status, Result")


def test_every_public_name_is_there() -> None:
    script = """
import stockade
for name in stockade.__all__:
    assert getattr(stockade, name) is not None
    assert name in dir(stockade)
try:
    stockade.nothing
except AttributeError as error:
    print(error)
"""
    assert run_python(script).stdout == "module 'stockade' has no attribute 'nothing'\n"
