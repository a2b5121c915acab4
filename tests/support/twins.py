"""Two equal directories: in one a program works in a sandbox, in the other the same program works without one."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from support.programs import Done, outside, through_api

# What stands for the path of either directory in texts that are compared.
HERE = b"<here>"


class Twins:
    """Runs each command twice, under a ready-made policy and without one, and compares what comes of it."""

    def __init__(
        self,
        profile: str,
        parent: Path,
        build: Callable[[Path], object],
        env: Mapping[str, str] | None = None,
        *,
        varying: bytes = b"(?!)",
    ) -> None:
        """Make two directories in `parent` by `build`. What matches `varying` differs from run to run in any case."""
        self._profile, self._env, self._varying = profile, env, re.compile(varying, re.MULTILINE)
        self.boxed, self.free = parent / "boxed", parent / "free"
        for directory in (self.boxed, self.free):
            directory.mkdir()
            build(directory)

    def run(self, argv: Sequence[str], *, input: bytes = b"") -> Done:
        """Run a command in both directories; status, output and messages must be equal. Return them."""
        boxed = through_api(self._profile, argv, input=input, directory=self.boxed, env=self._env)
        free = outside(argv, input=input, directory=self.free, env=self._env)
        found, expected = self._comparable(boxed, self.boxed), self._comparable(free, self.free)
        assert found == expected, f"{argv}\nin the box {found}\nwithout {expected}"
        return found

    def assert_equal_files(self, *, times: bool = False) -> dict[str, tuple[object, ...]]:
        """Compare all files of the two directories by kind, mode and content, and by time of change if asked."""
        found = snapshot(self.boxed, times=times)
        expected = snapshot(self.free, times=times)
        different = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
        assert different == [], (
            f"{different[0]}:\n{found.get(different[0])!r:.2000}\n{expected.get(different[0])!r:.2000}"
        )
        return found

    def _comparable(self, done: Done, directory: Path) -> Done:
        texts = [text.replace(str(directory).encode(), HERE) for text in (done.stdout, done.stderr)]
        stdout, stderr = [self._varying.sub(b"<varying>", text) for text in texts]
        return replace(done, stdout=stdout, stderr=stderr)


def snapshot(directory: Path, *, times: bool = False) -> dict[str, tuple[object, ...]]:
    """Return what is in a directory: for each path its kind and mode, content or target, number of links, and time."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            content = (path.read_bytes(), status.st_nlink)
        when = status.st_mtime_ns if times else None
        found[str(path.relative_to(directory))] = (stat.filemode(status.st_mode), content, when)
    return found
