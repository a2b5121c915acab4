#include "attack.h"
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>

/* Ways to run machine code that the program has written itself, and programs that were never on a disk. */

static const unsigned char forty_two[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */

static long run_at(void *place) {
    return ((int (*)(void))place)() == 42 ? 0 : -1;
}

static void *writable(void) {
    void *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place != MAP_FAILED) memcpy(place, forty_two, sizeof forty_two);
    need(place != MAP_FAILED, "mmap");
    return place;
}

static long from_descriptor(int fd) {
    if (fd < 0) return -1;
    need(write(fd, forty_two, sizeof forty_two) == sizeof forty_two, "write");
    void *place = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    return place == MAP_FAILED ? -1 : run_at(place);
}

static long by_shared_memory(void) {
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0700);
    if (id < 0) return -1;
    void *place = shmat(id, NULL, SHM_EXEC);
    shmctl(id, IPC_RMID, NULL);
    if (place == (void *)-1) return -1;
    memcpy(place, forty_two, sizeof forty_two);
    return run_at(place);
}

static long by_personality(void) {
    if (personality(READ_IMPLIES_EXEC) < 0) return -1;
    return run_at(writable());
}

static __attribute__((noinline, aligned(4096))) int harmless(void) {
    __asm__ volatile("nop; nop; nop; nop; nop; nop");
    return 1;
}

static long by_memory_file(void) {
    int fd = open("/proc/self/mem", O_RDWR);
    if (fd < 0) return -1;
    if (pwrite(fd, forty_two, sizeof forty_two, (off_t)(uintptr_t)harmless) < 0) return -1;
    int (*volatile again)(void) = harmless;
    return again() == 42 ? 0 : -1;
}

static long shared_pages_in_another_order(void) {
    char *place = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(place != MAP_FAILED, "mmap");
    return syscall(SYS_remap_file_pages, place, 4096, 0, 1, 0);
}

static char *const again[] = {"again", "say", NULL};
static char *const none[] = {NULL};

/* A copy of this program in memory, executed there. */
static int copy_in_memory(const char *program) {
    char buffer[65536];
    int from = open(program, O_RDONLY), to = memfd_create("nowhere on disk", 0);
    if (to < 0) return -1;
    need(from >= 0, "open");
    for (ssize_t size; (size = read(from, buffer, sizeof buffer)) > 0;) need(write(to, buffer, size) == size, "write");
    return to;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "say")) finish(0);
    if (!strcmp(what, "mmap")) {
        void *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (place == MAP_FAILED) finish(-1);
        memcpy(place, forty_two, sizeof forty_two);
        finish(run_at(place));
    }
    if (!strcmp(what, "mprotect")) {
        void *place = writable();
        finish(mprotect(place, 4096, PROT_READ | PROT_EXEC) < 0 ? -1 : run_at(place));
    }
    if (!strcmp(what, "pkey_mprotect")) {
        void *place = writable();
        finish(syscall(SYS_pkey_mprotect, place, 4096L, PROT_READ | PROT_EXEC, -1L) < 0 ? -1 : run_at(place));
    }
    if (!strcmp(what, "file")) finish(from_descriptor(open(argv[2], O_RDWR | O_CREAT | O_EXCL, 0700)));
    if (!strcmp(what, "memfd")) finish(from_descriptor(memfd_create("code", 0)));
    if (!strcmp(what, "shmat")) finish(by_shared_memory());
    if (!strcmp(what, "personality")) finish(by_personality());
    if (!strcmp(what, "proc-mem")) finish(by_memory_file());
    if (!strcmp(what, "remap_file_pages")) finish(shared_pages_in_another_order());
    if (!strcmp(what, "data")) {
        /* What stays possible: memory that is written and read, and made read-only. */
        void *place = writable();
        finish(mprotect(place, 4096, PROT_NONE));
    }
    int copy = !strncmp(what, "in-memory", 9) ? copy_in_memory(argv[0]) : -1;
    if (!strcmp(what, "in-memory-execveat") && copy >= 0) syscall(SYS_execveat, copy, "", again, none, AT_EMPTY_PATH);
    if (!strcmp(what, "in-memory-fexecve") && copy >= 0) fexecve(copy, again, none);
    if (!strcmp(what, "in-memory-path") && copy >= 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
        execve(path, again, none);
    }
    if (!strncmp(what, "in-memory", 9)) finish(-1);
    if (!strcmp(what, "execve")) finish(execve(argv[2], argv + 2, none));
    say("broken: unknown attack\n");
    return BROKEN;
}
