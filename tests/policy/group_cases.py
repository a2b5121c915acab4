"""What each group lets through and, next to it, what it must not: one row for every group of the table.

Calls are written as `calls.calls` reads them. A row names each call of the group's own rows at least once; what comes
with an included group stands in that group's row.
"""

from __future__ import annotations

_RW, _RX, _RWX = "PROT_READ|PROT_WRITE", "PROT_READ|PROT_EXEC", "PROT_READ|PROT_WRITE|PROT_EXEC"
_PRIVATE = "MAP_PRIVATE|MAP_ANONYMOUS"
_SHARED = "MAP_SHARED|MAP_ANONYMOUS"
_THREAD = "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD"

# No group of these may make executable memory out of what was writable.
_NO_CODE = f"""
    mmap 0 1 {_RX} {_PRIVATE}; mmap 0 1 {_RWX} {_PRIVATE}; mmap 0 1 {_RWX} MAP_PRIVATE; mmap 0 1 {_RX} MAP_SHARED;
    mmap 0 1 PROT_EXEC {_PRIVATE}; mprotect 0 1 {_RX}; mprotect 0 1 {_RWX}; mprotect 0 1 PROT_EXEC;
    pkey_mprotect 0 1 {_RX}; shmat 0 0 SHM_EXEC; remap_file_pages
"""

