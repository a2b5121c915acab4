"""Python interpreters for the tests: real ones, virtual environments of them, and made-up installations."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.elf import make_elf

# Any user may run it, which cannot be said of the one that runs the tests.
SYSTEM = "/usr/bin/python3"


def installed_by_pyenv() -> list[str]:
    """Interpreters that pyenv has installed and this user may read, two of them at most."""
    found = []
    for home in dict.fromkeys((os.path.expanduser("~"), "/root")):
        try:
            found += sorted(str(path) for path in Path(home, ".pyenv/versions").glob("3.1[1-9].*/bin/python"))
        except OSError:
            continue
    return found[-2:]


def make_environment(directory: Path, *options: str) -> str:
    """Make a virtual environment of the system's interpreter; return the path of its interpreter."""
    subprocess.run([SYSTEM, "-m", "venv", "--without-pip", *options, directory], check=True)
    return str(directory / "bin" / "python")


def packages_of(environment: Path) -> Path:
    """The directory of packages of a virtual environment."""
    return next(environment.glob("lib/python3*/site-packages"))


def made_up(prefix: Path, name: str = "python3.99", *, top: str = "lib", library: str = "python3.99") -> str:
    """Make files that look like an installed interpreter; return its path. It can be found, but not run."""
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    (prefix / "bin" / name).write_bytes(make_elf())
    if library:
        (prefix / top / library / "lib-dynload").mkdir(parents=True)
        (prefix / top / library / "os.py").write_text("")
        (prefix / top / library / "site-packages").mkdir()
    return str(prefix / "bin" / name)
