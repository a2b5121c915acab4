"""Groups about memory: mappings, protections and allocators."""

from __future__ import annotations

from stockade.policy.group_rows.process import FUTEX_COMMAND
from stockade.policy.group_rows.table import Group, allow, answer, equal, has, lacks, masked, one_of, only

READ_WRITE = "PROT_READ|PROT_WRITE"
PRIVATE = "MAP_PRIVATE|MAP_ANONYMOUS"

# Advice that frees, reserves or orders memory; none of it reaches another process.
_LIMITED_ADVICE = (
    "MADV_SEQUENTIAL",
    "MADV_DONTNEED",
    "MADV_DONTNEED_LOCKED",
    "MADV_REMOVE",
    "MADV_HUGEPAGE",
    "MADV_NOHUGEPAGE",
    "MADV_DONTDUMP",
    "MADV_COLLAPSE",
)

GROUPS = (
    Group(
        "mmap_without_exec",
        "Map memory and files, but never executable.",
        (allow("mmap", lacks(2, "PROT_EXEC")), allow("munmap")),
    ),
    Group(
        "danger_mmap_with_exec",
        "Map memory and files in any way, also writable and executable.",
        (allow("mmap munmap"),),
    ),
    Group(
        "mprotect_without_exec",
        "Change the protection of memory, but never to executable.",
        (allow("mprotect", lacks(2, "PROT_EXEC")),),
    ),
    Group(
        "danger_mprotect_with_exec",
        "Change the protection of memory in any way, also to executable.",
        (allow("mprotect"),),
    ),
    Group(
        "pkey_mprotect_without_exec",
        "Change protection and key of memory, but never to executable.",
        (allow("pkey_mprotect", lacks(2, "PROT_EXEC")),),
    ),
    Group(
        "danger_pkey_mprotect_with_exec",
        "Change protection and key of memory in any way, also to executable.",
        (allow("pkey_mprotect"),),
    ),
    Group("mlock", "Keep memory from being swapped out.", (allow("mlock mlock2 munlock"),)),
    Group(
        "wipe_on_fork",
        "Have memory cleared in children, and ask whether the kernel can.",
        (allow("madvise", one_of(2, "MADV_WIPEONFORK", "-1")),),
    ),
    Group(
        "system_malloc",
        "What malloc of the C library needs, with threads too.",
        (
            allow("munmap brk"),
            allow("mremap", equal(3, "MREMAP_MAYMOVE")),
            allow("mmap", equal(2, READ_WRITE), one_of(3, PRIVATE, f"{PRIVATE}|MAP_NORESERVE")),
            allow("mmap", equal(2, "PROT_NONE"), equal(3, f"{PRIVATE}|MAP_NORESERVE")),
            # Heaps of threads grow by mprotect and shrink by mapping anew or by advice.
            allow("mmap", equal(2, "PROT_NONE"), equal(3, f"{PRIVATE}|MAP_FIXED")),
            allow("mprotect", one_of(2, "PROT_NONE", READ_WRITE)),
            allow("madvise", equal(2, "MADV_DONTNEED")),
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAIT")),
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAKE")),
            allow("sched_getaffinity"),
        ),
        includes=("get_random",),
    ),
    Group(
        "tc_malloc",
        "What TCMalloc needs.",
        (
            allow("munmap brk nanosleep mincore membarrier lseek"),
            allow("madvise", one_of(2, *_LIMITED_ADVICE)),
            allow("mprotect", one_of(2, "PROT_NONE", READ_WRITE)),
            allow(
                "mmap",
                one_of(2, "PROT_NONE", READ_WRITE),
                has(3, PRIVATE),
                only(3, f"{PRIVATE}|MAP_FIXED|MAP_FIXED_NOREPLACE|MAP_NORESERVE|MAP_STACK"),
            ),
            answer("process_vm_readv", "ENOSYS"),
        ),
        includes=("time", "restartable_sequences", "prctl_set_vma", "poll", "get_pids"),
    ),
    Group(
        "scudo_malloc",
        "What the Scudo allocator needs.",
        (
            allow("munmap nanosleep"),
            allow("madvise", one_of(2, *_LIMITED_ADVICE)),
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAKE")),
            allow("mprotect", one_of(2, "PROT_NONE", READ_WRITE)),
            allow(
                "mmap",
                equal(2, READ_WRITE),
                has(3, PRIVATE),
                only(3, f"{PRIVATE}|MAP_FIXED|MAP_NORESERVE"),
            ),
            allow("mmap", equal(2, "PROT_NONE"), equal(3, f"{PRIVATE}|MAP_NORESERVE")),
            answer("open openat", "ENOENT"),
        ),
        includes=("time", "get_random", "get_pids", "wipe_on_fork"),
    ),
    Group(
        "shared_memory",
        "Map shared memory that was handed over, readable and writable.",
        (allow("mmap", equal(2, READ_WRITE), equal(3, "MAP_SHARED")), allow("munmap")),
        includes=("close", "stat"),
    ),
    Group(
        "shared_memory_comms",
        "Exchange messages through shared memory.",
        (
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAIT")),
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAKE")),
        ),
        includes=("shared_memory",),
    ),
)
