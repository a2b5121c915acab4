"""What a program can do by more than one system call: the calls that do it, and the groups that grant it.

The list of calls is complete: a test walks the kernel's tables, by families and by the words in the calls' names.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ability:
    """One ability: `calls` as `calls.calls` reads them, `families` (of families.py) that are part of it as a whole.

    `groups` grant it completely; `parts` are other groups that grant a part, each for a reason of its own. With
    `attacked` there are real attempts, but for `not_attacked`.
    """

    calls: str
    families: tuple[str, ...]
    groups: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    attacked: bool = True
    not_attacked: tuple[str, ...] = ()


# Groups of which looking at files and reading them are a part.
_STARTING = ("dynamic_startup", "llvm_sanitizers", "llvm_coverage")
_SHARING = ("shared_memory", "shared_memory_comms")
_READING = ("restartable_sequences", "restartable_sequences_with_slow_fences", "tc_malloc", "log_forwarding")

ABILITIES: dict[str, Ability] = {
    "open for writing": Ability(
        "open 0 O_WRONLY; openat 0 0 O_WRONLY; openat2; creat",
        ("open",),
        groups=("open",),
    ),
    "change the length": Ability(
        "truncate; ftruncate",
        ("truncate",),
        groups=("truncate",),
        parts=("llvm_coverage",),
        not_attacked=("ftruncate",),
    ),
    "rename": Ability("rename; renameat; renameat2", ("rename",), groups=("rename",)),
    "link": Ability("link; linkat", ("link",), groups=("link",)),
    "make symbolic links": Ability("symlink; symlinkat", ("symlink",), groups=("symlink",)),
    "make directories": Ability("mkdir; mkdirat", ("mkdir",), groups=("mkdir",), parts=("llvm_coverage",)),
    "make pipes with names": Ability(
        "mknod 0 S_IFIFO|0o600; mknodat 0 0 S_IFIFO|0o600", ("mknod",), groups=("make_fifo",)
    ),
    "make devices": Ability("mknod 0 S_IFCHR|0o600; mknodat 0 0 S_IFCHR|0o600", ("mknod",), attacked=False),
    "remove": Ability("unlink; unlinkat; rmdir", ("unlink",), groups=("unlink",), parts=("llvm_sanitizers",)),
    "change permission bits": Ability("chmod; fchmod; fchmodat; fchmodat2", ("chmod",), groups=("chmod",)),
    "change the owner": Ability("chown; lchown; fchown; fchownat", ("chown",), groups=("chown",)),
    "change time stamps": Ability("utime; utimes; futimesat; utimensat", ("utime",), groups=("utime",)),
    "change extended attributes": Ability(
        "setxattr; lsetxattr; fsetxattr; setxattrat; removexattr; lremovexattr; fremovexattr; removexattrat",
        ("set xattr",),
        groups=("set_xattr",),
        not_attacked=("removexattr", "lremovexattr", "fremovexattr", "removexattrat"),
    ),
    "change file attributes": Ability(
        "file_setattr; file_getattr", ("file attributes",), not_attacked=("file_setattr",)
    ),
    "stat": Ability(
        "stat; fstat; lstat; newfstatat; statx; statfs; fstatfs",
        ("stat",),
        groups=("stat",),
        parts=(*_STARTING, *_SHARING),
    ),
    "ask for access": Ability("access; faccessat; faccessat2", ("access",), groups=("access",), parts=_STARTING),
    "read links": Ability("readlink; readlinkat", ("readlink",), groups=("readlink",), parts=("llvm_sanitizers",)),
    "read": Ability(
        "read; readv; pread64; preadv; preadv2",
        ("read",),
        groups=("read",),
        parts=(*_STARTING, *_READING),
    ),
    "write": Ability(
        "write; writev; pwrite64; pwritev; pwritev2",
        ("write",),
        groups=("write",),
        parts=("log_forwarding", "llvm_sanitizers", "llvm_coverage"),
    ),
    "send": Ability("sendto; sendmsg; sendmmsg", ("send",), groups=("socket_data",)),
    "receive": Ability("recvfrom; recvmsg; recvmmsg", ("receive",), groups=("socket_data",)),
    "make sockets": Ability("socket AF_INET SOCK_STREAM", (), groups=("inet_sockets",), attacked=False),
    "accept connections": Ability("accept; accept4", ("accept",), groups=("listen",), attacked=False),
    "execute": Ability("execve; execveat", ("exec",)),
    "make processes": Ability("fork; vfork; clone SIGCHLD; clone3", ("fork",), groups=("fork",), attacked=False),
    "show trees of mounts": Ability(
        "open_tree; open_tree_attr; move_mount; fsopen; fsconfig; fsmount; fspick; mount_setattr",
        ("mount trees",),
        attacked=False,
    ),
    "open by handle": Ability("open_by_handle_at", (), attacked=False),
}
# Always answered, whatever is granted: the C library goes on with clone, whose flags can be checked.
NEVER = {"clone3"}

# Words in names of calls, for which each call with such a name must belong to an ability; the rest, and why not.
WORDS: tuple[str, ...] = (
    *("open", "creat", "rename", "link", "symlink", "mkdir", "mknod", "rmdir", "chmod", "chown", "utime", "truncate"),
    *("setxattr", "removexattr", "setattr", "stat", "access", "readv", "writev", "pread", "pwrite", "send", "recv"),
    "exec",
)
ELSEWHERE = {
    "name_to_handle_at": "gives a handle, which nothing in the box can open",
    "mq_open": "opens message queues, no files",
    "pidfd_open": "refers to a process",
    "perf_event_open": "always refused",
    "mq_unlink": "removes message queues, no files",
    "timer_create": "makes a timer",
    "timerfd_create": "makes a timer",
    "memfd_create": "makes memory, not a file of the box",
    "epoll_create": "makes a descriptor for waiting",
    "epoll_create1": "makes a descriptor for waiting",
    "landlock_create_ruleset": "can only take away",
    "create_module": "always refused",
    "process_vm_readv": "always refused",
    "process_vm_writev": "always refused",
    "pidfd_send_signal": "sends a signal",
    "cachestat": "asks about the page cache of an open file",
    "sendfile": "copies between open descriptors, which the group copy_data says",
    "mq_timedsend": "of message queues",
    "ustat": "asks about a file system",
    "statmount": "asks about mounts",
    "mount_setattr": "always refused",
    "mq_getsetattr": "of message queues",
    "sched_setattr": "of the scheduler",
    "kexec_load": "always refused",
    "kexec_file_load": "always refused",
    "restart_syscall": "goes on with an interrupted call",
}
