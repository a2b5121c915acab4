"""What can be said against the file system, network and options of a policy message. See `validate`."""

from __future__ import annotations

from collections.abc import Iterator

from stockade._proto import policy_pb2
from stockade.policy.box.paths import is_beneath, path_problem, source_problem, target_problem
from stockade.policy.finding import FieldPath, Finding, beneath
from stockade.text import quote
from stockade.units import parse_size

# Longest host name (utsname(7): 64 characters with its NUL in the kernel's __NEW_UTS_LEN).
_UTS_LENGTH = 64
# Kinds of mounts in which there is no place for a mount point.
_LEAVES = ("symlink", "generated", "mask", "proc", "mqueue")


def filesystem_findings(message: policy_pb2.FileSystem) -> Iterator[Finding]:
    """Give the problems of the mounts, one by one and among one another."""
    for index, mount in enumerate(message.mounts):
        yield from beneath(("mounts", index), mount_findings(mount))
    yield from _conflicts(list(message.mounts))
    for index, path in enumerate(message.libraries_for_binary):
        yield from beneath(("libraries_for_binary", index), binary_findings(path))
    for index, path in enumerate(message.python):
        yield from beneath(("python", index), python_findings(path))
    if message.HasField("root"):
        problem = path_problem(message.root.source, "source")
        if problem:
            yield Finding(("root", 0, "source", 0), problem)


def binary_findings(path: str) -> Iterator[Finding]:
    """Give the problems of the path of a binary whose libraries are wanted."""
    problem = path_problem(path, "binary") or ("the binary is a directory" if path == "/" else None)
    if problem:
        yield Finding((), problem)


def python_findings(path: str) -> Iterator[Finding]:
    """Give the problems of the path of a Python interpreter that is wanted with all that it needs."""
    problem = path_problem(path, "interpreter") or ("the interpreter is a directory" if path == "/" else None)
    if problem:
        yield Finding((), problem)


def mount_findings(mount: policy_pb2.Mount) -> Iterator[Finding]:
    """Give the problems of one mount."""
    kind = mount.WhichOneof("kind")
    problem = target_problem(mount.target)
    # A bind shows at the path of its source unless told otherwise: then the source is what is wrong.
    if problem and not (kind == "bind" and mount.bind.source == mount.target and source_problem(mount.target)):
        yield Finding(("target", 0), problem)
    if kind is None:
        yield Finding((), f"the mount at {quote(mount.target)} does not say what is mounted: bind, tmpfs, proc, dev …")
    elif kind == "bind":
        yield from beneath(("bind", 0), _bind_findings(mount.bind))
    elif kind == "tmpfs":
        yield from beneath(("tmpfs", 0), _size_findings(mount.tmpfs.size))
        if mount.tmpfs.mode & ~0o1777:
            yield Finding(("tmpfs", 0, "mode", 0), f"mode {mount.tmpfs.mode:#o} has other bits than 01777")
    elif kind == "symlink":
        points_to = mount.symlink.points_to
        if not points_to or "\0" in points_to or len(points_to.encode()) > 4095:
            yield Finding(("symlink", 0, "points_to", 0), f"a symbolic link cannot point to {quote(points_to)}")
    elif kind == "overlay":
        problem = source_problem(mount.overlay.source)
        if problem:
            yield Finding(("overlay", 0, "source", 0), problem)
        yield from beneath(("overlay", 0), _size_findings(mount.overlay.size))


def _bind_findings(bind: policy_pb2.Bind) -> Iterator[Finding]:
    problem = source_problem(bind.source)
    if problem:
        yield Finding(("source", 0), problem)
    if bind.kind not in (policy_pb2.Bind.FILE, policy_pb2.Bind.DIRECTORY):
        yield Finding((("kind", 0) if bind.kind else ()), "a bind mount needs `kind: FILE` or `kind: DIRECTORY`")
    if bind.danger_executable and not bind.writable:
        yield Finding(
            ("danger_executable", 0), "danger_executable is for writable mounts; read-only ones allow execution anyway"
        )


def _size_findings(size: str) -> Iterator[Finding]:
    try:
        if size and parse_size(size) == 0:
            yield Finding(("size", 0), "a size of 0 would mean no limit at all: write the size that is wanted")
    except ValueError as error:
        yield Finding(("size", 0), str(error))


def _conflicts(mounts: list[policy_pb2.Mount]) -> Iterator[Finding]:
    """Find targets that are mounted twice in different ways, hidden by a later mount, or beneath a file."""
    seen: dict[str, policy_pb2.Mount] = {}
    for index, mount in enumerate(mounts):
        path: FieldPath = ("mounts", index, "target", 0)
        earlier = seen.get(mount.target)
        if earlier is not None and earlier != mount:
            yield Finding(path, f"{quote(mount.target)} is mounted twice: {describe(earlier)} and {describe(mount)}")
        for target, other in seen.items():
            if is_beneath(target, mount.target) and mount.target not in seen:
                yield Finding(path, f"{describe(mount)} would hide {describe(other)}: put it first")
            elif is_beneath(mount.target, target) and not may_hold_mounts(other):
                yield Finding(path, f"{describe(mount)} lies beneath {describe(other)}, which is no directory")
        seen.setdefault(mount.target, mount)


def may_hold_mounts(mount: policy_pb2.Mount) -> bool:
    """Say whether other mounts may lie beneath this one: it is a directory."""
    kind = mount.WhichOneof("kind")
    return kind not in _LEAVES and not (kind == "bind" and mount.bind.kind == policy_pb2.Bind.FILE)


def describe(mount: policy_pb2.Mount) -> str:
    """Describe a mount in a few words: /etc/hosts (file /srv/hosts, read-only)."""
    kind = mount.WhichOneof("kind")
    if kind == "bind":
        what = "directory" if mount.bind.kind == policy_pb2.Bind.DIRECTORY else "file"
        writable = "writable" if mount.bind.writable else "read-only"
        return f"{quote(mount.target)} ({what} {quote(mount.bind.source)}, {writable})"
    if kind == "symlink":
        return f"{quote(mount.target)} (symbolic link to {quote(mount.symlink.points_to)})"
    if kind == "tmpfs":
        return f"{quote(mount.target)} (tmpfs of {mount.tmpfs.size or '64M'})"
    return f"{quote(mount.target)} ({kind})"


def network_findings(message: policy_pb2.Network) -> Iterator[Finding]:
    """Give the problems of the network part."""
    if message.mode not in policy_pb2.Network.Mode.values():
        yield Finding(("mode", 0), f"unknown network mode {int(message.mode)}")
    elif message.allow and message.mode != policy_pb2.Network.BROKERED:
        yield Finding(("allow", 0), "destinations can be allowed with `mode: BROKERED` only")


def options_findings(message: policy_pb2.Options) -> Iterator[Finding]:
    """Give the problems of the options."""
    for field in ("hostname", "domainname"):
        problem = uts_problem(getattr(message, field))
        if problem:
            yield Finding((field, 0), problem)


def uts_problem(name: str) -> str | None:
    """Say what is wrong with a host or domain name (uts_namespaces(7)), or None. Empty means the default."""
    if len(name.encode("utf-8", "surrogatepass")) > _UTS_LENGTH:
        return f"the name {quote(name)} is longer than {_UTS_LENGTH} bytes"
    if name and not (name.isascii() and name.isprintable() and " " not in name):
        return f"the name {quote(name)} is not printable ASCII without blanks"
    return None
