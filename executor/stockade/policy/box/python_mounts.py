"""The mounts of a policy's Python interpreters, among those that the policy lists itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stockade.policy.box.hostfiles import HostFiles
from stockade.policy.box.libraries import Libraries
from stockade.policy.box.mounts import BIND_DIRECTORY, Entry, Tree
from stockade.policy.box.paths import is_beneath
from stockade.policy.box.python_files import PythonFiles, python_files
from stockade.text import quote


class Interpreters:
    """What the interpreters at some host paths need, looked up once. Raises as `python_files`."""

    def __init__(self, paths: Iterable[str], explicit: Sequence[Entry], host: HostFiles) -> None:
        writable = [entry.source for entry in explicit if entry.is_bind and entry.writable]
        self._found = {path: python_files(path, writable) for path in dict.fromkeys(paths)}
        for found in self._found.values():
            host.evidence.update(found.evidence)
        directories = [
            Entry(kind=BIND_DIRECTORY, target=inside, origin=_origin(path), source=source, executable=True)
            for path, found in self._found.items()
            for inside, source in found.directories
        ]
        # Parents first.
        self._waiting = sorted(directories, key=lambda entry: entry.target.count("/"))

    @property
    def left_out(self) -> tuple[str, ...]:
        """What .pth files name and is not shown, for people."""
        return tuple(f"{_origin(path)}: {text}" for path, found in self._found.items() for text in found.left_out)

    def add_above(self, tree: Tree, target: str) -> None:
        """Add the directories that `target` lies beneath: they have to be mounted before it."""
        for entry in [entry for entry in self._waiting if is_beneath(target, entry.target)]:
            self._waiting.remove(entry)
            tree.add_found(entry)

    def add_directories(self, tree: Tree) -> None:
        """Add the directories that were not added yet. Those that an explicit mount shows already are left to it."""
        for entry in self._waiting:
            tree.add_found(entry)
        self._waiting = []

    def libraries(self) -> Iterator[tuple[str, str, Libraries]]:
        """Give (path, origin, the files and links) of each interpreter."""
        for path, found in self._found.items():
            yield path, _origin(path), _as_libraries(found)


def _origin(path: str) -> str:
    return f"python {quote(path)}"


def _as_libraries(found: PythonFiles) -> Libraries:
    return Libraries(
        files=found.files,
        symlinks=found.symlinks,
        directories=found.passed_through,
        missing=found.missing,
        needs_proc=found.needs_proc,
        evidence=found.evidence,
    )
