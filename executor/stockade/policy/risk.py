"""How much a call gives away when a policy allows it: low, medium or high, with one sentence why.

By family of calls, by single call for those that are alone, and finer by argument for calls that do many things. A test
proves that every call of every architecture is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stockade.policy.families import family_of

LOW, MEDIUM, HIGH = "low", "medium", "high"
LEVELS = (LOW, MEDIUM, HIGH)


@dataclass(frozen=True, slots=True)
class Risk:
    """A level, and one sentence why."""

    level: str
    reason: str


_OWN_STATE = Risk(LOW, "It concerns the calling process alone.")
_READS = Risk(LOW, "It reads or asks, and changes nothing.")
_DESCRIPTORS = Risk(LOW, "It works on descriptors that the program already has.")
_MEMORY = Risk(LOW, "It concerns the program's own memory, and gives no new way to run code.")
_WAITS = Risk(LOW, "It only waits.")
_CHANGES_FILES = Risk(MEDIUM, "It changes files wherever a mount is writable.")
_OPENS = Risk(MEDIUM, "It opens whatever the mounts show, and can create and change files where a mount is writable.")
_SIGNALS = Risk(MEDIUM, "It can signal every process of the box.")
_PROCESSES = Risk(MEDIUM, "It makes further processes, which the limits must cover.")
_IPC = Risk(MEDIUM, "It reaches other processes of the same box, through kernel objects that outlive a process.")
_RESOURCES = Risk(MEDIUM, "It takes memory or time of the machine that the limits may not cover.")
_IDENTITY = Risk(MEDIUM, "It changes the identity of the process; it has no capability, so little can be gained.")
_NETWORK = Risk(HIGH, "It reaches whatever network the box has.")
_EXECUTES = Risk(HIGH, "It runs other programs with all that the policy allows.")
_KERNEL = Risk(HIGH, "It reaches a large or rarely used part of the kernel.")
_MACHINE = Risk(HIGH, "It is meant for administering the machine.")

_BY_FAMILY: dict[str, Risk] = {
    **dict.fromkeys(
        ("stat", "stat of mounts", "access", "readdir", "readlink", "get xattr", "get time", "user ids", "group ids"),
        _READS,
    ),
    **dict.fromkeys(
        ("process ids", "process groups", "get limits", "usage", "get scheduling", "priorities", "affinity"), _READS
    ),
    **dict.fromkeys(("socket names", "memory nodes"), _READS),
    **dict.fromkeys(("close", "read", "write", "copy", "dup", "pipe", "eventfd", "signalfd", "timerfd"), _DESCRIPTORS),
    **dict.fromkeys(("epoll create", "epoll control", "sync", "read ahead"), _DESCRIPTORS),
    **dict.fromkeys(("select", "poll", "epoll wait", "sleep", "signal waiting", "wait"), _WAITS),
    **dict.fromkeys(("unmap", "advise memory", "memory keys", "futex", "robust futexes", "sequences"), _MEMORY),
    **dict.fromkeys(("chdir", "exit", "signal actions", "interval timers", "posix timers", "capabilities"), _OWN_STATE),
    **dict.fromkeys(("thread areas", "landlock", "security"), _OWN_STATE),
    **dict.fromkeys(("link", "symlink", "unlink", "rename", "mkdir", "mknod", "chmod", "chown"), _CHANGES_FILES),
    **dict.fromkeys(("utime", "truncate", "set xattr", "file attributes"), _CHANGES_FILES),
    **dict.fromkeys(("open", "open by handle"), _OPENS),
    **dict.fromkeys(("kill", "pidfd"), _SIGNALS),
    **dict.fromkeys(("inotify", "set groups"), Risk(MEDIUM, "It shows or changes how processes of the box act.")),
    "fork": _PROCESSES,
    "map": Risk(HIGH, "It can map memory and files in any way, also writable and executable."),
    "protect": Risk(HIGH, "It can change the protection of memory in any way, also to executable."),
    "memory files": Risk(
        MEDIUM, "It makes files in memory, from which code can be run if running programs is allowed."
    ),
    **dict.fromkeys(("lock memory", "asynchronous io", "io priority", "niceness", "set scheduling"), _RESOURCES),
    **dict.fromkeys(("semaphores", "shared memory", "message queues", "posix queues"), _IPC),
    **dict.fromkeys(("set user ids", "set group ids"), _IDENTITY),
    **dict.fromkeys(("socket", "accept", "bind", "socket options", "send", "receive"), _NETWORK),
    "exec": _EXECUTES,
    **dict.fromkeys(
        ("io_uring", "fanotify", "keys", "other memory", "mount", "mount trees", "namespaces", "probes"), _KERNEL
    ),
    **dict.fromkeys(("set time", "modules", "kexec", "swap", "names", "ports", "quota"), _MACHINE),
}

_ALONE: dict[str, Risk] = {
    **dict.fromkeys(("lseek", "flock", "fcntl"), _DESCRIPTORS),
    **dict.fromkeys(("getcwd", "sysfs", "uname", "sysinfo", "getrandom"), _READS),
    **dict.fromkeys(("umask", "restart_syscall", "set_tid_address", "setrlimit"), _OWN_STATE),
    **dict.fromkeys(("brk", "mincore", "msync", "membarrier", "mseal", "map_shadow_stack"), _MEMORY),
    **dict.fromkeys(("sched_yield",), _WAITS),
    "fallocate": _CHANGES_FILES,
    "sched_setaffinity": _RESOURCES,
    "ioctl": Risk(MEDIUM, "What it does depends on the request and on the file that the descriptor refers to."),
    "prctl": Risk(MEDIUM, "It changes attributes of the process; what, depends on the option."),
    "personality": Risk(HIGH, "It can make all readable memory executable and switch off address randomisation."),
    **dict.fromkeys(("connect", "shutdown"), _NETWORK),
    **dict.fromkeys(("seccomp", "ptrace", "kcmp", "bpf", "perf_event_open", "userfaultfd", "uselib"), _KERNEL),
    **dict.fromkeys(("chroot", "syslog", "acct", "reboot", "vhangup", "lookup_dcookie"), _MACHINE),
    **dict.fromkeys(("_sysctl", "nfsservctl", "getpmsg", "putpmsg", "afs_syscall", "tuxcall"), _KERNEL),
    **dict.fromkeys(("security", "vserver"), _KERNEL),
}

_UNKNOWN = Risk(HIGH, "The call is not known to this version, so nothing can be said about it.")

# What a predicate gets: the registers, each in the width that the kernel reads.
_Test = Callable[[Sequence[int]], bool]

_PROT_EXEC = 0x4
_MAP_ANONYMOUS = 0x20
# O_ACCMODE | O_CREAT | O_TRUNC | __O_TMPFILE, the same on both architectures.
_NOT_JUST_READING = 0x3 | 0x40 | 0x200 | 0x400000
_CLONE_THREAD = 0x10000
_AF_UNIX = 1
_MAKES_CODE = Risk(HIGH, "It makes memory executable, so that code can run which was in no file.")
_READS_FILES = Risk(LOW, "It reads files that the mounts show, and changes none.")
_LOADS_CODE = Risk(MEDIUM, "It maps a file executable, as the loader does; writable files would become code.")
_UNIX = Risk(MEDIUM, "It talks to other processes through sockets that the mounts show, and within the box.")
_THREAD = Risk(LOW, "It makes a thread of the same process.")

# Finer judgements, tried in order before the tables above.
_FINER: tuple[tuple[tuple[str, ...], _Test, Risk], ...] = (
    (("mprotect", "pkey_mprotect"), lambda args: bool(args[2] & _PROT_EXEC), _MAKES_CODE),
    (("mprotect", "pkey_mprotect"), lambda args: True, _MEMORY),
    (("mmap",), lambda args: bool(args[2] & _PROT_EXEC) and bool(args[3] & _MAP_ANONYMOUS or args[2] & 2), _MAKES_CODE),
    (("mmap",), lambda args: bool(args[2] & _PROT_EXEC), _LOADS_CODE),
    (("mmap",), lambda args: True, _MEMORY),
    (("open",), lambda args: not args[1] & _NOT_JUST_READING, _READS_FILES),
    (("openat",), lambda args: not args[2] & _NOT_JUST_READING, _READS_FILES),
    (("clone",), lambda args: bool(args[0] & _CLONE_THREAD), _THREAD),
    (("socket", "socketpair"), lambda args: args[0] == _AF_UNIX, _UNIX),
    # TCGETS, TIOCGWINSZ, FIONREAD, FIOCLEX, FIONCLEX, TCGETS2
    (("ioctl",), lambda args: args[1] in (0x5401, 0x5413, 0x541B, 0x5451, 0x5450, 0x802C542A), _DESCRIPTORS),
    # PR_GET_NAME, PR_SET_NAME, PR_GET_DUMPABLE, PR_GET_PDEATHSIG, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS
    (("prctl",), lambda args: args[0] in (16, 15, 3, 2, 23, 39), _OWN_STATE),
    (("personality",), lambda args: args[0] == 0xFFFFFFFF, _READS),
    (("kill",), lambda args: args[1] == 0, Risk(LOW, "Signal 0 only asks whether a process exists.")),
    (("prlimit64",), lambda args: args[2] != 0, _OWN_STATE),
)


def risk(syscall: str, arguments: Sequence[int] | None = None) -> Risk:
    """Judge what allowing a call gives away; with `arguments` (six registers), what allowing just that call does."""
    if arguments is not None:
        for names, test, found in _FINER:
            if syscall in names and test(arguments):
                return found
    family = family_of(syscall)
    if family is not None:
        return _BY_FAMILY.get(family, _UNKNOWN)
    return _ALONE.get(syscall, _UNKNOWN)
