#include "attack.h"
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

/* Calls of which one argument has the high bits that argv[2] says: the kernel looks at the low 32 bits only. */

static long waiting_bytes(uint64_t high) {
    int ends[2], count = 0;
    need(pipe(ends) == 0 && write(ends[1], "abc", 3) == 3, "pipe");
    long result = syscall(SYS_ioctl, ends[0], FIONREAD | high, &count);
    if (result == 0) need(count == 3, "FIONREAD did nothing");
    return result;
}

/* Type a character into a terminal of our own and read it back; without one, only try. */
static long type_into_terminal(uint64_t high, unsigned long command) {
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), unlocked = 0, number = 0, terminal = 0;
    if (master >= 0) {
        char name[32];
        need(ioctl(master, TIOCSPTLCK, &unlocked) == 0 && ioctl(master, TIOCGPTN, &number) == 0, "ptmx");
        snprintf(name, sizeof name, "/dev/pts/%d", number);
        setsid();
        terminal = open(name, O_RDWR);
        need(terminal >= 0, name);
    }
    return syscall(SYS_ioctl, terminal, command | high, "x");
}

static long child_with(uint64_t flags) {
    long child = syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
    if (child == 0) _exit(0);
    if (child > 0) waitpid(child, NULL, __WALL);
    return child;
}

static long wait_for_any(uint64_t any) {
    pid_t child = fork();
    need(child >= 0, "fork");
    if (child == 0) _exit(0);
    return syscall(SYS_wait4, any, NULL, 0, NULL) == child ? 0 : -1;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    uint64_t high = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
    uint64_t value = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    if (!strcmp(what, "ioctl")) finish(waiting_bytes(high));
    if (!strcmp(what, "terminal")) finish(type_into_terminal(high, value));
    if (!strcmp(what, "prctl")) finish(syscall(SYS_prctl, value | high, 0, 0, 0, 0));
    if (!strcmp(what, "socket")) finish(syscall(SYS_socket, AF_UNIX | high, SOCK_STREAM, 0));
    if (!strcmp(what, "type")) finish(syscall(SYS_socket, AF_UNIX, SOCK_STREAM | high, 0));
    if (!strcmp(what, "clone")) finish(child_with(SIGCHLD | value | high));
    if (!strcmp(what, "fcntl")) finish(syscall(SYS_fcntl, 1, F_GETFD | high, 0));
    if (!strcmp(what, "open-flags")) finish(syscall(SYS_openat, AT_FDCWD, "/", O_DIRECTORY | high, 0));
    if (!strcmp(what, "madvise")) {
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        need(page != MAP_FAILED, "mmap");
        finish(syscall(SYS_madvise, page, 4096, MADV_DONTNEED | high));
    }
    /* Here argv[2] is the whole argument, in the form of 32 or of 64 bits. */
    if (!strcmp(what, "at")) finish(syscall(SYS_openat, high, "/", O_DIRECTORY, 0));
    if (!strcmp(what, "wait")) finish(wait_for_any(high));
    if (!strcmp(what, "stat-at")) {
        struct stat status;
        finish(syscall(SYS_newfstatat, high, "/", &status, 0));
    }
    /* What a program sees of an answer that the policy makes up: getppid has no errors of its own. */
    if (!strcmp(what, "answer")) {
        char text[64];
        errno = 0;
        long result = syscall(SYS_getppid);
        snprintf(text, sizeof text, "%ld %d\n", result > 0 ? 1 : result, result < 0 ? errno : 0);
        say(text);
        long raw;
        __asm__ volatile("syscall" : "=a"(raw) : "a"(SYS_getppid) : "rcx", "r11", "memory");
        snprintf(text, sizeof text, "%ld\n", raw > 0 ? 1 : raw);
        say(text);
        _exit(SUCCEEDED);
    }
    /* Calls by numbers of 32 bits: socketcall(SYS_SOCKET, {AF_UNIX, SOCK_STREAM, 0}) and ipc(SHMGET, ...). */
    if (!strcmp(what, "socketcall") || !strcmp(what, "ipc")) {
        uint32_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        need(low != MAP_FAILED, "mmap");
        low[0] = AF_UNIX, low[1] = SOCK_STREAM, low[2] = 0;
        long answer;
        if (!strcmp(what, "socketcall"))
            __asm__ volatile("int $0x80" : "=a"(answer) : "a"(102), "b"(1L), "c"(low) : "memory", "r8", "r9", "r10", "r11");
        else
            __asm__ volatile("int $0x80" : "=a"(answer) : "a"(117), "b"(23L), "c"(0L), "d"(4096L), "S"(01600L)
                             : "memory", "r8", "r9", "r10", "r11");
        if (answer < 0) errno = -answer, answer = -1;
        finish(answer);
    }
    if (!strcmp(what, "plain-socket")) finish(socket(AF_UNIX, SOCK_STREAM, 0));
    /* Make oneself unreadable to others, and then do what is not allowed. */
    if (!strcmp(what, "hide")) {
        need(prctl(PR_SET_DUMPABLE, 0) == 0, "PR_SET_DUMPABLE");
        finish(syscall(SYS_getppid));
    }
    /* The end of the data segment as it is: needs a capability, which the control may not have. */
    if (!strcmp(what, "mm")) {
        static int data;
        finish(syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_END_DATA, &data + 1, 0, 0));
    }
    if (!strcmp(what, "dispatch")) {
        static char selector = 0;
        finish(syscall(SYS_prctl, 59, 1, 0, 0, &selector));
    }
    if (!strcmp(what, "ptracer")) finish(syscall(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0));
    if (!strcmp(what, "strict")) finish(syscall(SYS_prctl, PR_SET_SECCOMP, 1, 0, 0, 0));
    if (!strcmp(what, "name")) finish(syscall(SYS_prctl, PR_SET_NAME, "harmless", 0, 0, 0));
    say("broken: unknown attack\n");
    return BROKEN;
}
