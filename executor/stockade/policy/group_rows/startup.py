"""Groups for what the C library and the loader do before and around main().

Checked against what glibc 2.36 (Debian 12) does on x86_64, static and dynamic, by running programs under them; the rows
for other versions come from the sources of glibc up to 2.42 and of musl, and say so.
"""

from __future__ import annotations

from stockade.policy.group_rows.process import FUTEX_COMMAND
from stockade.policy.group_rows.table import Group, allow, answer, equal, masked, one_of, only

_READ_WRITE = "PROT_READ|PROT_WRITE"
# Branch target identification, on aarch64; no such bit is honoured on x86_64.
_READ_EXEC_BTI = "PROT_READ|PROT_EXEC|0x10"
# How loaders map files: glibc adds MAP_DENYWRITE, which the kernel ignores, and musl does not. Never MAP_SHARED.
_LOADER = "MAP_PRIVATE|MAP_FIXED|MAP_DENYWRITE"

GROUPS = (
    Group(
        "static_startup",
        "What a static C program does before main().",
        (
            allow("uname brk set_tid_address set_robust_list rseq rt_sigprocmask"),
            # The kernel itself makes this one, to go on with an allowed call that a stop has interrupted.
            allow("restart_syscall"),
            allow("arch_prctl", equal(0, "ARCH_SET_FS")),
            # Shadow stacks: the probe of older patched versions (0x3001), then ARCH_SHSTK_{ENABLE,DISABLE,LOCK,UNLOCK,
            # STATUS}. The answer is that of a kernel without them.
            answer("arch_prctl", "EINVAL", one_of(0, "0x3001", "0x5001", "0x5002", "0x5003", "0x5004", "0x5005")),
            allow("futex", masked(1, FUTEX_COMMAND, "FUTEX_WAIT_BITSET")),
            allow("rt_sigaction", one_of(0, "32", "33")),
            # Relocated data is made read-only, and with glibc 2.43 sealed.
            allow("mprotect", equal(2, "PROT_READ")),
            allow("mseal"),
            # Thread-local storage, when brk has no room for it (glibc 2.36 and later).
            allow("mmap", equal(2, _READ_WRITE), equal(3, "MAP_PRIVATE|MAP_ANONYMOUS")),
            # The program was mapped by the kernel without the extra protection; glibc goes on without it.
            answer("mprotect", "EACCES", equal(2, _READ_EXEC_BTI)),
            answer("readlink readlinkat", "ENOENT"),
            answer("sigaltstack", "ENOSYS"),
        ),
        includes=("get_rlimit", "get_random"),
    ),
    Group(
        "dynamic_startup",
        "What the loader and the C library do before main(): open libraries for reading and map them.",
        (
            allow("munmap"),
            allow("mprotect", one_of(2, "PROT_NONE", _READ_WRITE)),
            allow("mmap", equal(2, "PROT_READ"), only(3, _LOADER)),
            allow("mmap", one_of(2, "PROT_READ|PROT_EXEC", _READ_EXEC_BTI), only(3, _LOADER)),
            allow("mmap", equal(2, _READ_WRITE), only(3, f"{_LOADER}|MAP_ANONYMOUS")),
            allow(
                "mmap",
                equal(2, "PROT_NONE"),
                one_of(3, "MAP_PRIVATE|MAP_ANONYMOUS", "MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE"),
            ),
        ),
        includes=("static_startup", "access", "open_for_reading", "read", "stat", "lseek", "close"),
    ),
)
