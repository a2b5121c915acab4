#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How an attack ended: it succeeded, it was refused, or the program itself is at fault. */
enum { SUCCEEDED = 0, REFUSED = 3, BROKEN = 4 };

__attribute__((unused)) static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0) _exit(BROKEN);
}

/* End with the result of the decisive call, negative with errno set when it failed. */
__attribute__((unused, noreturn)) static void finish(long result) {
    char text[64];
    int error = errno;
    if (result >= 0) {
        say("succeeded\n");
        _exit(SUCCEEDED);
    }
    snprintf(text, sizeof text, "refused with errno %d\n", error);
    say(text);
    _exit(REFUSED);
}

/* For what has to work before the attack can be made. */
__attribute__((unused)) static void need(int condition, const char *what) {
    if (condition) return;
    char text[128];
    snprintf(text, sizeof text, "broken: %s: errno %d\n", what, errno);
    say(text);
    _exit(BROKEN);
}

/* Wait for a child and end as it did. */
__attribute__((unused, noreturn)) static void end_as(pid_t child) {
    int status;
    need(waitpid(child, &status, __WALL) == child, "waitpid");
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : BROKEN);
}
