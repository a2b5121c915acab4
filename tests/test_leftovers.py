"""The session's own check for leftovers finds what it is for. (The check itself runs at the end of every session.)"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support import leftovers, skips

IDLE = "import sys; sys.stdin.read()"
# Starts an idle process, whose standard input is the one given, and ends at once: that one is an orphan then.
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {IDLE!r}, 'stockade'], stdout=2)"


def found(before: leftovers.Snapshot, mark: str) -> list[str]:
    """Return what the check reports now."""
    return leftovers.differences(before, leftovers.snapshot(), mark)


def test_nothing_new_is_nothing_left() -> None:
    before = leftovers.snapshot()
    assert found(before, "none") == []


def test_a_running_child_is_found_and_waited_for() -> None:
    before = leftovers.snapshot()
    with subprocess.Popen([sys.executable, "-c", IDLE], stdin=subprocess.PIPE) as child:
        assert [f"process {child.pid} " in line for line in found(before, "none")] == [True]
        assert child.stdin is not None
        child.stdin.close()
    assert leftovers.settle(before, "none") == []


def test_a_zombie_is_found() -> None:
    before = leftovers.snapshot()
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert [f"zombie {child.pid} " in line for line in leftovers.settle(before, "none")] == [True]
    child.wait()
    assert found(before, "none") == []


@pytest.mark.parametrize("marked", [True, False], ids=["by its mark", "by its look"])
def test_an_orphan_is_found(marked: bool) -> None:
    before = leftovers.snapshot()
    environment = {"PATH": os.environ["PATH"]} | ({leftovers.MARK: "of this test"} if marked else {})
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=reading, env=environment) as parent:
        os.close(reading)
    assert parent.returncode == 0
    assert len(found(before, "of this test")) == 1
    os.close(writing)
    assert leftovers.settle(before, "of this test") == []


def test_an_orphan_of_another_session_is_not_ours() -> None:
    before = leftovers.snapshot()
    reading, writing = os.pipe()
    environment = {"PATH": os.environ["PATH"], leftovers.MARK: "of another"}
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=reading, env=environment):
        os.close(reading)
    assert found(before, "of this test") == []
    os.close(writing)
    assert leftovers.settle(before, "of another") == []


def test_a_temporary_file_is_found_and_a_neighbour_of_another_name_is_not() -> None:
    before = leftovers.snapshot()
    with tempfile.NamedTemporaryFile(prefix="other-"):
        assert found(before, "none") == []
    with tempfile.NamedTemporaryFile(prefix="stockade-") as file:
        assert found(before, "none") == [f"left behind: file {Path(file.name).resolve()}"]


@pytest.mark.needs_root
def test_a_mount_is_found(tmp_path: Path) -> None:
    before = leftovers.snapshot()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        assert [str(tmp_path) in line for line in found(before, "none")] == [True]
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert found(before, "none") == []


def test_a_cgroup_is_found() -> None:
    now = leftovers.snapshot()
    later = leftovers.Snapshot(now.processes, now.mounts, now.cgroups | {"/sys/fs/cgroup/stockade-1"}, now.files)
    assert leftovers.differences(now, later, "none") == ["left behind: cgroup /sys/fs/cgroup/stockade-1"]


def test_skips_are_expected_by_name_user_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "expected.txt"
    path.write_text("# comment\n\ntests/a.py::test_x[*] | unprivileged | needs root\n")
    expected = skips.read_expected_skips(path)
    assert skips.unexpected(expected, [("tests/a.py::test_x[1]", "needs root")], "unprivileged") == []
    for node_id, reason, user in (
        ("tests/a.py::test_x[1]", "needs root", "root"),
        ("tests/a.py::test_x[1]", "needs roots", "unprivileged"),
        ("tests/a.py::test_y[1]", "needs root", "unprivileged"),
    ):
        assert skips.unexpected(expected, [(node_id, reason)], user) == [f"{node_id} | {user} | {reason}"]
    path.write_text("tests/a.py::test_x | somebody | needs root\n")
    with pytest.raises(ValueError, match=r"expected\.txt:1: "):
        skips.read_expected_skips(path)


SESSION = {
    "unexpected skip": "import pytest\ndef test_it(): pytest.skip('because')\n",
    "leftovers": "import tempfile\ndef test_it(): print('PATH', tempfile.mkstemp(prefix='stockade-')[1])\n",
}


@pytest.mark.parametrize("name", SESSION)
def test_the_session_fails_and_says_so_in_its_last_line(name: str, tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(SESSION[name])
    conftest = Path(__file__).with_name("conftest.py")
    options = ["-p", "no:cacheprovider", "-q", "-s", f"--rootdir={tmp_path}", f"--confcutdir={conftest.parent}"]
    # Loaded as a plug-in, because the test does not lie beneath it.
    environment = {**os.environ, "PYTHONPATH": str(conftest.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "conftest", test],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        if line.startswith("PATH "):
            Path(line.split()[1]).unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert name in done.stdout
    assert "1 error" in done.stdout.splitlines()[-1]
