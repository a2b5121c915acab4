/* The least that a supervisor by seccomp user notification can be: `supervisor PROGRAM ARG…` runs a program, is notified of
   each getppid, and lets it continue. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, unsigned long long)
#endif

static void fail(const char *what) { perror(what); _exit(9); }
static void interrupt(int signo) { (void)signo; }

static int install(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0) fail("seccomp");
    return listener;
}

/* Send a descriptor over `by`, or with -1 receive one. */
static int hand_over(int by, int descriptor) {
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (descriptor < 0) {
        ssize_t got;
        while ((got = recvmsg(by, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
        if (got != 1 || !CMSG_FIRSTHDR(&message)) fail("recvmsg");
        memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
        return descriptor;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    if (sendmsg(by, &message, 0) != 1) fail("sendmsg");
    return descriptor;
}

int main(int argc, char **argv) {
    int pair[2], status;
    if (argc < 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) fail("usage");
    /* Without SA_RESTART: the end of the program ends the wait. Older kernels do not say that nobody is left, and the signal
       may come just before the wait: hence the timer. */
    struct sigaction action = {.sa_handler = interrupt};
    struct itimerval often = {{0, 100000}, {0, 100000}};
    sigaction(SIGCHLD, &action, 0);
    sigaction(SIGALRM, &action, 0);
    pid_t child = fork();
    if (child == 0) {
        close(hand_over(pair[1], install()));
        execv(argv[1], argv + 1);
        fail(argv[1]);
    }
    setitimer(ITIMER_REAL, &often, 0);
    int listener = hand_over(pair[0], -1);
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1ULL); /* wake up on the same CPU, where the kernel can (6.6) */
    while (waitpid(child, &status, WNOHANG) == 0) {
        struct seccomp_notif asked = {0};
        while (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) == 0) {
            struct seccomp_notif_resp answer = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
            if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) && errno != ENOENT) fail("send");
            memset(&asked, 0, sizeof asked);
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}
