"""Failures of the set-up that mean "this host refuses a layer", and the knob that changes it."""

from __future__ import annotations

import os

EPERM, ENOMEM, EACCES, EBUSY, EINVAL, ENOSPC, ENOSYS = 1, 12, 13, 16, 22, 28, 38

_USER_NAMESPACES = (
    "enable them: `sysctl user.max_user_namespaces=10000`, on Debian `sysctl kernel.unprivileged_userns_clone=1`, on "
    "Ubuntu `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a container allow them in its seccomp and "
    "AppArmor profile (Docker: `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`)"
)
_COUNTS = (
    "a limit on the number of namespaces is 0 or reached; raise `sysctl user.max_user_namespaces=10000`, and likewise "
    "max_mnt_namespaces, max_pid_namespaces, max_net_namespaces, max_ipc_namespaces, max_uts_namespaces and "
    "max_cgroup_namespaces"
)
_TRACING = (
    "run this outside of the debugger, strace or other tracer that follows it; otherwise allow tracing of own "
    "children: `sysctl kernel.yama.ptrace_scope=1` (from 3 only by /etc/sysctl.conf and a restart of the machine), or "
    "in a container `--cap-add SYS_PTRACE`"
)
_KERNEL = "stockade needs Linux 5.17 or newer with namespaces and seccomp"
_TOO_LONG = (
    "the filters under which this process runs already, and the policy's own, are together longer than the kernel "
    "takes (32768 instructions, and 4 for each filter): shorten the policy, or leave the other sandbox first"
)
_OTHER_LISTENER = (
    "this process runs in a sandbox that uses seccomp user notification itself (a container, another run of stockade), "
    'and the kernel allows one such monitor only: use monitor="ptrace"'
)
_NO_LISTENER = 'the listener of the filter cannot be had here: use monitor="ptrace"'
_OLD_OR_FILTERED = (
    f"{_KERNEL}; where the kernel is new enough, a filter of the container that this runs in refuses the call (Docker: "
    "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`)"
)

# (step, errors) → (layer, remedy)
_REMEDIES: tuple[tuple[str, frozenset[int], str, str], ...] = (
    ("unshare", frozenset((ENOSPC,)), "user namespaces", _COUNTS),
    ("unshare", frozenset((EPERM, EINVAL, ENOSYS)), "user namespaces", _USER_NAMESPACES),
    ("id_map", frozenset((EPERM,)), "user namespaces", _USER_NAMESPACES),
    ("clone", frozenset((ENOSPC,)), "namespaces", _COUNTS),
    ("clone", frozenset((EPERM, EINVAL)), "namespaces", _USER_NAMESPACES),
    ("proc", frozenset((EPERM,)), "proc", "the host's /proc is masked (as in a container); leave out add_proc"),
    ("seccomp", frozenset((EINVAL, ENOSYS)), "seccomp", _KERNEL),
    ("seccomp", frozenset((ENOMEM,)), "seccomp", _TOO_LONG),
    ("seccomp", frozenset((EBUSY,)), "unotify monitor", _OTHER_LISTENER),
    ("listener", frozenset((EPERM, EACCES, ENOSYS)), "unotify monitor", _NO_LISTENER),
    ("filter_of_init", frozenset((ENOMEM,)), "seccomp", _TOO_LONG),
    ("filter_of_init", frozenset((EPERM, EINVAL, ENOSYS)), "seccomp", _OLD_OR_FILTERED),
    ("mount_root", frozenset((EPERM, ENOSYS)), "mount namespaces", _OLD_OR_FILTERED),
    ("private_mounts", frozenset((EPERM, EINVAL, ENOSYS)), "mount_setattr", _OLD_OR_FILTERED),
    ("open_source", frozenset((EPERM, ENOSYS)), "open_tree", _OLD_OR_FILTERED),
    ("mount", frozenset((EPERM, ENOSYS)), "move_mount", _OLD_OR_FILTERED),
    ("mount_attributes", frozenset((EPERM, EINVAL, ENOSYS)), "mount_setattr", _OLD_OR_FILTERED),
    ("idmap", frozenset((EPERM, EINVAL)), "id-mapped mount", "give the program a copy that its uid can use"),
    ("seize", frozenset((EPERM,)), "ptrace", _TRACING),
)


def remedy(step: str, errno: int) -> tuple[str, str] | None:
    """(layer, remedy) when a failure of `step` with `errno` means that the host refuses a layer, else None."""
    for known, errors, layer, text in _REMEDIES:
        if known == step and errno in errors:
            return layer, text
    return None


def reason(errno: int, path: str, detail: str) -> str:
    """What the kernel said, as one clause."""
    said = detail or (os.strerror(errno) if errno else "failed")
    return f"{path}: {said}" if path else said
