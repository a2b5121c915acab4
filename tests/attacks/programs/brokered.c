#include "attack.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

/* Attacks on opening files for the program. Files are told apart by their sizes. */
enum { GOOD_SIZE = 1, EVIL_SIZE = 2 };
static char *path;            /* what the main thread opens */
static const char *directory; /* where the files are */
static int from = AT_FDCWD;
static char good[512], evil[512];

/* The name in the middle of the path is one word of memory: "good" or "evil", never a mixture. */
static void flip_name(int turn) {
    volatile uint32_t *name = (volatile uint32_t *)(path + strlen(directory) + 1);
    *name = turn & 1 ? 0x6c697665 : 0x646f6f67;
}

static void flip_directory(int turn) { need(dup3(turn & 1 ? 11 : 10, 12, O_CLOEXEC) == 12, "dup3"); }

static void flip_cwd(int turn) { need(chdir(turn & 1 ? evil : good) == 0, "chdir"); }

static void flip_link(int turn) {
    char name[512], next[512];
    snprintf(name, sizeof name, "%s/link", directory);
    snprintf(next, sizeof next, "%s/next", directory);
    unlink(next);
    need(symlink(turn & 1 ? evil : good, next) == 0 && rename(next, name) == 0, "symlink");
}

static void flip_fifo(int turn) {
    char name[512], kept[512];
    snprintf(name, sizeof name, "%s/x", directory);
    snprintf(kept, sizeof kept, "%s/kept", directory);
    need(syscall(SYS_renameat2, AT_FDCWD, name, AT_FDCWD, kept, 2 /* RENAME_EXCHANGE */) == 0, "renameat2");
    (void)turn;
}

/* The last free descriptor is taken, and given back. */
static void flip_table(int turn) {
    int last = dup(0);
    if (last >= 0) close(last);
    (void)turn;
}

static void (*flip)(int);
static volatile int *stop;

static void *flip_on(void *unused) {
    for (int turn = 0; !*stop; turn++) flip(turn);
    return unused;
}

static void make_file(const char *name, long size) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", directory, name);
    need(mknod(whole, S_IFREG | 0644, 0) == 0 && truncate(whole, size) == 0, whole);
}

static void make_files(const char *kind) {
    int in_directories = !strcmp(kind, "dirfd") || !strcmp(kind, "cwd");
    snprintf(good, sizeof good, "%s/good", directory);
    snprintf(evil, sizeof evil, "%s/evil", directory);
    if (in_directories) {
        need(mkdir(good, 0755) == 0 && mkdir(evil, 0755) == 0, "mkdir");
        make_file("good/file", GOOD_SIZE);
        make_file("evil/file", EVIL_SIZE);
    } else {
        make_file("good", GOOD_SIZE);
        make_file("evil", EVIL_SIZE);
    }
}

