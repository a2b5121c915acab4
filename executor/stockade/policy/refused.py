"""System calls that are refused in every policy, whatever its groups and its default action say.

One row for each family of calls, with the reason that reports show and the name of the danger it belongs to. Rows stand
in every policy before the first rule that would let such a call run; a rule that answers an error number may stand
before them, because then the call is still not run.

A policy can reopen a danger by its name (`danger_reopened`): then the rows of that danger are left out, and its rules
decide. That allows nothing by itself. Rows that are permanent stay: without them the monitor could be deceived.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from stockade.kernel.architectures import ARCHITECTURES, Architecture
from stockade.policy.rules import KILL, Action, Kind, Op, Origin, ResolvedCondition, ResolvedRule

PLACE = "always refused"


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """Calls that are refused when all conditions hold. `danger` names the family, `reason` is one clause for people.

    A `permanent` row is not reopened with its danger.
    """

    danger: str
    syscalls: tuple[str, ...]
    reason: str
    conditions: tuple[ResolvedCondition, ...] = ()
    action: Action = KILL
    permanent: bool = False


# What reopening each danger means, for people who review a policy that does.
DANGERS: Mapping[str, str] = MappingProxyType(
    {
        "ptrace": "control other processes of the box, read and write their memory, take their open files",
        "bpf": "load programs and maps into the kernel",
        "io_uring": "perform other system calls that pass no filter",
        "userfaultfd": "stop the kernel in the middle of reading memory",
        "perf": "profile the kernel",
        "keyrings": "use keys of the kernel, which no namespace keeps apart",
        "mount": "change what the file system of the box looks like, as far as the program has the capability",
        "namespaces": "make and enter namespaces, in which the program has capabilities and reaches more of the kernel",
        "untraced": "make processes that the monitor cannot see; the filter still holds for them",
        "clone3": "make processes with flags that no filter can check, namespaces and CLONE_UNTRACED among them",
        "kernel_code": "replace code of the kernel, as far as the program has the capability",
        "file_handles": "open files past the root of the box, as far as the program has the capability",
        "fanotify": "watch, and stop, file accesses of other processes",
        "administration": "administer the machine, as far as the program has the capability",
        "clock": "set the clock of the machine, as far as the program has the capability",
        "hardware": "reach I/O ports, as far as the program has the capability",
        "segments": "change how the processor sees memory, in rarely used kernel code",
        "uselib": "map libraries by a long obsolete way",
        "terminal": "type and paste into terminals, and load line disciplines and key maps",
        "filters": "install further system-call filters, but none that notifies",
        "process_image": "change what the kernel says about the program",
        "syscall_dispatch": "divert system calls of the program before any filter sees them",
    }
)


def _row(
    danger: str,
    syscalls: str,
    reason: str,
    *conditions: ResolvedCondition,
    action: Action = KILL,
    permanent: bool = False,
) -> RefusedRow:
    return RefusedRow(danger, tuple(syscalls.split()), reason, conditions, action, permanent)


def _is(argument: int, value: int) -> ResolvedCondition:
    return ResolvedCondition(argument, 32, Op.EQUAL, (value,))


def _has_any(argument: int, width: int, bits: int) -> ResolvedCondition:
    return ResolvedCondition(argument, width, Op.NOT_MASKED, (0,), bits)


# linux/sched.h. clone takes its flags from the low 32 bits, of which the low 8 are the exit signal, so that
# CLONE_NEWTIME (0x80) means nothing there. All its bits are in use: no further kind of namespace can come by it.
_CLONE_NEW = (
    0x00020000  # CLONE_NEWNS
    | 0x02000000  # CLONE_NEWCGROUP
    | 0x04000000  # CLONE_NEWUTS
    | 0x08000000  # CLONE_NEWIPC
    | 0x10000000  # CLONE_NEWUSER
    | 0x20000000  # CLONE_NEWPID
    | 0x40000000  # CLONE_NEWNET
)
_CLONE_UNTRACED = 0x00800000
# What unshare can do without a namespace: CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM. Any other bit is a namespace
# (CLONE_NEWTIME among them) or will be one in a newer kernel.
_UNSHARE_HARMLESS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000

REFUSED: tuple[RefusedRow, ...] = (
    _row("ptrace", "ptrace", "it controls other processes, and only the monitor may"),
    _row(
        "ptrace",
        "process_vm_readv process_vm_writev",
        "it reads or writes the memory of other processes",
    ),
    _row("ptrace", "pidfd_getfd", "it takes open files out of other processes"),
    _row("ptrace", "kcmp", "it compares kernel objects of other processes"),
    _row("ptrace", "prctl", "PR_SET_PTRACER lets other processes trace this one", _is(0, 0x59616D61)),
    _row("bpf", "bpf", "it loads programs and maps into the kernel"),
    _row(
        "io_uring",
        "io_uring_setup io_uring_enter io_uring_register",
        "it performs other system calls, which then pass no filter",
    ),
    _row(
        "userfaultfd", "userfaultfd", "it stops the kernel in the middle of reading memory, which helps attacks on it"
    ),
    _row("perf", "perf_event_open lookup_dcookie", "it profiles the kernel, and is a large target in it"),
    _row("keyrings", "keyctl add_key request_key", "keys of the kernel are not kept apart by namespaces"),
    _row(
        "mount",
        "mount umount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick "
        "mount_setattr",
        "it changes what the file system of the box looks like",
    ),
    _row("namespaces", "setns", "it enters other namespaces"),
    _row(
        "namespaces",
        "unshare",
        "its flags ask for a new namespace, in which more of the kernel can be reached",
        _has_any(0, 64, (1 << 64) - 1 & ~_UNSHARE_HARMLESS),
    ),
    _row(
        "namespaces",
        "clone",
        "its flags ask for a new namespace, in which more of the kernel can be reached",
        _has_any(0, 32, _CLONE_NEW),
    ),
    _row(
        "untraced",
        "clone",
        "CLONE_UNTRACED makes a process that the monitor cannot see",
        _has_any(0, 32, _CLONE_UNTRACED),
    ),
    _row(
        "clone3",
        "clone3",
        "its flags lie in memory, where no filter can check them; with ENOSYS the C library uses clone",
        action=Action(Kind.ERRNO, errno.ENOSYS),
    ),
    _row(
        "kernel_code",
        "init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load kexec_file_load",
        "it replaces code of the kernel",
    ),
    _row("file_handles", "open_by_handle_at", "it opens files past the root of the box"),
    _row("fanotify", "fanotify_init", "it watches, and can stop, file accesses of other processes"),
    _row(
        "administration",
        "swapon swapoff quotactl quotactl_fd nfsservctl acct reboot vhangup sethostname setdomainname",
        "it administers the machine",
    ),
    _row("administration", "syslog", "it reads and clears the log of the kernel"),
    _row("clock", "settimeofday stime clock_settime clock_adjtime adjtimex", "it sets the clock of the machine"),
    _row("hardware", "iopl ioperm", "it reaches I/O ports"),
    _row("segments", "modify_ldt vm86 vm86old", "it changes how the processor sees memory, in rarely used kernel code"),
    _row("uselib", "uselib", "it maps libraries by a long obsolete way that few checks cover"),
    _row("terminal", "ioctl", "TIOCSTI types into the terminal", _is(1, 0x5412)),
    _row("terminal", "ioctl", "TIOCLINUX pastes into the console", _is(1, 0x541C)),
    _row("terminal", "ioctl", "TIOCSETD loads line disciplines into the kernel", _is(1, 0x5423)),
    _row("terminal", "ioctl", "KDSKBENT changes the key map of the console", _is(1, 0x4B47)),
    _row("terminal", "ioctl", "KDSKBSENT changes the key map of the console", _is(1, 0x4B49)),
    _row(
        "filters",
        "seccomp",
        "SECCOMP_FILTER_FLAG_NEW_LISTENER lets the program itself answer calls that the policy refuses",
        _is(0, 1),  # SECCOMP_SET_MODE_FILTER
        _has_any(1, 32, 1 << 3),
        permanent=True,
    ),
    _row(
        "filters",
        "seccomp",
        "a further filter could forge what the monitor is told",
        ResolvedCondition(0, 32, Op.LESS_OR_EQUAL, (1,)),  # SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER
    ),
    _row(
        "filters",
        "seccomp",
        "the operation is newer than this version of stockade",
        ResolvedCondition(0, 32, Op.GREATER, (3,)),  # after SECCOMP_GET_NOTIF_SIZES
        permanent=True,
    ),
    _row("filters", "prctl", "PR_SET_SECCOMP adds a filter, which could forge what the monitor is told", _is(0, 22)),
    _row("process_image", "prctl", "PR_SET_MM changes what the kernel says about the program", _is(0, 35)),
    _row("syscall_dispatch", "prctl", "PR_SET_SYSCALL_USER_DISPATCH hides system calls", _is(0, 59)),
)


def rules_for(architecture: Architecture, reopened: Iterable[str] = ()) -> dict[str, tuple[ResolvedRule, ...]]:
    """Give the rows as rules, by name of the call, for the calls that `architecture` has. Do not change the result.

    The rows of the dangers in `reopened` are left out, but for the permanent ones.
    """
    return _rules_for(architecture.name, frozenset(reopened))


@cache
def _rules_for(name: str, reopened: frozenset[str]) -> dict[str, tuple[ResolvedRule, ...]]:
    architecture = ARCHITECTURES[name]
    found: dict[str, tuple[ResolvedRule, ...]] = {}
    for row in REFUSED:
        for syscall in row.syscalls if row.permanent or row.danger not in reopened else ():
            number = architecture.syscalls.get(syscall)
            if number is not None:
                subject = f"{syscall} with such arguments" if row.conditions else syscall
                origin = Origin(PLACE, f"{subject} is always refused: {row.reason}")
                rule = ResolvedRule(syscall, number, row.conditions, row.action, origin, row.danger)
                found[syscall] = (*found.get(syscall, ()), rule)
    return found


def refused_rule(
    syscall: str, arguments: Sequence[int], architecture: Architecture, reopened: Iterable[str] = ()
) -> ResolvedRule | None:
    """Give the row that refuses a call with these six registers, or None: then a policy may allow it."""
    for rule in rules_for(architecture, reopened).get(syscall, ()):
        if rule.matches(arguments):
            return rule
    return None
