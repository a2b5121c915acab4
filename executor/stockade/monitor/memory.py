"""Reading a stopped task: its memory, and what /proc says of it."""

from __future__ import annotations

import os

from stockade.kernel.process import process_vm_readv, read_small_file

PAGE = 4096
MAXIMUM_READ = 1 << 20


class TaskMemory:
    """The memory and the /proc entries of one task that is stopped by us."""

    __slots__ = ("tid",)

    def __init__(self, tid: int) -> None:
        self.tid = tid

    def read_memory(self, address: int, size: int) -> bytes:
        """Up to `size` bytes (at most 1 MiB) at `address`. OSError(EFAULT) when nothing is mapped there."""
        if size <= 0:
            return b""
        if not 0 <= address < 1 << 63:
            raise OSError(14, "the address is outside of user space")
        return process_vm_readv(self.tid, address, min(size, MAXIMUM_READ))

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes up to the next NUL, at most `limit`; a page at a time, so that it may end just before a hole."""
        found = b""
        while len(found) < limit:
            part = self.read_memory(address, min(PAGE - address % PAGE, limit - len(found)))
            end = part.find(b"\0")
            if end >= 0:
                return found + part[:end]
            if not part:
                break
            found += part
            address += len(part)
        return found

    def describe_fd(self, descriptor: int) -> str | None:
        """What the descriptor leads to, as /proc says, or None."""
        return self.look_up_fd(descriptor)[1] or None

    def look_up_fd(self, descriptor: int) -> tuple[str, str]:
        """Kind of the descriptor ("file", "pipe", "closed" …) and what it leads to; "" for what cannot be told."""
        from stockade.monitor.descriptors import look_up

        return look_up(self.tid, descriptor)

    def program(self) -> str:
        """Path of the program inside the box, "" when it cannot be told."""
        return self._link("exe") or ""

    def name(self) -> str:
        """Name of the thread as ps shows it, "" when the task is gone."""
        try:
            return os.fsdecode(read_small_file(f"/proc/{self.tid}/comm").removesuffix(b"\n"))
        except OSError:
            return ""

    def command_line(self) -> list[str]:
        """Arguments of the process, at most 64 of them and 4 KiB."""
        try:
            raw = read_small_file(f"/proc/{self.tid}/cmdline", size=4096)
        except OSError:
            return []
        return [os.fsdecode(part) for part in raw.split(b"\0")[:-1][:64]]

    def maps(self) -> str:
        """Text of /proc/<tid>/maps, "" when it cannot be read."""
        try:
            with open(f"/proc/{self.tid}/maps", "rb") as file:
                return os.fsdecode(file.read(4 * MAXIMUM_READ))
        except OSError:
            return ""

    def status(self) -> dict[str, str]:
        """Lines of /proc/<tid>/status by their name. Empty when the task is gone."""
        try:
            raw = read_small_file(f"/proc/{self.tid}/status")
        except OSError:
            return {}
        pairs = (line.partition(":") for line in os.fsdecode(raw).splitlines())
        return {name: value.strip() for name, _, value in pairs}

    def pid(self) -> int:
        """Thread group of the task."""
        return int(self.status().get("Tgid", self.tid))

    def _link(self, name: str) -> str | None:
        try:
            return os.readlink(f"/proc/{self.tid}/{name}")
        except OSError:
            return None
