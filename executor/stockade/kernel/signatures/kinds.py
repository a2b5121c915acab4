"""The kinds of argument that system calls take.

A line is `name width role C-type`; a `:family` after the role names the family of `kernel.constants` whose symbols the
argument takes. `width` is the number of bits that the kernel acts on. Where the entry point takes a long and narrows it
at once (the descriptor of `mmap`, the flags of `clone`), it is the narrowed width: bits above it change nothing, so
comparing them would let a program slip past a rule.
"""

from __future__ import annotations

TEXT = """
fd                      32 fd                          int
dirfd                   32 dirfd:dirfd                 int
path                    64 path                        const char *
string                  64 string                      const char *
data                    64 pointer                     void *
const_data              64 pointer                     const void *
sockaddr                64 sockaddr                    const struct sockaddr *
address                 64 address                     unsigned long
size                    64 size                        size_t
ulength                 64 size                        unsigned long
count                   32 size                        unsigned int
length                  32 size                        int
segments                32 size                        unsigned long
offset                  64 offset                      loff_t
file_mode               16 mode:file_mode              umode_t
mask                    32 mode                        int
pid                     32 pid                         pid_t
long_pid                32 pid                         long
uid                     32 id                          uid_t
gid                     32 id                          gid_t
id                      32 id                          int
device                  32 id                          unsigned int
key                     32 id                          key_t
key_serial              32 id:key_special              key_serial_t
timer                   32 id                          timer_t
int                     32 int                         int
uint                    32 int                         unsigned int
u32                     32 int                         u32
long                    64 int                         long
word                    64 int                         unsigned long
option                  32 enum                        int
signal                  32 signal:signal               int
flags                   32 flags                       unsigned int
flags64                 64 flags                       unsigned long
access_mode             32 flags:access_mode           int
arch_prctl_option       32 enum:arch_prctl_option      int
at_flags                32 flags:at_flags              int
bpf_cmd                 32 enum:bpf_cmd                int
clockid                 32 enum:clockid                clockid_t
clone_flags             32 flags:clone_flags           unsigned long
close_range_flags       32 flags:close_range_flags     unsigned int
delete_module_flags     32 flags:delete_module_flags   unsigned int
dup_flags               32 flags:dup_flags             int
epoll_create_flags      32 flags:epoll_create_flags    int
epoll_op                32 enum:epoll_op               int
eventfd_flags           32 flags:eventfd_flags         int
exec_flags              32 flags:exec_flags            int
faccess_flags           32 flags:faccess_flags         int
fadvise_advice          32 enum:fadvise_advice         int
fallocate_mode          32 flags:fallocate_mode        int
fanotify_init_flags     32 flags:fanotify_init_flags   unsigned int
fanotify_mark_flags     32 flags:fanotify_mark_flags   unsigned int
fanotify_mask           64 flags:fanotify_mask         u64
fcntl_cmd               32 enum:fcntl_cmd              unsigned int
flock_operation         32 flags:flock_operation       unsigned int
fsconfig_cmd            32 enum:fsconfig_cmd           unsigned int
fsmount_flags           32 flags:fsmount_flags         unsigned int
fsopen_flags            32 flags:fsopen_flags          unsigned int
fspick_flags            32 flags:fspick_flags          unsigned int
futex2_flags            32 flags:futex2_flags          unsigned int
futex_op                32 flags:futex_op              int
get_mempolicy_flags     64 flags:get_mempolicy_flags   unsigned long
getrandom_flags         32 flags:getrandom_flags       unsigned int
handle_flags            32 flags:handle_flags          int
inotify_init_flags      32 flags:inotify_init_flags    int
inotify_mask            32 flags:inotify_mask          u32
io_uring_enter_flags    32 flags:io_uring_enter_flags  u32
io_uring_register_op    32 enum:io_uring_register_op   unsigned int
ioctl                   32 enum:ioctl                  unsigned int
ioprio_which            32 enum:ioprio_which           int
ipc_flags               32 flags:ipc_flags             int
itimer_which            32 enum:itimer_which           int
kcmp_type               32 enum:kcmp_type              int
kexec_file_flags        64 flags:kexec_file_flags      unsigned long
kexec_flags             64 flags:kexec_flags           unsigned long
keyctl_operation        32 enum:keyctl_operation       int
landlock_create_flags   32 flags:landlock_create_flags u32
landlock_restrict_flags 32 flags:landlock_restrict_flags u32
landlock_rule_type      32 enum:landlock_rule_type     int
listmount_flags         32 flags:listmount_flags       unsigned int
lseek_whence            32 enum:lseek_whence           unsigned int
lsm_attribute           32 enum:lsm_attribute          unsigned int
lsm_flags               32 flags:lsm_flags             u32
madvise_advice          32 enum:madvise_advice         int
map_flags               64 flags:map_flags             unsigned long
mbind_flags             32 flags:mbind_flags           unsigned int
membarrier_cmd          32 enum:membarrier_cmd         int
membarrier_flags        32 flags:membarrier_flags      unsigned int
memfd_flags             32 flags:memfd_flags           unsigned int
memfd_secret_flags      32 flags:memfd_secret_flags    unsigned int
mempolicy_mode          32 flags:mempolicy_mode        int
mempolicy_mode_long     32 flags:mempolicy_mode        unsigned long
mlock_flags             32 flags:mlock_flags           int
mlockall_flags          32 flags:mlockall_flags        int
module_flags            32 flags:module_flags          int
mount_attributes        32 flags:mount_attributes      unsigned int
mount_flags             64 flags:mount_flags           unsigned long
mount_setattr_flags     32 flags:mount_setattr_flags   unsigned int
move_mount_flags        32 flags:move_mount_flags      unsigned int
mremap_flags            64 flags:mremap_flags          unsigned long
msg_flags               32 flags:msg_flags             unsigned int
msg_cmd                 32 enum:msg_cmd                int
msgrcv_flags            32 flags:msgrcv_flags          int
msync_flags             32 flags:msync_flags           int
namespace_flags         32 flags:namespace_flags       int
open_flags              32 flags:open_flags            int
open_tree_flags         32 flags:open_tree_flags       unsigned int
perf_event_flags        64 flags:perf_event_flags      unsigned long
personality             32 flags:personality           unsigned int
pidfd_flags             32 flags:pidfd_flags           unsigned int
pidfd_signal_flags      32 flags:pidfd_signal_flags    unsigned int
pipe_flags              32 flags:pipe_flags            int
pkey_rights             64 flags:pkey_rights           unsigned long
prctl_option            32 enum:prctl_option           int
priority_which          32 enum:priority_which         int
prot                    64 flags:prot                  unsigned long
ptrace_request          64 enum:ptrace_request         long
quota_cmd               32 enum                        unsigned int
reboot_cmd              32 enum:reboot_cmd             unsigned int
rename_flags            32 flags:rename_flags          unsigned int
rlimit_resource         32 enum:rlimit_resource        unsigned int
rseq_flags              32 flags:rseq_flags            int
rusage_who              32 enum:rusage_who             int
rw_flags                32 flags:rw_flags              rwf_t
sched_policy            32 flags:sched_policy          int
seccomp_flags           32 flags:seccomp_flags         unsigned int
seccomp_operation       32 enum:seccomp_operation      unsigned int
sem_cmd                 32 enum:sem_cmd                int
shadow_stack_flags      32 flags:shadow_stack_flags    unsigned int
shm_cmd                 32 enum:shm_cmd                int
shmat_flags             32 flags:shmat_flags           int
shmget_flags            32 flags:shmget_flags          int
shutdown_how            32 enum:shutdown_how           int
signalfd_flags          32 flags:signalfd_flags        int
sigprocmask_how         32 enum:sigprocmask_how        int
socket_domain           32 enum:socket_domain          int
socket_flags            32 flags:socket_flags          int
socket_level            32 enum:socket_level           int
socket_option           32 enum:socket_option          int
socket_protocol         32 enum:socket_protocol        int
socket_type             32 flags:socket_type           int
splice_flags            32 flags:splice_flags          unsigned int
statx_flags             32 flags:statx_flags           unsigned int
statx_mask              32 flags:statx_mask            unsigned int
swap_flags              32 flags:swap_flags            int
sync_file_range_flags   32 flags:sync_file_range_flags unsigned int
syslog_type             32 enum:syslog_type            int
timer_flags             32 flags:timer_flags           int
timerfd_flags           32 flags:timerfd_flags         int
timerfd_settime_flags   32 flags:timerfd_settime_flags int
umount_flags            32 flags:umount_flags          int
unlink_flags            32 flags:unlink_flags          int
unshare_flags           64 flags:namespace_flags       unsigned long
userfaultfd_flags       32 flags:userfaultfd_flags     int
wait_options            32 flags:wait_options          int
waitid_type             32 enum:waitid_type            int
xattr_flags             32 flags:xattr_flags           int
"""

# What a `*name` points at where that is not `struct name`.
POINTEES = {
    "bpf_attr": "union bpf_attr",
    "fd_pair": "int",
    "fd_set": "fd_set",
    "gid_t": "gid_t",
    "int": "int",
    "loff_t": "loff_t",
    "pointers": "void *",
    "siginfo_t": "siginfo_t",
    "sigset_t": "sigset_t",
    "size_t": "size_t",
    "stack_t": "stack_t",
    "strings": "char *",
    "time_t": "time_t",
    "u32": "u32",
    "u64": "u64",
    "uid_t": "uid_t",
    "uint": "unsigned int",
    "ulong": "unsigned long",
}
