"""The part of `PolicyBuilder` about the file system of the box: an empty read-only root, and what is mounted in it."""

from __future__ import annotations

import os
from typing import Self

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.box.paths import canonical_text, is_beneath
from stockade.policy.building.base import BuilderBase, call_text, raise_first
from stockade.policy.text.combine import parents_first
from stockade.policy.validate_files import binary_findings, may_hold_mounts, mount_findings, python_findings

StrPath = str | os.PathLike[str]
_Bind = policy_pb2.Bind
# The package that this module belongs to, and where programs in a box may find it.
PACKAGE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
CLIENT_DIRECTORY = "/usr/lib/stockade"


class FileMethods(BuilderBase):
    """Mounts. Paths are absolute and canonical. The order of the calls does not matter: parents are mounted first."""

    def add_file(
        self, path: StrPath, *, inside: StrPath | None = None, writable: bool = False, if_exists: bool = False
    ) -> Self:
        """Show a file of the host, read-only unless `writable`, at the same path or at `inside`.

        With `if_exists` it is left out when the host has no such file, instead of failing the run.
        """
        call = call_text("add_file", path, inside=inside, writable=writable, if_exists=if_exists)
        return self._add_bind(call, path, inside, _Bind(kind=_Bind.FILE, writable=writable, if_exists=if_exists))

    def add_directory(
        self, path: StrPath, *, inside: StrPath | None = None, writable: bool = False, if_exists: bool = False
    ) -> Self:
        """Show a directory of the host with all that is mounted beneath it. As `add_file`."""
        call = call_text("add_directory", path, inside=inside, writable=writable, if_exists=if_exists)
        return self._add_bind(call, path, inside, _Bind(kind=_Bind.DIRECTORY, writable=writable, if_exists=if_exists))

    def danger_add_writable_executable_directory(self, path: StrPath, *, inside: StrPath | None = None) -> Self:
        """Show a directory of the host writable, and let programs be executed from it: what is written can run."""
        call = call_text("danger_add_writable_executable_directory", path, inside=inside)
        return self._add_bind(call, path, inside, _Bind(kind=_Bind.DIRECTORY, writable=True, danger_executable=True))

    def add_tmpfs(self, target: StrPath, size: int | str = "64M", inodes: int = 0, mode: int = 0) -> Self:
        """Make an empty writable directory that lives in memory, from which nothing can be executed.

        `size` in bytes or with a unit ("16M"), `inodes` the largest number of files (0: one per 4 KiB), `mode` its
        permission bits (0: 0755, and 01777 for /tmp and the like).
        """
        call = call_text("add_tmpfs", target, size, inodes=inodes, mode=mode)
        return self._add_tmpfs(call, target, policy_pb2.Tmpfs(size=str(size), inodes=inodes, mode=mode))

    def danger_add_executable_tmpfs(self, target: StrPath, size: int | str = "64M", inodes: int = 0) -> Self:
        """Make a writable directory in memory from which programs can be executed: what is written there can run."""
        call = call_text("danger_add_executable_tmpfs", target, size, inodes=inodes)
        return self._add_tmpfs(call, target, policy_pb2.Tmpfs(size=str(size), inodes=inodes, danger_executable=True))

    def add_proc(self, target: StrPath = "/proc", *, full: bool = False) -> Self:
        """Mount the process file system of the box's own processes; with `full` also the rest of it."""
        call = call_text("add_proc", target, full=full)
        mount = policy_pb2.Mount(target=canonical_text(target), proc=policy_pb2.Proc(full=full))
        return self._add_mount(call, mount)

    def add_dev(self, *, shm: bool = False) -> Self:
        """Make a minimal /dev: null, zero, full, random, urandom; with `shm` a /dev/shm in memory as well."""
        mount = policy_pb2.Mount(target="/dev", dev=policy_pb2.Dev(shm=shm))
        return self._add_mount(call_text("add_dev", shm=shm), mount)

    def add_processor_information(self) -> Self:
        """Show what allocators and runtimes read about processors: /sys/devices/system/cpu, if there is one, and /proc.

        /proc is that of the box's own processes. The groups for restartable sequences want both.
        """
        return self.add_directory("/sys/devices/system/cpu", if_exists=True).add_proc()

    def add_symlink(self, target: StrPath, points_to: StrPath) -> Self:
        """Make a symbolic link at `target` which says `points_to`."""
        call = call_text("add_symlink", target, points_to)
        link = policy_pb2.Symlink(points_to=canonical_text(points_to))
        return self._add_mount(call, policy_pb2.Mount(target=canonical_text(target), symlink=link))

    def add_libraries_for_binary(self, path: StrPath) -> Self:
        """Show a program of the host with its loader and the libraries that it is linked with, read-only.

        Libraries that it opens later by itself are not found; add them with `add_file`.
        """
        binary = canonical_text(path)
        raise_first(binary_findings(binary), call_text("add_libraries_for_binary", binary))
        if binary not in self._message.filesystem.libraries_for_binary:
            self._message.filesystem.libraries_for_binary.append(binary)
        return self

    def add_python(self, interpreter: StrPath) -> Self:
        """Show a CPython interpreter of the host with all that it needs, read-only.

        That is: its libraries, its standard library, its virtual environment when `interpreter` is the `bin/python` of
        one, the packages that are installed for it, and the libraries of their extension modules. It can be run by the
        path that is given here. PolicyError unless the path is absolute and canonical; whether a Python is there is
        looked at when a plan is made (`Executor`), without running it.
        """
        path = canonical_text(interpreter)
        raise_first(python_findings(path), call_text("add_python", path))
        if path not in self._message.filesystem.python:
            self._message.filesystem.python.append(path)
        return self

    def add_client(self, inside: StrPath = CLIENT_DIRECTORY) -> Self:
        """Show this package, read-only, so that Python programs in the box can import `stockade.client`.

        They find it when PYTHONPATH, in the `env` that they are given, names `inside`. Not needed for an interpreter of
        `add_python` in whose packages stockade is installed.
        """
        target = f"{canonical_text(inside)}/stockade"
        call = call_text("add_client", inside)
        return self._add_bind(call, PACKAGE, target, _Bind(kind=_Bind.DIRECTORY))

    def _add_bind(self, call: str, path: StrPath, inside: StrPath | None, bind: policy_pb2.Bind) -> Self:
        bind.source = canonical_text(path)
        target = canonical_text(path if inside is None else inside)
        return self._add_mount(call, policy_pb2.Mount(target=target, bind=bind))

    def _add_tmpfs(self, call: str, target: StrPath, tmpfs: policy_pb2.Tmpfs) -> Self:
        return self._add_mount(call, policy_pb2.Mount(target=canonical_text(target), tmpfs=tmpfs))

    def _add_mount(self, call: str, mount: policy_pb2.Mount) -> Self:
        """Note a mount. The same one again adds nothing; another at the same place is an error naming both calls."""
        raise_first(mount_findings(mount), call)
        present = self._mounts.get(mount.target)
        if present is not None and present[0] != mount:
            raise PolicyError(
                f"something else is mounted there already, by {present[1]}", source=call, path=mount.target
            )
        for target, (other, other_call) in self._mounts.items():
            if is_beneath(mount.target, target) and not may_hold_mounts(other):
                raise PolicyError(
                    f"it lies beneath {other_call}, which is no directory", source=call, path=mount.target
                )
            if is_beneath(target, mount.target) and not may_hold_mounts(mount):
                raise PolicyError(
                    f"{other_call} lies beneath it, but it is no directory", source=call, path=mount.target
                )
        self._mounts.setdefault(mount.target, (mount, call))
        return self

    def _ordered_mounts(self) -> list[tuple[policy_pb2.Mount, str]]:
        """Give the mounts with their calls, parents before what lies beneath them, otherwise in the order of calls."""
        entries = list(self._mounts.values())
        return [entries[index] for index in parents_first([mount for mount, _ in entries])]
