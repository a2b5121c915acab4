"""Signals arrive as without a tracer: which, why (si_code), with what (si_value, address, sender),
and in which order."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from stockade import Executor, Status
from support.compiler import CCompiler
from support.runs import everything_builder, main_program
from support.untraced import same_as_plain

HELPERS = r"""
#include <setjmp.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#define print(...) do { char text[300]; snprintf(text, sizeof text, __VA_ARGS__); say(text); } while (0)
static sigjmp_buf back;
static int child;
static volatile int count;
static void show(const siginfo_t *info) {
    int signo = info->si_signo, code = info->si_code;
    print("signal %d code %d errno %d", signo, code, info->si_errno);
    if (code == SI_QUEUE || code == SI_TIMER || code == SI_MESGQ) print(" value %#lx", (long)info->si_value.sival_ptr);
    if (code == SI_USER || code == SI_QUEUE || code == SI_TKILL) print(" own %d uid %d", info->si_pid == getpid(),
        info->si_uid == getuid());
    if (signo == SIGCHLD) print(" child %d status %d", info->si_pid == child, info->si_status);
    if (signo == SIGSYS && code > 0) print(" call %d arch %#x at %d", info->si_syscall, info->si_arch,
        info->si_call_addr != 0);
    say("\n");
}
static void handler(int signo, siginfo_t *info, void *context) { show(info); count++; }
static void escape(int signo, siginfo_t *info, void *context) {
    print("address %#lx ", (long)info->si_addr & 0xfff); show(info); siglongjmp(back, 1);
}
static void handle_all(void (*function)(int, siginfo_t *, void *)) {
    struct sigaction action = {.sa_sigaction = function, .sa_flags = SA_SIGINFO|SA_RESTART};
    for (int signo = 1; signo <= 64; signo++) if (signo != 32 && signo != 33) sigaction(signo, &action, 0);
}
static void await_count(int n) { while (count < n) sched_yield(); }
static void *in_thread(void *p) { *(int *)p = syscall(SYS_gettid); while (!count) sched_yield(); return 0; }
"""

SENT = {
    "kill, raise, tgkill": """
        handle_all(handler);
        for (int s = 1; s <= 64; s++) if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33) {
            kill(getpid(), s); raise(s); syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), s);
            syscall(SYS_tkill, syscall(SYS_gettid), s);
        }
    """,
    "sigqueue": """
        handle_all(handler);
        for (int s = 1; s <= 64; s++) if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33) {
            union sigval v = {.sival_ptr = (void *)(0x1234567800000000 + s)}; sigqueue(getpid(), s, v);
        }
    """,
    "to a thread": """
        handle_all(handler);
        pthread_t t; volatile int tid = 0; pthread_create(&t, 0, in_thread, (void *)&tid); while (!tid) sched_yield();
        siginfo_t info = {.si_code = SI_QUEUE, .si_pid = getpid(), .si_uid = getuid()};
        info.si_value.sival_int = 77;
        long sent = syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGUSR2, &info);
        pthread_join(t, 0); print("%ld\\n", sent);
    """,
    "real-time signals keep their order": """
        sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0); handle_all(handler);
        for (int i = 0; i < 20; i++) {
            union sigval v = {.sival_int = i}; sigqueue(getpid(), SIGRTMIN + i % 3, v);
        }
        kill(getpid(), SIGUSR1); kill(getpid(), SIGUSR1);
        sigprocmask(SIG_UNBLOCK, &all, 0); print("%d\\n", count);
    """,
    "a forged code": """
        handle_all(handler);
        int codes[] = {SI_USER, SI_TKILL, SI_KERNEL, 1, 2, SI_TIMER, SI_QUEUE, SI_MESGQ};
        int signals[] = {SIGUSR1, SIGSYS, SIGSEGV, SIGTRAP, SIGCHLD};
        for (int i = 0; i < 8; i++) for (int j = 0; j < 5; j++) {
            siginfo_t info = {.si_signo = signals[j], .si_code = codes[i], .si_errno = 5};
            info.si_pid = getpid(); info.si_uid = getuid(); info.si_value.sival_int = 9;
            if (syscall(SYS_rt_sigqueueinfo, getpid(), signals[j], &info)) print("refused %d\\n", errno);
        }
    """,
    "timers": """
        handle_all(handler);
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4};
        event.sigev_value.sival_ptr = (void *)0xabcdef012345; timer_t timer;
        timer_create(CLOCK_MONOTONIC, &event, &timer);
        struct itimerspec once = {.it_value = {0, 1000000}}; timer_settime(timer, 0, &once, 0); await_count(1);
        struct itimerval soon = {.it_value = {0, 1000}};
        setitimer(ITIMER_REAL, &soon, 0); await_count(2);
        setitimer(ITIMER_VIRTUAL, &soon, 0); await_count(3);
        setitimer(ITIMER_PROF, &soon, 0); await_count(4);
    """,
    "waiting for signals": """
        sigset_t set; sigemptyset(&set); sigaddset(&set, SIGUSR1); sigaddset(&set, SIGRTMIN + 1); sigaddset(&set,
            SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, 0); siginfo_t info;
        kill(getpid(), SIGUSR1); print("%d ", sigwaitinfo(&set, &info) == SIGUSR1); show(&info);
        union sigval v = {.sival_int = 31}; sigqueue(getpid(), SIGRTMIN + 1, v);
        print("%d ", sigwaitinfo(&set, &info) == SIGRTMIN + 1); show(&info);
        if (!(child = fork())) _exit(12);
        print("%d ", sigwaitinfo(&set, &info)); show(&info); waitpid(child, 0, 0);
        struct timespec none = {0, 0}; print("%d %d\\n", sigtimedwait(&set, &info, &none), errno);
        int file = signalfd(-1, &set, 0); struct signalfd_siginfo read_info;
        sigqueue(getpid(), SIGRTMIN + 1, v); read(file, &read_info, sizeof read_info);
        print("%d %d %d %d\\n", read_info.ssi_signo, read_info.ssi_code, read_info.ssi_int,
            read_info.ssi_pid == getpid());
    """,
    "a child's end": """
        handle_all(handler); sigset_t set, none; sigemptyset(&none); sigemptyset(&set); sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, 0);
        if (!(child = fork())) _exit(250);
        sigsuspend(&none); waitpid(child, 0, 0);
        if (!(child = fork())) { signal(SIGSEGV, SIG_DFL); raise(SIGSEGV); }
        sigsuspend(&none); waitpid(child, 0, 0);
        if (!(child = fork())) raise(SIGKILL);
        sigsuspend(&none); waitpid(child, 0, 0);
        int exit_signal = SIGUSR1; sigaddset(&set, SIGUSR1); sigprocmask(SIG_BLOCK, &set, 0);
        if (!(child = syscall(SYS_clone, exit_signal, 0, 0, 0, 0))) _exit(9);
        sigsuspend(&none); print("%d\\n", waitpid(child, 0, __WALL) == child);
    """,
    "a pipe that nobody reads": """
        handle_all(handler); int ends[2]; pipe(ends); close(ends[0]); print("%ld %d\\n", (long)write(ends[1], "x",
            1), errno);
    """,
    "input that is ready": """
        handle_all(handler); int ends[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        fcntl(ends[0], F_SETOWN, getpid()); fcntl(ends[0], F_SETSIG, SIGRTMIN + 2); fcntl(ends[0], F_SETFL, O_ASYNC);
        write(ends[1], "x", 1); await_count(1);
    """,
    "faults": """
        handle_all(escape);
        char *page = mmap(0, 8192, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); munmap(page + 4096, 4096);
        if (!sigsetjmp(back, 1)) *(volatile char *)0x123 = 1;
        if (!sigsetjmp(back, 1)) page[0x45] = 1;
        if (!sigsetjmp(back, 1)) page[4096 + 0x67] = 1;
        if (!sigsetjmp(back, 1)) *(volatile char *)0xdead000000000000 = 1;
        if (!sigsetjmp(back, 1)) __asm__ volatile("ud2");
        if (!sigsetjmp(back, 1)) { volatile int zero = 0; print("%d\\n", 1 / zero); }
        if (!sigsetjmp(back, 1)) __asm__ volatile("int3");
        if (!sigsetjmp(back, 1)) __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop" ::: "memory");
        if (!sigsetjmp(back, 1)) __asm__ volatile("hlt");
        int file = open("/proc/self/exe", O_RDONLY); char *past = mmap(0, 1 << 30, PROT_READ, MAP_PRIVATE, file, 0);
        if (file >= 0 && !sigsetjmp(back, 1)) print("%d\\n", ((volatile char *)past)[(1 << 30) - 8]);
    """,
    "an alternate stack, and a nested signal": """
        stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536}; sigaltstack(&stack, 0);
        struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO|SA_ONSTACK|SA_NODEFER|SA_RESETHAND};
        sigaction(SIGUSR1, &action, 0); sigaction(SIGUSR2, &action, 0);
        raise(SIGUSR1); raise(SIGUSR2); sigaction(SIGUSR1, 0, &action); print("%d %d\\n",
            action.sa_handler == SIG_DFL, count);
    """,
}


@pytest.mark.parametrize("how", SENT)
def test_a_handler_is_told_what_it_would_be_told_outside(compile_c: CCompiler, how: str) -> None:
    program = main_program(compile_c, SENT[how], before=HELPERS)
    result = same_as_plain(program, build=lambda builder: builder.add_proc(full=True))
    assert result.stdout
    assert result.status is Status.OK


FATAL = [
    signo
    for signo in (*range(1, 32), signal.SIGRTMIN, signal.SIGRTMAX)
    if signo not in (signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN)
    and signo not in (signal.SIGTTOU, signal.SIGURG, signal.SIGWINCH)
]


def test_every_fatal_signal_is_the_end_that_it_is_outside(compile_c: CCompiler) -> None:
    """SIGSYS too, which is no violation when the program sends it; SIGKILL, which nobody of ours has sent."""
    program = main_program(compile_c, "kill(getpid(), number_of(argv[1])); for (;;) pause();")
    executor = Executor(everything_builder(program).build())
    for signo in FATAL:
        result = executor.run([program, str(signo)])
        assert (result.status, result.returncode, result.signal) == (Status.SIGNALED, -signo, signo)
        assert not result.violations


def test_signals_that_do_nothing_by_default(compile_c: CCompiler) -> None:
    body = "raise(SIGCHLD); raise(SIGCONT); raise(SIGURG); raise(SIGWINCH); signal(SIGUSR1, SIG_IGN); raise(SIGUSR1);"
    program = main_program(compile_c, body + 'say("on");')
    assert same_as_plain(program).stdout == b"on"


def test_the_reason_given_is_that_of_the_program_itself(compile_c: CCompiler) -> None:
    """Another process of the run dies of the same signal for another reason, just before or just after."""
    fault = "*(volatile char *)0x5000 = 1;"
    body = f"""
    int other = fork();
    if (!other) {{ if (argc > 1) for (;;) pause(); {fault} }}
    if (argc > 1) {{ kill(other, SIGSEGV); {fault} }}
    waitpid(other, 0, 0);
    kill(getpid(), SIGSEGV);
    """
    program = main_program(compile_c, body)
    executor = Executor(everything_builder(program).build())
    for _ in range(5):
        sent = executor.run([program])
        assert (sent.status, sent.signal, sent.reason.fault_address) == (Status.SIGNALED, signal.SIGSEGV, 0)
        fault_itself = executor.run([program, "fault"])
        assert (fault_itself.status, fault_itself.signal) == (Status.SIGNALED, signal.SIGSEGV)
        if sent.monitor == "ptrace":
            assert (sent.reason.si_code, fault_itself.reason.si_code) == (0, 1)
            assert fault_itself.reason.fault_address == 0x5000


def test_a_signal_of_another_thread_ends_the_program(compile_c: CCompiler) -> None:
    before = "static void *fault(void *p) { *(volatile char *)0x7000 = 1; return 0; }"
    program: Path = main_program(compile_c, "pthread_t t; pthread_create(&t, 0, fault, 0); pause();", before=before)
    result = Executor(everything_builder(program).build()).run([program])
    assert (result.status, result.signal) == (Status.SIGNALED, signal.SIGSEGV)
    if result.monitor == "ptrace":
        assert (result.reason.si_code, result.reason.fault_address, result.reason.core) == (1, 0x7000, False)
