"""What differs between the mounts of two policies, by the place inside. Their order means nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from stockade._proto import policy_pb2
from stockade.policy.box.paths import is_beneath
from stockade.policy.validate_files import describe, may_hold_mounts
from stockade.text import quote
from stockade.units import parse_size

# (kind, path of the field, what is different), as in `diff_fields.FieldChange`.
Found: TypeAlias = tuple[str, str, str]
_Mount = policy_pb2.Mount

DEFAULT_TMPFS_SIZE = 64 << 20
# Switches that give more when they are on, by kind of mount, with what they give.
_SWITCHES = {
    "bind": {"writable": "writable", "danger_executable": "executable although it is writable"},
    "tmpfs": {"danger_executable": "executable although it is writable"},
    "proc": {"full": "a full /proc"},
    "dev": {"pts": "with pseudo-terminals", "shm": "with shared memory"},
}
_STICKY = ("/tmp", "/var/tmp", "/dev/shm")


def mount_changes(old: Sequence[_Mount], new: Sequence[_Mount]) -> Iterator[Found]:
    """Compare mounts. More, larger, writable and executable is "allowed"; another thing at a place is "changed"."""
    before, after = ({mount.target: mount for mount in mounts} for mounts in (old, new))
    for target, mount in after.items():
        what = f"filesystem.mounts ({quote(target)})"
        if target not in before:
            kind = "changed" if _hides(mount, before) else "allowed"
            yield kind, what, f"{describe(mount)} is mounted"
        else:
            yield from ((kind, what, text) for kind, text in _one(before[target], mount))
    for target, mount in before.items():
        if target not in after:
            kind = "changed" if _hides(mount, after) else "refused"
            yield kind, f"filesystem.mounts ({quote(target)})", f"{describe(mount)} is no longer mounted"


def _hides(mount: _Mount, others: dict[str, _Mount]) -> bool:
    """Say whether a mount covers, or is there to cover, a part of another one: then it also takes something away."""
    if mount.WhichOneof("kind") == "mask":
        return True
    return any(is_beneath(mount.target, target) and may_hold_mounts(other) for target, other in others.items())


def _one(before: _Mount, after: _Mount) -> Iterator[tuple[str, str]]:
    """Compare two mounts at one place."""
    before, after = normal_mount(before), normal_mount(after)
    if before == after:
        return
    kind = before.WhichOneof("kind")
    where = quote(before.target)
    old, new = _Mount(), _Mount()
    old.CopyFrom(before)
    new.CopyFrom(after)
    if kind == after.WhichOneof("kind") and kind is not None:
        for name, meaning in _SWITCHES.get(kind, {}).items():
            values = [getattr(getattr(each, kind), name) for each in (old, new)]
            if values[0] != values[1]:
                yield (
                    ("allowed", f"{where} is now {meaning}")
                    if values[1]
                    else ("refused", f"{where} is not {meaning} now")
                )
            for each in (old, new):
                getattr(each, kind).ClearField(name)
        if kind == "tmpfs" and old.tmpfs.size != new.tmpfs.size:
            larger = int(new.tmpfs.size) > int(old.tmpfs.size)
            texts = [each.tmpfs.size or "64M" for each in (before, after)]
            yield "allowed" if larger else "refused", f"the tmpfs {where} had {texts[0]} bytes, and has {texts[1]}"
            new.tmpfs.size = old.tmpfs.size
        if kind == "tmpfs" and _inodes(before) == _inodes(after):
            new.tmpfs.inodes = old.tmpfs.inodes
    if old != new:
        details = "" if describe(before) != describe(after) else ": its details differ"
        yield "changed", f"{describe(before)} becomes {describe(after)}{details}"


def _inodes(mount: _Mount) -> int:
    """Give the number of inodes of a tmpfs as it is written, or what 0 stands for."""
    return mount.tmpfs.inodes or max(int(mount.tmpfs.size) // 4096, 2)


def normal_mount(mount: _Mount) -> _Mount:
    """Give a mount with its defaults written out, so that equal ones are equal messages. Sizes are in bytes."""
    normal = _Mount()
    normal.CopyFrom(mount)
    if normal.WhichOneof("kind") == "tmpfs":
        tmpfs = normal.tmpfs
        size = parse_size(tmpfs.size) if tmpfs.size else DEFAULT_TMPFS_SIZE
        tmpfs.size = str(size)
        tmpfs.mode = tmpfs.mode or (0o1777 if mount.target in _STICKY else 0o755)
    elif normal.WhichOneof("kind") == "generated":
        normal.generated.mode = normal.generated.mode or 0o444
    return normal
