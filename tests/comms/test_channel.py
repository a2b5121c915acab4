"""Framed messages with descriptors: whole, bounded, and nothing left open by a hostile frame."""

from __future__ import annotations

import array
import os
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.comms.channel import MAXIMUM_DESCRIPTORS, MAXIMUM_PAYLOAD, Channel, ChannelError
from support.attacks import run_script


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def raw_pair() -> tuple[socket.socket, Channel]:
    """A plain socket and the channel at its other end."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return first, Channel.from_descriptor(second.detach())


def send_raw(sender: socket.socket, data: bytes, descriptors: list[int] | None = None) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sender.sendmsg([data], ancillary)


@given(st.binary(max_size=300), st.integers(0, 5))
def test_what_is_sent_arrives(payload: bytes, count: int) -> None:
    ours, theirs = Channel.pair()
    passed = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
    try:
        ours.send(payload, passed)
        received, descriptors = theirs.receive()
        assert (received, len(descriptors)) == (payload, count)
        for descriptor in descriptors:
            assert os.fstat(descriptor).st_rdev == os.stat("/dev/null").st_rdev
            assert not os.get_inheritable(descriptor)
            os.close(descriptor)
    finally:
        for descriptor in passed:
            os.close(descriptor)
        ours.close()
        theirs.close()


def test_messages_keep_their_borders_and_their_descriptors() -> None:
    ours, theirs = Channel.pair()
    ours.send(b"first", [0])
    ours.send(b"")
    ours.send(b"third", [0, 0])
    ours.close()
    sizes = []
    for _ in range(3):
        payload, descriptors = theirs.receive()
        sizes.append((payload, len(descriptors)))
        for descriptor in descriptors:
            os.close(descriptor)
    assert sizes == [(b"first", 1), (b"", 0), (b"third", 2)]
    with pytest.raises(EOFError):
        theirs.receive()
    theirs.close()


def test_a_long_message_passes_in_parts() -> None:
    ours, theirs = Channel.pair()
    payload = os.urandom(1 << 20) * 3
    sender = threading.Thread(target=ours.send, args=(payload,))
    sender.start()
    assert theirs.receive() == (payload, [])
    sender.join()
    ours.close()
    theirs.close()


HOSTILE = {
    "a length of 4 GiB": (struct.pack("<II", 0xFFFFFFFF, 0), ChannelError),
    "one byte too long": (struct.pack("<II", MAXIMUM_PAYLOAD + 1, 0), ChannelError),
    "more descriptors announced than there are": (struct.pack("<II", 0, 7), ChannelError),
    "descriptors without an announcement": (struct.pack("<II", 0, 0), ChannelError),
    "half a header": (b"\x01\x00\x00", EOFError),
    "an end within the payload": (struct.pack("<II", 100, 2) + b"short", EOFError),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_refused_and_leaves_nothing_open(name: str) -> None:
    frame, error = HOSTILE[name]
    sender, receiver = raw_pair()
    before = open_descriptors()
    send_raw(sender, frame, [0, 0])
    sender.close()
    with pytest.raises(error):
        receiver.receive()
    assert open_descriptors() <= before
    receiver.close()


def test_descriptors_in_the_middle_of_a_message_are_not_taken() -> None:
    sender, receiver = raw_pair()
    before = open_descriptors()
    send_raw(sender, struct.pack("<II", 4, 0))
    send_raw(sender, b"data", [0, 0])
    assert receiver.receive() == (b"data", [])
    assert open_descriptors() == before
    sender.close()
    receiver.close()


def test_the_most_descriptors_that_may_be_sent_arrive() -> None:
    ours, theirs = Channel.pair()
    ours.send(b"x", [0] * MAXIMUM_DESCRIPTORS)
    payload, descriptors = theirs.receive()
    assert (payload, len(descriptors)) == (b"x", MAXIMUM_DESCRIPTORS)
    for descriptor in descriptors:
        os.close(descriptor)
    with pytest.raises(ChannelError, match="too large"):
        ours.send(b"x", [0] * (MAXIMUM_DESCRIPTORS + 1))
    with pytest.raises(ChannelError, match="too large"):
        ours.send(bytes(MAXIMUM_PAYLOAD + 1))
    ours.close()
    theirs.close()


GONE = """
import signal
from stockade.comms.channel import Channel
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
ours, theirs = Channel.pair()
theirs.close()
try:
    ours.send(b"x" * 100000)
except BrokenPipeError:
    print("survived")
"""


def test_a_reader_that_is_gone_is_an_error_and_no_signal() -> None:
    assert run_script(GONE).stdout == "survived\n"


def test_shutdown_wakes_whoever_receives() -> None:
    ours, theirs = Channel.pair()
    ended: list[BaseException] = []

    def receive() -> None:
        try:
            theirs.receive()
        except EOFError as error:
            ended.append(error)

    receiver = threading.Thread(target=receive)
    receiver.start()
    ours.shutdown()
    receiver.join()
    assert len(ended) == 1
    ours.shutdown()
    ours.close()
    ours.close()
    assert ours.fileno() == -1
    theirs.close()


def test_replace_closes_the_old_end() -> None:
    ours, theirs = Channel.pair()
    other, far = Channel.pair()
    ours.replace(other.detach())
    with pytest.raises(EOFError):
        theirs.receive()
    ours.send(b"by the new one")
    assert far.receive() == (b"by the new one", [])
    for channel in (ours, theirs, far):
        channel.close()
