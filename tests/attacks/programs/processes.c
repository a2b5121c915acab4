#include "attack.h"
#include <sys/ptrace.h>
#include <sys/uio.h>

static volatile long secret = 41;

/* A child that does nothing, of the same user and with the same memory layout. */
static pid_t sibling(void) {
    pid_t child = fork();
    need(child >= 0, "fork");
    if (child == 0)
        for (;;) pause();
    return child;
}

static void end_of(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static long write_by_vm(pid_t target) {
    long value = 42;
    struct iovec local = {&value, sizeof value}, remote = {(void *)&secret, sizeof value};
    return process_vm_writev(target, &local, 1, &remote, 1, 0) == sizeof value ? 0 : -1;
}

static long write_by_proc(pid_t target) {
    char path[64];
    long value = 42;
    snprintf(path, sizeof path, "/proc/%d/mem", target);
    int memory = open(path, O_RDWR);
    if (memory < 0) return -1;
    return pwrite(memory, &value, sizeof value, (off_t)(uintptr_t)&secret) == sizeof value ? 0 : -1;
}

static long by(const char *how, pid_t target) {
    if (!strcmp(how, "attach")) return ptrace(PTRACE_ATTACH, target, NULL, NULL);
    if (!strcmp(how, "seize")) return ptrace(PTRACE_SEIZE, target, NULL, NULL);
    if (!strcmp(how, "vm")) return write_by_vm(target);
    if (!strcmp(how, "mem")) return write_by_proc(target);
    need(0, "unknown way");
    return -1;
}

/* As long as it is not killed there are this process, a child, a grandchild in its own session, and a thread of none. */
static void family(void) {
    if (fork() == 0) {
        setsid();
        if (fork() == 0) setsid();
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        say("ready\n");
        for (;;) pause();
    }
    for (;;) pause();
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "family")) family();
    if (!strcmp(what, "sleep"))
        for (;;) pause();
    if (!strcmp(what, "self-mem")) finish(write_by_proc(getpid()));
    if (!strcmp(what, "sibling")) {
        pid_t child = sibling();
        long result = by(argv[2], child);
        int error = errno;
        end_of(child);
        errno = error;
        finish(result);
    }
    if (!strcmp(what, "init")) finish(by(argv[2], 1));
    if (!strcmp(what, "fork")) {
        end_of(sibling());
        finish(0);
    }
    /* Double fork and a session of its own: a daemon, which says so and stays. The first process waits for its input. */
    if (!strcmp(what, "daemon")) {
        char byte;
        if (fork() == 0) {
            setsid();
            if (fork() != 0) _exit(0);
            setsid();
            for (int number = 1; number < 32; number++) signal(number, SIG_IGN);
            say("daemon runs\n");
            for (;;) pause();
        }
        need(wait(NULL) > 0, "wait");
        need(read(0, &byte, 1) >= 0, "read");
        finish(0);
    }
    say("broken: unknown attack\n");
    return BROKEN;
}
