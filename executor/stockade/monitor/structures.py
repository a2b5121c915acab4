"""Structures that system calls read, and which argument of which call points at which: tables only.

LAYOUTS: a line is a structure, `name: type field, ...`. A field's type is one of
    i8 u8 i16 u16 i32 u32 i64 u64   numbers            be16               a number in network order
    x32 x64                         shown in hex       long word          as wide as a pointer
    ptr                             an address         str                a pointer to a string
    fd                              a descriptor       time               seconds and nanoseconds
    set64                           a set of signals   charN              a string in N bytes
and has the kernel's alignment. `:family` behind the name gives symbols, `?` leaves out a field that is 0, the name `-`
is never shown. `packed` before a name: no padding. A structure that is only read in part ends where the table does.

USES: `call argument: structure`, arguments counted from 0. `[n]` behind the structure: as many as argument n says;
`[=2]`: always two; `<n`: argument n is its size in bytes. ` if n=A,B`: only where argument n is one of these. Besides
structures there are `string`, `int`, `u32`, `i64`, `sigset` and the other words of `decode_structures`.
Sources: the man page of each call, the kernel's headers.
"""

from __future__ import annotations

from functools import cache

LAYOUTS = """
bpf_map_create: u32 map_type:bpf_map_type, u32 key_size, u32 value_size, u32 max_entries, x32 map_flags?
bpf_prog_load: u32 prog_type:bpf_prog_type, u32 insn_cnt, x64 insns, str license, u32 log_level?
cachestat_range: u64 off, u64 len
cap_data: x32 effective, x32 permitted, x32 inheritable
cap_header: x32 version, i32 pid
clone_args: u64 flags:clone_flags, x64 pidfd?, x64 child_tid?, x64 parent_tid?, u64 exit_signal:signal, x64 stack?, \
x64 stack_size?, x64 tls?, x64 set_tid?, u64 set_tid_size?, u64 cgroup?
packed epoll_event: u32 events:epoll_events, x64 data
epoll_event@aarch64: u32 events:epoll_events, x64 data
f_owner_ex: i32 type, i32 pid
file_attr: x64 xflags, u32 extsize, u32 nextents, u32 projid, u32 cowextsize
file_handle: u32 handle_bytes, i32 handle_type
flock: i16 type:lock_type, i16 whence:lseek_whence, i64 start, i64 len, i32 pid
futex_waitv: u64 val, x64 uaddr, u32 flags:futex2_flags
ifreq: char16 name
io_uring_params: u32 sq_entries, u32 cq_entries, u32 flags:io_uring_setup_flags
packed landlock_path: u64 allowed_access:landlock_access_fs, fd parent_fd
landlock_port: u64 allowed_access:landlock_access_net, u64 port
landlock_ruleset: u64 handled_access_fs:landlock_access_fs, u64 handled_access_net:landlock_access_net?, \
u64 scoped:landlock_scope?
linger: i32 onoff, i32 linger
lsm_ctx: u64 id, u64 flags, u64 len, u64 ctx_len
mnt_id_req: u32 size, i32 mnt_ns_fd?, x64 mnt_id, x64 param
mount_attr: u64 attr_set:mount_attributes, u64 attr_clr:mount_attributes, x64 propagation:mount_flags, u64 userns_fd?
mq_attr: long flags, long maxmsg, long msgsize, long curmsgs
msgbuf: long mtype
open_how: u64 flags:open_flags, u64 mode:file_mode, u64 resolve:resolve_flags
perf_event_attr: u32 type:perf_type, u32 size, x64 config, u64 sample_period?, x64 sample_type?, x64 read_format?, \
x64 bits
pollfd: fd fd, i16 events:poll_events
sched_attr: u32 size, u32 policy:sched_policy, x64 flags?, i32 nice?, u32 priority?, u64 runtime?, u64 deadline?, \
u64 period?
sched_param: i32 priority
sembuf: u16 num, i16 op, u16 flags
sigaction: ptr handler:signal_handler, word flags:sigaction_flags, ptr -, set64 mask
sigaction@aarch64: ptr handler:signal_handler, word flags:sigaction_flags, set64 mask
sigevent: ptr value, i32 signo:signal, i32 notify:sigev_notify
siginfo: i32 signo:signal, i32 errno?, i32 code:signal_code, i32 -, i32 pid, u32 uid, x64 value?
sock_fprog: u16 len, ptr filter
stack_t: ptr sp, i32 flags:sigaltstack_flags, word size
termios: x32 iflag, x32 oflag, x32 cflag, x32 lflag
timex: x32 modes, long offset, long freq, long maxerror, long esterror, i32 status
user_desc: u32 entry_number, x32 base_addr, x32 limit
utimbuf: long actime, long modtime
winsize: u16 rows, u16 columns
xattr_args: x64 value, u32 size, u32 flags:xattr_flags
"""

