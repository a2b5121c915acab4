"""From the file-system part of a policy to a plan: data first, checked, printable, and only then carried out.

The plan has two parts. The template holds what is equal for all runs, read-only: it is mounted once and forked from.
The rest (tmpfs, proc, everything writable, and whatever lies beneath such a mount) each run mounts for itself.
Whoever carries the plan out makes missing mount points, with their parents, on the root and on a tmpfs, never in a
directory of the host.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stockade._proto import comms_pb2, policy_pb2
from stockade.errors import PolicyError, SetupError, UnsupportedError
from stockade.policy.box.box_paths import check_source, check_target, is_within
from stockade.policy.box.hostfiles import Fingerprint, HostFiles, still_holds
from stockade.policy.box.libraries import Libraries, libraries_for_binary
from stockade.policy.box.library_search import Missing
from stockade.policy.box.mounts import BIND_DIRECTORY, BIND_FILE, DIRECTORY, PROC, SYMLINK, TMPFS, Entry, Tree
from stockade.text import quote
from stockade.units import parse_size

if TYPE_CHECKING:
    from stockade.policy.box.python_mounts import Interpreters

DEFAULT_TMPFS_SIZE = 64 << 20
LARGEST_TMPFS_INODES = 1 << 32
PATH_MAX_BYTES = 4095
DEFAULT_ID = 1000
# Directories that everybody may write to and where only owners may delete.
STICKY_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm")
# The devices without state or hardware behind them; any other device node of the host is unusable inside (nodev).
SAFE_DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
# Room for a few names; nothing else belongs there.
DEV_SIZE, DEV_INODES = 64 << 10, 64
UNSUPPORTED_KINDS = {
    "overlay": "copy-on-write mounts of host directories",
    "generated": "files made from bytes",
    "mask": "hiding a part of a mount",
    "mqueue": "a POSIX message queue file system",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be mounted. `template` and `run_mounts` go to the forkserver as they are; do not change them."""

    template: comms_pb2.TemplatePlan
    run_mounts: tuple[comms_pb2.MountOperation, ...]
    entries: tuple[Entry, ...]
    # Targets of optional binds that were left out because the host does not have their source.
    left_out: tuple[str, ...]
    evidence: Mapping[str, Fingerprint]
    # What installed Python packages name outside of their directories and what is not shown, with the reason.
    not_followed: tuple[str, ...] = ()

    def is_current(self) -> bool:
        """Whether planning again would give the same plan: no file of the host that it rests on has changed."""
        return still_holds(self.evidence)

    def describe(self) -> list[str]:
        """Return one line for each step, in order, safe to print."""
        lines = [f"template: {entry.describe()}" for entry in self.entries if not entry.per_run]
        lines += [f"run: {entry.describe()}" for entry in self.entries if entry.per_run]
        lines += [f"left out: {quote(target)}, which the host does not have" for target in self.left_out]
        return lines + [f"left out: {text}" for text in self.not_followed]

    def binds(self) -> list[tuple[str, str, bool]]:
        """Return (path inside, host path, is a directory) of every bind, for looking up where a path comes from."""
        return [(e.target, e.source, e.kind == BIND_DIRECTORY) for e in self.entries if e.is_bind]

    def symlinks(self) -> list[tuple[str, str]]:
        """Return (path inside, what the link says) of every symbolic link."""
        return [(entry.target, entry.source) for entry in self.entries if entry.kind == SYMLINK]

    def no_execution(self) -> list[str]:
        """Return the targets from which nothing can be executed (noexec)."""
        return [e.target for e in self.entries if e.kind in (BIND_FILE, BIND_DIRECTORY, TMPFS) and not e.executable]