/* How the kind of attack is made: what is opened, and what is exchanged meanwhile. */
static void choose(const char *kind) {
    if (!strcmp(kind, "thread") || !strcmp(kind, "sibling")) {
        sprintf(path, "%s", good);
        flip = flip_name;
    } else if (!strcmp(kind, "dirfd")) {
        need(dup2(open(good, O_DIRECTORY), 10) == 10 && dup2(open(evil, O_DIRECTORY), 11) == 11, "directories");
        flip_directory(0);
        sprintf(path, "file");
        from = 12;
        flip = flip_directory;
    } else if (!strcmp(kind, "cwd")) {
        flip_cwd(0);
        sprintf(path, "file");
        flip = flip_cwd;
    } else if (!strcmp(kind, "link")) {
        flip_link(0);
        sprintf(path, "%s/link", directory);
        flip = flip_link;
    } else if (!strcmp(kind, "fifo")) {
        char fifo[512];
        snprintf(fifo, sizeof fifo, "%s/kept", directory);
        make_file("x", GOOD_SIZE);
        need(mknod(fifo, S_IFIFO | 0644, 0) == 0, "mkfifo");
        sprintf(path, "%s/x", directory);
        flip = flip_fifo;
    } else if (!strcmp(kind, "table")) {
        sprintf(path, "%s", evil);
        struct rlimit limit = {31, 31};
        need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "rlimit");
        while (dup(0) >= 0) continue;
        close(30);
        flip = flip_table;
    } else {
        need(0, "unknown kind of attack");
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

/* race DIRECTORY KIND TIMES SECONDS WINS: open so often, so long, or until the evil file was open so many times. */
static int race(const char *kind, long times, double seconds, long wins) {
    long opened_good = 0, opened_evil = 0, others = 0, refused = 0, full = 0, tried = 0;
    double until = now() + seconds;
    path = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    stop = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(path != MAP_FAILED && stop != MAP_FAILED, "mmap");
    make_files(kind);
    choose(kind);
    pid_t sibling = 0;
    pthread_t thread;
    if (!strcmp(kind, "sibling")) {
        sibling = fork();
        if (sibling == 0) {
            flip_on(0);
            _exit(0);
        }
    } else {
        need(pthread_create(&thread, 0, flip_on, 0) == 0, "thread");
    }
    int flags = !strcmp(kind, "fifo") ? O_RDONLY | O_NONBLOCK : O_RDONLY;
    if (!strcmp(kind, "fifo") && wins == 0) flags = O_RDONLY;
    for (; tried < times && (wins == 0 || opened_evil < wins) && now() < until; tried++) {
        struct stat status;
        int got = syscall(SYS_openat, from, path, flags, 0);
        if (got < 0) {
            if (errno == EMFILE) full++;
            else refused++;
            continue;
        }
        need(fstat(got, &status) == 0, "fstat");
        if (!S_ISREG(status.st_mode)) others++;
        else if (status.st_size == EVIL_SIZE) opened_evil++;
        else if (status.st_size == GOOD_SIZE) opened_good++;
        else others++;
        close(got);
    }
    *stop = 1;
    if (sibling) need(waitpid(sibling, 0, 0) == sibling, "waitpid");
    else pthread_join(thread, 0);
    char text[200];
    snprintf(text, sizeof text, "tried=%ld good=%ld evil=%ld others=%ld refused=%ld full=%ld\n", tried, opened_good,
             opened_evil, others, refused, full);
    say(text);
    return 0;
}

/* Open what the argument names, and say which file it is. */
static int open_one(const char *name) {
    char text[100];
    int got = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY, 0);
    if (got < 0) finish(-1);
    ssize_t length = read(got, text, sizeof text);
    if (length > 0 && write(1, text, length) != length) return BROKEN;
    return SUCCEEDED;
}

static void *open_fifo(void *result) {
    *(volatile int *)result = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0) < 0 ? errno : -1;
    return 0;
}

/* A thread opens a FIFO that nobody writes to; the others must not have to wait for that. */
static int wait_for_fifo(void) {
    char fifo[512];
    volatile int result = 0;
    pthread_t thread;
    snprintf(fifo, sizeof fifo, "%s/fifo", directory);
    path = fifo;
    make_file("good", GOOD_SIZE);
    need(mknod(fifo, S_IFIFO | 0600, 0) == 0, "mkfifo");
    snprintf(good, sizeof good, "%s/good", directory);
    need(pthread_create(&thread, 0, open_fifo, (void *)&result) == 0, "thread");
    /* Either the thread has its answer, or it is within open and waits for this. */
    while (result == 0) {
        int other = syscall(SYS_openat, AT_FDCWD, good, O_RDONLY, 0);
        need(other >= 0, "another file");
        close(other);
        /* By a call of its own, which no hook decides. */
        if (result == 0 && syscall(SYS_open, fifo, O_WRONLY | O_NONBLOCK, 0) >= 0) {
            pthread_join(thread, 0);
            say("it waited\n");
            return SUCCEEDED;
        }
    }
    pthread_join(thread, 0);
    errno = result;
    finish(result > 0 ? -1 : 0);
}

int main(int argc, char **argv) {
    need(argc > 2, "arguments");
    directory = argv[2];
    if (!strcmp(argv[1], "open")) return open_one(argv[2]);
    if (!strcmp(argv[1], "fifo")) return wait_for_fifo();
    need(argc == 7 && !strcmp(argv[1], "race"), "arguments");
    return race(argv[3], atol(argv[4]), atof(argv[5]), atol(argv[6]));
}
