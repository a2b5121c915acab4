"""Programs with shared libraries of their own, linked where and as a test says."""

from __future__ import annotations

import subprocess
from pathlib import Path

MAIN = "int f(void); int main(void) { return f(); }"
LIBRARY = "int f(void) { return 7; }"


def shared(directory: Path, source: str = LIBRARY, *options: str, name: str = "libf.so") -> Path:
    """Compile a shared library into `directory`."""
    directory.mkdir(exist_ok=True, parents=True)
    target = directory / name
    code = directory / f"{name}.c"
    code.write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, code, f"-L{directory}", *options], check=True)
    return target


def program(directory: Path, library_directory: Path, *options: str, source: str = MAIN) -> Path:
    """Compile a program that needs libf.so into `directory`."""
    directory.mkdir(exist_ok=True, parents=True)
    (directory / "main.c").write_text(source)
    command: list[str | Path] = [
        "gcc",
        "-o",
        directory / "main",
        directory / "main.c",
        f"-L{library_directory}",
        "-lf",
        *options,
    ]
    subprocess.run(command, check=True)
    return directory / "main"