USES = """
adjtimex 0: timex
bpf 1: bpf_map_create<2 if 0=BPF_MAP_CREATE
bpf 1: bpf_prog_load<2 if 0=BPF_PROG_LOAD
cachestat 1: cachestat_range
capget 0: cap_header
capset 0: cap_header
capset 1: cap_data[=2]
clock_adjtime 1: timex
clone3 0: clone_args<1
copy_file_range 1: i64
copy_file_range 3: i64
epoll_ctl 3: epoll_event if 1=EPOLL_CTL_ADD,EPOLL_CTL_MOD
epoll_pwait 4: sigset
epoll_pwait2 4: sigset
fcntl 2: f_owner_ex if 1=F_SETOWN_EX
fcntl 2: flock if 1=F_GETLK,F_SETLK,F_SETLKW,F_OFD_GETLK,F_OFD_SETLK,F_OFD_SETLKW
file_setattr 2: file_attr<3
fsconfig 3: string if 1=FSCONFIG_SET_STRING
futex_requeue 0: futex_waitv[=2]
futex_waitv 0: futex_waitv[1]
io_uring_setup 1: io_uring_params
ioctl 2: ifreq if 1=TUNSETIFF,SIOCGIFFLAGS,SIOCSIFFLAGS,SIOCGIFADDR,SIOCSIFADDR,SIOCGIFINDEX,SIOCGIFHWADDR,SIOCETHTOOL
ioctl 2: int if 1=FIONBIO,FIOASYNC,TIOCSPGRP,TIOCSETD
ioctl 2: termios if 1=TCSETS,TCSETSW,TCSETSF
ioctl 2: winsize if 1=TIOCSWINSZ
ioctl 2: character if 1=TIOCSTI
keyctl 1: string if 0=KEYCTL_JOIN_SESSION_KEYRING
landlock_add_rule 2: landlock_path if 1=LANDLOCK_RULE_PATH_BENEATH
landlock_add_rule 2: landlock_port if 1=LANDLOCK_RULE_NET_PORT
landlock_create_ruleset 0: landlock_ruleset<1
listmount 0: mnt_id_req
lsm_set_self_attr 1: lsm_ctx
modify_ldt 1: user_desc if 0=1,0x11
mount 4: string
mount_setattr 3: mount_attr<4
mq_getsetattr 1: mq_attr
mq_notify 1: sigevent
mq_open 3: mq_attr
msgsnd 1: msgbuf
open_by_handle_at 1: file_handle
open_tree_attr 3: mount_attr<4
openat2 2: open_how<3
perf_event_open 0: perf_event_attr
pidfd_send_signal 2: siginfo
poll 0: pollfd[1]
ppoll 0: pollfd[1]
ppoll 3: sigset
prctl 1: string if 0=PR_SET_NAME
prctl 2: sock_fprog if 0=PR_SET_SECCOMP
prctl 4: string if 0=PR_SET_VMA
pselect6 1: fd_set
pselect6 2: fd_set
pselect6 3: fd_set
rt_sigaction 1: sigaction
rt_sigprocmask 1: sigset
rt_sigqueueinfo 2: siginfo
rt_sigsuspend 0: sigset
rt_sigtimedwait 0: sigset
rt_tgsigqueueinfo 3: siginfo
sched_setaffinity 2: cpu_set
sched_setattr 1: sched_attr
sched_setparam 1: sched_param
sched_setscheduler 2: sched_param
seccomp 2: sock_fprog if 0=SECCOMP_SET_MODE_FILTER
seccomp 2: u32 if 0=SECCOMP_GET_ACTION_AVAIL
select 1: fd_set
select 2: fd_set
select 3: fd_set
semop 1: sembuf[2]
semtimedop 1: sembuf[2]
sendfile 2: i64
recvmsg 1: message_space
sendmmsg 1: message
sendmsg 1: message
setgroups 1: u32[0]
setsockopt 3: socket_option
setxattrat 4: xattr_args<5
sigaltstack 0: stack_t
signalfd 1: sigset
signalfd4 1: sigset
splice 1: i64
splice 3: i64
statmount 0: mnt_id_req
timer_create 1: sigevent
utime 1: utimbuf
pwritev 1: written
pwritev2 1: written
vmsplice 1: written
writev 1: written
futex 3: futex_timeout
"""


