"""Imports go down only, and the far side of the fork stays lean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "executor"

# Each costs milliseconds to import or memory that every fork has to copy the page tables of.
HEAVY = {
    *("google.protobuf", "psutil", "elftools", "pyseccomp", "ptrace", "rich"),
    *("argparse", "asyncio", "concurrent", "dataclasses", "enum", "inspect", "json", "logging", "multiprocessing"),
    *("pathlib", "pickle", "re", "shutil", "signal", "socket", "subprocess", "tempfile", "threading", "typing"),
}
# What `import stockade` may not load either; it may load some of the standard library.
HEAVY_FOR_USERS = {"google.protobuf", "psutil", "elftools", "pyseccomp", "ptrace", "rich", "argparse", "asyncio"}
# One line on which an interpreter without site packages imports modules and prints what is loaded then.
LOADER = "import sys; sys.path.insert(0, sys.argv[1]); [__import__(n) for n in sys.argv[2:]]; print(*sys.modules)"


def loaded_by(*modules: str) -> set[str]:
    """Return the modules that are loaded in a new bare interpreter after importing `modules`."""
    command = [sys.executable, "-I", "-S", "-c", LOADER, str(SOURCES), *modules]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def far_side_modules() -> list[str]:
    """Return what runs beyond the fork: everything in sandboxee and client, and what they need of the floors below."""
    files = [path for room in ("sandboxee", "client") for path in sorted((SOURCES / "stockade" / room).rglob("*.py"))]
    files.remove(SOURCES / "stockade" / "client" / "logs.py")  # for programs that log, and so have loaded logging
    names = [".".join(path.relative_to(SOURCES).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith(".__main__")]


def test_imports_go_down_only() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_an_import_upwards_is_found(tmp_path: Path) -> None:
    """The contracts see a breach: kernel importing policy, and errors importing google."""
    breaches = {"kernel/__init__.py": "import stockade.policy", "errors.py": "import google.protobuf"}
    for path in sorted((SOURCES / "stockade").rglob("*.py")):
        name = str(path.relative_to(SOURCES / "stockade"))
        copy = tmp_path / "executor" / "stockade" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text() + f"\n{breaches.get(name, '')}\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    program = "import sys; sys.path.insert(0, 'executor'); from importlinter import cli; sys.exit(cli.lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 broken" in done.stdout
    assert "stockade.kernel is not allowed to import stockade.policy" in done.stdout
    assert "stockade.errors is not allowed to import google" in done.stdout


@pytest.mark.parametrize(
    "module", ["stockade._proto.lean", "stockade._proto.lean_values", "stockade.comms.values", *far_side_modules()]
)
def test_the_far_side_of_the_fork_is_lean(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


def test_importing_the_package_is_lean() -> None:
    assert loaded_by("stockade") & HEAVY_FOR_USERS == set()


def test_the_check_of_lean_imports_sees_what_is_loaded() -> None:
    assert {"json", "re", "enum"} <= loaded_by("json") & HEAVY
    assert json.__name__ not in loaded_by()
