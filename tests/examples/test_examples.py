"""Each example does what its README shows, with the installed package, outside of the checkout."""

from __future__ import annotations

import doctest
import shutil
import subprocess
from pathlib import Path

import pytest

from support.blocks import Block, read_blocks
from support.installation import Installation

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__")
BLOCKS = [block for folder in FOLDERS for block in read_blocks(folder / "README.md") if block.status is not None]


def shown_output(block: Block) -> str:
    """Return the lines of a console block that are not commands; "..." in them stands for anything."""
    return "".join(f"{line}\n" for line in block.code.splitlines() if not line.startswith("$ "))


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.path.parent.name}:{block.line}")
def test_the_example_prints_what_its_readme_shows(block: Block, installation: Installation, public_tmp: Path) -> None:
    folder = public_tmp / block.path.parent.name
    shutil.copytree(block.path.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(folder.rglob("*"))
    environment = {name: value for name, value in installation.environment.items() if name != "HOME"}
    command = ["bash", "-e", "-c", block.script()]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (block.status, "")
    shown = shown_output(block)
    same = doctest.OutputChecker().check_output(shown, done.stdout, doctest.ELLIPSIS)
    assert same, f"shown:\n{shown}\nprinted:\n{done.stdout}"
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_example_has_a_readme_with_a_command_that_runs(folder: Path) -> None:
    assert [block for block in BLOCKS if block.path.parent == folder and block.language == "console"]


def test_each_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert [folder.name for folder in FOLDERS if f"[{folder.name}]({folder.name}/README.md)" not in listed] == []
