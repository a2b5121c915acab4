#include "attack.h"
#include <linux/stat.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <utime.h>

/* One call each, by its number, in a directory with the file "f", the directory "d" and the symbolic link "l". */

struct how { uint64_t flags, mode, resolve; };
struct xattr_arguments { uint64_t value; uint32_t size, flags; };
struct file_attributes { uint64_t xflags; uint32_t extsize, nextents, projid, cowextsize; };

#define AT AT_FDCWD
#define CALL(name, ...) if (!strcmp(what, #name)) finish(syscall(SYS_##name, __VA_ARGS__))
#define NUMBERED(name, number, ...) if (!strcmp(what, #name)) finish(syscall(number, __VA_ARGS__))

static char buffer[4096];
static struct iovec vector = {buffer, 1};
static struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
static struct mmsghdr messages;
static struct how for_writing = {.flags = O_WRONLY};
static struct xattr_arguments attribute = {0, 1, 0};
static struct file_attributes attributes;
static char *const again[] = {"again", "say", NULL};

static int open_for_reading(void) {
    int fd = syscall(SYS_openat, AT, "f", O_RDONLY);
    need(fd >= 0, "open for reading");
    return fd;
}

static int connected(int other) {
    int pair[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    if (other) need(write(pair[1], "x", 1) == 1, "write");
    return pair[0];
}

static void files(const char *what) {
#ifdef SYS_open
    CALL(open, "f", O_WRONLY);
    CALL(creat, "f", 0600);
    CALL(rename, "f", "g");
    CALL(link, "f", "g");
    CALL(symlink, "f", "g");
    CALL(mkdir, "g", 0700);
    CALL(mknod, "g", S_IFIFO | 0600, 0);
    CALL(unlink, "f");
    CALL(rmdir, "d");
    CALL(chmod, "f", 0600);
    CALL(chown, "f", -1, -1);
    CALL(lchown, "f", -1, -1);
    CALL(utime, "f", NULL);
    CALL(utimes, "f", NULL);
    CALL(futimesat, AT, "f", NULL);
    CALL(stat, "f", buffer);
    CALL(lstat, "f", buffer);
    CALL(access, "f", R_OK);
    CALL(readlink, "l", buffer, sizeof buffer);
#endif
    CALL(openat, AT, "f", O_WRONLY);
    CALL(openat2, AT, "f", &for_writing, sizeof for_writing);
    CALL(truncate, "f", 0);
#ifdef SYS_renameat
    CALL(renameat, AT, "f", AT, "g");
#endif
    CALL(renameat2, AT, "f", AT, "g", 0);
    CALL(linkat, AT, "f", AT, "g", 0);
    CALL(symlinkat, "f", AT, "g");
    CALL(mkdirat, AT, "g", 0700);
    CALL(mknodat, AT, "g", S_IFIFO | 0600, 0);
    CALL(unlinkat, AT, "f", 0);
    CALL(fchmod, open_for_reading(), 0600);
    CALL(fchmodat, AT, "f", 0600);
    NUMBERED(fchmodat2, 452, AT, "f", 0600, 0);
    CALL(fchown, open_for_reading(), -1, -1);
    CALL(fchownat, AT, "f", -1, -1, 0);
    CALL(utimensat, AT, "f", NULL, 0);
    CALL(fstat, open_for_reading(), buffer);
    CALL(newfstatat, AT, "f", buffer, 0);
    CALL(statx, AT, "f", 0, STATX_BASIC_STATS, buffer);
    CALL(statfs, "f", buffer);
    CALL(fstatfs, open_for_reading(), buffer);
    CALL(faccessat, AT, "f", R_OK);
    CALL(faccessat2, AT, "f", R_OK, 0);
    CALL(readlinkat, AT, "l", buffer, sizeof buffer);
    CALL(setxattr, "f", "user.a", "1", 1, 0);
    CALL(lsetxattr, "f", "user.a", "1", 1, 0);
    CALL(fsetxattr, open_for_reading(), "user.a", "1", 1, 0);
    attribute.value = (uintptr_t)"1";
    NUMBERED(setxattrat, 463, AT, "f", 0, "user.a", &attribute, sizeof attribute);
    NUMBERED(file_getattr, 468, AT, "f", &attributes, sizeof attributes, 0);
    if (!strcmp(what, "file_setattr")) {
        need(syscall(468, AT, "f", &attributes, sizeof attributes, 0) == 0 || errno == EPERM, "file_getattr");
        finish(syscall(469, AT, "f", &attributes, sizeof attributes, 0));
    }
    NUMBERED(open_tree, 428, AT, "f", 0);
    NUMBERED(open_tree_attr, 467, AT, "f", 0, NULL, 0);
    NUMBERED(name_to_handle_at, SYS_name_to_handle_at, AT, "f", buffer, buffer + 2048, 0);
}

static void data(const char *what) {
    CALL(read, open_for_reading(), buffer, 1);
    CALL(readv, open_for_reading(), &vector, 1);
    CALL(pread64, open_for_reading(), buffer, 1, 0);
    CALL(preadv, open_for_reading(), &vector, 1, 0, 0);
    CALL(preadv2, open_for_reading(), &vector, 1, 0, 0, 0);
    if (strstr(what, "write")) {
        int fd = syscall(SYS_openat, AT, "f", O_WRONLY);
        need(fd >= 0, "open for writing");
        CALL(write, fd, "x", 1);
        CALL(writev, fd, &vector, 1);
        CALL(pwrite64, fd, "x", 1, 0);
        CALL(pwritev, fd, &vector, 1, 0, 0);
        CALL(pwritev2, fd, &vector, 1, 0, 0, 0);
    }
    messages.msg_hdr = message;
    CALL(sendto, connected(0), "x", 1, 0, NULL, 0);
    CALL(sendmsg, connected(0), &message, 0);
    CALL(sendmmsg, connected(0), &messages, 1, 0);
    CALL(recvfrom, connected(1), buffer, 1, 0, NULL, NULL);
    CALL(recvmsg, connected(1), &message, 0);
    CALL(recvmmsg, connected(1), &messages, 1, 0, NULL);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "say")) finish(0);
    /* In the directory of the second word: that of the box is its root. */
    if (argc > 2) need(chdir(argv[2]) == 0, "chdir");
    files(what);
    data(what);
    CALL(execve, argv[0], again, NULL);
    CALL(execveat, AT, argv[0], again, NULL, 0);
    say("broken: unknown call\n");
    return BROKEN;
}
