"""Seccomp user notification: receiving calls from a listener and answering them. seccomp_unotify(2).

The calls keep the interpreter lock, but for the one that hands over a descriptor: none of them blocks once poll(2) has
said that the listener is readable, and giving the lock up would make each event wait for whatever other threads
compute. A `Receiver` and an `Answerer` keep their buffers, because they are used for every event; they are for one
thread each.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Callable

from stockade.kernel.calls import Address, Int, Long, prepared_system_call, system_call
from stockade.kernel.seccomp_constants import (
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    SECCOMP_GET_NOTIF_SIZES,
    SECCOMP_SET_MODE_FILTER,
)

SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
SECCOMP_ADDFD_FLAG_SETFD = 1
SECCOMP_ADDFD_FLAG_SEND = 2
SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1

# struct seccomp_notif: id, pid, flags, then struct seccomp_data: nr, arch, instruction_pointer, args[6].
NOTIFICATION = struct.Struct("<QIIII7Q")
# Where the 16 words of struct seccomp_data begin in it.
DATA_OFFSET = 16
_WORDS = struct.Struct("<16I")
# struct seccomp_notif_resp: id, val, error, flags.
_RESPONSE = struct.Struct("<QqiI")
# struct seccomp_notif_addfd: id, flags, srcfd, newfd, newfd_flags.
_ADDFD = struct.Struct("<QIIII")
# struct seccomp_notif_sizes: the sizes of the three structures in this kernel.
_SIZES = struct.Struct("<3H")

# _IOWR('!', 0, struct seccomp_notif) and so on; the numbers hold the sizes of the structures as they are above.
_RECV, _SEND, _ID_VALID, _ADDFD_REQUEST, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104

ENOENT, EFAULT, EINVAL, ENOTTY, EINPROGRESS = 2, 14, 22, 25, 115

_seccomp = system_call("seccomp", Int, Int, Address)
_pidfd_getfd = system_call("pidfd_getfd", Int, Int, Int)
# Made for every event, so without the wrapper that makes errors of failures.
_system_call, _IOCTL = prepared_system_call("ioctl", Int, Long, Address)
# Handing over a descriptor waits for the task to run, which may take long on a busy machine: without the lock.
_waiting_system_call = ctypes.CDLL(None, use_errno=True)["syscall"]
_waiting_system_call.argtypes, _waiting_system_call.restype = (Long, Int, Long, Address), Long


def _ioctl(listener: int, request: int, argument: int, call: Callable[..., int] = _system_call) -> int:
    """The result of an ioctl; -1 when the notification is gone, or answered already. Raises OSError for all else."""
    result: int = call(_IOCTL, listener, request, argument)
    if result == -1:
        error = ctypes.get_errno()
        if error not in (ENOENT, EINPROGRESS):
            raise OSError(error, f"seccomp notification: {os.strerror(error)}")
    return result


@functools.cache
def notification_sizes() -> tuple[int, int]:
    """SECCOMP_GET_NOTIF_SIZES: bytes of a notification and of an answer, never less than what is known here.

    A newer kernel may write, and read, more than this module knows of.
    """
    sizes = ctypes.create_string_buffer(_SIZES.size)
    _seccomp(SECCOMP_GET_NOTIF_SIZES, 0, ctypes.addressof(sizes))
    notification, response, _ = _SIZES.unpack(sizes.raw)
    return max(notification, NOTIFICATION.size), max(response, _RESPONSE.size)


def knows_filter_flags(flags: int) -> bool:
    """Whether this kernel takes `flags` for a filter. Tried with a program that is not there, so nothing is installed.

    A kernel that knows the flags goes on to read the program (EFAULT), one that does not refuses them (EINVAL). Raises
    OSError for anything else: something refuses the system call itself.
    """
    try:
        _seccomp(SECCOMP_SET_MODE_FILTER, flags, None)
    except OSError as error:
        if error.errno in (EFAULT, EINVAL):
            return error.errno == EFAULT
        raise
    raise AssertionError("a filter without a program was accepted")


@functools.cache
def listener_flags() -> int:
    """The flags with which a filter is installed for a listener; 0 when this kernel has none, or hides it.

    With WAIT_KILLABLE_RECV (Linux 5.19) a signal no longer interrupts a call that the monitor has received.
    """
    best = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    try:
        for flags in (best, SECCOMP_FILTER_FLAG_NEW_LISTENER):
            if knows_filter_flags(flags):
                return flags
    except OSError:
        return 0
    return 0


def take_descriptor(pidfd: int, number: int) -> int:
    """pidfd_getfd(2): a copy, close-on-exec, of descriptor `number` of another process. Raises OSError."""
    return _pidfd_getfd(pidfd, number, 0)


def wake_synchronously(listener: int) -> None:
    """Let the answered task run on the CPU of the one who answers, who is about to wait. Before Linux 6.6: nothing."""
    try:
        # The flags are the argument itself, not a pointer to them.
        _ioctl(listener, _SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
    except OSError as error:
        if error.errno not in (EINVAL, ENOTTY):
            raise


class Receiver:
    """Takes notifications from one listener, into a buffer of its own.

    `fields()` and `words()` say what the last `receive()` brought.
    """

    __slots__ = ("_address", "_buffer", "_listener", "_view", "_zeros")

    def __init__(self, listener: int) -> None:
        size, _ = notification_sizes()
        self._listener = listener
        self._buffer = ctypes.create_string_buffer(size)
        self._address = ctypes.addressof(self._buffer)
        self._view = memoryview(self._buffer).cast("B")
        self._zeros = bytes(size)

    def receive(self) -> bool:
        """RECV. False when the call is gone again: its task was killed, or interrupted before it was received."""
        self._view[:] = self._zeros  # the kernel insists
        return _ioctl(self._listener, _RECV, self._address) != -1

    def fields(self) -> tuple[int, ...]:
        """(id, tid, flags, number, architecture token, instruction pointer, the six registers)."""
        return NOTIFICATION.unpack_from(self._view)

    def words(self) -> tuple[int, ...]:
        """The call as the 16 words of 32 bits that a filter sees."""
        return _WORDS.unpack_from(self._view, DATA_OFFSET)


class Answerer:
    """Answers the notifications of one listener. Every answer says whether the call still waited for it.

    Other threads than the one that answers may ask `still_waits`.
    """

    __slots__ = ("_address", "_buffer", "_listener")

    def __init__(self, listener: int) -> None:
        _, size = notification_sizes()
        self._listener = listener
        self._buffer = ctypes.create_string_buffer(max(size, _ADDFD.size))
        self._address = ctypes.addressof(self._buffer)

    def let_go_on(self, notification: int) -> bool:
        """Let the kernel make the call as it stands then: memory may have changed since it was looked at."""
        return self._send(notification, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)

    def give(self, notification: int, value: int) -> bool:
        """The call is not made and returns `value`, a signed number of 64 bits."""
        return self._send(notification, value, 0, 0)

    def fail(self, notification: int, error: int) -> bool:
        """The call is not made and fails with `error`, 1 to 4095."""
        return self._send(notification, 0, -error, 0)

    def still_waits(self, notification: int) -> bool:
        """ID_VALID: whether the task still waits, so that what was read of its tid just before was read of it."""
        number = ctypes.c_uint64(notification)
        return _ioctl(self._listener, _ID_VALID, ctypes.addressof(number)) != -1

    def give_descriptor(self, notification: int, descriptor: int, *, close_on_exec: bool = False) -> bool:
        """ADDFD and SEND in one: the call returns a new descriptor of the task for what our `descriptor` has open.

        Raises OSError, and then the call still waits for an answer, when the task cannot have one (EMFILE) or ours is
        none (EBADF).
        """
        added = self._add(notification, SECCOMP_ADDFD_FLAG_SEND, descriptor, 0, close_on_exec)
        return added is not None

    def replace_descriptor(
        self, notification: int, descriptor: int, number: int, *, close_on_exec: bool = False
    ) -> bool:
        """ADDFD over the task's descriptor `number`; the call still waits for an answer. Raises OSError, see above."""
        added = self._add(notification, SECCOMP_ADDFD_FLAG_SETFD, descriptor, number, close_on_exec)
        return added is not None

    def add_descriptor(self, notification: int, descriptor: int, *, close_on_exec: bool = False) -> int | None:
        """ADDFD at the task's lowest free number, which is returned; the call still waits. None: it does not wait.

        Raises OSError, see above.
        """
        return self._add(notification, 0, descriptor, 0, close_on_exec)

    def _add(self, notification: int, flags: int, descriptor: int, number: int, close_on_exec: bool) -> int | None:
        _ADDFD.pack_into(self._buffer, 0, notification, flags, descriptor, number, os.O_CLOEXEC if close_on_exec else 0)
        added = _ioctl(self._listener, _ADDFD_REQUEST, self._address, _waiting_system_call)
        return None if added == -1 else added

    def _send(self, notification: int, value: int, error: int, flags: int) -> bool:
        _RESPONSE.pack_into(self._buffer, 0, notification, value, error, flags)
        return _ioctl(self._listener, _SEND, self._address) != -1
