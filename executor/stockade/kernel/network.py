"""The loopback interface of a new network namespace. netdevice(7)."""

from __future__ import annotations

import fcntl
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket

SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
_REQUEST_SIZE = 40
_NAME_SIZE = 16


def bring_loopback_up() -> None:
    """Set IFF_UP on `lo` in the caller's network namespace. Needs CAP_NET_ADMIN over it."""
    device = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        request = bytearray(_REQUEST_SIZE)
        request[:2] = b"lo"
        fcntl.ioctl(device.fileno(), SIOCGIFFLAGS, request)
        flags = int.from_bytes(request[_NAME_SIZE : _NAME_SIZE + 2], "little") | IFF_UP
        request[_NAME_SIZE : _NAME_SIZE + 2] = flags.to_bytes(2, "little")
        fcntl.ioctl(device.fileno(), SIOCSIFFLAGS, request)
    finally:
        device.close()
