"""What a session may not leave behind: processes, zombies, mounts, cgroups, temporary files.

A snapshot is taken before and after; `differences` says what is new. Things of other sessions on the same machine are
told apart as far as the kernel lets us: a process counts when it descends from this one, or carries this session's
mark in its environment, or was orphaned after this session began and is plainly one of ours.
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

NAME = "stockade"
MARK = "STOCKADE_TEST_SESSION"
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process as /proc shows it."""

    pid: int
    parent: int
    state: str
    started: int  # clock ticks since boot
    command: str
    mark: str | None  # session mark in its environment, if that can be read
    nested: bool  # lives in a pid namespace below ours

    def __str__(self) -> str:
        kind = "zombie" if self.state == "Z" else "process"
        return f"{kind} {self.pid} (parent {self.parent}): {self.command}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What exists at one moment."""

    processes: dict[int, ProcessInfo]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    files: frozenset[str]


def read_process(pid: int) -> ProcessInfo | None:
    """Return what /proc says about a process; None when it is gone."""
    directory = Path("/proc") / str(pid)
    try:
        name, _, rest = (directory / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        fields = rest.split()
        status = (directory / "status").read_text(errors="replace")
        command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    nested = any(line.startswith("NSpid:") and len(line.split()) > 2 for line in status.splitlines())
    started = int(fields[19])
    return ProcessInfo(pid, int(fields[1]), fields[0], started, command or f"[{name}]", _read_mark(directory), nested)


def _read_mark(directory: Path) -> str | None:
    try:
        environment = (directory / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{MARK}=".encode()
    return next((entry[len(prefix) :].decode() for entry in environment if entry.startswith(prefix)), None)


def read_processes() -> dict[int, ProcessInfo]:
    """Return all processes by pid."""
    found = (read_process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return {process.pid: process for process in found if process is not None}


def temporary_directories() -> set[Path]:
    """Return the directories in which programs put temporary files."""
    names = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/run", f"/run/user/{os.getuid()}"]
    return {Path(name).resolve() for name in names}


def temporary_files() -> frozenset[str]:
    """Return what lies in the directories for temporary files and is named like ours."""
    found = set()
    for directory in temporary_directories():
        try:
            found |= {str(directory / name) for name in os.listdir(directory) if name.startswith((NAME, f".{NAME}"))}
        except OSError:
            continue
    return frozenset(found)


def own_cgroups() -> frozenset[str]:
    """Return the cgroup directories that are named like ours or lie beneath our own cgroup."""
    own = set()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        path = line.split(":", 2)[2]
        if path != "/":
            own.add(path)
    found = set()
    for directory, names, _ in os.walk(CGROUPS):
        for name in names:
            path = f"{directory}/{name}"
            if NAME in name or any(f"{group}/" in path for group in own):
                found.add(path)
    return frozenset(found)


def snapshot() -> Snapshot:
    """Return what exists now."""
    mounts = frozenset(Path("/proc/self/mountinfo").read_text().splitlines())
    return Snapshot(read_processes(), mounts, own_cgroups(), temporary_files())


def _ancestors(pid: int, processes: dict[int, ProcessInfo]) -> list[int]:
    chain: list[int] = []
    while pid in processes and pid not in chain:
        pid = processes[pid].parent
        chain.append(pid)
    return chain


def own_processes(before: Snapshot, after: Snapshot, mark: str) -> list[ProcessInfo]:
    """Return the processes of `after` that this session started after `before` and that still exist."""
    own = os.getpid()
    began = before.processes[own].started
    reapers = _reapers(after)
    found = []
    for process in after.processes.values():
        earlier = before.processes.get(process.pid)
        if process.pid == own or (earlier is not None and earlier.started == process.started):
            continue
        chain = _ancestors(process.pid, after.processes)
        orphan_like_ours = (
            process.parent in reapers
            and process.mark is None
            and process.started >= began
            and (NAME in process.command or process.nested)
        )
        if own in chain or process.mark == mark or orphan_like_ours:
            found.append(process)
    return found


def _reapers(snapshot: Snapshot) -> set[int]:
    """Return the processes that inherit and reap orphans."""
    return {1, *(pid for pid, process in snapshot.processes.items() if "systemd" in process.command)}


def differences(before: Snapshot, after: Snapshot, mark: str) -> list[str]:
    """Return one sentence for each thing that `after` has and `before` had not."""
    return [
        *(f"left behind: {process}" for process in own_processes(before, after, mark)),
        *(f"left behind: mount {line}" for line in sorted(after.mounts - before.mounts)),
        *(f"left behind: cgroup {path}" for path in sorted(after.cgroups - before.cgroups)),
        *(f"left behind: file {path}" for path in sorted(after.files - before.files)),
    ]


def settle(before: Snapshot, mark: str, patience: float = 20.0) -> list[str]:
    """Return what is left behind, after giving processes that are about to end the time to do so.

    `patience` in seconds bounds the wait; it ends as soon as nothing is left to wait for.
    """
    deadline = time.monotonic() + patience
    while True:
        after = snapshot()
        left, reapers = own_processes(before, after, mark), _reapers(after)
        # A zombie that the host's init has inherited is about to be reaped by it; one with another parent stays.
        ending = [process for process in left if process.state != "Z" or process.parent in reapers]
        if not ending or time.monotonic() >= deadline:
            return differences(before, after, mark)
        _wait_for_end(ending[0].pid, deadline - time.monotonic())


def _wait_for_end(pid: int, seconds: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(0.0, seconds) * 1000)
    finally:
        os.close(descriptor)
