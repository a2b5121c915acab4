"""The union of the mounts of two policies: the wider of two mounts of the same thing at one place."""

from __future__ import annotations

from collections.abc import Sequence

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.box.paths import is_beneath
from stockade.policy.meaning.diff_mounts import normal_mount
from stockade.policy.validate_files import describe, may_hold_mounts
from stockade.text import quote

_Mount = policy_pb2.Mount
# Switches of which the one that is on gives more, by kind of mount.
_SWITCHES = {
    "bind": ("writable", "if_exists", "danger_executable"),
    "tmpfs": ("danger_executable",),
    "proc": ("full",),
    "dev": ("pts", "shm"),
}


def merge_mounts(first: Sequence[_Mount], second: Sequence[_Mount], notes: list[str]) -> list[_Mount]:
    """Give all mounts of both, parents before what lies beneath them; `notes` gets what one should know.

    Raises PolicyError, naming both, for different things at one place, and for a mount that would have no place.
    """
    merged = {mount.target: mount for mount in first}
    for mount in second:
        present = merged.get(mount.target)
        merged[mount.target] = mount if present is None else _wider(present, mount, notes)
    targets = [{each.target for each in part} for part in (first, second)]
    for mount in list(merged.values()):
        for target, above in list(merged.items()):
            if not is_beneath(mount.target, target):
                continue
            if not may_hold_mounts(above):
                raise PolicyError(f"{describe(mount)} lies beneath {describe(above)}, which is no directory")
            together = any({mount.target, target} <= part for part in targets)
            if not together and mount.target in merged:
                _beneath(mount, above, merged, notes)
    return sorted(merged.values(), key=lambda mount: mount.target.count("/"))


def _beneath(mount: _Mount, above: _Mount, merged: dict[str, _Mount], notes: list[str]) -> None:
    """Deal with a mount of one policy inside one of the other: needless if that shows the same, else worth a note."""
    same = mount.WhichOneof("kind") == above.WhichOneof(
        "kind"
    ) == "bind" and mount.bind.source == above.bind.source.rstrip("/") + mount.target.removeprefix(above.target)
    if not same:
        notes.append(f"{describe(mount)} hides a part of {describe(above)}")
    elif above.bind.writable and not mount.bind.writable:
        # Left in, it would take away what the other policy lets the program write.
        del merged[mount.target]
        notes.append(
            f"{describe(mount)} is left out: {describe(above)} shows the same, writable{_not_executable(above)}"
        )
    elif mount.bind.writable and not above.bind.writable:
        notes.append(f"{describe(mount)} is the writable part of {describe(above)}{_not_executable(mount)}")


def _wider(first: _Mount, second: _Mount, notes: list[str]) -> _Mount:
    """Give the wider of two mounts at one place."""
    one, other = normal_mount(first), normal_mount(second)
    if one == other:
        return first
    kind = first.WhichOneof("kind")
    merged = _Mount()
    merged.CopyFrom(first)
    if kind == second.WhichOneof("kind") and kind is not None:
        for name in _SWITCHES.get(kind, ()):
            value = getattr(getattr(first, kind), name) or getattr(getattr(second, kind), name)
            for each in (merged, one, other):
                setattr(getattr(each, kind), name, value)
        if kind == "tmpfs":
            larger = max((first, second), key=lambda mount: int(normal_mount(mount).tmpfs.size))
            for each in (merged, one, other):
                each.tmpfs.size = larger.tmpfs.size
            # 0 means as many as fit the size, which may be more or fewer than another policy names.
            inodes = 0 if 0 in (one.tmpfs.inodes, other.tmpfs.inodes) else max(one.tmpfs.inodes, other.tmpfs.inodes)
            for each in (merged, one, other):
                each.tmpfs.inodes = inodes
    if one != other:
        raise PolicyError(
            f"the policies mount different things at one place: {describe(first)} and {describe(second)}",
            path=first.target,
        )
    notes.append(f"{quote(first.target)}: {describe(merged)} holds, the wider of the two{_lost(first, second, merged)}")
    return merged


def _lost(first: _Mount, second: _Mount, merged: _Mount) -> str:
    return _not_executable(merged) if first.bind.writable != second.bind.writable else ""


def _not_executable(mount: _Mount) -> str:
    """Say what a writable bind cannot do and a read-only one can."""
    if mount.WhichOneof("kind") != "bind" or mount.bind.danger_executable:
        return ""
    return "; nothing can be executed from it, because it is writable"
