#include "attack.h"
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

static long int80(long number) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static long clone3_with(uint64_t flags) {
    struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0) _exit(0);
    if (child > 0) waitpid(child, NULL, __WALL);
    return child;
}

/* A child with these flags and exit signal makes one getppid and ends; the parent waits for it. */
static long clone_with(unsigned long flags) {
    long child = syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
    if (child == 0) _exit(syscall(SYS_getppid) < 0 ? REFUSED : SUCCEEDED);
    if (child < 0) return child;
    int status;
    need(waitpid(child, &status, __WALL) == child, "waitpid");
    if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED) return 0;
    errno = WIFEXITED(status) ? ENOSYS : EINTR;
    return -1;
}

static struct sock_filter notify_all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

static long own_filter(int flags) {
    struct sock_fprog program = {1, notify_all};
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static long own_filter_by_prctl(void) {
    struct sock_fprog program = {1, notify_all};
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* A ring that makes a socket, a call which then passes no filter. */
static long socket_by_ring(void) {
    struct io_uring_params p = {0};
    long ring = syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0) return ring;
    size_t size = p.sq_off.array + p.sq_entries * 4, end = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, size > end ? size : end, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *sqe =
        mmap(NULL, p.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    need(sq != MAP_FAILED && sqe != MAP_FAILED && (p.features & IORING_FEAT_SINGLE_MMAP), "ring mapping");
    sqe->opcode = 45; /* IORING_OP_SOCKET */
    sqe->fd = AF_INET;
    sqe->off = SOCK_DGRAM;
    *(unsigned *)(sq + p.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) return -1;
    int made = ((struct io_uring_cqe *)(sq + p.cq_off.cqes))->res;
    if (made < 0) errno = -made;
    return made;
}

static void *in_thread(void *given) {
    *(int *)given = 1;
    return NULL;
}

/* Threads and children by the C library, which tries clone3 first. */
static long ordinary_threads_and_children(void) {
    pthread_t thread;
    int ran = 0;
    int error = pthread_create(&thread, NULL, in_thread, &ran);
    if (error) return errno = error, -1;
    pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) _exit(0);
    if (child < 0 || waitpid(child, NULL, 0) != child) return -1;
    return ran ? 0 : -1;
}

static char *const again[] = {"again", "say", NULL};

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "say")) finish(0);
    if (!strcmp(what, "int80")) {
        long answer = int80(atol(argv[2]));
        if (answer < 0) errno = -answer, answer = -1;
        finish(answer);
    }
    if (!strcmp(what, "number")) finish(syscall(strtoul(argv[2], NULL, 0), 0, 0, 0, 0, 0, 0));
    if (!strcmp(what, "clone3")) finish(clone3_with(strtoul(argv[2], NULL, 0)));
    if (!strcmp(what, "clone")) finish(clone_with(strtoul(argv[2], NULL, 0)));
    if (!strcmp(what, "threads")) finish(ordinary_threads_and_children());
    if (!strcmp(what, "listener")) finish(own_filter(SECCOMP_FILTER_FLAG_NEW_LISTENER));
    if (!strcmp(what, "filter")) finish(own_filter(0));
    if (!strcmp(what, "prctl-filter")) finish(own_filter_by_prctl());
    if (!strcmp(what, "action-available")) {
        uint32_t action = SECCOMP_RET_ALLOW;
        finish(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    }
    if (!strcmp(what, "io_uring")) finish(socket_by_ring());
    if (!strcmp(what, "socket")) finish(socket(AF_UNIX, SOCK_DGRAM, 0));
    if (!strcmp(what, "execve")) finish(syscall(SYS_execve, argv[0], again, NULL));
    if (!strcmp(what, "execveat"))
        finish(syscall(SYS_execveat, AT_FDCWD, argv[0], again, NULL, 0, strtoul(argv[2], NULL, 0)));
    if (!strcmp(what, "child-execveat")) {
        pid_t child = fork();
        need(child >= 0, "fork");
        if (child == 0) finish(syscall(SYS_execveat, AT_FDCWD, argv[0], again, NULL, 0, strtoul(argv[2], NULL, 0)));
        end_as(child);
    }
    /* Say each time that the traced call got through. Without end. */
    if (!strcmp(what, "traced-forever")) {
        say("running\n");
        for (;;)
            if (syscall(SYS_getppid) >= 0) say("let through\n");
    }
    say("broken: unknown attack\n");
    return BROKEN;
}