def plan(message: policy_pb2.Policy) -> Plan:
    """Turn a policy's `filesystem`, and its identity inside, into a plan.

    Looks at the host only for libraries, Python interpreters and optional sources; `check_sources` looks at the rest.
    PolicyError: a path is not canonical, or two mounts conflict. UnsupportedError: a kind of mount that cannot be had.
    SetupError: a program of `libraries_for_binary`, an interpreter of `python`, or what one of them needs, is missing.
    """
    filesystem = message.filesystem
    if filesystem.HasField("root"):
        raise UnsupportedError(
            "root tree", "another root than the empty one is not supported", "mount directories instead"
        )
    if filesystem.writable_root:
        remedy = "mount a tmpfs at each directory that the program writes to, for example add_tmpfs('/tmp')"
        raise UnsupportedError("writable root", "the root of the box is read-only", remedy)
    host = HostFiles()
    tree = Tree(host)
    listed = list(_explicit(filesystem))
    left_out = [entry.target for entry in listed if entry.if_exists and host.look(entry.source) is None]
    explicit = [entry for entry in listed if not entry.if_exists or host.look(entry.source) is not None]
    pythons = _interpreters(filesystem, explicit, host)
    for entry in explicit:
        if pythons is not None:
            pythons.add_above(tree, entry.target)
        tree.add(entry)
    if pythons is not None:
        pythons.add_directories(tree)
    for path in dict.fromkeys(filesystem.libraries_for_binary):
        libraries = libraries_for_binary(path)
        host.evidence.update(libraries.evidence)
        _add_libraries(tree, path, f"libraries_for_binary {quote(path)}", libraries)
    for path, origin, libraries in pythons.libraries() if pythons is not None else ():
        _add_libraries(tree, path, origin, libraries)
    made = _finish(message, tree, tuple(left_out), host.evidence)
    return made if pythons is None else replace(made, not_followed=pythons.left_out)


def _interpreters(filesystem: policy_pb2.FileSystem, explicit: list[Entry], host: HostFiles) -> Interpreters | None:
    if not filesystem.python:
        return None
    from stockade.policy.box.python_mounts import Interpreters  # most policies have none, and start without it

    return Interpreters(filesystem.python, explicit, host)


def _finish(
    message: policy_pb2.Policy, tree: Tree, left_out: tuple[str, ...], evidence: Mapping[str, Fingerprint]
) -> Plan:
    entries = tuple(tree.entries.values())
    options = message.options
    template = comms_pb2.TemplatePlan(
        host_network=message.network.mode == policy_pb2.Network.DANGER_HOST,
        leaves_host_root=not any(entry.per_run and (entry.is_bind or entry.kind == PROC) for entry in entries),
        mounts=[entry.operation() for entry in entries if not entry.per_run],
        mount_points=[
            comms_pb2.MountPoint(path=entry.target, directory=entry.kind != BIND_FILE)
            for entry in entries
            if entry.per_run and entry.above is None
        ],
        uid=0 if options.fake_root else options.uid or DEFAULT_ID,
        gid=0 if options.fake_root else options.gid or DEFAULT_ID,
    )
    run_mounts = tuple(entry.operation() for entry in entries if entry.per_run)
    return Plan(template, run_mounts, entries, left_out, evidence)


def _explicit(filesystem: policy_pb2.FileSystem) -> Iterator[Entry]:
    for index, mount in enumerate(filesystem.mounts):
        origin = f"filesystem.mounts[{index}]"
        kind = mount.WhichOneof("kind")
        check_target(mount.target, origin)
        if kind is None:
            raise PolicyError(f"{origin}: {quote(mount.target)} does not say what is mounted there", path=mount.target)
        if kind in UNSUPPORTED_KINDS:
            raise UnsupportedError(kind, f"{origin}: {UNSUPPORTED_KINDS[kind]} are not supported", path=mount.target)
        yield from _READERS[kind](mount, origin)


def _bind(mount: policy_pb2.Mount, origin: str) -> Iterator[Entry]:
    bind = mount.bind
    check_source(bind.source, origin)
    kinds = {policy_pb2.Bind.FILE: BIND_FILE, policy_pb2.Bind.DIRECTORY: BIND_DIRECTORY}
    if bind.kind not in kinds:
        raise PolicyError(f"{origin}: {quote(mount.target)} says neither FILE nor DIRECTORY", path=mount.target)
    if bind.danger_executable and not bind.writable:
        reason = "danger_executable is for writable mounts; read-only ones can be executed from anyway"
        raise PolicyError(f"{origin}: {quote(mount.target)}: {reason}", path=mount.target)
    device = bind.source in [f"/dev/{name}" for name in SAFE_DEVICES]
    yield Entry(
        kind=kinds[bind.kind],
        target=mount.target,
        origin=origin,
        source=bind.source,
        writable=bind.writable,
        executable=(bind.danger_executable or not bind.writable) and not device,
        if_exists=bind.if_exists,
        device=device,
    )


