"""Under a terminal: it is never handed over, everything typed and printed gets through, and nothing hangs."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.command_line import CommandLine

SHELL = "/bin/sh"
INTERRUPT, END_OF_FILE = b"\x03", b"\x04"


class Terminal:
    """A pseudo-terminal as the controlling terminal of one run."""

    def __init__(self, stockade: CommandLine, arguments: list[str], columns: int) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._process = subprocess.Popen(
            ["/usr/bin/setsid", "--ctty", "--wait", *stockade.command("run", "--quiet", *arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=stockade.directory,
            env=stockade.environment(),
        )
        os.close(slave)
        self.seen = b""

    def type(self, data: bytes) -> None:
        """Type keys."""
        os.write(self._master, data)

    def read_until(self, text: bytes) -> None:
        """Read until the text was printed. Fails at the end of the run."""
        while text not in self.seen:
            assert self._read(), self.seen

    def finish(self) -> tuple[bytes, int]:
        """Read to the end; (all that was printed, exit code)."""
        while self._read():
            pass
        return self.seen.replace(b"\r\n", b"\n"), self._process.wait()

    def close(self) -> None:
        """Hang up."""
        os.close(self._master)
        self._process.wait()

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError as error:
            assert error.errno == errno.EIO  # every end of the other side is closed
            return False
        self.seen += data
        return bool(data)


@contextmanager
def terminal(stockade: CommandLine, *arguments: str, columns: int = 60) -> Iterator[Terminal]:
    it = Terminal(stockade, list(arguments), columns)
    try:
        yield it
    finally:
        it.close()


def test_what_is_typed_and_printed_gets_through(stockade: CommandLine) -> None:
    with terminal(stockade, "cat") as it:
        it.type(b"hello\n")
        it.read_until(b"hello\r\nhello\r\n")
        it.type(END_OF_FILE)
        assert it.finish() == (b"hello\nhello\n", 0)


def test_exit_does_not_wait_for_the_keyboard(stockade: CommandLine) -> None:
    with terminal(stockade, SHELL, "-c", "echo done; exit 3") as it:
        assert it.finish() == (b"done\n", 3)


def test_nothing_of_much_output_is_lost(stockade: CommandLine) -> None:
    with terminal(stockade, "seq", "50000") as it:
        printed, code = it.finish()
    assert code == 0
    assert printed.split() == [b"%d" % number for number in range(1, 50001)]


def test_output_and_errors_stay_in_order(stockade: CommandLine) -> None:
    with terminal(
        stockade, SHELL, "-c", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done"
    ) as it:
        expected = b"".join(b"out %d\nerr %d\n" % (number, number) for number in range(1, 301))
        assert it.finish() == (expected, 0)


def test_the_program_has_no_terminal(stockade: CommandLine) -> None:
    script = "for fd in 0 1 2; do test -t $fd && echo $fd is a terminal; done; (: < /dev/tty) 2> /dev/null || echo none"
    with terminal(stockade, SHELL, "-c", script) as it:
        assert it.finish() == (b"none\n", 0)


def test_ctrl_c(stockade: CommandLine) -> None:
    with terminal(stockade, SHELL, "-c", "trap '' INT; echo ready; while :; do read x; done") as it:
        it.read_until(b"ready\r\n")
        it.type(INTERRUPT)
        assert it.finish() == (b"ready\n^C", 130)


def test_input_from_a_file_output_to_the_terminal(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "file").write_text("from the file\n")
    with terminal(stockade, "--ro", "file:/file", "cat", "/file") as it:
        assert it.finish() == (b"from the file\n", 0)


def test_no_input(stockade: CommandLine) -> None:
    with terminal(stockade, "--stdin", "none", "cat") as it:
        assert it.finish() == (b"", 0)


def test_reports_fit_the_terminal(stockade: CommandLine) -> None:
    for columns in (60, 100):
        with terminal(stockade, SHELL, "-c", "kill -SEGV $$; " + "x" * 5, columns=columns) as it:
            printed, code = it.finish()
        assert code == 139
        assert max(map(len, printed.splitlines())) <= columns
