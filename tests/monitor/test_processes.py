"""Threads, children, daemons and zombies behave as without a tracer, in small programs and in real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stockade import Executor, Policy, PolicyBuilder, Result, Status
from support.compiler import CCompiler
from support.monitors import assert_counts
from support.runs import everything_builder, main_program
from support.untraced import run_plain, same_as_plain

HELPERS = r"""
#include <spawn.h>
#include <sys/syscall.h>
#define print(...) do { char text[300]; snprintf(text, sizeof text, __VA_ARGS__); say(text); } while (0)
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static long total;
static char *own_name;
static void *add(void *much) {
    pthread_barrier_wait(&barrier);
    pthread_mutex_lock(&lock); total += (long)much; pthread_mutex_unlock(&lock);
    return much;
}
static void *give(void *much) { return much; }
static void *exec_again(void *word) { execl(own_name, own_name, word, (char *)0); _exit(99); }
static void *spin(void *p) { for (;;) sched_yield(); return 0; }
static void *call(void *p) { for (;;) syscall(SYS_getuid); return 0; }
static void *last(void *main_thread) { pthread_join(*(pthread_t *)main_thread, 0); say("alone\n"); exit(21); return 0; }
static void *fork_here(void *p) {
    int pid = fork(), status;
    if (!pid) _exit(5);
    waitpid(pid, &status, 0);
    return (void *)(long)WEXITSTATUS(status);
}
static int of_clone(void *text) { say(text); _exit(8); }
extern char **environ;
"""

SHAPES = {
    "300 threads at once": """
        pthread_t all[300]; void *value; long sum = 0; pthread_barrier_init(&barrier, 0, 300);
        for (long i = 0; i < 300; i++) pthread_create(all + i, 0, add, (void *)i);
        for (int i = 0; i < 300; i++) { pthread_join(all[i], &value); sum += (long)value; }
        print("%ld %ld\\n", total, sum);
    """,
    "500 threads one after the other": """
        void *value; long sum = 0; pthread_t t;
        for (long i = 0; i < 500; i++) { pthread_create(&t, 0, give, (void *)i); pthread_join(t, &value);
            sum += (long)value; }
        print("%ld\\n", sum);
    """,
    "threads that fork": """
        pthread_t all[20]; void *value; long sum = 0;
        for (long i = 0; i < 20; i++) pthread_create(all + i, 0, fork_here, 0);
        for (int i = 0; i < 20; i++) { pthread_join(all[i], &value); sum += (long)value; }
        print("%ld\\n", sum);
    """,
    "100 children at once": """
        int sum = 0, status; for (int i = 0; i < 100; i++) if (!fork()) _exit(i % 50);
        while (wait(&status) > 0) sum += WEXITSTATUS(status);
        print("%d %d\\n", sum, errno);
    """,
    "vfork and exec": """
        if (argc > 1) { print("child %s\\n", argv[1]); return 4; }
        for (int i = 0; i < 20; i++) {
            int status, pid = vfork();
            if (!pid) { execl(argv[0], argv[0], "x", (char *)0); _exit(9); }
            waitpid(pid, &status, 0); print("%d\\n", WEXITSTATUS(status));
        }
    """,
    "vfork without exec": """
        volatile int shared = 0; int status, pid = vfork(); if (!pid) { shared = 5; _exit(6); }
        waitpid(pid, &status, 0); print("%d %d\\n", shared, WEXITSTATUS(status));
    """,
    "posix_spawn": """
        if (argc > 1) return 11;
        char *arguments[] = {argv[0], "x", 0}; int sum = 0, status, pid;
        for (int i = 0; i < 50; i++) { posix_spawn(&pid, argv[0], 0, 0, arguments, environ); waitpid(pid, &status,
            0); sum += WEXITSTATUS(status); }
        print("%d %d\\n", sum, posix_spawn(&pid, "/nowhere", 0, 0, arguments, environ));
    """,
    "clone without an exit signal": """
        char *stack = malloc(65536); int status, pid = clone(of_clone, stack + 65536, 0, "cloned\\n");
        print("%d %d\\n", waitpid(pid, &status, __WCLONE) == pid, WEXITSTATUS(status));
        pid = clone(of_clone, stack + 65536, 0, ""); print("%d %d\\n", waitpid(-1, &status, 0), errno);
            waitpid(pid, &status, __WALL);
        pid = clone(of_clone, stack + 65536, CLONE_VM|CLONE_FS|CLONE_FILES|SIGCHLD, "sharing\\n");
        print("%d %d\\n", waitpid(pid, &status, 0) == pid, WEXITSTATUS(status));
    """,
    "a child of the parent": """
        int pid = fork(), status;
        if (!pid) { char *stack = malloc(65536); clone(of_clone, stack + 65536, CLONE_PARENT|SIGCHLD,
            "of the parent\\n"); _exit(3); }
        int sum = 0; while (wait(&status) > 0) sum += WEXITSTATUS(status); print("%d\\n", sum);
    """,
    "exec of a thread that is not the first": """
        own_name = argv[0]; pthread_t t;
        if (argc > 1) { print("%s own %d\\n", argv[1], getpid() == syscall(SYS_gettid)); return 17; }
        for (int i = 0; i < 30; i++) pthread_create(&t, 0, i % 2 ? spin : call, 0);
        pthread_create(&t, 0, exec_again, "again"); for (;;) pause();
    """,
    "exec of a thread whose first thread has ended": """
        own_name = argv[0]; pthread_t t; if (argc > 1) { say(argv[1]); return 18; }
        pthread_create(&t, 0, spin, 0); pthread_create(&t, 0, exec_again, "again"); pthread_exit(0);
    """,
    "two threads that exec at once": """
        own_name = argv[0]; pthread_t t; if (argc > 1) { say("one"); return 19; }
        pthread_create(&t, 0, exec_again, "a"); pthread_create(&t, 0, exec_again, "b"); for (;;) pause();
    """,
    "an exec that fails, then another": """
        if (argc > 1) { say("there"); return 20; }
        execl("/nowhere", "x", (char *)0); print("%d\\n", errno); execl(argv[0], argv[0], "x", (char *)0);
    """,
    "the first thread ends before the others": """
        pthread_t t, own = pthread_self(); pthread_create(&t, 0, last, &own); pthread_exit(0);
    """,
    "exit_group of another thread": """
        pthread_t t; for (int i = 0; i < 20; i++) pthread_create(&t, 0, spin, 0);
        pthread_create(&t, 0, last, &(pthread_t){pthread_self()}); pthread_exit(0);
    """,
    "a daemon": """
        int ends[2]; pipe(ends); int pid = fork();
        if (!pid) {
            setsid();
            if (fork()) _exit(0);
            int before = getppid(); (void)before;
            while (getppid() == before && before != 1) sched_yield();
            close(ends[0]); dprintf(ends[1], "leader %d\\n", getsid(0) == getpid()); _exit(0);
        }
        close(ends[1]); waitpid(pid, 0, 0);
        char text[50] = ""; read(ends[0], text, 49); say(text); print("%ld %d\\n", (long)read(ends[0], text, 49),
            wait(0));
    """,
    "zombies": """
        int pids[10], status; siginfo_t info;
        for (int i = 0; i < 10; i++) if (!(pids[i] = fork())) _exit(i);
        for (int i = 0; i < 10; i++) {
            waitid(P_PID, pids[i], &info, WEXITED|WNOWAIT);
            print("%d %d %d\\n", info.si_status, kill(pids[i], 0), getpgid(pids[i]) == getpgid(0));
        }
        for (int i = 9; i >= 0; i--) print("%d %d\\n", waitpid(pids[i], &status, 0) == pids[i], kill(pids[i], 0));
    """,
    "children that nobody waits for": """
        signal(SIGCHLD, SIG_IGN); for (int i = 0; i < 20; i++) if (!fork()) _exit(0);
        print("%d %d\\n", wait(0), errno);
    """,
    "resources of children": """
        struct rusage usage; int status, pid = fork();
        if (!pid) { for (volatile long i = 0; i < 30000000; i++); _exit(1); }
        wait4(pid, &status, 0, &usage); print("%d %d\\n", WEXITSTATUS(status),
            usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec > 0);
    """,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_program_does_what_it_does_outside(compile_c: CCompiler, shape: str) -> None:
    program = main_program(compile_c, SHAPES[shape], before=HELPERS)
    assert same_as_plain(program).status is Status.OK


@pytest.mark.parametrize("shape", ["300 threads at once", "100 children at once", "a daemon", "posix_spawn"])
def test_the_monitor_counts_what_there_was(compile_c: CCompiler, shape: str) -> None:
    program = main_program(compile_c, SHAPES[shape], before=HELPERS)
    result = Executor(everything_builder(program).build()).run([program])
    processes = {"100 children at once": 101, "a daemon": 3, "posix_spawn": 52}.get(shape, 1)
    assert_counts(result, processes=processes, threads=301 if shape == "300 threads at once" else processes)


# Real programs.


def run_real(policy: PolicyBuilder, argv: list[str], **options: object) -> Result:
    """Run a program of the host under a lenient policy."""
    result = Executor(policy.build()).run(argv, **options)  # type: ignore[arg-type]
    assert result.status is Status.OK, result.report()
    return result


def system_builder() -> PolicyBuilder:
    """A lenient policy with all programs of the host."""
    builder = PolicyBuilder("lenient").danger_default_allow_all().add_directory("/usr")
    for name in ("bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            builder = builder.add_symlink(f"/{name}", f"/usr/{name}")
        else:
            builder = builder.add_directory(f"/{name}")
    return builder


PIPELINE = """
set -e
for i in 1 2 3 4 5 6 7 8 9 10; do echo "line $i"; done | sort -r | (read first; echo "first $first"; cat) | wc -l
(exit 3) || echo "failed $?"
sleep 0 & wait $!; echo "waited $?"
trap 'echo bye' EXIT
x=$(echo a | tr a b); echo $x
kill -TERM $$ || true
"""


def test_a_shell_pipeline() -> None:
    plain = run_plain(["/bin/sh", "-c", PIPELINE])
    result = Executor(system_builder().add_dev().build()).run(["/bin/sh", "-c", PIPELINE])
    assert (result.returncode, result.stdout, result.stderr) == plain
    assert result.status is Status.SIGNALED


MAKEFILE = """
OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
program: $(OBJECTS)
\t$(CC) -o $@ $^
%.o: %.c
\t$(CC) -c -o $@ $<
"""


@pytest.mark.slow
def test_make_with_four_jobs(public_tmp: Path) -> None:
    """The compiler, its passes, the jobserver's pipe and SIGCHLD in one."""
    sources = "".join(f"int part_{n}(void);\n" for n in range(8))
    calls = "+".join(f"part_{n}()" for n in range(8))
    outputs = []
    for where in ("plain", "inside"):
        directory = public_tmp / where
        directory.mkdir()
        directory.chmod(0o777)
        (directory / "Makefile").write_text(MAKEFILE)
        for n in range(8):
            (directory / f"part_{n}.c").write_text(f"int part_{n}(void) {{ return {n}; }}\n")
        (directory / "main.c").write_text(f"{sources}int main(void) {{ return {calls}; }}\n")
        argv = ["/usr/bin/make", "-j4", "CC=/usr/bin/gcc", "-C", str(directory)]
        if where == "plain":
            done = subprocess.run(argv, capture_output=True, env={"PATH": "/usr/bin"}, check=False)
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
        else:
            builder = system_builder().add_directory(directory, writable=True)
            env = {"PATH": "/usr/bin", "TMPDIR": str(directory)}
            outputs.append(run_real(builder, argv, env=env).stdout)
        assert subprocess.run([directory / "program"], check=False).returncode == sum(range(8))
    lines = [sorted(output.replace(b"inside", b"plain").splitlines()) for output in outputs]
    assert lines[0] == lines[1]


