"""Groups about files, directories and descriptors."""

from __future__ import annotations

from stockade.policy.group_rows.table import Group, allow, answer, equal, lacks, masked, one_of

# Flags that make an open write, create or empty something. O_TMPFILE contains O_DIRECTORY, which is harmless alone and
# differs between architectures, so its own bit is written as a number (__O_TMPFILE).
OPENS_FOR_MORE_THAN_READING = "O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|0x400000"

GROUPS = (
    Group("read", "Read from open descriptors.", (allow("read readv pread64 preadv preadv2"),)),
    Group("write", "Write to open descriptors.", (allow("write writev pwrite64 pwritev pwritev2"),)),
    Group("open", "Open and create files, for reading and writing.", (allow("open openat openat2 creat"),)),
    Group(
        "open_for_reading",
        "Open existing files for reading only.",
        (
            allow("open", lacks(1, OPENS_FOR_MORE_THAN_READING)),
            allow("openat", lacks(2, OPENS_FOR_MORE_THAN_READING)),
            # Its flags lie in memory, where a filter cannot see them. Programs that use it fall back to openat.
            answer("openat2", "ENOSYS"),
        ),
    ),
    Group("close", "Close descriptors.", (allow("close close_range"),)),
    Group(
        "stat",
        "Read the attributes of files and file systems.",
        (allow("stat fstat lstat newfstatat statx statfs fstatfs"),),
    ),
    Group("access", "Ask whether a file may be accessed.", (allow("access faccessat faccessat2"),)),
    Group("readdir", "List directories.", (allow("getdents getdents64"),)),
    Group("readlink", "Read symbolic links.", (allow("readlink readlinkat"),)),
    Group("lseek", "Move the position in an open file.", (allow("lseek"),)),
    Group("working_directory", "Ask for and change the working directory.", (allow("getcwd chdir fchdir"),)),
    Group("dup", "Duplicate descriptors.", (allow("dup dup2 dup3"),)),
    Group("pipe", "Make pipes.", (allow("pipe pipe2"),)),
    Group("unlink", "Remove files and empty directories.", (allow("unlink unlinkat rmdir"),)),
    Group("rename", "Rename files and directories.", (allow("rename renameat renameat2"),)),
    Group("mkdir", "Make directories.", (allow("mkdir mkdirat"),)),
    Group(
        "make_fifo",
        "Make named pipes, and no other special files.",
        (
            allow("mknod", masked(1, "0o170000", "0o010000")),
            allow("mknodat", masked(2, "0o170000", "0o010000")),
        ),
    ),
    Group("chmod", "Change permission bits of files.", (allow("chmod fchmod fchmodat fchmodat2"),)),
    Group("chown", "Change owner and group of files.", (allow("chown lchown fchown fchownat"),)),
    Group("link", "Make hard links.", (allow("link linkat"),)),
    Group("symlink", "Make symbolic links.", (allow("symlink symlinkat"),)),
    Group("utime", "Change time stamps of files.", (allow("utime utimes futimesat utimensat"),)),
    Group("truncate", "Change the length of files.", (allow("truncate ftruncate"),)),
    Group("allocate", "Allocate or release space of open files.", (allow("fallocate"),)),
    Group("sync", "Write open files through to the disk.", (allow("fsync fdatasync sync_file_range"),)),
    Group(
        "copy_data",
        "Move data between open descriptors within the kernel.",
        (allow("sendfile copy_file_range splice tee"),),
    ),
    Group("flock", "Lock whole open files.", (allow("flock"),)),
    Group("fadvise", "Announce how files will be read.", (allow("fadvise64 readahead"),)),
    Group("umask", "Set the mask of permission bits for new files.", (allow("umask"),)),
    Group(
        "get_xattr",
        "Read extended attributes of files.",
        (
            allow("getxattr lgetxattr fgetxattr getxattrat"),
            allow("listxattr llistxattr flistxattr listxattrat"),
        ),
    ),
    Group(
        "set_xattr",
        "Change extended attributes of files.",
        (
            allow("setxattr lsetxattr fsetxattr setxattrat"),
            allow("removexattr lremovexattr fremovexattr removexattrat"),
        ),
    ),
    Group(
        "inotify",
        "Watch files and directories for changes.",
        (allow("inotify_init inotify_init1 inotify_add_watch inotify_rm_watch close"),),
    ),
    Group("select", "Wait for descriptors by select.", (allow("select pselect6"),)),
    Group("poll", "Wait for descriptors by poll.", (allow("poll ppoll"),)),
    Group("epoll_wait", "Wait on an existing epoll instance.", (allow("epoll_wait epoll_pwait epoll_pwait2"),)),
    Group(
        "epoll",
        "Make, change and wait on epoll instances.",
        (allow("epoll_create epoll_create1 epoll_ctl"),),
        includes=("epoll_wait",),
    ),
    Group("eventfd", "Make event descriptors.", (allow("eventfd eventfd2"),)),
    Group(
        "safe_fcntl",
        "Read and set descriptor flags, duplicate descriptors, lock ranges of files.",
        (
            allow(
                "fcntl",
                one_of(
                    1,
                    "F_GETFD",
                    "F_SETFD",
                    "F_GETFL",
                    "F_SETFL",
                    "F_GETLK",
                    "F_SETLK",
                    "F_SETLKW",
                    "F_DUPFD",
                    "F_DUPFD_CLOEXEC",
                ),
            ),
        ),
    ),
    Group(
        "tcgets",
        "Ask whether a descriptor is a terminal, and for its settings.",
        (allow("ioctl", one_of(1, "TCGETS", "TCGETS2")),),
    ),
    Group("get_window_size", "Ask for the size of a terminal.", (allow("ioctl", equal(1, "TIOCGWINSZ")),)),
)
