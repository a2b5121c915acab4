"""Who the sandboxee is: id maps of the two user namespaces, groups, capabilities. user_namespaces(7)."""

from __future__ import annotations

import os

from stockade.kernel.capabilities import drop_all_capabilities
from stockade.kernel.process import PR_SET_DUMPABLE, prctl, read_small_file, write_small_file
from stockade.sandboxee.steps import Step

# Run by root, the sandboxee is this unprivileged host user and group ("nobody").
NOBODY = 65534
# Ids inside, unless the policy asks for others.
DEFAULT_ID = 1000

DUMPABLE = 1
NOT_DUMPABLE = 0


def host_ids() -> tuple[int, int]:
    """(uid, gid) that the sandboxee has on the host: the caller's own, or nobody's when the caller is root."""
    uid, gid = os.geteuid(), os.getegid()
    return (uid or NOBODY, gid or NOBODY)


def set_dumpable(value: int) -> None:
    """PR_SET_DUMPABLE: only a dumpable process can be traced, or have its /proc files opened, by its own uid."""
    prctl(PR_SET_DUMPABLE, value)


def write_id_maps(directory: int | None, pid: str, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    """Map one uid and one gid into the user namespace of the process `pid` ("self" or a number).

    `directory` is a descriptor of /proc/<pid>, or None to go through /proc. setgroups is denied first, which a writer
    without privilege must do, and which nobody inside needs any more.
    """
    base = "" if directory is not None else f"/proc/{pid}/"
    with Step("id_map", f"setgroups of {pid}"):
        write_small_file(f"{base}setgroups", b"deny", directory)
    for name, inner, outer in (("uid_map", inside[0], outside[0]), ("gid_map", inside[1], outside[1])):
        with Step("id_map", f"{name} of {pid}: {inner} {outer} 1"):
            write_small_file(f"{base}{name}", b"%d %d 1" % (inner, outer), directory)


def become(uid: int, gid: int) -> None:
    """Change to the mapped ids of the caller's user namespace."""
    with Step("identity", f"gid {gid}"):
        os.setresgid(gid, gid, gid)
    with Step("identity", f"uid {uid}"):
        os.setresuid(uid, uid, uid)


def drop_capabilities() -> None:
    """Give up every capability."""
    with Step("capabilities"):
        drop_all_capabilities()


def own_oom_score() -> None:
    """The sandboxee is never protected from the out-of-memory killer, even if the caller is."""
    with Step("oom_score_adj"):
        if int(read_small_file("/proc/self/oom_score_adj")) < 0:
            write_small_file("/proc/self/oom_score_adj", b"0")
