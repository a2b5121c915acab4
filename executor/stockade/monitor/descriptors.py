"""What a descriptor of a task is: its kind and what it leads to, as /proc tells. proc_pid_fd(5), proc_pid_net(5).

Names of files and sockets are the program's own; whoever shows them escapes them.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from stockade.kernel.process import read_small_file
from stockade.text import CUT_MARK

CLOSED = "closed"
# Bytes of a table of sockets that are looked through.
MAXIMUM_TABLE = 1 << 18
_ANONYMOUS = "anon_inode:"
# The kernel's names for descriptors without a file, where ours is another.
_ANONYMOUS_KINDS = {"eventpoll": "epoll", "seccomp notify": "seccomp listener", "perf_event": "perf event"}
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFCHR: "device", stat.S_IFBLK: "device",
    stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFLNK: "symbolic link",
}  # fmt: skip
# What links look like that lead to no path: prefix, kind.
_PREFIXES = (("pipe:[", "pipe"), ("socket:[", "socket"), ("/memfd:", "memfd"), ("pidfd:[", "pidfd"))
_NAMESPACES = frozenset({"mnt", "net", "pid", "user", "uts", "ipc", "cgroup", "time"})
# Lines of /proc/<pid>/fdinfo/<n> that tell what is behind: kind -> (line, how it is shown).
_DETAILS = {
    "eventfd": ("eventfd-count", "count"),
    "timerfd": ("clockid", "clock"),
    "signalfd": ("sigmask", "mask"),
    "pidfd": ("Pid", "pid"),
}
# Tables of sockets with internet addresses, by what the kernel calls their protocol, and the column of the inode.
_INTERNET_TABLES = {
    "TCP": "tcp", "TCPv6": "tcp6", "UDP": "udp", "UDPv6": "udp6", "RAW": "raw", "RAWv6": "raw6", "PING": "icmp",
}  # fmt: skip
_INODE_COLUMN = 9
_LISTENING = b"0A"


class Descriptor(NamedTuple):
    """Kind of a descriptor ("file", "pipe", "socket", "closed" …) and what it leads to; "" for what cannot be told."""

    kind: str
    target: str


def look_up(tid: int, number: int) -> Descriptor:
    """Return what the descriptor `number` of the task is. Never raises."""
    try:
        return _look_up(tid, number)
    except (OSError, ValueError, LookupError):  # an entry of /proc that is not as we know it
        return Descriptor("", "")


def _look_up(tid: int, number: int) -> Descriptor:
    path = f"/proc/{tid}/fd/{number}"
    try:
        link = os.readlink(path)
    except FileNotFoundError:
        return Descriptor(CLOSED if os.path.exists(f"/proc/{tid}/fd") else "", "")
    kind = _kind(path, link)
    if kind == "socket":
        return Descriptor(kind, _socket(tid, path, link) or link)
    detail = _detail(tid, number, kind)
    return Descriptor(kind, f"{link} {detail}" if detail else link)


def _kind(path: str, link: str) -> str:
    if link.startswith(_ANONYMOUS):
        name = link.removeprefix(_ANONYMOUS).strip("[]")
        return _ANONYMOUS_KINDS.get(name, name)
    for prefix, kind in _PREFIXES:
        if link.startswith(prefix):
            return kind
    if link.partition(":[")[0] in _NAMESPACES:
        return "namespace"
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except OSError:
        return ""


def _detail(tid: int, number: int, kind: str) -> str:
    if kind not in _DETAILS and kind != "epoll":
        return ""
    try:
        text = read_small_file(f"/proc/{tid}/fdinfo/{number}").decode("ascii", "replace")
    except OSError:
        return ""
    if kind == "epoll":
        watched = sorted(int(line.split()[1]) for line in text.splitlines() if line.startswith("tfd:"))
        more = [CUT_MARK] if len(watched) > 8 else []
        return f"watches {', '.join([str(each) for each in watched[:8]] + more)}" if watched else ""
    line, word = _DETAILS[kind]
    pairs = (each.partition(":") for each in text.split("\n"))
    lines: Mapping[str, str] = {name: value.strip() for name, _, value in pairs}
    return f"{word} {lines[line]}" if line in lines else ""


def _socket(tid: int, path: str, link: str) -> str:
    """Return protocol and addresses of a socket, the latter by its inode; "" when its protocol cannot be told."""
    name = os.getxattr(path, "system.sockprotoname").rstrip(b"\0").decode("ascii", "replace")
    inode = link.removeprefix("socket:[").rstrip("]").encode()
    if name in _INTERNET_TABLES:
        rows = _rows(tid, _INTERNET_TABLES[name])
        found = next((row for row in rows if row[_INODE_COLUMN : _INODE_COLUMN + 1] == [inode]), None)
        return _internet(name, found) if found else name
    if name.startswith("UNIX"):
        paths = (os.fsdecode(row[7]) for row in _rows(tid, "unix", columns=7) if row[6:7] == [inode] and len(row) > 7)
        return f"{name} {next(paths, 'unnamed')}"
    if name == "NETLINK":
        return next((f"{name} protocol {int(row[1])}" for row in _rows(tid, "netlink") if row[-1:] == [inode]), name)
    return name


def _rows(tid: int, table: str, columns: int = -1) -> list[list[bytes]]:
    try:
        with open(f"/proc/{tid}/net/{table}", "rb") as file:
            return [line.split(None, columns) for line in file.read(MAXIMUM_TABLE).split(b"\n")[1:]]
    except OSError:
        return []


def _internet(name: str, fields: list[bytes]) -> str:
    local = _address(fields[1])
    if fields[2].strip(b"0:"):
        return f"{name} {local} to {_address(fields[2])}"
    return f"{name} {local} listening" if fields[3] == _LISTENING and name.startswith("TCP") else f"{name} {local}"


def _address(text: bytes) -> str:
    """Take apart an address as /proc/net/tcp has it: words of 32 bits in the machine's order, in hexadecimal."""
    host, _, port = text.partition(b":")
    raw = bytes.fromhex(host.decode("ascii", "replace"))
    packed = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    shown = f"[{ipaddress.ip_address(packed)}]" if len(packed) == 16 else str(ipaddress.ip_address(packed))
    return f"{shown}:{int(port, 16)}"
