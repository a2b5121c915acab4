/* Opens files in every way and says what came of it, one line each: the same lines natively and through a hook. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *page; /* one page, with nothing behind it */

static void need(int condition, const char *what) {
    if (condition) return;
    printf("broken: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(4);
}

/* The new descriptor, or the error, and all that can be seen of the open file. */
static void show(const char *name, long got) {
    char link[64], target[512];
    struct stat status;
    int error = errno;
    if (got < 0) {
        printf("%-32s %s\n", name, strerrorname_np(error));
        return;
    }
    need(fstat(got, &status) == 0, name);
    snprintf(link, sizeof link, "/proc/thread-self/fd/%ld", got);
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    if (strstr(target, "/#")) strcpy(strstr(target, "/#"), "/#"); /* O_TMPFILE: named by its inode */
    printf("%-32s %ld %s mode=%o size=%ld ids=%d:%d links=%d getfl=%o getfd=%d offset=%ld\n", name, got, target,
           status.st_mode, S_ISREG(status.st_mode) ? (long)status.st_size : 0, status.st_uid, status.st_gid,
           S_ISREG(status.st_mode) ? (int)status.st_nlink : 0, fcntl(got, F_GETFL), fcntl(got, F_GETFD),
           (long)lseek(got, 0, SEEK_CUR));
    close(got);
}

#define AT(name, dir, path, flags, mode) show(name, syscall(SYS_openat, (long)(dir), (long)(path), (long)(flags), (long)(mode)))
#define OPEN(name, path, flags) AT(name, AT_FDCWD, path, flags, 0640)

static void how(const char *name, int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how wanted = {.flags = flags, .mode = mode, .resolve = resolve};
    show(name, syscall(SYS_openat2, dir, path, &wanted, sizeof wanted));
}

static void make(const char *path, mode_t mode, long size) {
    need(mknod(path, S_IFREG | 0600, 0) == 0 && truncate(path, size) == 0 && chmod(path, mode) == 0, path);
}

static void prepare(void) {
    page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(page != MAP_FAILED && munmap(page + 4096, 4096) == 0, "page");
    need(mkdir("/data/d", 0755) == 0 && mkdir("/data/closed", 0755) == 0 && mkdir("/data/gone", 0755) == 0, "mkdir");
    need(mkdir("/data/group", 0755) == 0 && chmod("/data/group", 02775) == 0, "mkdir group");
    make("/data/f", 0644, 7);
    make("/data/d/f", 0644, 11);
    make("/data/noread", 0200, 13);
    make("/data/nowrite", 0444, 17);
    make("/data/closed/f", 0644, 19);
    make("/data/cut", 0644, 23);
    make("/data/cut2", 0644, 29);
    need(chmod("/data/closed", 0600) == 0, "chmod");
    need(mknod("/data/fifo", S_IFIFO | 0600, 0) == 0 && mknod("/data/socket", S_IFSOCK | 0600, 0) == 0, "mknod");
    need(symlink("/data/f", "/data/abs") == 0 && symlink("d/f", "/data/rel") == 0, "symlink");
    need(symlink("../../../../data/f", "/data/up") == 0 && symlink("loop", "/data/loop") == 0, "symlink");
    need(symlink("/data/linked", "/data/dangling") == 0 && symlink("d", "/data/dirlink") == 0, "symlink");
    need(symlink("/", "/data/root") == 0 && symlink("/ro/file", "/data/outside") == 0, "symlink");
    need(chdir("/data/d") == 0, "chdir");
}

static void paths(void) {
    OPEN("absolute", "/data/f", O_RDONLY);
    OPEN("relative", "f", O_RDONLY);
    OPEN("parent", "../f", O_RDONLY);
    OPEN("above the root", "../../../../../../../../data/f", O_RDONLY);
    OPEN("above the root, absolute", "/../../data/f", O_RDONLY);
    OPEN("repeated slashes", "//data//./d///f", O_RDONLY);
    OPEN("dot", ".", O_RDONLY);
    OPEN("dot dot", "..", O_RDONLY | O_DIRECTORY);
    OPEN("root", "/", O_RDONLY);
    OPEN("empty", "", O_RDONLY);
    OPEN("trailing slash, directory", "/data/d/", O_RDONLY);
    OPEN("trailing slash, file", "/data/f/", O_RDONLY);
    OPEN("trailing slash, link to dir", "/data/dirlink/", O_RDONLY | O_NOFOLLOW);
    OPEN("trailing slash, new", "/data/new/", O_RDWR | O_CREAT);
    OPEN("trailing dot", "/data/f/.", O_RDONLY);
    OPEN("through a file", "/data/f/x", O_RDONLY);
    OPEN("missing", "/data/missing", O_RDONLY);
    OPEN("missing directory", "/data/missing/x", O_RDWR | O_CREAT);
    OPEN("absolute link", "/data/abs", O_RDONLY);
    OPEN("relative link", "/data/rel", O_RDONLY);
    OPEN("link above the root", "/data/up", O_RDONLY);
    OPEN("link to a directory", "../dirlink/f", O_RDONLY);
    OPEN("link to the root", "/data/root/data/root/data/f", O_RDONLY);
    OPEN("link to another mount", "../outside", O_RDONLY);
    OPEN("loop", "/data/loop", O_RDONLY);
    OPEN("loop on the way", "/data/loop/x", O_RDONLY);
    OPEN("another mount", "/ro/file", O_RDONLY);
    OPEN("back from another mount", "/ro/../data/f", O_RDONLY);
    OPEN("host", "/etc/shadow", O_RDONLY);
    char long_path[4200];
    memset(long_path, 'n', 300);
    strcpy(long_path + 300, "");
    OPEN("long name", long_path, O_RDONLY);
    for (int i = 0; i < 4200; i += 2) memcpy(long_path + i, "./", 2);
    strcpy(long_path + 4094, "f");
    OPEN("4095 bytes", long_path, O_RDONLY);
    strcpy(long_path + 4094, "/f");
    OPEN("4096 bytes", long_path, O_RDONLY);
    OPEN("null", 0, O_RDONLY);
    OPEN("null, bad flags", 0, O_TMPFILE | O_RDONLY);
    OPEN("kernel address", 0xffffffff81000000, O_RDONLY);
    memset(page, '/', 4096);
    OPEN("cut off by a hole", page + 4000, O_RDONLY);
    strcpy(page + 4096 - 8, "/data/f");
    OPEN("up to a hole", page + 4096 - 8, O_RDONLY);
    OPEN("within a hole", page + 4096, O_RDONLY);
    OPEN("not UTF-8", "/data/\xff\xfe", O_RDWR | O_CREAT);
}

static void flags(void) {
    OPEN("write", "/data/f", O_WRONLY);
    OPEN("read and write", "/data/f", O_RDWR);
    OPEN("access mode 3", "/data/f", 3);
    OPEN("append", "/data/f", O_WRONLY | O_APPEND);
    OPEN("close on exec", "/data/f", O_RDONLY | O_CLOEXEC);
    OPEN("non-blocking", "/data/f", O_RDWR | O_NONBLOCK);
    OPEN("sync", "/data/f", O_WRONLY | O_SYNC);
    OPEN("data sync", "/data/f", O_WRONLY | O_DSYNC);
    OPEN("async", "/data/f", O_RDONLY | O_ASYNC);
    OPEN("no access time", "/data/f", O_RDONLY | O_NOATIME);
    OPEN("no access time, not ours", "/ro/file", O_RDONLY | O_NOATIME);
    OPEN("direct", "/data/f", O_RDONLY | O_DIRECT);
    OPEN("no terminal", "/data/f", O_RDONLY | O_NOCTTY);
    OPEN("large file", "/data/f", O_RDONLY | 0100000);
    OPEN("unknown flags", "/data/f", 0x70000000 | 0x80);
    OPEN("high half of the register", "/data/f", O_RDONLY | (7L << 32));
    OPEN("truncate", "/data/cut", O_WRONLY | O_TRUNC);
    OPEN("truncate, read-only", "/data/cut2", O_RDONLY | O_TRUNC);
    OPEN("nofollow, file", "/data/f", O_RDONLY | O_NOFOLLOW);
    OPEN("nofollow, link", "/data/abs", O_RDONLY | O_NOFOLLOW);
    OPEN("nofollow, link on the way", "/data/dirlink/f", O_RDONLY | O_NOFOLLOW);
    OPEN("directory", "/data/d", O_RDONLY | O_DIRECTORY);
    OPEN("directory, file", "/data/f", O_RDONLY | O_DIRECTORY);
    OPEN("directory, link", "/data/dirlink", O_RDONLY | O_DIRECTORY);
    OPEN("directory, nofollow", "/data/dirlink", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    OPEN("directory for writing", "/data/d", O_WRONLY);
    OPEN("path", "/data/f", O_PATH);
    OPEN("path, no rights", "/data/noread", O_PATH | O_RDWR);
    OPEN("path, link", "/data/abs", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    OPEN("path, more flags", "/data/f", O_PATH | O_CREAT | O_TRUNC | O_APPEND);
    OPEN("path, directory", "/data/d", O_PATH | O_DIRECTORY);
}

static void creation(void) {
    OPEN("create", "/data/new1", O_RDWR | O_CREAT);
    AT("create, mode", AT_FDCWD, "/data/new2", O_RDWR | O_CREAT, 0777);
    AT("create, set-ids", AT_FDCWD, "/data/new3", O_WRONLY | O_CREAT, 07777);
    AT("create, more bits", AT_FDCWD, "/data/new4", O_WRONLY | O_CREAT, 0xffffffffffff0600);
    AT("create, unreadable", AT_FDCWD, "/data/new5", O_RDWR | O_CREAT, 0);
    umask(077);
    AT("create, umask 077", AT_FDCWD, "/data/new6", O_RDWR | O_CREAT, 0666);
    umask(0);
    AT("create, umask 0", AT_FDCWD, "/data/new7", O_RDWR | O_CREAT, 0666);
    umask(022);
    AT("create, in a set-group-id dir", AT_FDCWD, "/data/group/new", O_RDWR | O_CREAT, 02775);
    AT("create, relative", AT_FDCWD, "new8", O_RDWR | O_CREAT, 0600);
    OPEN("create, there", "/data/f", O_RDWR | O_CREAT);
    OPEN("create, there, not writable", "/data/nowrite", O_RDWR | O_CREAT);
    OPEN("create, a directory", "/data/d", O_RDONLY | O_CREAT);
    OPEN("create, directory flag", "/data/new9", O_RDONLY | O_CREAT | O_DIRECTORY);
    OPEN("create, dangling link", "/data/dangling", O_RDWR | O_CREAT);
    OPEN("create, link, nofollow", "/data/abs", O_RDWR | O_CREAT | O_NOFOLLOW);
    OPEN("exclusive", "/data/new10", O_RDWR | O_CREAT | O_EXCL);
    OPEN("exclusive, there", "/data/f", O_RDWR | O_CREAT | O_EXCL);
    OPEN("exclusive, link", "/data/abs", O_RDWR | O_CREAT | O_EXCL);
    OPEN("exclusive, FIFO", "/data/fifo", O_RDWR | O_CREAT | O_EXCL);
    OPEN("exclusive without create", "/data/f", O_RDWR | O_EXCL);
    OPEN("create and truncate", "/data/d/f", O_RDWR | O_CREAT | O_TRUNC);
    AT("temporary", AT_FDCWD, "/data/d", O_RDWR | O_TMPFILE, 0666);
    AT("temporary, exclusive", AT_FDCWD, "/data/d", O_WRONLY | O_TMPFILE | O_EXCL, 0600);
    OPEN("temporary, read-only", "/data/d", O_RDONLY | O_TMPFILE);
    OPEN("temporary, in a file", "/data/f", O_RDWR | O_TMPFILE);
    show("creat", syscall(SYS_creat, "/data/new11", 0666));
    show("creat, there", syscall(SYS_creat, "/data/new7", 0600));
    show("creat, a directory", syscall(SYS_creat, "/data/d", 0600));
    show("open", syscall(SYS_open, "../f", O_RDWR, 0));
    show("open, creating", syscall(SYS_open, "new12", O_RDWR | O_CREAT, 0622));
}

static void rights(void) {
    OPEN("no right to read", "/data/noread", O_RDONLY);
    OPEN("right to write", "/data/noread", O_WRONLY);
    OPEN("no right to write", "/data/nowrite", O_WRONLY);
    OPEN("no right to truncate", "/data/nowrite", O_RDONLY | O_TRUNC);
    OPEN("no right to search", "/data/closed/f", O_RDONLY);
    OPEN("no right to search, path", "/data/closed/f", O_PATH);
    OPEN("no right to search, missing", "/data/closed/missing", O_RDONLY | O_CREAT);
    OPEN("nobody's file", "/ro/secret", O_RDONLY);
    OPEN("nobody's directory", "/ro/secrets/file", O_RDONLY);
    OPEN("read-only mount", "/ro/file", O_RDWR);
    OPEN("read-only mount, creating", "/ro/new", O_RDWR | O_CREAT);
    OPEN("read-only mount, truncating", "/ro/file", O_RDONLY | O_TRUNC);
    OPEN("read-only root", "/new", O_RDWR | O_CREAT);
    OPEN("writable mount", "/rw/file", O_RDWR | O_APPEND);
    AT("writable mount, creating", AT_FDCWD, "/rw/new", O_RDWR | O_CREAT, 0644);
}

static void directories(void) {
    int data = syscall(SYS_openat, AT_FDCWD, "/data", O_RDONLY | O_DIRECTORY, 0);
    int bare = syscall(SYS_openat, AT_FDCWD, "/ro", O_PATH, 0);
    int file = syscall(SYS_openat, AT_FDCWD, "/data/f", O_RDONLY, 0);
    need(data >= 0 && bare >= 0 && file >= 0, "descriptors");
    AT("dirfd", data, "f", O_RDONLY, 0);
    AT("dirfd, parent", data, "../ro/file", O_RDONLY, 0);
    AT("dirfd, O_PATH", bare, "file", O_RDONLY, 0);
    AT("dirfd, absolute", data, "/ro/file", O_RDONLY, 0);
    AT("dirfd, high half", data | (5L << 32), "f", O_RDONLY, 0);
    AT("AT_FDCWD, 32 bits", 0xffffff9cL, "f", O_RDONLY, 0);
    AT("dirfd, a file", file, "f", O_RDONLY, 0);
    AT("dirfd, a file, absolute", file, "/data/f", O_RDONLY, 0);
    AT("dirfd, a pipe", 1, "f", O_RDONLY, 0);
    AT("dirfd, closed", 99, "f", O_RDONLY, 0);
    AT("dirfd, closed, absolute", 99, "/data/f", O_RDONLY, 0);
    AT("dirfd, closed, empty", 99, "", O_RDONLY, 0);
    AT("dirfd, closed, null", 99, 0, O_RDONLY, 0);
    AT("dirfd, negative", -1, "f", O_RDONLY, 0);
    AT("dirfd, empty", data, "", O_RDONLY, 0);
    how("openat2", data, "abs", O_RDWR | O_CLOEXEC, 0, 0);
    how("openat2, creating", data, "new20", O_RDWR | O_CREAT, 0666, 0);
    how("openat2, beneath", data, "d/f", O_RDONLY, 0, RESOLVE_BENEATH);
    how("openat2, not beneath", data, "../ro/file", O_RDONLY, 0, RESOLVE_BENEATH);
    how("openat2, beneath, absolute", data, "/data/f", O_RDONLY, 0, RESOLVE_BENEATH);
    how("openat2, in root", data, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT);
    how("openat2, in root, link", data, "/abs", O_RDONLY, 0, RESOLVE_IN_ROOT);
    how("openat2, in root, above", data, "../../d/f", O_RDONLY, 0, RESOLVE_IN_ROOT);
    how("openat2, in root, closed", 99, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT);
    how("openat2, no links", AT_FDCWD, "/data/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS);
    how("openat2, no links, link", AT_FDCWD, "/data/abs", O_RDONLY, 0, RESOLVE_NO_SYMLINKS);
    how("openat2, no magic links", AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS);
    how("openat2, no links, proc", AT_FDCWD, "/proc/self/stat", O_RDONLY, 0, RESOLVE_NO_SYMLINKS);
    how("openat2, one mount", AT_FDCWD, "/data/f", O_RDONLY, 0, RESOLVE_NO_XDEV);
    how("openat2, unknown resolve", data, "f", O_RDONLY, 0, 1 << 20);
    how("openat2, unknown flag", data, "f", 1 << 30, 0, 0);
    how("openat2, high flag", data, "f", 1ull << 40, 0, 0);
    how("openat2, mode without create", data, "f", O_RDONLY, 0600, 0);
    how("openat2, bad mode", data, "new21", O_RDWR | O_CREAT, 010000, 0);
    how("openat2, path and create", data, "new21", O_PATH | O_CREAT, 0600, 0);
    how("openat2, path null", data, 0, O_RDONLY, 0, 0);
    char wanted[8192] = {0};
    show("openat2, small", syscall(SYS_openat2, data, "f", wanted, 16L));
    show("openat2, larger", syscall(SYS_openat2, data, "f", wanted, 40L));
    show("openat2, a page", syscall(SYS_openat2, data, "f", wanted, 4096L));
    show("openat2, more than a page", syscall(SYS_openat2, data, "f", wanted, 8192L));
    wanted[39] = 1;
    show("openat2, larger, not zero", syscall(SYS_openat2, data, "f", wanted, 40L));
    show("openat2, how is null", syscall(SYS_openat2, data, "f", 0, 24L));
    show("openat2, how cut off", syscall(SYS_openat2, data, "f", page + 4096 - 8, 24L));
    close(data);
    close(bare);
    close(file);
}

static void proc(void) {
    char own[64];
    int kept = syscall(SYS_openat, AT_FDCWD, "/data/f", O_RDONLY, 0);
    OPEN("proc", "/proc/self/stat", O_RDONLY);
    OPEN("proc, two slashes", "//proc//self//stat", O_RDONLY);
    OPEN("proc, directory", "/proc/self", O_RDONLY | O_DIRECTORY);
    OPEN("proc, directory, slash", "/proc/self/", O_RDONLY);
    OPEN("proc, link itself", "/proc/self", O_PATH | O_NOFOLLOW);
    OPEN("proc, link, nofollow", "/proc/self", O_RDONLY | O_NOFOLLOW);
    OPEN("proc, another name", "/proc/selfish", O_RDONLY);
    OPEN("proc, own maps", "/proc/self/maps", O_RDONLY);
    OPEN("proc, writing", "/proc/self/comm", O_WRONLY);
    OPEN("proc, task", "/proc/self/task", O_RDONLY);
    OPEN("magic link, exe", "/proc/self/exe", O_RDONLY);
    OPEN("magic link, nofollow", "/proc/self/exe", O_RDONLY | O_NOFOLLOW);
    OPEN("magic link, cwd", "/proc/self/cwd/f", O_RDONLY);
    OPEN("magic link, root", "/proc/self/root/data/f", O_RDONLY);
    snprintf(own, sizeof own, "/proc/self/fd/%d", kept);
    OPEN("magic link, descriptor", own, O_RDWR);
    OPEN("magic link, closed", "/proc/self/fd/99", O_RDONLY);
    snprintf(own, sizeof own, "/proc/%d/stat", getpid());
    OPEN("proc, by number", own, O_RDONLY);
    OPEN("proc, init", "/proc/1/environ", O_RDONLY);
    OPEN("proc, init's root", "/proc/1/root", O_RDONLY);
    close(kept);
}

static void devices(void) {
    OPEN("null", "/dev/null", O_RDWR);
    OPEN("null, truncating", "/dev/null", O_WRONLY | O_CREAT | O_TRUNC);
    OPEN("zero", "/dev/zero", O_RDONLY);
    OPEN("full", "/dev/full", O_WRONLY);
    OPEN("random", "/dev/random", O_RDONLY);
    OPEN("urandom", "/dev/urandom", O_RDONLY | O_CLOEXEC);
    OPEN("terminal", "/dev/tty", O_RDWR);
    OPEN("socket", "/data/socket", O_RDWR);
}

static void *in_thread(void *unused) {
    char stat[64];
    OPEN("thread", "f", O_RDWR);
    snprintf(stat, sizeof stat, "/proc/thread-self/comm");
    OPEN("thread, proc", stat, O_RDONLY);
    OPEN("thread, own directory", "/proc/thread-self", O_RDONLY);
    /* A working directory, permission mask and descriptors of its own. */
    need(unshare(CLONE_FS | CLONE_FILES) == 0 && chdir("/ro") == 0, "unshare");
    int own = syscall(SYS_openat, AT_FDCWD, "/data", O_PATH, 0);
    umask(0);
    OPEN("thread, own cwd", "file", O_RDONLY);
    AT("thread, own umask", AT_FDCWD, "/data/new30", O_RDWR | O_CREAT, 0666);
    AT("thread, own descriptor", own, "f", O_RDONLY, 0);
    return unused;
}

static void others(void) {
    pthread_t thread;
    need(pthread_create(&thread, 0, in_thread, 0) == 0 && pthread_join(thread, 0) == 0, "thread");
    OPEN("after the thread", "f", O_RDWR);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        need(chdir("/data/group") == 0, "chdir");
        OPEN("child", "../f", O_RDONLY);
        OPEN("child, proc", "/proc/self/stat", O_RDONLY);
        need(chdir("/data/gone") == 0 && rmdir("/data/gone") == 0, "rmdir");
        OPEN("deleted cwd", "x", O_RDWR | O_CREAT);
        OPEN("deleted cwd, dot", ".", O_RDONLY);
        OPEN("deleted cwd, parent", "../f", O_RDONLY);
        OPEN("deleted cwd, absolute", "/data/f", O_RDONLY);
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    need(waitpid(child, &status, 0) == child && status == 0, "child");
}

int main(void) {
    prepare();
    paths();
    flags();
    rights();
    creation();
    directories();
    proc();
    devices();
    others();
    fflush(stdout);
    return 0;
}
