#include "attack.h"
#include <linux/capability.h>
#include <linux/sched.h>
#include <sys/types.h>

static char stack[65536];

static int nothing(void *unused) {
    (void)unused;
    return 0;
}

/* A child that has namespaces of its own, and says over a pipe when it has them. */
static pid_t child_with(int flags) {
    int ends[2];
    char byte;
    need(pipe(ends) == 0, "pipe");
    pid_t child = fork();
    need(child >= 0, "fork");
    if (child == 0) {
        if (unshare(flags) != 0) _exit(BROKEN);
        need(write(ends[1], "x", 1) == 1, "write");
        for (;;) pause();
    }
    close(ends[1]);
    need(read(ends[0], &byte, 1) == 1, "namespaces of the child");
    return child;
}

static long enter(pid_t target, const char *how, const char *kind, int flag) {
    char path[64];
    int where = -1;
    if (!strcmp(how, "pidfd")) {
        where = syscall(SYS_pidfd_open, target, 0);
    } else {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", target, kind);
        where = open(path, O_RDONLY);
    }
    if (where < 0) return -1;
    return setns(where, flag);
}

static long enter_child(const char *how) {
    pid_t child = child_with(CLONE_NEWUSER | CLONE_NEWUTS);
    long result = enter(child, how, "user", CLONE_NEWUSER);
    if (result == 0) result = enter(child, how, "uts", CLONE_NEWUTS);
    int error = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = error;
    return result;
}

static long raise_capabilities(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{1u << CAP_SYS_ADMIN, 1u << CAP_SYS_ADMIN, 0}, {0, 0, 0}};
    return syscall(SYS_capset, &header, data);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "unshare")) finish(unshare(strtoul(argv[2], NULL, 0)));
    if (!strcmp(what, "clone")) {
        long child = clone(nothing, stack + sizeof stack, strtoul(argv[2], NULL, 0) | SIGCHLD, NULL);
        if (child > 0) waitpid(child, NULL, 0);
        finish(child);
    }
    if (!strcmp(what, "clone3")) {
        struct clone_args arguments = {.flags = strtoul(argv[2], NULL, 0), .exit_signal = SIGCHLD};
        long child = syscall(SYS_clone3, &arguments, sizeof arguments);
        if (child == 0) _exit(0);
        if (child > 0) waitpid(child, NULL, 0);
        finish(child);
    }
    if (!strcmp(what, "setns-child")) finish(enter_child(argv[2]));
    /* Every namespace of init in turn; each that could be entered counts. */
    if (!strcmp(what, "setns-init")) {
        static const struct { const char *kind; int flag; } all[] = {
            {"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},   {"pid", CLONE_NEWPID},       {"net", CLONE_NEWNET},
            {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS},  {"cgroup", CLONE_NEWCGROUP},
        };
        for (unsigned index = 0; index < sizeof all / sizeof *all; index++)
            if (enter(1, argv[2], all[index].kind, all[index].flag) == 0) finish(0);
        finish(-1);
    }
    if (!strcmp(what, "pidfd")) finish(syscall(SYS_pidfd_open, getpid(), 0));
    if (!strcmp(what, "securebits")) {
        char text[32];
        snprintf(text, sizeof text, "%d\n", prctl(PR_GET_SECUREBITS));
        say(text);
        return SUCCEEDED;
    }
    if (!strcmp(what, "unshare-and-raise")) finish(unshare(CLONE_NEWUSER) == 0 ? raise_capabilities() : -1);
    if (!strcmp(what, "raise")) finish(raise_capabilities());
    if (!strcmp(what, "ids")) {
        char text[64];
        snprintf(text, sizeof text, "%d %d\n", getuid(), geteuid());
        say(text);
        return SUCCEEDED;
    }
    if (!strcmp(what, "exec-ids")) {
        char *const again[] = {argv[2], "ids", NULL};
        execv(argv[2], again);
        finish(-1);
    }
    if (!strcmp(what, "set-uid")) finish(setuid(strtoul(argv[2], NULL, 0)));
    say("broken: unknown attack\n");
    return BROKEN;
}
