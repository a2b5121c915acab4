"""Each method of Sandbox2's PolicyBuilder, what here does the same, and its exact limits.

Where ours permits more, it is a newer form of the same call; where it permits less, `note` says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stockade.policy.builder import PolicyBuilder, arg

Build = Callable[[PolicyBuilder], PolicyBuilder]

_RW, _RX, _RWX = "PROT_READ|PROT_WRITE", "PROT_READ|PROT_EXEC", "PROT_READ|PROT_WRITE|PROT_EXEC"
_PRIVATE = "MAP_PRIVATE|MAP_ANONYMOUS"


@dataclass(frozen=True, slots=True)
class Parity:
    """One method there, the builder calls here, what must be permitted and what must not."""

    method: str
    build: Build
    allowed: str
    refused: str
    note: str = ""


PARITY = (
    Parity("AllowSyscall", lambda b: b.allow_syscall("getcwd"), "getcwd", "chdir"),
    Parity("AllowSyscalls", lambda b: b.allow_syscalls("getcwd", ["chdir"]), "getcwd; chdir", "fchdir; chroot"),
    Parity(
        "BlockSyscallWithErrno",
        lambda b: b.danger_default_allow_all().block_syscall_with_errno("chdir", "EACCES"),
        "fchdir",
        "chdir",
    ),
    Parity(
        "BlockSyscallsWithErrno",
        lambda b: b.danger_default_allow_all().block_syscalls_with_errno(["chdir", "fchdir"], "EACCES"),
        "getcwd",
        "chdir; fchdir",
    ),
    Parity(
        "AddPolicyOnSyscall",
        lambda b: b.allow_syscall("fcntl", arg(1) == "F_SETFD", arg(2).only_bits("FD_CLOEXEC")),
        "fcntl 0 F_SETFD FD_CLOEXEC; fcntl 0 F_SETFD 0",
        "fcntl 0 F_SETFD 2; fcntl 0 F_GETFD",
    ),
    Parity(
        "AddPolicyOnMmap",
        lambda b: b.allow_syscall("mmap", arg(2) == "PROT_READ", arg(3).only_bits("MAP_PRIVATE")),
        "mmap 0 1 PROT_READ MAP_PRIVATE",
        f"mmap 0 1 {_RW} MAP_PRIVATE; mmap 0 1 PROT_READ MAP_SHARED",
    ),
    Parity("DangerDefaultAllowAll", lambda b: b.danger_default_allow_all(), "getcwd; socket; execve", "ptrace; bpf"),
    Parity("DefaultAction(TraceAllSyscalls)", lambda b: b.default_trace("all"), "getcwd; socket", "ptrace; bpf"),
    Parity("AllowExit", lambda b: b.allow_exit(), "exit; exit_group", "kill"),
    Parity("AllowRead", lambda b: b.allow_read(), "read; readv; preadv; pread64; preadv2", "write; readahead"),
    Parity("AllowWrite", lambda b: b.allow_write(), "write; writev; pwritev; pwrite64; pwritev2", "read; sendto"),
    Parity("AllowOpen", lambda b: b.allow_open(), "creat; open; openat; openat2", "open_by_handle_at; open_tree"),
    Parity(
        "AllowStat",
        lambda b: b.allow_stat(),
        "stat; fstat; lstat; newfstatat; statfs; fstatfs; statx",
        "getxattr; file_getattr; ustat",
    ),
    Parity("AllowAccess", lambda b: b.allow_access(), "access; faccessat; faccessat2", "fchmodat2; newfstatat"),
    Parity("AllowDup", lambda b: b.allow_dup(), "dup; dup2; dup3", "fcntl 0 F_DUPFD"),
    Parity("AllowPipe", lambda b: b.allow_pipe(), "pipe; pipe2", "socketpair AF_UNIX SOCK_STREAM"),
    Parity("AllowChmod", lambda b: b.allow_chmod(), "chmod; fchmod; fchmodat; fchmodat2", "fchown; setxattr"),
    Parity("AllowChown", lambda b: b.allow_chown(), "chown; lchown; fchown; fchownat", "fchmod"),
    Parity("AllowReaddir", lambda b: b.allow_readdir(), "getdents; getdents64", "readlinkat"),
    Parity("AllowReadlink", lambda b: b.allow_readlink(), "readlink; readlinkat", "getdents64"),
    Parity("AllowLink", lambda b: b.allow_link(), "link; linkat", "symlinkat"),
    Parity("AllowSymlink", lambda b: b.allow_symlink(), "symlink; symlinkat", "linkat"),
    Parity("AllowMkdir", lambda b: b.allow_mkdir(), "mkdir; mkdirat", "mknodat; rmdir"),
    Parity("AllowUnlink", lambda b: b.allow_unlink(), "rmdir; unlink; unlinkat", "renameat2"),
    Parity("AllowRename", lambda b: b.allow_rename(), "rename; renameat; renameat2", "linkat; unlinkat"),
    Parity("AllowUtime", lambda b: b.allow_utime(), "utime; utimes; futimesat; utimensat", "fchmod"),
    Parity("AllowEpollWait", lambda b: b.allow_epoll_wait(), "epoll_wait; epoll_pwait; epoll_pwait2", "epoll_ctl"),
    Parity(
        "AllowEpoll",
        lambda b: b.allow_epoll(),
        "epoll_wait; epoll_pwait; epoll_pwait2; epoll_create; epoll_create1; epoll_ctl",
        "ppoll",
    ),
    Parity(
        "AllowInotify",
        lambda b: b.allow_inotify(),
        "inotify_init; inotify_init1; inotify_add_watch; inotify_rm_watch; close",
        "fanotify_init",
    ),
    Parity("AllowSelect", lambda b: b.allow_select(), "select; pselect6", "ppoll"),
    Parity("AllowPoll", lambda b: b.allow_poll(), "poll; ppoll", "pselect6"),
    Parity("AllowEventFd", lambda b: b.allow_eventfd(), "eventfd; eventfd2", "signalfd4"),
    Parity(
        "AllowTime", lambda b: b.allow_time(), "time; gettimeofday; clock_gettime; clock_getres", "clock_settime; times"
    ),
    Parity("AllowSleep", lambda b: b.allow_sleep(), "nanosleep; clock_nanosleep", "pause"),
    Parity("AllowAlarm", lambda b: b.allow_alarm(), "alarm; setitimer; getitimer", "timer_create"),
    Parity(
        "AllowPosixTimers",
        lambda b: b.allow_posix_timers(),
        "timer_create; timer_settime; timer_gettime; timer_getoverrun; timer_delete",
        "timerfd_create; setitimer",
    ),
    Parity(
        "AllowHandleSignals",
        lambda b: b.allow_handle_signals(),
        "restart_syscall; rt_sigaction SIGINT; rt_sigreturn; rt_sigprocmask; sigaltstack",
        "kill; rt_sigqueueinfo",
    ),
    Parity("AllowKill", lambda b: b.allow_kill(), "kill 1 SIGKILL; tkill; tgkill", "pidfd_send_signal"),
    Parity(
        "AllowGetIDs",
        lambda b: b.allow_get_ids(),
        "getuid; geteuid; getresuid; getgid; getegid; getresgid; getgroups",
        "setuid; getpid",
    ),
    Parity("AllowGetPIDs", lambda b: b.allow_get_pids(), "getpid; getppid; gettid", "getpgid"),
    Parity("AllowGetPGIDs", lambda b: b.allow_get_pgids(), "getpgid; getpgrp; getsid", "setpgid"),
    Parity(
        "AllowGetRlimit",
        lambda b: b.allow_get_rlimit(),
        "getrlimit; prlimit64 0 3 0 1",
        "setrlimit; prlimit64 0 3 1; prlimit64 0 3 0x100000000",
    ),
    Parity(
        "AllowSetRlimit", lambda b: b.allow_set_rlimit(), "setrlimit; prlimit64 0 3 1; prlimit64 0 3 0", "setpriority"
    ),
    Parity(
        "AllowGetRandom",
        lambda b: b.allow_get_random(),
        "getrandom 0 1 0; getrandom 0 1 GRND_NONBLOCK",
        "getrandom 0 1 GRND_RANDOM; getrandom 0 1 GRND_INSECURE",
    ),
    Parity(
        "AllowWipeOnFork",
        lambda b: b.allow_wipe_on_fork(),
        "madvise 0 0 MADV_WIPEONFORK; madvise 0 0 -1",
        "madvise 0 0 MADV_DONTNEED",
    ),
    Parity(
        "AllowTCGETS", lambda b: b.allow_tcgets(), "ioctl 0 TCGETS; ioctl 0 TCGETS2", "ioctl 0 TCSETS; ioctl 0 TIOCSTI"
    ),
    Parity("AllowPrctlSetName", lambda b: b.allow_prctl_set_name(), "prctl PR_SET_NAME", "prctl PR_SET_DUMPABLE"),
    Parity(
        "AllowPrctlSetVma",
        lambda b: b.allow_prctl_set_vma(),
        "prctl PR_SET_VMA PR_SET_VMA_ANON_NAME",
        "prctl PR_SET_VMA 1; prctl PR_SET_NAME",
    ),
    Parity(
        "AllowSafeFcntl",
        lambda b: b.allow_safe_fcntl(),
        """fcntl 0 F_GETFD; fcntl 0 F_SETFD; fcntl 0 F_GETFL; fcntl 0 F_SETFL; fcntl 0 F_GETLK; fcntl 0 F_SETLK;
        fcntl 0 F_SETLKW; fcntl 0 F_DUPFD; fcntl 0 F_DUPFD_CLOEXEC""",
        "fcntl 0 F_SETOWN; fcntl 0 F_SETSIG; fcntl 0 F_NOTIFY",
    ),
    Parity(
        "AllowSafeBpf",
        lambda b: b.danger_allow_safe_bpf(),
        """bpf BPF_MAP_LOOKUP_ELEM; bpf BPF_OBJ_GET; bpf BPF_MAP_GET_NEXT_KEY; bpf BPF_MAP_GET_NEXT_ID;
        bpf BPF_MAP_GET_FD_BY_ID; bpf BPF_OBJ_GET_INFO_BY_FD""",
        "bpf BPF_PROG_LOAD; bpf BPF_MAP_CREATE; bpf BPF_MAP_UPDATE_ELEM",
        "named dangerous, because everything of bpf is refused otherwise",
    ),
    Parity(
        "AllowFutexOp",
        lambda b: b.allow_futex_op("FUTEX_WAIT"),
        "futex 0 FUTEX_WAIT; futex 0 FUTEX_WAIT|FUTEX_PRIVATE_FLAG; futex 0 FUTEX_WAIT|FUTEX_CLOCK_REALTIME",
        "futex 0 FUTEX_WAKE; futex 0 FUTEX_LOCK_PI; futex 0 0x200",
    ),
    Parity(
        "AllowFork",
        lambda b: b.allow_fork(),
        "fork; vfork; clone SIGCHLD",
        """clone3; clone CLONE_NEWUSER; clone CLONE_NEWNS; clone CLONE_NEWNET; clone CLONE_NEWUTS;
        clone CLONE_NEWCGROUP;
        clone CLONE_NEWIPC; clone CLONE_NEWPID; clone CLONE_UNTRACED""",
    ),
    Parity("AllowWait", lambda b: b.allow_wait(), "wait4; waitid", "kill"),
    Parity("AllowMlock", lambda b: b.allow_mlock(), "mlock; munlock; mlock2", "mlockall"),
    Parity(
        "AllowMmap(MapExec)",
        lambda b: b.danger_allow_mmap_with_exec(),
        f"mmap 0 1 {_RWX} {_PRIVATE}; mmap 0 1 {_RX} MAP_PRIVATE",
        "mprotect; remap_file_pages",
    ),
    Parity(
        "AllowMmapWithoutExec",
        lambda b: b.allow_mmap_without_exec(),
        f"mmap 0 1 {_RW} {_PRIVATE}; mmap 0 1 PROT_READ MAP_SHARED",
        f"mmap 0 1 {_RX} MAP_PRIVATE; mmap 0 1 {_RWX} {_PRIVATE}; mmap 0 1 PROT_EXEC {_PRIVATE}",
    ),
    Parity(
        "AllowMprotect(MapExec)", lambda b: b.danger_allow_mprotect_with_exec(), f"mprotect 0 1 {_RX}", "pkey_mprotect"
    ),
    Parity(
        "AllowMprotectWithoutExec",
        lambda b: b.allow_mprotect_without_exec(),
        f"mprotect 0 1 {_RW}",
        f"mprotect 0 1 {_RX}",
    ),
    Parity(
        "AllowPkeyMprotect(MapExec)",
        lambda b: b.danger_allow_pkey_mprotect_with_exec(),
        f"pkey_mprotect 0 1 {_RX}",
        "mprotect",
    ),
    Parity(
        "AllowPkeyMprotectWithoutExec",
        lambda b: b.allow_pkey_mprotect_without_exec(),
        f"pkey_mprotect 0 1 {_RW}",
        f"pkey_mprotect 0 1 {_RX}",
    ),
    Parity(
        "AllowSystemMalloc",
        lambda b: b.allow_system_malloc(),
        f"""munmap; brk; futex 0 FUTEX_WAKE; mremap 0 0 0 MREMAP_MAYMOVE; mmap 0 1 {_RW} {_PRIVATE};
        mmap 0 1 {_RW} {_PRIVATE}|MAP_NORESERVE; mmap 0 1 PROT_NONE {_PRIVATE}|MAP_NORESERVE""",
        f"""mremap 0 0 0 MREMAP_MAYMOVE|MREMAP_FIXED; mmap 0 1 {_RW} MAP_PRIVATE; mmap 0 1 {_RWX} {_PRIVATE};
        mmap 0 1 {_RW} MAP_SHARED|MAP_ANONYMOUS""",
        "permits besides what threads of the C library do with their heaps",
    ),
    Parity(
        "AllowTcMalloc",
        lambda b: b.allow_tc_malloc(),
        f"""clock_gettime; rseq; munmap; nanosleep; brk; mincore; membarrier; lseek; madvise 0 1 MADV_SEQUENTIAL;
        madvise 0 1 MADV_DONTNEED; madvise 0 1 MADV_DONTNEED_LOCKED; madvise 0 1 MADV_REMOVE; madvise 0 1 MADV_HUGEPAGE;
        madvise 0 1 MADV_NOHUGEPAGE; madvise 0 1 MADV_DONTDUMP; madvise 0 1 MADV_COLLAPSE;
        prctl PR_SET_VMA PR_SET_VMA_ANON_NAME; ppoll; getpid; mprotect 0 1 {_RW}; mprotect 0 1 PROT_NONE;
        mmap 0 1 {_RW} {_PRIVATE}; mmap 0 1 PROT_NONE {_PRIVATE}|MAP_NORESERVE|MAP_STACK""",
        f"""process_vm_readv; madvise 0 1 MADV_FREE; mprotect 0 1 {_RX}; mmap 0 1 {_RX} {_PRIVATE};
        mmap 0 1 {_RW} MAP_SHARED|MAP_ANONYMOUS""",
    ),
    Parity(
        "AllowScudoMalloc",
        lambda b: b.allow_scudo_malloc(),
        f"""clock_gettime; munmap; nanosleep; futex 0 FUTEX_WAKE; madvise 0 1 MADV_DONTNEED; getrandom; getpid;
        madvise 0 1 MADV_WIPEONFORK; mmap 0 1 {_RW} {_PRIVATE}|MAP_FIXED|MAP_NORESERVE;
        mmap 0 1 PROT_NONE {_PRIVATE}|MAP_NORESERVE""",
        f"openat; open; mmap 0 1 {_RX} {_PRIVATE}; mmap 0 1 {_RW} MAP_PRIVATE",
    ),
    Parity(
        "AllowRestartableSequences(fast)",
        lambda b: b.allow_restartable_sequences(),
        f"""rseq; mmap 0 1 {_RW} {_PRIVATE}; getcpu; membarrier; futex 0 FUTEX_WAIT; futex 0 FUTEX_WAKE; read;
        openat 0 0 O_RDONLY; poll; close; rt_sigprocmask SIG_SETMASK; prctl PR_SET_VMA PR_SET_VMA_ANON_NAME""",
        "sched_setaffinity; sched_getaffinity; openat 0 0 O_WRONLY; rt_sigprocmask SIG_BLOCK",
        "opens for reading only: what it opens lies in /proc and /sys",
    ),
    Parity(
        "AllowRestartableSequences(slow)",
        lambda b: b.allow_restartable_sequences_with_slow_fences(),
        "rseq; membarrier; sched_getaffinity; sched_setaffinity",
        "sched_setattr; rt_sigprocmask SIG_BLOCK",
    ),
    Parity(
        "AllowStaticStartup",
        lambda b: b.allow_static_startup(),
        """getrlimit; prlimit64 0 3 0 1; uname; brk; set_tid_address; set_robust_list; futex 0 FUTEX_WAIT_BITSET;
        rt_sigaction 32; rt_sigaction 33; rt_sigprocmask; arch_prctl ARCH_SET_FS; mprotect 0 1 PROT_READ; rseq;
        getrandom 0 8 GRND_NONBLOCK""",
        f"readlink; readlinkat; sigaltstack; rt_sigaction 34; arch_prctl ARCH_SET_GS; mprotect 0 1 {_RW}; openat",
    ),
    Parity(
        "AllowDynamicStartup",
        lambda b: b.allow_dynamic_startup(),
        f"""access; openat 0 0 O_RDONLY|O_CLOEXEC; read; newfstatat; lseek; close; munmap; mprotect 0 1 PROT_READ;
        mprotect 0 1 PROT_NONE; mprotect 0 1 {_RW}; mmap 0 1 PROT_READ MAP_PRIVATE; mmap 0 1 {_RW} {_PRIVATE};
        mmap 0 1 {_RW} MAP_PRIVATE|MAP_FIXED|MAP_DENYWRITE; mmap 0 1 {_RX} MAP_PRIVATE|MAP_DENYWRITE;
        mmap 0 1 {_RX} MAP_PRIVATE|MAP_FIXED|MAP_DENYWRITE""",
        f"""openat 0 0 O_WRONLY; mprotect 0 1 {_RX}; mmap 0 1 {_RX} {_PRIVATE}; mmap 0 1 {_RWX} MAP_PRIVATE;
        mmap 0 1 {_RX} MAP_SHARED""",
        "opens for reading only, and makes nothing executable by mprotect: loaders map code as such",
    ),
    Parity(
        "AllowLogForwarding",
        lambda b: b.allow_log_forwarding(),
        f"""write; mmap 0 1 {_RW} {_PRIVATE}; getpid; clock_gettime; close; rt_sigprocmask SIG_BLOCK; prlimit64 0 3 0 1;
        kill 0 SIGABRT""",
        "kill 1 SIGABRT; kill 0 SIGKILL; rt_sigprocmask SIG_UNBLOCK; prlimit64 0 3 1",
    ),
    Parity(
        "AllowSharedMemory",
        lambda b: b.allow_shared_memory(),
        f"mmap 0 1 {_RW} MAP_SHARED; munmap; close; fstat",
        f"mmap 0 1 {_RX} MAP_SHARED; mmap 0 1 {_RW} {_PRIVATE}; futex 0 FUTEX_WAIT",
    ),
    Parity(
        "AllowSharedMemoryComms",
        lambda b: b.allow_shared_memory_comms(),
        f"mmap 0 1 {_RW} MAP_SHARED; futex 0 FUTEX_WAIT; futex 0 FUTEX_WAKE",
        "futex 0 FUTEX_REQUEUE",
    ),
    Parity(
        "AllowLlvmSanitizers",
        lambda b: b.allow_llvm_sanitizers(),
        f"mmap 0 1 {_RW} {_PRIVATE}|MAP_FIXED|MAP_NORESERVE; madvise 0 1 MADV_DONTDUMP; sigaltstack; read; write",
        f"ptrace; clone CLONE_UNTRACED; mmap 0 1 {_RWX} {_PRIVATE}; execve",
        "a choice of the policy, not of how the sandbox was built",
    ),
    Parity(
        "AllowLlvmCoverage",
        lambda b: b.allow_llvm_coverage(),
        f"openat 0 0 O_RDWR|O_CREAT; fcntl 0 F_SETLKW; ftruncate; mmap 0 1 {_RW} MAP_SHARED; mkdirat; getpid",
        "openat2; unlinkat; execve",
        "a choice of the policy, not of how the sandbox was built",
    ),
)
