"""Numbers of linux/seccomp.h and linux/filter.h that both sides of the fork use. Plain integers, no imports."""

from __future__ import annotations

# seccomp(2) operations.
SECCOMP_SET_MODE_STRICT = 0
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_GET_NOTIF_SIZES = 3

# Flags of SECCOMP_SET_MODE_FILTER.
SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 16
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32

# What a filter returns: an action, and 16 bits of data. The smaller the action as a signed number, the stronger.
SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_KILL_THREAD = 0x00000000
SECCOMP_RET_TRAP = 0x00030000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_USER_NOTIF = 0x7FC00000
SECCOMP_RET_TRACE = 0x7FF00000
SECCOMP_RET_LOG = 0x7FFC0000
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ACTION_FULL = 0xFFFF0000
SECCOMP_RET_DATA = 0x0000FFFF

# The kernel cuts the data of SECCOMP_RET_ERRNO off here.
MAX_ERRNO = 4095

# Longest filter in instructions (BPF_MAXINSNS), and size of one instruction (struct sock_filter) in bytes.
BPF_MAXINSNS = 4096
INSTRUCTION_SIZE = 8

# Field "Seccomp:" of /proc/pid/status. 3 is what a task shows once the kernel has decided to kill it for its filter.
SECCOMP_MODE_DISABLED = 0
SECCOMP_MODE_STRICT = 1
SECCOMP_MODE_FILTER = 2
SECCOMP_MODE_DEAD = 3

# Sixth argument of the one execveat that starts the program; no kernel reads that argument. Not a secret: the monitor
# closes it after that exec.
FREE_EXEC_COOKIE = 0x53544F434B414445

# "Am I sandboxed?": a system call that no kernel has, and the error number, which no kernel uses, that every filter of
# ours answers it with. Elsewhere it gives ENOSYS. Below 2**30, where x86_64 would take the number for one of x32.
DETECTION_CALL = 0x05710C4D
DETECTION_ERRNO = 4051
