"""Limits: each is in force inside as asked, or refused; the tighter of policy and executor holds."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, Limits, Policy, PolicyError, Result, Status, UnsupportedError
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, run_python

SHOW = """
struct rlimit limit;
for (int i = 0; i < 16; i++) {
    getrlimit(i, &limit);
    dprintf(1, "%d %ld %ld\\n", i, (long)limit.rlim_cur, (long)limit.rlim_max);
}
dprintf(1, "nice %d 0\\n", getpriority(PRIO_PROCESS, 0));
"""
NUMBERS = {
    "open_files": resource.RLIMIT_NOFILE,
    "file_size": resource.RLIMIT_FSIZE,
    "address_space": resource.RLIMIT_AS,
    "stack": resource.RLIMIT_STACK,
    "data": resource.RLIMIT_DATA,
    "locked_memory": resource.RLIMIT_MEMLOCK,
}


@pytest.fixture(scope="module")
def show(compile_c: CCompiler) -> Path:
    return main_program(compile_c, SHOW)


def inside(program: Path, limits: Limits | None = None) -> dict[str, tuple[int, int]]:
    """What the program sees: soft and hard limit by number, and its niceness."""
    result = Executor(everything_builder(program).build(), limits=limits).run([program], text=True)
    assert result.status is Status.OK, result
    rows = (line.split() for line in result.stdout.splitlines())
    return {name: (int(soft), int(hard)) for name, soft, hard in rows}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [1 << 20, 10_000_001])
def test_resource_limits_are_seen_inside(show: Path, name: str, value: int) -> None:
    value = 77 if name == "open_files" else value
    if name == "locked_memory":
        value = 4096 + value % 4096  # within what anybody may have
    assert inside(show, Limits(**{name: value}))[str(NUMBERS[name])] == (value, value)


def test_what_is_set_unless_asked(show: Path) -> None:
    found = inside(show)
    assert found[str(resource.RLIMIT_NOFILE)] == (1024, 1024)
    assert found[str(resource.RLIMIT_CORE)] == (1, 1)
    for name in ("file_size", "address_space", "data"):
        assert found[str(NUMBERS[name])] == resource.getrlimit(NUMBERS[name]), name


def test_sizes_as_text(show: Path) -> None:
    assert inside(show, Limits(file_size="3M"))[str(resource.RLIMIT_FSIZE)] == (3 << 20, 3 << 20)


def test_niceness(show: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert inside(show)["nice"][0] == max(own, 0)
    assert inside(show, Limits(nice=7))["nice"][0] == max(own, 7)
    assert inside(show, Limits(nice=19))["nice"][0] == 19


def run(program: Path, *arguments: str, **limits: int | str) -> Result:
    return Executor(everything_builder(program).add_tmpfs("/tmp").build(), limits=Limits(**limits)).run(  # type: ignore[arg-type]
        [program, *arguments], text=True
    )


def test_too_many_open_files(compile_c: CCompiler) -> None:
    program = main_program(compile_c, 'int n = 0; while (dup(0) >= 0) n++; dprintf(1, "%d %d", n + 3, errno);')
    assert run(program, open_files=20).stdout == f"20 {errno.EMFILE}"
    assert run(program).stdout == f"1024 {errno.EMFILE}"


def test_a_file_that_grows_too_large(compile_c: CCompiler) -> None:
    body = """
    if (argc > 1) signal(SIGXFSZ, SIG_IGN);
    int file = open("/tmp/file", O_CREAT|O_RDWR, 0600);
    long n = 0, done;
    while (n < 100000 && (done = write(file, "0123456789", 10)) > 0) n += done;
    dprintf(1, "%ld %d", n, n < 100000 ? errno : 0);
    """
    program = main_program(compile_c, body)
    assert run(program, "ignore", file_size=5000).stdout == f"5000 {errno.EFBIG}"
    assert run(program, file_size=5000).signal == 25  # SIGXFSZ, although Python ignores it
    assert run(program, file_size=100_000).stdout == "100000 0"


def test_address_space(compile_c: CCompiler) -> None:
    body = (
        'void *m = mmap(0, 1 << 30, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); say(m == MAP_FAILED ? "no" : "yes");'
    )
    program = main_program(compile_c, body)
    assert run(program, address_space="100M").stdout == "no"
    assert run(program, address_space="2G").stdout == "yes"


@pytest.fixture(scope="module")
def forker(compile_c: CCompiler) -> Path:
    body = 'int n = 1; for (int pid; n < 30 && (pid = fork()) >= 0; n++) if (!pid) pause(); dprintf(1, "%d", n);'
    return main_program(compile_c, body)


@pytest.mark.parametrize("allowed", [1, 2, 5, 29])
def test_processes_are_counted_in_the_box_alone(forker: Path, allowed: int) -> None:
    """However many processes the user, or another box, has: this box may have that many, the program included."""
    assert run(forker, processes=allowed).stdout == str(allowed)


def test_processes_of_other_boxes_do_not_count(forker: Path) -> None:
    executor = Executor(everything_builder(forker).build(), limits=Limits(processes=5))
    with executor.start([forker], stdout=-1) as first, executor.start([forker], stdout=-1) as second:
        assert first.communicate()[0] == b"5"
        assert second.communicate()[0] == b"5"


def test_threads_count_as_processes(compile_c: CCompiler) -> None:
    before = "static void *rest(void *n) { for (;;) pause(); }"
    body = 'pthread_t t; int n = 1; while (n < 30 && !pthread_create(&t, 0, rest, 0)) n++; dprintf(1, "%d", n);'
    program = main_program(compile_c, body, before=before)
    assert run(program, processes=7).stdout == "7"
    assert run(program).stdout == "30"


def test_a_hostile_program_cannot_raise_what_was_set(compile_c: CCompiler) -> None:
    body = """
    struct rlimit limit = {4096, 4096};
    dprintf(1, "%d ", setrlimit(RLIMIT_NOFILE, &limit) ? errno : 0);
    limit.rlim_cur = limit.rlim_max = 10;
    dprintf(1, "%d", setrlimit(RLIMIT_NOFILE, &limit) ? errno : 0);
    """
    assert run(main_program(compile_c, body), open_files=50).stdout == f"{errno.EPERM} 0"


@pytest.mark.parametrize("name", ["memory", "cpu_time", "idle_time", "disk", "cpu_percent", "cpus", "io_bandwidth"])
def test_limits_that_cannot_be_enforced(show: Path, name: str) -> None:
    with pytest.raises(UnsupportedError, match=name):
        Executor(everything_builder(show).build(), limits=Limits(**{name: 1}))
    value = "1" if name in ("cpu_percent", "cpus") else '"1s"' if name.endswith("time") else '"1M"'
    text = everything_builder(show).build().to_text() + f"\nlimits {{ {name}: {value} }}\n"
    with pytest.raises(UnsupportedError, match=name):
        Executor(Policy.from_text(text))


NONSENSE: dict[str, tuple[object, ...]] = {
    "wall_time": (0, -1, "soon", "5 parsecs", float("nan"), float("inf"), True, [], 1 << 70),
    "open_files": (0, -1, 1.5, "5", True, 1 << 63),
    "processes": (0, -1, 1.5, "many"),
    "file_size": (-1, 0, "5Q", "", 1.5, b"1"),
    "address_space": ("-1M", "1e400", float("inf")),
    "output": (-1, "-1"),
    "nice": (-1, 20, 1.5, "low"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NONSENSE.items() for value in values])
def test_values_that_are_none(name: str, value: object) -> None:
    with pytest.raises(PolicyError, match=name):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_limits_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits(nice=1).nice = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[call-arg]


BOTH: dict[str, tuple[str, Callable[[int], object]]] = {
    "open_files": ("open_files: {}", lambda value: value),
    "file_size": ('file_size: "{}"', lambda value: value),
    "processes": ("processes: {}", lambda value: value),
    "wall_time": ('wall_time: "{}s"', float),
    "output": ('output: "{}"', lambda value: value),
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("of_policy", "of_executor"), [(100, 200), (200, 100), (100, None), (None, 100)], ids=str)
def test_the_tighter_one_holds(show: Path, name: str, of_policy: int | None, of_executor: int | None) -> None:
    text = everything_builder(show).build().to_text()
    if of_policy is not None:
        text += f"\nlimits {{ {BOTH[name][0].format(of_policy)} }}\n"
    limits = Limits(**{name: of_executor}) if of_executor is not None else None
    executor = Executor(Policy.from_text(text), limits=limits)
    assert executor.limits.value(name) == 100
    if name != "output":
        result = executor.run([show])
        assert result.status is Status.OK
        assert result.limits[name] == 100


def test_niceness_of_policy_and_executor(show: Path) -> None:
    text = everything_builder(show).build().to_text() + "\nlimits { nice: 5 }\n"
    for asked, expected in ((None, 5), (3, 5), (9, 9)):
        limits = Limits(nice=asked)
        result = Executor(Policy.from_text(text), limits=limits).run([show], text=True)
        assert f"nice {expected} " in result.stdout


def test_a_hard_limit_of_the_caller_is_not_passed_over(show: Path) -> None:
    """The default yields to it; what was asked for and cannot be had is an error. Root's box is no exception."""
    script = """
import os, resource, sys
from pathlib import Path
from stockade import Executor, Limits, UnsupportedError
from support.runs import everything_builder
program = Path(sys.argv[1])
policy = everything_builder(program).build()
resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))
print(Executor(policy).run([program], text=True).stdout.split("\\n7 ")[1].split()[0])
try:
    print(Executor(policy, limits=Limits(open_files=600)).run([program], text=True).stdout.split("\\n7 ")[1].split()[0])
except UnsupportedError as error:
    print("hard limit" in str(error) and "refused")
"""
    assert run_python(script, str(show)).stdout.split() == ["500", "refused"]