def _tmpfs(mount: policy_pb2.Mount, origin: str) -> Iterator[Entry]:
    tmpfs = mount.tmpfs
    try:
        size = parse_size(tmpfs.size) if tmpfs.size else DEFAULT_TMPFS_SIZE
    except ValueError as error:
        raise PolicyError(f"{origin}: the size of {quote(mount.target)}: {error}", path=mount.target) from None
    if size == 0:
        raise PolicyError(f"{origin}: the size of {quote(mount.target)} is 0, which means unlimited to the kernel")
    if tmpfs.mode > 0o7777 or tmpfs.inodes > LARGEST_TMPFS_INODES:
        raise PolicyError(f"{origin}: {quote(mount.target)} has a mode above 07777, or more than 2**32 inodes")
    yield _tmpfs_entry(mount.target, origin, size, tmpfs.inodes, tmpfs.mode, executable=tmpfs.danger_executable)


def _tmpfs_entry(
    target: str,
    origin: str,
    size: int = DEFAULT_TMPFS_SIZE,
    inodes: int = 0,
    mode: int = 0,
    *,
    executable: bool = False,
) -> Entry:
    return Entry(
        kind=TMPFS,
        target=target,
        origin=origin,
        size=size,
        # Two for the root and a first file, however small it is.
        inodes=inodes or max(size // 4096, 2),
        mode=mode or (0o1777 if target in STICKY_DIRECTORIES else 0o755),
        executable=executable,
    )


def _proc(mount: policy_pb2.Mount, origin: str) -> Iterator[Entry]:
    yield Entry(kind=PROC, target=mount.target, origin=origin, full=mount.proc.full)


def _dev(mount: policy_pb2.Mount, origin: str) -> Iterator[Entry]:
    if mount.dev.pts:
        raise UnsupportedError("devpts", f"{origin}: private terminals in the box are not supported", path=mount.target)
    top = mount.target
    yield _tmpfs_entry(top, origin, DEV_SIZE, DEV_INODES)
    for name in SAFE_DEVICES:
        # Read-only concerns the node, not the device: what is written to /dev/null still goes there.
        yield Entry(kind=BIND_FILE, target=f"{top}/{name}", origin=origin, source=f"/dev/{name}", device=True)
    for name, points_to in DEVICE_LINKS.items():
        yield Entry(kind=SYMLINK, target=f"{top}/{name}", origin=origin, source=points_to)
    if mount.dev.shm:
        yield _tmpfs_entry(f"{top}/shm", origin, mode=0o1777)


def _symlink(mount: policy_pb2.Mount, origin: str) -> Iterator[Entry]:
    points_to = mount.symlink.points_to
    if not points_to or "\0" in points_to or len(points_to.encode("utf-8", "replace")) > PATH_MAX_BYTES:
        raise PolicyError(f"{origin}: {quote(mount.target)} is a link to {quote(points_to)}, which no link can say")
    yield Entry(kind=SYMLINK, target=mount.target, origin=origin, source=points_to)


_READERS: dict[str, Callable[[policy_pb2.Mount, str], Iterator[Entry]]] = {
    "bind": _bind,
    "tmpfs": _tmpfs,
    "proc": _proc,
    "dev": _dev,
    "symlink": _symlink,
}


def _add_libraries(tree: Tree, path: str, origin: str, libraries: Libraries) -> None:
    proc = tree.entries.get("/proc")
    if libraries.needs_proc is not None and (proc is None or proc.kind != PROC):
        raise PolicyError(
            f"{origin}: the loader finds {quote(libraries.needs_proc)} relative to the program ($ORIGIN), whose "
            "place it reads from /proc/self/exe: add_proc() is needed",
            path=path,
        )
    for missing in libraries.missing:
        if not tree.provides(missing.name):
            raise _no_library(missing)
    for inside, source in libraries.files:
        tree.add_found(Entry(kind=BIND_FILE, target=inside, origin=origin, source=source, executable=True))
    for inside, points_to in libraries.symlinks:
        tree.add_found(Entry(kind=SYMLINK, target=inside, origin=origin, source=points_to))
    for inside in libraries.directories:
        if not any(is_within(inside, target) for target, entry in tree.entries.items() if entry.kind == BIND_FILE):
            tree.add_found(Entry(kind=DIRECTORY, target=inside, origin=origin, mode=0o755))


def _no_library(missing: Missing) -> SetupError:
    from stockade.policy.box.ld_configuration import CONFIGURATION, directory_with  # only needed for an error

    detail = f"{quote(missing.needed_by)} needs it, and the loader would not find it on this host"
    hint = "install it, run ldconfig, or mount it with add_file()"
    directory = directory_with(missing.name)
    if directory is not None:
        hint = (
            f"it lies in {quote(directory)}, which {CONFIGURATION} lists, but not in the cache that the loader reads: "
            "run ldconfig"
        )
    return SetupError("find_libraries", errno.ENOENT, missing.name, hint, detail=detail)