PYTHON = """
import subprocess, sys, threading, time, signal, os
from concurrent.futures import ThreadPoolExecutor
def square(n):
    return int(subprocess.run([sys.executable, "-S", "-c", f"print({n}*{n})"], stdout=subprocess.PIPE).stdout)
with ThreadPoolExecutor(4) as pool:
    print(sorted(pool.map(square, range(6))))
threads = [threading.Thread(target=time.sleep, args=[0.001]) for _ in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(threads))
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"])
child.send_signal(signal.SIGSTOP)
print(os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1]))
child.terminate(); child.send_signal(signal.SIGCONT)
print(child.wait())
print(signal.sigtimedwait([signal.SIGUSR1], 0.001))
"""


@pytest.mark.slow
def test_a_cpython_with_threads_and_children() -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    assert python
    argv = [python, "-S", "-c", PYTHON]
    plain = run_plain(argv)
    assert plain[0] == 0, plain
    builder = PolicyBuilder("python").danger_default_allow_all().add_python(python).add_proc(full=True)
    assert run_real(builder, argv).stdout == plain[1]


NODE = """
const { spawnSync } = require('child_process'), crypto = require('crypto');
let left = 8;
for (let i = 0; i < 8; i++) crypto.pbkdf2('a', 'b', 1000, 16, 'sha256', (e, key) => {
    if (--left === 0) {
        console.log(key.toString('hex'));
        console.log(spawnSync(process.execPath, ['-e', 'process.exit(5)']).status);
    }
});
"""


@pytest.mark.slow
def test_node_with_its_many_threads() -> None:
    argv = ["/usr/bin/node", "-e", NODE]
    plain = run_plain(argv)
    assert plain[0] == 0, plain
    policy = Policy.load(Path(__file__).parents[2] / "policies" / "node.textproto")
    builder = PolicyBuilder.from_policy(policy).danger_default_allow_all()
    assert run_real(builder, argv).stdout == plain[1]
