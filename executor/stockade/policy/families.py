"""Families of system calls: calls that do the same thing in another form, or older and newer versions of one call.

Whoever allows or refuses one member must think of its siblings: a C library picks among them as it likes, and an
attacker takes the one that was forgotten. Suggestions and tests use this table; nothing is allowed by it.

Every call of every supported architecture is either in exactly one family or in `ALONE`; a test walks the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_TABLE = """
open            open openat openat2 creat
open by handle  name_to_handle_at open_by_handle_at
close           close close_range
read            read readv pread64 preadv preadv2
write           write writev pwrite64 pwritev pwritev2
copy            sendfile copy_file_range splice tee vmsplice
stat            stat fstat lstat newfstatat statx
stat of mounts  statfs fstatfs ustat statmount listmount
file attributes file_getattr file_setattr
access          access faccessat faccessat2
readdir         getdents getdents64
readlink        readlink readlinkat
link            link linkat
symlink         symlink symlinkat
unlink          unlink unlinkat rmdir
rename          rename renameat renameat2
mkdir           mkdir mkdirat
mknod           mknod mknodat
chmod           chmod fchmod fchmodat fchmodat2
chown           chown fchown lchown fchownat
utime           utime utimes futimesat utimensat
truncate        truncate ftruncate
sync            sync syncfs fsync fdatasync sync_file_range
read ahead      fadvise64 readahead cachestat
chdir           chdir fchdir
get xattr       getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat
set xattr       setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat
quota           quotactl quotactl_fd
dup             dup dup2 dup3
pipe            pipe pipe2
select          select pselect6
poll            poll ppoll
epoll create    epoll_create epoll_create1
epoll control   epoll_ctl epoll_ctl_old
epoll wait      epoll_wait epoll_pwait epoll_pwait2 epoll_wait_old
eventfd         eventfd eventfd2
signalfd        signalfd signalfd4
timerfd         timerfd_create timerfd_settime timerfd_gettime
inotify         inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
fanotify        fanotify_init fanotify_mark
asynchronous io io_setup io_destroy io_getevents io_pgetevents io_submit io_cancel
io_uring        io_uring_setup io_uring_enter io_uring_register
map             mmap remap_file_pages
unmap           munmap mremap
protect         mprotect pkey_mprotect
memory keys     pkey_alloc pkey_free
advise memory   madvise process_madvise
lock memory     mlock mlock2 munlock mlockall munlockall
memory files    memfd_create memfd_secret
memory nodes    mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages
futex           futex futex_wait futex_wake futex_requeue futex_waitv
robust futexes  set_robust_list get_robust_list
sequences       rseq rseq_slice_yield
fork            fork vfork clone clone3
exec            execve execveat
exit            exit exit_group
wait            wait4 waitid
kill            kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
pidfd           pidfd_open pidfd_getfd
signal actions  rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack
signal waiting  rt_sigsuspend rt_sigtimedwait rt_sigpending pause
get time        time gettimeofday clock_gettime clock_getres
set time        settimeofday clock_settime adjtimex clock_adjtime
sleep           nanosleep clock_nanosleep
interval timers alarm setitimer getitimer
posix timers    timer_create timer_settime timer_gettime timer_getoverrun timer_delete
user ids        getuid geteuid getresuid
group ids       getgid getegid getresgid getgroups
set user ids    setuid setreuid setresuid setfsuid
set group ids   setgid setregid setresgid setfsgid setgroups
process ids     getpid getppid gettid
process groups  getpgid getpgrp getsid
set groups      setpgid setsid
capabilities    capget capset
get limits      getrlimit prlimit64
usage           getrusage times
get scheduling  sched_getscheduler sched_getparam sched_getattr
set scheduling  sched_setscheduler sched_setparam sched_setattr
priorities      sched_get_priority_min sched_get_priority_max sched_rr_get_interval
affinity        sched_getaffinity getcpu
niceness        getpriority setpriority
io priority     ioprio_get ioprio_set
socket          socket socketpair
accept          accept accept4
bind            bind listen
socket names    getsockname getpeername
socket options  setsockopt getsockopt
send            sendto sendmsg sendmmsg
receive         recvfrom recvmsg recvmmsg
semaphores      semget semop semtimedop semctl
shared memory   shmget shmat shmdt shmctl
message queues  msgget msgsnd msgrcv msgctl
posix queues    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
keys            add_key request_key keyctl
other memory    process_vm_readv process_vm_writev process_mrelease
mount           mount umount2 pivot_root
mount trees     move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr
namespaces      unshare setns listns
modules         init_module finit_module delete_module create_module get_kernel_syms query_module
kexec           kexec_load kexec_file_load
swap            swapon swapoff
names           sethostname setdomainname
ports           ioperm iopl
thread areas    arch_prctl set_thread_area get_thread_area modify_ldt
landlock        landlock_create_ruleset landlock_add_rule landlock_restrict_self
security        lsm_get_self_attr lsm_set_self_attr lsm_list_modules
probes          uprobe uretprobe
"""

# Calls that deliberately have no sibling: nothing else does the same thing.
_ALONE = """
lseek flock fcntl ioctl fallocate umask getcwd sysfs
chroot brk mincore msync membarrier mseal map_shadow_stack userfaultfd
restart_syscall set_tid_address sched_yield sched_setaffinity setrlimit
uname sysinfo syslog getrandom prctl personality seccomp ptrace kcmp
connect shutdown
bpf perf_event_open acct reboot vhangup uselib lookup_dcookie
_sysctl nfsservctl getpmsg putpmsg afs_syscall tuxcall security vserver
"""


def _read(table: str) -> dict[str, tuple[str, ...]]:
    """Read the lines of the table: a name of up to 15 characters, then the members."""
    return {line[:16].strip(): tuple(line[16:].split()) for line in table.strip().splitlines()}


# Members of each family, by the family's name.
FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(_read(_TABLE))

# Calls that belong to no family, on purpose.
ALONE: frozenset[str] = frozenset(_ALONE.split())

_FAMILY_OF = {call: name for name, members in FAMILIES.items() for call in members}


def family_of(syscall: str) -> str | None:
    """Give the name of the family of a call; None for a call that is alone or unknown."""
    return _FAMILY_OF.get(syscall)


def siblings(syscall: str) -> tuple[str, ...]:
    """Give the other members of the family of a call; empty for a call that is alone or unknown."""
    family = _FAMILY_OF.get(syscall)
    return tuple(call for call in FAMILIES[family] if call != syscall) if family else ()
