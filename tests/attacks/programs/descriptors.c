#include "attack.h"
#include <sys/ioctl.h>
#include <termios.h>

/* Say which descriptors are open. */
static void list_open(void) {
    char text[16];
    for (int descriptor = 0; descriptor < 4096; descriptor++) {
        if (fcntl(descriptor, F_GETFD) < 0) continue;
        snprintf(text, sizeof text, "%d\n", descriptor);
        say(text);
    }
    _exit(SUCCEEDED);
}

/* Read from any descriptor that was left open. */
static long read_inherited(void) {
    char text[64];
    errno = EBADF;
    for (int descriptor = 3; descriptor < 4096; descriptor++)
        if (pread(descriptor, text, sizeof text, 0) > 0) return 0;
    return -1;
}

/* Open a file from any directory that was left open. */
static long open_from_inherited(const char *name) {
    errno = EBADF;
    for (int descriptor = 3; descriptor < 4096; descriptor++)
        if (openat(descriptor, name, O_RDONLY) >= 0) return 0;
    return -1;
}

/* Type into the terminal: with `own`, into one that this process makes its controlling terminal. */
static long type(const char *own, unsigned long request) {
    char text[] = "id\n", answer[16] = "";
    if (!strcmp(own, "own")) {
        need(setsid() >= 0, "setsid");
        need(ioctl(0, TIOCSCTTY, 0) == 0, "controlling terminal");
    }
    for (char *c = text; *c; c++)
        if (syscall(SYS_ioctl, 0, request, c) < 0) return -1;
    if (read(0, answer, sizeof answer) != 3 || strcmp(answer, "id\n")) return errno = EIO, -1;
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "list")) list_open();
    if (!strcmp(what, "read")) finish(read_inherited());
    if (!strcmp(what, "openat")) finish(open_from_inherited(argv[2]));
    if (!strcmp(what, "type")) finish(type(argv[2], strtoul(argv[3], NULL, 0)));
    if (!strcmp(what, "winsize")) {
        struct winsize size;
        long result = ioctl(0, TIOCGWINSZ, &size);
        finish(result < 0 && errno == ENOTTY ? 0 : result);
    }
    if (!strcmp(what, "open-tty")) finish(open("/dev/tty", O_RDWR));
    say("broken: unknown attack\n");
    return BROKEN;
}
