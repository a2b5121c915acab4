"""System call numbers of x32 (32-bit pointers on x86_64).

stockade never admits this ABI; the table names what was tried. x32 has the numbers of x86_64 with bit 30 set, apart
from the calls below, and lacks those that exist for old 64-bit programs alone. Source: asm/unistd_x32.h of the kernel.
"""

from __future__ import annotations

from stockade.kernel.syscall_numbers import x86_64

X32_BIT = 0x40000000

_ABSENT = (
    "uselib _sysctl create_module get_kernel_syms query_module nfsservctl set_thread_area get_thread_area "
    "epoll_ctl_old epoll_wait_old vserver"
)

_OWN_FIRST = 512
_OWN = (
    "rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace rt_sigpending rt_sigtimedwait "
    "rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid set_robust_list get_robust_list vmsplice "
    "move_pages preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv process_vm_writev setsockopt "
    "getsockopt io_setup io_submit execveat preadv2 pwritev2"
)


def _numbers() -> dict[str, int]:
    own = _OWN.split()
    left_out = {*_ABSENT.split(), *own}
    numbers = {name: number for name, number in x86_64.SYSCALLS.items() if name not in left_out}
    numbers.update((name, _OWN_FIRST + offset) for offset, name in enumerate(own))
    return {name: number | X32_BIT for name, number in sorted(numbers.items(), key=lambda item: item[1])}


SYSCALLS: dict[str, int] = _numbers()
