"""Templates and spare boxes: used again while nothing has changed, never afterwards, and each box once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import PIPE, Executor
from stockade.host import forkserver
from support.attacks import open_wide, parents

SOURCE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char text[256];
    if (!strcmp(argv[1], "hold")) {
        if (write(1, "running\n", 8) != 8) return 1;
        while (read(0, text, 1) > 0) continue;
        return 0;
    }
    if (!strcmp(argv[1], "leave")) { /* leave a trace in every place that can be written */
        for (int index = 2; index < argc; index++) {
            int file = open(argv[index], O_CREAT | O_EXCL | O_WRONLY, 0666);
            if (file < 0 || write(file, "x", 1) != 1) return 2;
        }
        return 0;
    }
    for (int index = 1; index < argc; index++) {
        int file = open(argv[index], O_RDONLY);
        ssize_t size = file < 0 ? -1 : read(file, text, sizeof text);
        if (size < 0) return 3;
        if (write(1, text, size) != size) return 1;
        close(file);
    }
    return 0;
}
"""


@pytest.fixture
def program(compile_c: Callable[..., Path]) -> Path:
    found: Path = compile_c(SOURCE, name="reader")
    return found


def replace(path: Path, content: str) -> None:
    """Replace a file as editors and package managers do: by another one of the same name."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(content)
    os.replace(new, path)


def templates() -> set[int]:
    """The templates of this process's forkserver."""
    own = forkserver.current_pid()
    found = set()
    for pid, parent in parents().items():
        if parent == own and Path(f"/proc/{pid}/comm").read_text() == "stockade-tmpl\n":
            found.add(pid)
    return found


def test_a_template_serves_all_runs_of_equal_file_systems(program: Path) -> None:
    forkserver.stop()
    first, second = (Executor(open_wide(program).set_hostname(name).build()) for name in ("one", "two"))
    assert first.run([program, program]).returncode == 0
    made = templates()
    assert len(made) == 1
    for executor in (second, first, second, first):
        assert executor.run([program, program]).returncode == 0
        assert templates() == made


@pytest.mark.parametrize("runs_before", [1, 4], ids=["no spare yet", "a spare waits"])
def test_a_file_that_was_replaced_is_seen_new(program: Path, public_tmp: Path, runs_before: int) -> None:
    file = public_tmp / "file"
    file.write_text("old")
    executor = Executor(open_wide(program).add_file(file).build())
    for _ in range(runs_before):
        assert executor.run([program, file], text=True).stdout == "old"
    for content in ("new", "newer", "newest"):
        replace(file, content)
        assert executor.run([program, file], text=True).stdout == content
    file.write_text("in place")
    assert executor.run([program, file], text=True).stdout == "in place"


@pytest.mark.parametrize("runs_before", [1, 4], ids=["no spare yet", "a spare waits"])
def test_what_happens_in_a_directory_is_seen(program: Path, public_tmp: Path, runs_before: int) -> None:
    directory = public_tmp / "directory"
    directory.mkdir()
    file = directory / "file"
    file.write_text("old")
    executor = Executor(open_wide(program).add_directory(directory).build())
    for _ in range(runs_before):
        assert executor.run([program, file], text=True).stdout == "old"
    replace(file, "new")
    assert executor.run([program, file], text=True).stdout == "new"
    # The whole directory becomes another one.
    other = public_tmp / "other"
    other.mkdir()
    (other / "file").write_text("of another directory")
    directory.rename(public_tmp / "former")
    other.rename(directory)
    assert executor.run([program, file], text=True).stdout == "of another directory"


@pytest.mark.parametrize("runs_before", [1, 4], ids=["no spare yet", "a spare waits"])
def test_a_link_that_leads_elsewhere_is_followed_anew(program: Path, public_tmp: Path, runs_before: int) -> None:
    link = public_tmp / "link"
    (public_tmp / "first").write_text("first")
    (public_tmp / "second").write_text("second")
    link.symlink_to("first")
    executor = Executor(open_wide(program).add_file(link).build())
    for _ in range(runs_before):
        assert executor.run([program, link], text=True).stdout == "first"
    link.unlink()
    link.symlink_to("second")
    assert executor.run([program, link], text=True).stdout == "second"


def test_a_replaced_program_is_what_runs(program: Path, public_tmp: Path, compile_c: Callable[..., Path]) -> None:
    other: Path = compile_c("int main(void) { return 42; }", name="other")
    copy = public_tmp / "program"
    copy.write_bytes(program.read_bytes())
    copy.chmod(0o755)
    executor = Executor(open_wide(copy).build())
    for _ in range(3):
        assert executor.run([copy, copy]).returncode == 0
    new = public_tmp / "new"
    new.write_bytes(other.read_bytes())
    new.chmod(0o755)
    os.replace(new, copy)
    assert executor.run([copy]).returncode == 42


def test_no_box_is_used_twice(program: Path, public_tmp: Path) -> None:
    policy = open_wide(program).add_tmpfs("/tmp").add_tmpfs("/data", mode=0o777).add_dev(shm=True).build()
    executor = Executor(policy)
    for _ in range(5):
        # O_EXCL: what an earlier run has left would be in the way.
        result = executor.run([program, "leave", "/tmp/x", "/data/x", "/dev/shm/x"])
        assert result.returncode == 0


def test_runs_at_the_same_time_have_boxes_of_their_own(program: Path) -> None:
    executor = Executor(open_wide(program).build())
    running = [executor.start([program, "hold"], stdin=PIPE, stdout=PIPE) for _ in range(4)]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
    for name in ("pid", "mnt", "ipc", "uts", "user", "cgroup", "net"):
        assert len({os.stat(f"/proc/{process.pid}/ns/{name}").st_ino for process in running}) == len(running), name
    for process in running:
        with process:
            pass
        assert process.returncode == 0