class Field:
    """One field of a structure."""

    __slots__ = ("family", "is_optional", "name", "type")

    def __init__(self, text: str) -> None:
        self.type, _, rest = text.strip().partition(" ")
        self.is_optional = rest.endswith("?")
        self.name, _, self.family = rest.removesuffix("?").partition(":")


class Layout:
    """One structure: its fields in order, and whether they follow one another without padding."""

    __slots__ = ("fields", "is_packed")

    def __init__(self, text: str, *, is_packed: bool) -> None:
        self.fields = tuple(Field(field) for field in text.split(","))
        self.is_packed = is_packed


class Use:
    """What an argument points at: a structure (or a word of its own), how many, and for which calls."""

    __slots__ = ("count_argument", "decider", "size_argument", "structure", "times", "values")

    def __init__(self, text: str) -> None:
        from stockade.kernel import constants

        what, _, condition = text.partition(" if ")
        what, _, size = what.strip().partition("<")
        self.size_argument = int(size) if size else -1
        self.structure, _, count = what.rstrip("]").partition("[")
        self.times = int(count[1:]) if count.startswith("=") else 0
        self.count_argument = int(count) if count and not self.times else -1
        decider, _, names = condition.partition("=")
        self.decider = int(decider) if decider else -1
        self.values = frozenset(constants.parse(name) for name in names.split(",") if name)


@cache
def layouts() -> dict[str, Layout]:
    """Give the structures by name; `name@architecture` for one that differs there."""
    found = {}
    for line in LAYOUTS.strip().splitlines():
        name, _, fields = line.partition(": ")
        found[name.removeprefix("packed ")] = Layout(fields, is_packed=name.startswith("packed "))
    return found


@cache
def all_uses() -> dict[tuple[str, int], tuple[Use, ...]]:
    """Give what each argument points at, by call and position; several where another argument decides."""
    found: dict[tuple[str, int], tuple[Use, ...]] = {}
    for line in USES.strip().splitlines():
        head, _, use = line.partition(": ")
        call, index = head.split()
        found[call, int(index)] = (*found.get((call, int(index)), ()), Use(use))
    return found


def use_of(call: str, index: int, raw: tuple[int, ...]) -> Use | None:
    """Give what argument `index` of a call points at; None when the table does not say. `raw` are the registers."""
    for use in all_uses().get((call, index), ()):
        if use.decider < 0 or raw[use.decider] & 0xFFFFFFFF in use.values:
            return use
    return None
