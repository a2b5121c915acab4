"""Groups about processes, threads, signals, time and identity."""

from __future__ import annotations

from stockade.policy.group_rows.table import Group, Parameter, allow, equal, has, masked, one_of, only

# All bits of a futex operation but FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME (FUTEX_CMD_MASK of linux/futex.h).
FUTEX_COMMAND = "0xfffffe7f"

# What every thread shares with its process, and what a C library may ask for besides (0x400000: CLONE_DETACHED, musl).
_THREAD = "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD"
_THREAD_EXTRAS = "CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_SETTID|CLONE_CHILD_CLEARTID|0x400000"

GROUPS = (
    Group("exit", "End the thread or the process.", (allow("exit exit_group"),)),
    Group("time", "Read clocks.", (allow("time gettimeofday clock_gettime clock_getres"),)),
    Group("sleep", "Sleep.", (allow("nanosleep clock_nanosleep"),)),
    Group("alarm", "Set and read the timers that send signals to the process.", (allow("alarm setitimer getitimer"),)),
    Group(
        "posix_timers",
        "Make and use POSIX timers.",
        (allow("timer_create timer_settime timer_gettime timer_getoverrun timer_delete"),),
    ),
    Group("timerfd", "Make and use timer descriptors.", (allow("timerfd_create timerfd_settime timerfd_gettime"),)),
    Group(
        "handle_signals",
        "Install signal handlers, block signals, return from handlers.",
        (allow("rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall"),),
    ),
    Group(
        "wait_for_signals",
        "Wait for signals, and ask which are pending.",
        (allow("pause rt_sigsuspend rt_sigtimedwait rt_sigpending"),),
    ),
    Group("signalfd", "Receive signals through a descriptor.", (allow("signalfd signalfd4"),)),
    Group("kill", "Send signals to processes of the box.", (allow("kill tkill tgkill"),)),
    Group(
        "pidfd",
        "Refer to processes of the box by descriptor, and signal them.",
        (allow("pidfd_open pidfd_send_signal"),),
    ),
    Group(
        "get_ids",
        "Ask for user and group ids.",
        (allow("getuid geteuid getresuid getgid getegid getresgid getgroups"),),
    ),
    Group("get_pids", "Ask for process and thread ids.", (allow("getpid getppid gettid"),)),
    Group("get_pgids", "Ask for process groups and sessions.", (allow("getpgid getpgrp getsid"),)),
    Group("set_pgids", "Make process groups and sessions.", (allow("setpgid setsid"),)),
    Group(
        "get_rlimit",
        "Read resource limits.",
        (allow("getrlimit"), allow("prlimit64", equal(2, "0"))),
    ),
    Group("set_rlimit", "Read and change resource limits.", (allow("getrlimit setrlimit prlimit64"),)),
    Group("get_usage", "Read the resource usage of the process and its children.", (allow("getrusage times"),)),
    Group("system_information", "Read the kernel's name and version, load and memory.", (allow("uname sysinfo"),)),
    Group(
        "get_random",
        "Get random bytes.",
        (
            allow("getrandom", one_of(2, "0", "GRND_NONBLOCK")),
            # State of the C library's own generator (glibc 2.41), droppable memory: 0x8 is MAP_DROPPABLE.
            allow("mmap", equal(2, "PROT_READ|PROT_WRITE"), equal(3, "MAP_ANONYMOUS|0x8")),
        ),
    ),
    Group("prctl_set_name", "Name threads.", (allow("prctl", equal(0, "PR_SET_NAME")),)),
    Group(
        "prctl_set_vma",
        "Name anonymous memory.",
        (allow("prctl", equal(0, "PR_SET_VMA"), equal(1, "PR_SET_VMA_ANON_NAME")),),
    ),
    Group(
        "futex_op",
        "Wait and wake in user memory, by the futex operations that are named.",
        parameter=Parameter(
            "operations", "FUTEX_WAKE", lambda operation: allow("futex", masked(1, FUTEX_COMMAND, operation))
        ),
    ),
    Group("fork", "Make processes and threads, in no new namespace.", (allow("fork vfork clone"),)),
    Group("wait", "Wait for children.", (allow("wait4 waitid"),)),
    Group(
        "threads",
        "Make and end threads, but no processes.",
        (
            allow("clone", has(0, _THREAD), only(0, f"{_THREAD}|{_THREAD_EXTRAS}")),
            allow("set_robust_list rseq exit gettid sched_yield sched_getaffinity rt_sigprocmask munmap"),
            # Signals that glibc keeps for cancelling threads and for changing the ids of all of them.
            allow("rt_sigaction", one_of(0, "32", "33")),
            # Stacks, their guards (0x66 and 0x67: MADV_GUARD_INSTALL and MADV_GUARD_REMOVE), and giving them back.
            allow(
                "mmap",
                one_of(2, "PROT_NONE", "PROT_READ|PROT_WRITE"),
                has(3, "MAP_PRIVATE|MAP_ANONYMOUS"),
                only(3, "MAP_PRIVATE|MAP_ANONYMOUS|MAP_STACK|MAP_NORESERVE"),
            ),
            allow("mprotect", one_of(2, "PROT_NONE", "PROT_READ|PROT_WRITE")),
            allow("madvise", one_of(2, "MADV_DONTNEED", "0x66", "0x67")),
        ),
        includes=("futex_wait_and_wake",),
    ),
    Group(
        "futex_wait_and_wake",
        "Wait and wake in user memory, as mutexes and condition variables do.",
        tuple(
            allow("futex", masked(1, FUTEX_COMMAND, operation))
            for operation in (
                "FUTEX_WAIT",
                "FUTEX_WAKE",
                "FUTEX_WAIT_BITSET",
                "FUTEX_WAKE_BITSET",
                "FUTEX_REQUEUE",
                "FUTEX_CMP_REQUEUE",
            )
        ),
    ),
    # Programs that use these read /proc and /sys/devices/system/cpu: `add_processor_information` shows them.
    Group(
        "restartable_sequences",
        "Use restartable sequences, as caching allocators do.",
        (
            allow("rseq getcpu membarrier"),
            allow("mmap", equal(2, "PROT_READ|PROT_WRITE"), equal(3, "MAP_PRIVATE|MAP_ANONYMOUS")),
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAIT")),
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAKE")),
            allow("rt_sigprocmask", equal(0, "SIG_SETMASK")),
        ),
        includes=("read", "open_for_reading", "poll", "close", "prctl_set_vma"),
    ),
    Group(
        "restartable_sequences_with_slow_fences",
        "Use restartable sequences with fences made by moving between cores.",
        (allow("sched_getaffinity sched_setaffinity"),),
        includes=("restartable_sequences",),
    ),
    Group("yield", "Give up the processor for now.", (allow("sched_yield"),)),
    Group("get_affinity", "Ask on which cores threads may run and do run.", (allow("sched_getaffinity getcpu"),)),
    Group(
        "get_scheduling",
        "Ask for scheduling parameters and niceness.",
        (
            allow("sched_getscheduler sched_getparam sched_getattr getpriority"),
            allow("sched_get_priority_min sched_get_priority_max sched_rr_get_interval"),
        ),
    ),
    Group(
        "log_forwarding",
        "Write log records to a descriptor and abort on fatal ones.",
        (
            allow("clock_gettime"),
            allow("rt_sigprocmask", equal(0, "SIG_BLOCK")),
            allow("kill", equal(0, "0"), equal(1, "SIGABRT")),
        ),
        includes=("write", "system_malloc", "tc_malloc", "get_pids", "close", "get_rlimit"),
    ),
)
