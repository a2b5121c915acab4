"""Groups for what a compiler adds to a program, and the one group that reopens refused calls.

The sanitizer and coverage rows were found by running programs of gcc 12 (its runtimes are those of LLVM, but for
coverage) on x86_64; rows for clang's coverage runtime come from its documentation. Both groups are broad: they are for
testing a program under a policy, not for programs that nobody trusts.
"""

from __future__ import annotations

from stockade.policy.group_rows.memory import PRIVATE, READ_WRITE
from stockade.policy.group_rows.table import Group, allow, equal, has, one_of, only

# Commands that only look. BPF_OBJ_GET opens what somebody pinned in a file system of the box.
_SAFE_BPF = (
    "BPF_MAP_LOOKUP_ELEM",
    "BPF_OBJ_GET",
    "BPF_MAP_GET_NEXT_KEY",
    "BPF_MAP_GET_NEXT_ID",
    "BPF_MAP_GET_FD_BY_ID",
    "BPF_OBJ_GET_INFO_BY_FD",
)
_CREATE = "O_RDWR|O_CREAT"

GROUPS = (
    Group(
        "llvm_sanitizers",
        "What the address, undefined-behaviour, thread and memory sanitizers need, which is broad.",
        (
            # Shadow memory, wherever it lies; with the protections of gaps between.
            allow(
                "mmap",
                one_of(2, "PROT_NONE", "PROT_READ", READ_WRITE),
                has(3, PRIVATE),
                only(3, f"{PRIVATE}|MAP_FIXED|MAP_FIXED_NOREPLACE|MAP_NORESERVE|MAP_STACK"),
            ),
            # Debugging information, for the report.
            allow("mmap", equal(2, "PROT_READ"), only(3, "MAP_PRIVATE|MAP_FIXED")),
            allow("mprotect", one_of(2, "PROT_NONE", "PROT_READ", READ_WRITE)),
            allow(
                "madvise",
                one_of(2, "MADV_DONTNEED", "MADV_DONTDUMP", "MADV_HUGEPAGE", "MADV_NOHUGEPAGE", "MADV_FREE"),
            ),
            allow("mincore"),
            # Core files of a process with terabytes of shadow memory are switched off.
            allow("prlimit64", equal(1, "RLIMIT_CORE")),
            allow("fcntl", equal(1, "F_SETFD"), equal(2, "FD_CLOEXEC")),
            # The thread sanitizer maps a file that it has just made, and removed.
            allow("open", equal(1, f"{_CREATE}|O_EXCL")),
            allow("openat", equal(2, f"{_CREATE}|O_EXCL")),
            allow("unlink"),
            allow("unlinkat", equal(2, "0")),
            # The leak sanitizer is not served: it stops the program with ptrace. (ASAN_OPTIONS=detect_leaks=0)
            allow("prctl", one_of(0, "PR_GET_DUMPABLE", "PR_SET_NAME", "PR_GET_NAME")),
        ),
        includes=(
            "system_malloc",
            "threads",
            "handle_signals",
            "open_for_reading",
            "read",
            "write",
            "close",
            "lseek",
            "stat",
            "access",
            "readlink",
            "tcgets",
            "time",
            "sleep",
            "get_pids",
            "get_rlimit",
        ),
    ),
    Group(
        "llvm_coverage",
        "What writing coverage data at the end of a program needs: files are made, locked and mapped.",
        (
            # The file of the data; clang opens it for appending when several programs share it.
            allow("open", one_of(1, _CREATE, f"{_CREATE}|O_TRUNC", f"{_CREATE}|O_APPEND")),
            allow("openat", one_of(2, _CREATE, f"{_CREATE}|O_TRUNC", f"{_CREATE}|O_APPEND")),
            allow("openat", one_of(2, "O_WRONLY|O_CREAT|O_TRUNC", "O_WRONLY|O_CREAT|O_APPEND")),
            allow("fcntl", one_of(1, "F_GETFL", "F_SETLKW")),
            allow("ftruncate"),
            allow("mmap", equal(2, READ_WRITE), equal(3, "MAP_SHARED")),
            allow("munmap msync"),
            allow("madvise", equal(2, "MADV_DONTNEED")),
            allow("getpid"),
        ),
        includes=("system_malloc", "open_for_reading", "read", "write", "close", "lseek", "stat", "access", "mkdir"),
    ),
    Group(
        "danger_safe_bpf",
        "Look into existing BPF maps and objects; loading programs and changing maps stay refused.",
        (allow("bpf", one_of(0, *_SAFE_BPF)),),
        reopens=("bpf",),
    ),
)
