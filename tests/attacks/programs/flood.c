#include "attack.h"

/* Makes as many calls as the first argument says, in thousands: the same one from one place, one with ever-changing
   arguments, one from many places of the code, and one with hostile strings and addresses. */

enum { SITES = 2000 };

/* SITES system calls of getppid, one behind the other. */
__attribute__((noinline)) static void from_many_places(void) {
    __asm__ volatile(".rept 2000\n mov $110, %%eax\n syscall\n .endr\n" ::: "rax", "rcx", "r11", "memory");
}

static char hostile[4096];

int main(int argc, char **argv) {
    long thousands = argc > 1 ? atol(argv[1]) : 1, made = 0;
    static const char evil[] = "\x1b]0;owned\x07\n\xff\xfe\"\\\xe2\x80\xae";
    for (size_t i = 0; i + 1 < sizeof hostile; i++) hostile[i] = evil[i % (sizeof evil - 1)];
    for (long i = 0; i < thousands * 300; i++, made++) syscall(SYS_ioctl, 1, 0x70000000 + i, 0);
    for (long i = 0; i < thousands * 200 / SITES; i++, made += SITES) from_many_places();
    for (long i = 0; i < thousands * 100; i++, made++)
        syscall(SYS_openat, AT_FDCWD, i % 2 ? hostile + i % 100 : (char *)(i << 40), i % 64, 0777);
    while (made < thousands * 1000) made++, syscall(SYS_getpgid, 0);
    /* What comes last must not be lost among the rest. */
    syscall(SYS_getcwd, hostile, sizeof hostile);
    finish(made);
}