# group → (what it permits, what it refuses)
CASES: dict[str, tuple[str, str]] = {
    # --- start-up ---
    "static_startup": (
        f"""uname; brk; set_tid_address; set_robust_list; rseq; rt_sigprocmask; restart_syscall;
        arch_prctl ARCH_SET_FS; futex 0 FUTEX_WAIT_BITSET|FUTEX_PRIVATE_FLAG; rt_sigaction 32; rt_sigaction 33;
        mprotect 0 1 PROT_READ; mseal; mmap 0 1 {_RW} {_PRIVATE}; prlimit64 0 RLIMIT_STACK 0 1;
        getrandom 0 8 GRND_NONBLOCK""",
        f"""arch_prctl ARCH_SET_GS; arch_prctl 0x3001; arch_prctl 0x5001; futex 0 FUTEX_WAKE; futex 0 FUTEX_WAIT;
        rt_sigaction SIGTERM; rt_sigaction 34; mprotect 0 1 {_RW}; mprotect 0 1 0x15; mmap 0 1 {_RW} {_SHARED};
        mmap 0 1 {_RW} {_PRIVATE}|MAP_FIXED; mmap 0 1 PROT_READ MAP_PRIVATE; prlimit64 0 RLIMIT_STACK 1 0;
        getrandom 0 8 GRND_RANDOM; readlinkat; readlink; sigaltstack; exit_group; write; openat; personality;
        {_NO_CODE}""",
    ),
    "dynamic_startup": (
        f"""munmap; mprotect 0 1 PROT_NONE; mprotect 0 1 {_RW}; mmap 0 1 PROT_READ MAP_PRIVATE|MAP_DENYWRITE 3;
        mmap 0 1 {_RX} MAP_PRIVATE|MAP_FIXED|MAP_DENYWRITE 3; mmap 0 1 {_RX} MAP_PRIVATE 3;
        mmap 0 1 {_RW} MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS; mmap 0 1 {_RW} MAP_PRIVATE|MAP_FIXED|MAP_DENYWRITE 3;
        mmap 0 1 PROT_NONE {_PRIVATE}; mmap 0 1 PROT_NONE {_PRIVATE}|MAP_NORESERVE;
        openat AT_FDCWD 0 O_RDONLY|O_CLOEXEC""",
        f"""mmap 0 1 PROT_READ MAP_SHARED 3; mmap 0 1 {_RW} MAP_SHARED 3; mmap 0 1 {_RX} MAP_SHARED 3;
        mmap 0 1 {_RWX} MAP_PRIVATE|MAP_DENYWRITE 3; mmap 0 1 {_RX} MAP_PRIVATE|MAP_ANONYMOUS;
        openat AT_FDCWD 0 O_WRONLY|O_CREAT; write; getdents64; mremap; {_NO_CODE}""",
    ),
    # --- files ---
    "read": (
        "read; readv; pread64; preadv; preadv2",
        "write; readahead; recvfrom; recvmsg; splice; process_vm_readv; readlink; getdents64; io_submit",
    ),
    "write": (
        "write; writev; pwrite64; pwritev; pwritev2",
        "read; sendto; splice; vmsplice; sendfile; copy_file_range; ftruncate; fallocate; process_vm_writev",
    ),
    "open": (
        "openat 0 0 O_RDWR|O_CREAT; open 0 O_WRONLY|O_TRUNC; openat2; creat",
        "open_by_handle_at; name_to_handle_at; open_tree; open_tree_attr; mknodat; truncate; mq_open; memfd_create",
    ),
    "open_for_reading": (
        """openat 0 0 O_RDONLY|O_CLOEXEC; openat 0 0 O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_NONBLOCK; openat 0 0 O_PATH;
        open 0 O_RDONLY|O_CLOEXEC""",
        """openat 0 0 O_WRONLY; openat 0 0 O_RDWR; openat 0 0 3; openat 0 0 O_CREAT; openat 0 0 O_TRUNC;
        openat 0 0 O_TMPFILE|O_RDWR; openat 0 0 0x400000; open 0 O_WRONLY; open 0 O_CREAT; open 0 O_TRUNC;
        openat 0 0 O_WRONLY|O_APPEND; openat2; creat; open_by_handle_at; truncate""",
    ),
    "close": ("close; close_range", "dup3; dup2; shutdown"),
    "stat": (
        "stat; fstat; lstat; newfstatat; statx; statfs; fstatfs",
        "fchmod; file_setattr; file_getattr; getxattr; name_to_handle_at; statmount; quotactl; ustat",
    ),
    "access": ("access; faccessat; faccessat2", "newfstatat; fchmodat2; openat"),
    "readdir": ("getdents; getdents64", "openat; read; lookup_dcookie; inotify_add_watch"),
    "readlink": ("readlink; readlinkat", "symlinkat; openat; name_to_handle_at"),
    "lseek": ("lseek", "read; ftruncate; pread64"),
    "working_directory": ("getcwd; chdir; fchdir", "chroot; pivot_root; fchmod"),
    "dup": ("dup; dup2; dup3", "fcntl 0 F_DUPFD; pidfd_getfd; close_range"),
    "pipe": ("pipe; pipe2", "socketpair AF_UNIX SOCK_STREAM; eventfd2; splice; fcntl 0 F_SETPIPE_SZ"),
    "unlink": ("unlink; unlinkat; rmdir", "renameat; mq_unlink; truncate"),
    "rename": ("rename; renameat; renameat2", "linkat; unlinkat; symlinkat"),
    "mkdir": ("mkdir; mkdirat", "mknodat; rmdir; mknodat 0 0 S_IFDIR"),
    "make_fifo": (
        "mknod 0 S_IFIFO|0o644; mknodat 0 0 S_IFIFO|0o644",
        """mknodat 0 0 S_IFCHR|0o644; mknodat 0 0 S_IFBLK; mknodat 0 0 S_IFREG; mknodat 0 0 S_IFSOCK;
        mknodat 0 0 0o644;
        mknod 0 S_IFCHR|0o644; mknod 0 S_IFREG""",
    ),
    "chmod": (
        "chmod; fchmod; fchmodat; fchmodat2",
        "fchown; fchownat; setxattr; file_setattr; umask; utimensat",
    ),
    "chown": ("chown; lchown; fchown; fchownat", "fchmod; setuid; setfsuid"),
    "link": ("link; linkat", "symlinkat; renameat2"),
    "symlink": ("symlink; symlinkat", "linkat; readlinkat; mknodat"),
    "utime": ("utime; utimes; futimesat; utimensat", "fchmod; clock_settime; file_setattr"),
    "truncate": ("truncate; ftruncate", "fallocate; openat 0 0 O_TRUNC; write"),
    "allocate": ("fallocate", "ftruncate; fadvise64"),
    "sync": ("fsync; fdatasync; sync_file_range", "sync; syncfs; msync"),
    "copy_data": ("sendfile; copy_file_range; splice; tee", "vmsplice; read; write; ioctl 0 FICLONE"),
    "flock": ("flock", "fcntl 0 F_SETLK; fcntl 0 F_SETLEASE"),
    "fadvise": ("fadvise64; readahead", "madvise; fallocate; cachestat"),
    "umask": ("umask", "chmod; fchmodat2"),
    "get_xattr": (
        """getxattr; lgetxattr; fgetxattr; getxattrat; listxattr; llistxattr; flistxattr; listxattrat""",
        "setxattr; fsetxattr; setxattrat; removexattrat; file_getattr",
    ),
    "set_xattr": (
        """setxattr; lsetxattr; fsetxattr; setxattrat; removexattr; lremovexattr; fremovexattr; removexattrat""",
        "getxattr; getxattrat; listxattrat; file_setattr; fchmod",
    ),
    "inotify": (
        "inotify_init; inotify_init1; inotify_add_watch; inotify_rm_watch; close",
        "fanotify_init; fanotify_mark; read; close_range",
    ),
    "select": ("select; pselect6", "poll; epoll_pwait; rt_sigtimedwait"),
    "poll": ("poll; ppoll", "pselect6; epoll_pwait"),
    "epoll_wait": ("epoll_wait; epoll_pwait; epoll_pwait2", "epoll_ctl; epoll_create1; ppoll"),
    "epoll": ("epoll_create; epoll_create1; epoll_ctl", "io_getevents; eventfd2; ppoll; io_uring_enter"),
    "eventfd": ("eventfd; eventfd2", "signalfd4; timerfd_create; memfd_create; userfaultfd"),
    "safe_fcntl": (
        """fcntl 0 F_GETFD; fcntl 0 F_SETFD; fcntl 0 F_GETFL; fcntl 0 F_SETFL; fcntl 0 F_GETLK; fcntl 0 F_SETLK;
        fcntl 0 F_SETLKW; fcntl 0 F_DUPFD; fcntl 0 F_DUPFD_CLOEXEC""",
        """fcntl 0 F_SETOWN; fcntl 0 F_SETOWN_EX; fcntl 0 F_SETSIG; fcntl 0 F_NOTIFY; fcntl 0 F_SETPIPE_SZ;
        fcntl 0 F_SETLEASE; fcntl 0 F_ADD_SEALS; fcntl 0 F_OFD_SETLK; fcntl 0 F_SET_RW_HINT; fcntl 0 15; flock""",
    ),
    "tcgets": (
        "ioctl 1 TCGETS; ioctl 1 TCGETS2",
        """ioctl 1 TCSETS; ioctl 1 TCSETS2; ioctl 1 TIOCSTI; ioctl 1 TIOCLINUX; ioctl 1 TIOCGWINSZ; ioctl 1 0;
        ioctl 1 FIONREAD""",
    ),
    "get_window_size": (
        "ioctl 1 TIOCGWINSZ",
        "ioctl 1 TIOCSWINSZ; ioctl 1 TCGETS; ioctl 1 TIOCSTI; ioctl 1 TIOCSCTTY",
    ),
    # --- memory ---
    "mmap_without_exec": (
        f"mmap 0 1 {_RW} {_PRIVATE}; mmap 0 1 {_RW} MAP_SHARED 3; mmap 0 1 PROT_NONE {_PRIVATE}; munmap",
        f"mprotect; mremap; brk; {_NO_CODE}",
    ),
    "danger_mmap_with_exec": (f"mmap 0 1 {_RWX} {_PRIVATE}; munmap", "mprotect; pkey_mprotect; remap_file_pages"),
    "mprotect_without_exec": (
        f"mprotect 0 1 {_RW}; mprotect 0 1 PROT_NONE",
        f"pkey_mprotect 0 1 {_RW}; mmap; mseal; {_NO_CODE}",
    ),
    "danger_mprotect_with_exec": (f"mprotect 0 1 {_RWX}", f"pkey_mprotect 0 1 {_RW}; mmap 0 1 {_RX} MAP_PRIVATE"),
    "pkey_mprotect_without_exec": (
        f"pkey_mprotect 0 1 {_RW}; pkey_mprotect 0 1 PROT_READ 1",
        f"mprotect 0 1 {_RW}; pkey_alloc; {_NO_CODE}",
    ),
    "danger_pkey_mprotect_with_exec": (f"pkey_mprotect 0 1 {_RWX}", f"mprotect 0 1 {_RW}; pkey_alloc"),
    "mlock": ("mlock; mlock2; munlock", "mlockall; munlockall; madvise"),
    "wipe_on_fork": (
        "madvise 0 0 MADV_WIPEONFORK; madvise 0 0 -1",
        "madvise 0 0 MADV_DONTNEED; madvise 0 0 MADV_KEEPONFORK; madvise; process_madvise 0 0 0 MADV_WIPEONFORK",
    ),
    "system_malloc": (
        f"""munmap; brk; mremap 0 0 0 MREMAP_MAYMOVE; mmap 0 1 {_RW} {_PRIVATE};
        mmap 0 1 {_RW} {_PRIVATE}|MAP_NORESERVE; mmap 0 1 PROT_NONE {_PRIVATE}|MAP_NORESERVE;
        mmap 0 1 PROT_NONE {_PRIVATE}|MAP_FIXED; mprotect 0 1 PROT_NONE; mprotect 0 1 {_RW};
        madvise 0 1 MADV_DONTNEED;
        futex 0 FUTEX_WAIT|FUTEX_PRIVATE_FLAG; futex 0 FUTEX_WAKE|FUTEX_PRIVATE_FLAG; sched_getaffinity""",
        f"""mremap 0 0 0 MREMAP_MAYMOVE|MREMAP_FIXED; mremap 0 0 0 MREMAP_DONTUNMAP|MREMAP_MAYMOVE; mremap;
        mmap 0 1 {_RW} {_SHARED}; mmap 0 1 {_RW} MAP_PRIVATE; mmap 0 1 {_RW} {_PRIVATE}|MAP_FIXED;
        mmap 0 1 PROT_NONE MAP_PRIVATE; mmap 0 1 PROT_NONE {_PRIVATE}; mmap 0 1 PROT_READ {_PRIVATE};
        mprotect 0 1 PROT_READ; madvise 0 1 MADV_REMOVE; madvise 0 1 MADV_FREE; futex 0 FUTEX_REQUEUE;
        futex 0 FUTEX_WAIT_BITSET; sched_setaffinity; {_NO_CODE}""",
    ),
    "tc_malloc": (
        f"""munmap; brk; nanosleep; mincore; membarrier; lseek; madvise 0 1 MADV_SEQUENTIAL;
        madvise 0 1 MADV_DONTNEED;
        madvise 0 1 MADV_DONTNEED_LOCKED; madvise 0 1 MADV_REMOVE; madvise 0 1 MADV_HUGEPAGE;
        madvise 0 1 MADV_NOHUGEPAGE; madvise 0 1 MADV_DONTDUMP; madvise 0 1 MADV_COLLAPSE; mprotect 0 1 {_RW};
        mprotect 0 1 PROT_NONE; mmap 0 1 PROT_NONE {_PRIVATE}|MAP_NORESERVE; mmap 0 1 {_RW} {_PRIVATE}|MAP_FIXED""",
        f"""madvise 0 1 MADV_FREE; madvise 0 1 MADV_MERGEABLE; madvise 0 1 MADV_HWPOISON; mmap 0 1 {_RW} {_SHARED};
        mmap 0 1 {_RW} MAP_PRIVATE|MAP_FIXED; mmap 0 1 {_RW} {_PRIVATE}|MAP_LOCKED; mprotect 0 1 PROT_READ;
        process_vm_readv; process_vm_writev; clock_nanosleep; {_NO_CODE}""",
    ),
    "scudo_malloc": (
        f"""munmap; nanosleep; madvise 0 1 MADV_DONTNEED; futex 0 FUTEX_WAKE|FUTEX_PRIVATE_FLAG; mprotect 0 1 {_RW};
        mmap 0 1 {_RW} {_PRIVATE}|MAP_FIXED|MAP_NORESERVE; mmap 0 1 PROT_NONE {_PRIVATE}|MAP_NORESERVE;
        madvise 0 1 MADV_WIPEONFORK; gettid; clock_gettime""",
        f"""mmap 0 1 {_RW} MAP_PRIVATE|MAP_FIXED; mmap 0 1 PROT_NONE {_PRIVATE}; mmap 0 1 {_RW} {_SHARED}; openat;
        open; openat2; creat; madvise 0 1 MADV_FREE; futex 0 FUTEX_WAIT; brk; {_NO_CODE}""",
    ),
    "shared_memory": (
        f"mmap 0 1 {_RW} MAP_SHARED; munmap; close; fstat",
        f"""mmap 0 1 {_RW} {_PRIVATE}; mmap 0 1 {_RW} {_SHARED}; mmap 0 1 PROT_READ MAP_SHARED;
        mmap 0 1 {_RW} MAP_SHARED|MAP_FIXED; memfd_create; shmat; ftruncate; futex; {_NO_CODE}""",
    ),
    "shared_memory_comms": (
        "futex 0 FUTEX_WAIT; futex 0 FUTEX_WAKE|FUTEX_PRIVATE_FLAG",
        f"futex 0 FUTEX_REQUEUE; futex 0 FUTEX_WAIT_BITSET; futex 0 FUTEX_LOCK_PI; {_NO_CODE}",
    ),
    # --- processes ---
    "exit": ("exit; exit_group", "kill; tgkill; wait4"),
    "time": (
        "time; gettimeofday; clock_gettime; clock_getres",
        "clock_settime; settimeofday; clock_adjtime; adjtimex; clock_nanosleep; times",
    ),
    "sleep": ("nanosleep; clock_nanosleep", "clock_gettime; pause; timerfd_create"),
    "alarm": ("alarm; setitimer; getitimer", "timer_create; timerfd_create; kill"),
    "posix_timers": (
        "timer_create; timer_settime; timer_gettime; timer_getoverrun; timer_delete",
        "timerfd_create; setitimer; clock_settime",
    ),
    "timerfd": ("timerfd_create; timerfd_settime; timerfd_gettime", "timer_create; eventfd2; signalfd4"),
    "handle_signals": (
        "rt_sigaction SIGTERM; rt_sigprocmask; rt_sigreturn; sigaltstack; restart_syscall",
        "kill; rt_sigtimedwait; rt_sigqueueinfo; rt_sigsuspend; signalfd4; pause",
    ),
    "wait_for_signals": (
        "pause; rt_sigsuspend; rt_sigtimedwait; rt_sigpending",
        "rt_sigaction; rt_sigqueueinfo; signalfd4; kill",
    ),
    "signalfd": ("signalfd; signalfd4", "rt_sigtimedwait; read; kill; eventfd2"),
    "kill": ("kill; tkill; tgkill", "rt_sigqueueinfo; rt_tgsigqueueinfo; pidfd_send_signal; process_mrelease; ptrace"),
    "pidfd": ("pidfd_open; pidfd_send_signal", "pidfd_getfd; kill; process_madvise; process_mrelease; setns"),
    "get_ids": (
        "getuid; geteuid; getresuid; getgid; getegid; getresgid; getgroups",
        "setuid; setresuid; setgroups; setfsuid; capget; getpid",
    ),
    "get_pids": ("getpid; getppid; gettid", "getsid; getpgid; pidfd_open; kcmp"),
    "get_pgids": ("getpgid; getpgrp; getsid", "setpgid; setsid; getpid"),
    "set_pgids": ("setpgid; setsid", "getsid; setuid; ioctl 0 TIOCSPGRP"),
    "get_rlimit": (
        "getrlimit; prlimit64 0 3 0 1",
        "prlimit64 0 3 1 0; prlimit64 0 3 0x100000000 0; prlimit64 0 3 0x8000000000000000; setrlimit; setpriority",
    ),
    "set_rlimit": ("getrlimit; setrlimit; prlimit64 0 3 1 0", "setpriority; sched_setattr; ioprio_set"),
    "get_usage": ("getrusage; times", "getrlimit; sysinfo; perf_event_open"),
    "system_information": ("uname; sysinfo", "sethostname; setdomainname; syslog; getrusage"),
    "get_random": (
        f"getrandom 1 8 0; getrandom 1 8 GRND_NONBLOCK; mmap 0 1 {_RW} MAP_ANONYMOUS|0x8",
        f"""getrandom 1 8 GRND_RANDOM; getrandom 1 8 GRND_INSECURE; getrandom 1 8 GRND_RANDOM|GRND_NONBLOCK;
        mmap 0 1 {_RX} 0x28; mmap 0 1 {_RW} {_PRIVATE}; mmap 0 1 {_RW} MAP_ANONYMOUS|MAP_SHARED; openat""",
    ),
    "prctl_set_name": (
        "prctl PR_SET_NAME",
        """prctl PR_SET_DUMPABLE; prctl PR_SET_SECCOMP; prctl PR_GET_NAME; prctl PR_SET_PTRACER; prctl PR_SET_MM;
        prctl PR_SET_NO_NEW_PRIVS; prctl PR_SET_VMA""",
    ),
    "prctl_set_vma": (
        "prctl PR_SET_VMA PR_SET_VMA_ANON_NAME",
        "prctl PR_SET_VMA 1; prctl PR_SET_NAME; prctl PR_SET_MM; prctl PR_SET_VMA 0x100000000",
    ),
    "futex_op": (
        "futex 0 FUTEX_WAKE; futex 0 FUTEX_WAKE|FUTEX_PRIVATE_FLAG; futex 0 FUTEX_WAKE|FUTEX_CLOCK_REALTIME",
        """futex 0 FUTEX_WAIT; futex 0 FUTEX_WAKE_OP; futex 0 FUTEX_LOCK_PI; futex 0 FUTEX_CMP_REQUEUE_PI;
        futex 0 0x201; futex 0 0x80000001; futex_waitv; futex_wake""",
    ),
    "fork": (
        "fork; vfork; clone SIGCHLD; clone CLONE_VM|CLONE_VFORK|SIGCHLD",
        """clone CLONE_NEWUSER|SIGCHLD; clone CLONE_NEWNS|SIGCHLD; clone CLONE_NEWPID|SIGCHLD;
        clone CLONE_NEWNET|SIGCHLD;
        clone CLONE_NEWUTS|SIGCHLD; clone CLONE_NEWIPC|SIGCHLD; clone CLONE_NEWCGROUP|SIGCHLD;
        clone CLONE_UNTRACED|SIGCHLD; clone3; unshare; setns; execve; execveat; wait4""",
    ),
    "wait": ("wait4; waitid", "kill; pidfd_open; rt_sigtimedwait; process_mrelease"),
    "threads": (
        f"""clone {_THREAD}; clone {_THREAD}|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID;
        clone {_THREAD}|CLONE_CHILD_SETTID|0x400000; set_robust_list; rseq; exit; gettid; sched_yield;
        sched_getaffinity; rt_sigprocmask; munmap; rt_sigaction 32; rt_sigaction 33;
        mmap 0 1 PROT_NONE {_PRIVATE}|MAP_STACK; mmap 0 1 {_RW} {_PRIVATE}|MAP_STACK|MAP_NORESERVE;
        mprotect 0 1 {_RW}; mprotect 0 1 PROT_NONE; madvise 0 1 MADV_DONTNEED; madvise 0 1 0x66; madvise 0 1 0x67""",
        f"""clone SIGCHLD; clone; clone CLONE_VM|CLONE_VFORK|SIGCHLD; clone {_THREAD}|CLONE_PARENT;
        clone {_THREAD}|SIGCHLD; clone CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND; clone {_THREAD}|CLONE_UNTRACED;
        clone {_THREAD}|CLONE_NEWNET; clone {_THREAD}|CLONE_NEWUSER; clone {_THREAD}|CLONE_PTRACE;
        clone {_THREAD}|CLONE_PIDFD; clone {_THREAD}|CLONE_VFORK; clone {_THREAD}|CLONE_IO; fork; vfork; clone3;
        exit_group; rt_sigaction SIGTERM; mmap 0 1 {_RW} {_SHARED}; mmap 0 1 {_RW} {_PRIVATE}|MAP_FIXED;
        mmap 0 1 {_RW} {_PRIVATE}|MAP_GROWSDOWN; mprotect 0 1 PROT_READ; madvise 0 1 MADV_FREE; sched_setaffinity;
        {_NO_CODE}""",
    ),
    "futex_wait_and_wake": (
        """futex 0 FUTEX_WAIT; futex 0 FUTEX_WAKE; futex 0 FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME|FUTEX_PRIVATE_FLAG;
        futex 0 FUTEX_WAKE_BITSET; futex 0 FUTEX_REQUEUE; futex 0 FUTEX_CMP_REQUEUE""",
        """futex 0 FUTEX_WAKE_OP; futex 0 FUTEX_LOCK_PI; futex 0 FUTEX_TRYLOCK_PI; futex 0 FUTEX_WAIT_REQUEUE_PI;
        futex 0 FUTEX_CMP_REQUEUE_PI; futex 0 FUTEX_FD; futex_waitv; futex_wait""",
    ),
    "yield": ("sched_yield", "sched_setaffinity; nanosleep"),
    "get_affinity": ("sched_getaffinity; getcpu", "sched_setaffinity; sched_getattr; get_mempolicy"),
    "get_scheduling": (
        """sched_getscheduler; sched_getparam; sched_getattr; getpriority; sched_get_priority_min;
        sched_get_priority_max; sched_rr_get_interval""",
        "sched_setscheduler; sched_setparam; sched_setattr; setpriority; sched_setaffinity; ioprio_get",
    ),
    # --- sockets ---
    "inet_sockets": (
        """socket AF_INET SOCK_STREAM; socket AF_INET6 SOCK_STREAM|SOCK_CLOEXEC IPPROTO_TCP;
        socket AF_INET SOCK_DGRAM;
        socket AF_INET6 SOCK_DGRAM|SOCK_NONBLOCK IPPROTO_UDP""",
        """socket AF_INET SOCK_RAW; socket AF_INET SOCK_STREAM IPPROTO_MPTCP; socket AF_INET SOCK_STREAM IPPROTO_UDP;
        socket AF_INET SOCK_DGRAM IPPROTO_ICMP; socket AF_INET SOCK_STREAM IPPROTO_SCTP;
        socket AF_INET SOCK_SEQPACKET;
        socket AF_UNIX SOCK_STREAM; socket AF_NETLINK SOCK_RAW; socket AF_PACKET SOCK_RAW;
        socket AF_VSOCK SOCK_STREAM;
        socket AF_ALG SOCK_SEQPACKET; socketpair AF_INET SOCK_STREAM; connect; bind; sendto; io_uring_setup""",
    ),
    "unix_sockets": (
        """socket AF_UNIX SOCK_STREAM; socket AF_UNIX SOCK_DGRAM|SOCK_CLOEXEC;
        socket AF_UNIX SOCK_SEQPACKET|SOCK_NONBLOCK;
        socketpair AF_UNIX SOCK_STREAM; socketpair AF_UNIX SOCK_DGRAM; socketpair AF_UNIX SOCK_SEQPACKET""",
        """socket AF_INET SOCK_STREAM; socket AF_UNIX SOCK_RAW; socket AF_NETLINK SOCK_DGRAM;
        socketpair AF_TIPC SOCK_STREAM;
        connect; bind; sendmsg""",
    ),
    "connect": ("connect", "bind; sendto; accept4; socket AF_INET SOCK_STREAM"),
    "listen": ("bind; listen; accept; accept4", "connect; socket AF_INET SOCK_STREAM; recvfrom"),
    "socket_data": (
        "sendto; sendmsg; sendmmsg; recvfrom; recvmsg; recvmmsg; shutdown",
        "connect; setsockopt; bind; write; splice; io_uring_enter; mq_timedsend",
    ),
    "socket_options": (
        """getsockname; getpeername; getsockopt 0 SOL_SOCKET SO_ERROR; getsockopt 0 SOL_TCP TCP_INFO;
        setsockopt 0 SOL_SOCKET SO_REUSEADDR; setsockopt 0 SOL_TCP TCP_NODELAY; setsockopt 0 SOL_IP IP_TOS;
        setsockopt 0 SOL_IPV6 IPV6_V6ONLY""",
        """setsockopt 0 SOL_SOCKET SO_ATTACH_FILTER; setsockopt 0 SOL_SOCKET SO_ATTACH_BPF;
        setsockopt 0 SOL_SOCKET SO_ATTACH_REUSEPORT_EBPF; setsockopt 0 SOL_SOCKET SO_BINDTODEVICE;
        setsockopt 0 SOL_SOCKET SO_SNDBUFFORCE; setsockopt 0 SOL_SOCKET SO_ZEROCOPY; setsockopt 0 SOL_TCP TCP_ULP;
        setsockopt 0 SOL_TCP TCP_REPAIR; setsockopt 0 SOL_TCP TCP_FASTOPEN; setsockopt 0 SOL_IP IP_ADD_MEMBERSHIP;
        setsockopt 0 SOL_IP 64; setsockopt 0 SOL_IPV6 64; setsockopt 0 SOL_PACKET 1; setsockopt 0 SOL_TLS 1;
        getsockopt 0 SOL_XDP 1; connect""",
    ),
    # --- runtimes ---
    "restartable_sequences": (
        f"""rseq; getcpu; membarrier; mmap 0 1 {_RW} {_PRIVATE}; futex 0 FUTEX_WAIT; futex 0 FUTEX_WAKE;
        rt_sigprocmask SIG_SETMASK; openat 0 0 O_RDONLY|O_CLOEXEC; prctl PR_SET_VMA PR_SET_VMA_ANON_NAME""",
        f"""rt_sigprocmask SIG_BLOCK; sched_setaffinity; sched_getaffinity; openat 0 0 O_RDWR; futex 0 FUTEX_REQUEUE;
        mmap 0 1 {_RW} {_SHARED}; rseq_slice_yield; {_NO_CODE}""",
    ),
    "restartable_sequences_with_slow_fences": (
        "sched_getaffinity; sched_setaffinity; rseq",
        "setpriority; sched_setscheduler; sched_setattr; set_mempolicy",
    ),
    "log_forwarding": (
        "clock_gettime; rt_sigprocmask SIG_BLOCK; kill 0 SIGABRT; write",
        """kill 0 SIGKILL; kill 1 SIGABRT; kill -1 SIGABRT; kill 0x80000000 SIGABRT; rt_sigprocmask SIG_UNBLOCK; tgkill;
        sendto; prlimit64 0 3 1""",
    ),
    "llvm_sanitizers": (
        f"""mmap 0x7fff7000 1 {_RW} {_PRIVATE}|MAP_FIXED|MAP_NORESERVE;
        mmap 0 1 PROT_NONE {_PRIVATE}|MAP_FIXED_NOREPLACE;
        mmap 0 1 PROT_READ MAP_PRIVATE 3; mmap 0 1 PROT_READ MAP_PRIVATE|MAP_FIXED 3; mprotect 0 1 PROT_READ;
        madvise 0 1 MADV_DONTDUMP; madvise 0 1 MADV_NOHUGEPAGE; mincore; prlimit64 0 RLIMIT_CORE 1;
        fcntl 3 F_SETFD FD_CLOEXEC; open 0 O_RDWR|O_CREAT|O_EXCL; openat 0 0 O_RDWR|O_CREAT|O_EXCL; unlink;
        unlinkat 0 0 0;
        prctl PR_GET_DUMPABLE; prctl PR_SET_NAME; openat 0 0 O_RDONLY; clone {_THREAD}""",
        f"""clone SIGCHLD; clone CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_UNTRACED; ptrace; prctl PR_SET_PTRACER;
        prctl PR_SET_DUMPABLE; open 0 O_WRONLY|O_CREAT|O_TRUNC; openat 0 0 O_RDWR; openat2; creat;
        unlinkat 0 0 AT_REMOVEDIR; rmdir; prlimit64 0 RLIMIT_NOFILE 1; fcntl 3 F_SETOWN; madvise 0 1 MADV_MERGEABLE;
        mmap 0 1 {_RW} {_SHARED}; mmap 0 1 {_RW} MAP_PRIVATE; personality; execve; socket; process_vm_readv;
        {_NO_CODE}""",
    ),
    "llvm_coverage": (
        f"""open 0 O_RDWR|O_CREAT; openat 0 0 O_RDWR|O_CREAT; openat 0 0 O_RDWR|O_CREAT|O_APPEND;
        openat 0 0 O_WRONLY|O_CREAT|O_TRUNC; fcntl 3 F_SETLKW; fcntl 3 F_GETFL; ftruncate;
        mmap 0 1 {_RW} MAP_SHARED 3;
        munmap; msync; madvise 0 1 MADV_DONTNEED; getpid; mkdirat""",
        f"""openat 0 0 O_RDWR; openat 0 0 O_WRONLY; openat2; creat; truncate; fcntl 3 F_SETFL; unlinkat; renameat;
        mmap 0 1 {_RW} {_SHARED}; madvise 0 1 MADV_FREE; clone {_THREAD}; fork; execve; socket; {_NO_CODE}""",
    ),
    "danger_safe_bpf": (
        """bpf BPF_MAP_LOOKUP_ELEM; bpf BPF_OBJ_GET; bpf BPF_MAP_GET_NEXT_KEY; bpf BPF_MAP_GET_NEXT_ID;
        bpf BPF_MAP_GET_FD_BY_ID; bpf BPF_OBJ_GET_INFO_BY_FD""",
        """bpf BPF_PROG_LOAD; bpf BPF_MAP_CREATE; bpf BPF_MAP_UPDATE_ELEM; bpf BPF_MAP_DELETE_ELEM; bpf BPF_OBJ_PIN;
        bpf BPF_PROG_ATTACH; bpf BPF_PROG_TEST_RUN; bpf BPF_BTF_LOAD; bpf BPF_LINK_CREATE; bpf 1000; perf_event_open;
        seccomp SECCOMP_SET_MODE_FILTER; ptrace""",
    ),
}
