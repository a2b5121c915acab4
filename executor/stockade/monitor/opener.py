"""The monitor's side of the opener of a run: started when the first hook asks, gone with the run."""

from __future__ import annotations

import contextlib
import os
import threading

from stockade._proto.lean import ForkRequest, OpenedFile, Opener, OpenFile, Reply
from stockade._proto.wire import WireError, decode, encode
from stockade.comms.channel import Channel, ChannelError
from stockade.errors import SetupError
from stockade.host.forkserver import request_fork
from stockade.kernel.process import SIGKILL, pidfd_send_signal, read_small_file

EIO = 5


class BoxOpener:
    """Opens files as the program of one run would. For use by any thread; one file at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._pidfd = -1
        self._root: tuple[int, int] = (0, 0)
        self._closed = False

    def open(self, tid: int, request: OpenFile, directory: int | None) -> tuple[int, int]:
        """Open a file for the task `tid`, a relative path from our descriptor `directory`: (error number, descriptor).

        One of the two is 0 or -1. OSError when the task or its box is gone, SetupError when no opener can be had.
        """
        with self._lock:
            try:
                channel = self._ready_channel(tid)
                channel.send(encode(request), [] if directory is None else [directory])
                return _receive_answer(channel)
            except (EOFError, BrokenPipeError, ConnectionResetError, ChannelError, WireError) as error:
                raise OSError(EIO, f"the process that opens files for the program is gone: {error}") from error
            finally:
                if self._closed:
                    self._end()

    def close(self) -> None:
        """End the opener, also while another thread waits for it. Nothing can be opened any more."""
        self._closed = True
        channel = self._channel
        if channel is not None:
            channel.shutdown()
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def _end(self) -> None:
        """Kill the opener, which may be stopped or wait for a file system, and close what leads to it."""
        if self._channel is not None:
            self._channel.close()
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):
                pidfd_send_signal(self._pidfd, SIGKILL)
            os.close(self._pidfd)
            self._pidfd = -1

    def _ready_channel(self, tid: int) -> Channel:
        """The connection to the opener of the box that `tid` is in."""
        if self._closed:
            raise OSError(EIO, "the run is over: nothing is opened for its program any more")
        root = os.stat(f"/proc/{tid}/root")
        if self._channel is None:
            self._start(tid)
            self._root = root.st_dev, root.st_ino
        assert self._channel is not None
        if (root.st_dev, root.st_ino) != self._root:
            raise OSError(EIO, "the calling task has another root than the program had: nothing is opened for it")
        return self._channel

    def _start(self, tid: int) -> None:
        uid, gid = (_inside(tid, name) for name in ("uid", "gid"))
        message = encode(ForkRequest(opener=Opener(uid=uid, gid=gid)))
        ours, its = Channel.pair()
        opened = []
        try:
            for name, flags in (("ns/mnt", os.O_RDONLY), ("ns/user", os.O_RDONLY), ("root", os.O_PATH)):
                opened.append(os.open(f"/proc/{tid}/{name}", flags | os.O_CLOEXEC))
            request_fork(message, its.fileno(), *opened)
            its.close()
            self._channel = ours
            payload, received = ours.receive()
            self._pidfd = received[0] if received else -1
            reply = decode(Reply, payload)
        except BaseException:
            self._channel = None
            ours.close()
            raise
        finally:
            its.close()
            for descriptor in opened:
                os.close(descriptor)
        if reply.failure is not None:
            self._channel = None
            ours.close()
            failure = reply.failure
            raise SetupError(failure.step, failure.errno, failure.path, detail=failure.detail)


def _receive_answer(channel: Channel) -> tuple[int, int]:
    """The descriptor comes first, the rest once the opener has closed its own."""
    _, descriptors = channel.receive()
    try:
        error = decode(OpenedFile, channel.receive()[0]).errno
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return (0, descriptors[0]) if descriptors else (error or EIO, -1)


def _inside(tid: int, kind: str) -> int:
    """The id ("uid" or "gid") that counts for the files of a task, as its own user namespace numbers it."""
    status = read_small_file(f"/proc/{tid}/status").splitlines()
    wanted = f"{kind.capitalize()}:".encode()
    outside = int(next(line for line in status if line.startswith(wanted)).split()[4])
    for line in read_small_file(f"/proc/{tid}/{kind}_map").splitlines():
        first, host, count = (int(field) for field in line.split())
        if host <= outside < host + count:
            return first + outside - host
    raise OSError(EIO, f"{kind} {outside} of task {tid} is not in the map of its user namespace")
