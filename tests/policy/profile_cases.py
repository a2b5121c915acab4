"""What the base profiles permit and refuse: one table, from which the positive controls follow.

A row names calls and the narrowest profile that permits them. All narrower ones refuse them, all wider ones permit
them.
"""

from __future__ import annotations

# From the narrowest to the widest; each permits all that the one before it permits.
LADDER = ("minimal", "io-heavy", "compute", "network", "unrestricted")
# Preset → the base profile that it is, with limits.
PRESETS = {"strict": "minimal", "moderate": "compute", "permissive": "network"}
NOBODY = "nobody"

_RX, _RWX = "PROT_READ|PROT_EXEC", "PROT_READ|PROT_WRITE|PROT_EXEC"
_PRIVATE = "MAP_PRIVATE|MAP_ANONYMOUS"
_THREAD = "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM"

# What → (calls, narrowest profile that permits them)
ROWS: dict[str, tuple[str, str]] = {
    "read and write": ("read; write; lseek; newfstatat; statx; getdents64; readlinkat; close_range", "minimal"),
    "open for reading": ("openat -100 0 O_RDONLY|O_CLOEXEC; openat -100 0 O_PATH; faccessat2", "minimal"),
    "ask about itself": ("getuid; getpid; clock_gettime; uname; getrandom; prlimit64 0 3 0 0", "minimal"),
    "own memory": ("brk; mmap 0 4096 3 MAP_PRIVATE|MAP_ANONYMOUS; madvise 0 0 MADV_DONTNEED; mincore", "minimal"),
    "open for writing": ("openat -100 0 O_WRONLY|O_CREAT; openat -100 0 O_RDWR; creat; open 0 O_TRUNC", "io-heavy"),
    "open in any way": ("openat2", "io-heavy"),
    "change files": (
        "unlinkat; renameat2; mkdirat; linkat; symlinkat; rmdir; truncate; fallocate; ftruncate",
        "io-heavy",
    ),
    "change attributes": ("fchmodat; fchmodat2; fchownat; utimensat; setxattr; setxattrat; umask", "io-heavy"),
    "share mapped files": ("mmap 0 4096 3 MAP_SHARED", "io-heavy"),
    "make processes": ("fork; vfork; clone SIGCHLD", "compute"),
    "make threads": (f"clone {_THREAD}", "compute"),
    "execute": ("execve; execveat", "compute"),
    "pipes and signals": ("pipe2; kill 1 0; tgkill; epoll_create1; eventfd2; timer_create", "compute"),
    "change limits": ("prlimit64 0 3 1 0; setrlimit", "compute"),
    "inet sockets": ("socket AF_INET SOCK_STREAM; socket AF_INET6 SOCK_DGRAM", "network"),
    "local sockets": ("socket AF_UNIX SOCK_STREAM; socketpair AF_UNIX SOCK_DGRAM", "network"),
    "use sockets": ("connect -1; bind -1; listen -1; accept4 -1; sendmsg -1; recvmsg -1; setsockopt -1 1 2", "network"),
    "raw sockets": ("socket AF_INET SOCK_RAW; socket AF_PACKET SOCK_RAW; socket AF_VSOCK SOCK_STREAM", "unrestricted"),
    "netlink": ("socket AF_NETLINK SOCK_RAW", "unrestricted"),
    "filters on sockets": ("setsockopt -1 SOL_SOCKET SO_ATTACH_FILTER; setsockopt -1 SOL_TCP TCP_ULP", "unrestricted"),
    "code from memory": (f"mmap 0 4096 {_RWX} {_PRIVATE}; mmap 0 4096 {_RX} {_PRIVATE}", "unrestricted"),
    "code from protection": (f"mprotect 0 0 {_RWX}; mprotect 0 0 {_RX}; pkey_mprotect 0 0 {_RX} -1", "unrestricted"),
    "files in memory": ("memfd_create; memfd_secret", "unrestricted"),
    "become somebody": ("setuid -1; setgid -1; setgroups -1; capset", "unrestricted"),
    "shared memory of System V": ("shmget 0 0; semget; msgget", "unrestricted"),
    "any device command": ("ioctl -1 0x12345678; prctl 0x12345678; fcntl -1 0x12345", "unrestricted"),
    "make devices": ("mknodat -100 0 S_IFCHR", "unrestricted"),
    "trace others": ("ptrace 0x4206 1; process_vm_readv; process_vm_writev; pidfd_getfd; kcmp", NOBODY),
    "mount": ("mount; umount2; pivot_root; chroot; open_tree; move_mount; fsopen; mount_setattr", NOBODY),
    "make namespaces": (
        "unshare CLONE_NEWUSER; setns; clone CLONE_NEWUSER|SIGCHLD; clone CLONE_NEWNET|SIGCHLD",
        NOBODY,
    ),
    "io_uring": ("io_uring_setup; io_uring_enter; io_uring_register", NOBODY),
    "load into the kernel": ("bpf; init_module; kexec_load; perf_event_open; userfaultfd", NOBODY),
    "keys": ("keyctl; add_key; request_key", NOBODY),
    "terminals": ("ioctl 0 TIOCSTI; ioctl 0 TIOCLINUX", NOBODY),
    "new filters": ("seccomp SECCOMP_SET_MODE_FILTER; prctl PR_SET_SECCOMP", NOBODY),
    "flags in memory": ("clone3", NOBODY),
    "open by handle": ("open_by_handle_at", NOBODY),
}


def permitted_by(profile: str, narrowest: str) -> bool:
    """Whether a profile of the ladder is wide enough."""
    return narrowest != NOBODY and LADDER.index(profile) >= LADDER.index(narrowest)
