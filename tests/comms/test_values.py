"""Typed values both ways: what is sent arrives, and nothing that the other side sends does more than raise."""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stockade._proto import lean_values, report_pb2, values_pb2, wire
from stockade._proto.lean_values import Data, Descriptor, Identity, Text, UserMessage, Value
from stockade._proto.wire import encode
from stockade.comms import names
from stockade.comms.channel import Channel, ChannelError
from stockade.comms.values import (
    DEFAULT_LIMIT,
    LARGEST_LIMIT,
    Comms,
    CommsClosedError,
    CommsError,
    CommsStatus,
    CommsTimeoutError,
    Credentials,
)
from support.attacks import run_script
from support.runs import open_descriptors

PATIENCE = 30.0
KINDS = ("int", "uint", "bool", "string", "bytes", "status", "descriptor", "credentials")


class Pair:
    """Two ends: `ours` and, as `theirs` or as the plain socket `raw`, the other."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        first, self.raw = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for each in (first, self.raw):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.ours = Comms(Channel.from_descriptor(first.detach()), limit=limit)
        self.theirs = Comms(Channel.from_descriptor(os.dup(self.raw.fileno())), limit=limit)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        self.raw.close()

    def hang_up(self) -> None:
        """The other side is gone."""
        self.theirs.close()
        self.raw.close()

    def send_frame(self, payload: bytes, descriptors: list[int] | None = None, count: int | None = None) -> None:
        """Send any bytes as a frame."""
        given = descriptors or []
        header = struct.pack("<II", len(payload), len(given) if count is None else count)
        socket.send_fds(self.raw, [header + payload], given) if given else self.raw.sendall(header + payload)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def once(send: Callable[[Comms], None], receive: Callable[[Comms], Any]) -> Any:
    """Send and receive on a fresh pair, both ways."""
    made = Pair()
    try:
        for sender, receiver in ((made.ours, made.theirs), (made.theirs, made.ours)):
            send(sender)
            received = receive(receiver)
        return received
    finally:
        made.close()


# --- round trips ---


@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
@example(2**63 - 1)
@example(-1)
def test_signed_numbers_arrive(value: int) -> None:
    assert once(lambda comms: comms.send_int(value), lambda comms: comms.recv_int(timeout=PATIENCE)) == value


@given(st.integers(0, 2**64 - 1))
@example(2**64 - 1)
def test_unsigned_numbers_arrive(value: int) -> None:
    assert once(lambda comms: comms.send_uint(value), lambda comms: comms.recv_uint(timeout=PATIENCE)) == value


@given(st.booleans())
def test_truth_values_arrive(value: bool) -> None:
    assert once(lambda comms: comms.send_bool(value), lambda comms: comms.recv_bool(timeout=PATIENCE)) is value


@given(st.text())
def test_texts_arrive(value: str) -> None:
    assert once(lambda comms: comms.send_string(value), lambda comms: comms.recv_string(timeout=PATIENCE)) == value


@given(st.binary())
def test_bytes_arrive(value: bytes) -> None:
    assert once(lambda comms: comms.send_bytes(value), lambda comms: comms.recv_bytes(timeout=PATIENCE)) == value


@given(st.integers(-(2**31), 2**31 - 1), st.text())
def test_statuses_arrive(code: int, text: str) -> None:
    received = once(lambda comms: comms.send_status(code, text), lambda comms: comms.recv_status(timeout=PATIENCE))
    assert received == CommsStatus(code, text)


def test_messages_arrive() -> None:
    message = report_pb2.Violation(syscall="openat", number=257)

    def receive(comms: Comms) -> report_pb2.Violation:
        return comms.recv_message(report_pb2.Violation, timeout=PATIENCE)

    assert once(lambda comms: comms.send_message(message), receive) == message
    empty = report_pb2.Violation()
    assert once(lambda comms: comms.send_message(empty), receive) == empty


def test_other_bytes_like_objects_arrive_as_bytes(pair: Pair) -> None:
    pair.ours.send_bytes(bytearray(b"ab"))
    pair.ours.send_bytes(memoryview(b"cd"))
    assert (pair.theirs.recv_bytes(), pair.theirs.recv_bytes()) == (b"ab", b"cd")


def test_a_descriptor_arrives_and_is_the_callers(pair: Pair) -> None:
    reader, writer = os.pipe()
    pair.theirs.send_descriptor(reader)
    os.close(reader)
    received = pair.ours.recv_descriptor(timeout=PATIENCE)
    os.write(writer, b"through")
    assert os.read(received, 10) == b"through"
    assert not os.get_inheritable(received)
    os.close(received)
    os.close(writer)


def test_credentials_are_those_of_the_sender(pair: Pair) -> None:
    pair.theirs.send_credentials()
    assert pair.ours.recv_credentials(timeout=PATIENCE) == Credentials(os.getpid(), os.getuid(), os.getgid())
    pid = os.fork()
    if pid == 0:
        pair.theirs.send_credentials()
        os._exit(0)
    assert pair.ours.recv_credentials(timeout=PATIENCE).pid == pid
    os.waitpid(pid, 0)


def test_credentials_cannot_be_claimed(pair: Pair) -> None:
    """The message says nothing about who sends it; an own claim is refused by the kernel unless it is true."""
    claim = struct.pack("iII", 1, os.getuid(), os.getgid())
    frame = struct.pack("<II", len(encode(Value(identity=Identity()))), 0) + encode(Value(identity=Identity()))
    if os.geteuid() == 0:
        pair.raw.send(frame)  # root may claim anything: nothing is claimed
    else:
        with pytest.raises(PermissionError):
            pair.raw.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, claim)])
        pair.raw.send(frame)
    assert pair.ours.recv_credentials(timeout=PATIENCE).pid == os.getpid()


def test_many_values_in_a_row_keep_their_order_and_types(pair: Pair) -> None:
    pair.ours.send_int(-1)
    pair.ours.send_string("a")
    pair.ours.send_descriptor(0)
    pair.ours.send_credentials()
    pair.ours.send_bytes(b"")
    pair.ours.send_bool(False)
    assert pair.theirs.recv_int() == -1
    assert pair.theirs.recv_string() == "a"
    os.close(pair.theirs.recv_descriptor())
    assert pair.theirs.recv_credentials().pid == os.getpid()
    assert pair.theirs.recv_bytes() == b""
    assert pair.theirs.recv_bool() is False


def test_a_value_as_long_as_the_limit_arrives_and_a_longer_one_is_not_sent() -> None:
    made = Pair(limit=3_000_000)
    longest = os.urandom(3_000_000)
    sender = threading.Thread(target=made.ours.send_bytes, args=(longest,), kwargs={"timeout": PATIENCE})
    sender.start()
    assert made.theirs.recv_bytes(timeout=PATIENCE) == longest
    sender.join()
    with pytest.raises(ValueError, match="too long: at most 3000000"):
        made.ours.send_bytes(longest + b"x")
    with pytest.raises(ValueError, match="too long"):
        made.ours.send_string("é" * 1_500_001)
    made.ours.send_int(1)  # nothing of it was sent
    assert made.theirs.recv_int() == 1
    made.close()


# --- what cannot be sent ---

BAD = {
    "a float": ("send_int", (1.0,), TypeError),
    "no number at all": ("send_int", (float("nan"),), TypeError),
    "a bool as number": ("send_int", (True,), TypeError),
    "text as number": ("send_uint", ("1",), TypeError),
    "too great": ("send_int", (2**63,), ValueError),
    "too small": ("send_int", (-(2**63) - 1,), ValueError),
    "negative": ("send_uint", (-1,), ValueError),
    "far too great": ("send_uint", (1 << 100_000,), ValueError),
    "number as bool": ("send_bool", (1,), TypeError),
    "bytes as text": ("send_string", (b"a",), TypeError),
    "lone surrogate": ("send_string", ("\udc80",), ValueError),
    "text as bytes": ("send_bytes", ("a",), TypeError),
    "a count as bytes": ("send_bytes", (10**9,), TypeError),
    "status of 33 bits": ("send_status", (2**31,), ValueError),
    "status with bytes": ("send_status", (0, b"a"), TypeError),
    "negative descriptor": ("send_descriptor", (-1,), ValueError),
    "closed descriptor": ("send_descriptor", (2**30,), OSError),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_value_is_not_sent(pair: Pair, name: str) -> None:
    method, arguments, error = BAD[name]
    with pytest.raises(error) as caught:
        getattr(pair.ours, method)(*arguments)
    assert len(str(caught.value)) < 300
    pair.ours.send_int(7)
    assert pair.theirs.recv_int(timeout=PATIENCE) == 7


def test_a_descriptor_may_be_refused_before_it_is_sent() -> None:
    def refuse(descriptor: int) -> None:
        raise PermissionError(f"not {descriptor}")

    ours, theirs = Channel.pair()
    comms = Comms(ours, check_descriptor=refuse)
    with pytest.raises(PermissionError, match="not 0"):
        comms.send_descriptor(0)
    assert not theirs.is_readable()
    comms.close()
    theirs.close()


@pytest.mark.parametrize("limit", [0, -1, LARGEST_LIMIT + 1, 1.5, True, "1"])
def test_limits_that_are_none(limit: Any) -> None:
    ours, theirs = Channel.pair()
    with pytest.raises((ValueError, TypeError), match="limit"):
        Comms(ours, limit=limit)
    comms = Comms(ours)
    with pytest.raises((ValueError, TypeError), match="limit"):
        comms.limit = limit
    assert comms.limit == DEFAULT_LIMIT
    comms.close()
    theirs.close()


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", True])
def test_timeouts_that_are_none(pair: Pair, timeout: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="timeout"):
        pair.ours.recv_int(timeout=timeout)
    with pytest.raises((ValueError, TypeError), match="timeout"):
        pair.ours.send_int(1, timeout=timeout)


# --- what arrives is not what was asked for ---


@pytest.mark.parametrize("sent", KINDS)
@pytest.mark.parametrize("asked", [*KINDS, "message"])
def test_another_type_is_an_error_and_the_next_value_arrives(pair: Pair, sent: str, asked: str) -> None:
    if sent == asked:
        return
    values: dict[str, tuple[Any, ...]] = {"int": (1,), "uint": (1,), "bool": (True,), "string": ("a",)}
    values |= {"bytes": (b"a",), "status": (1, "a"), "descriptor": (0,), "credentials": ()}
    before = open_descriptors()
    getattr(pair.theirs, f"send_{sent}")(*values[sent])
    wanted = (report_pb2.Violation,) if asked == "message" else ()
    with pytest.raises(CommsError, match="asked for"):
        getattr(pair.ours, f"recv_{asked}")(*wanted, timeout=PATIENCE)
    assert set(open_descriptors()) <= set(before)
    pair.theirs.send_int(5)
    assert pair.ours.recv_int(timeout=PATIENCE) == 5


def test_a_message_of_another_type_or_none_at_all_is_an_error(pair: Pair) -> None:
    pair.theirs.send_message(report_pb2.Frame())
    with pytest.raises(CommsError, match=r"stockade\.v1\.Frame.* stockade\.v1\.Violation was asked for"):
        pair.ours.recv_message(report_pb2.Violation)
    pair.send_frame(encode(Value(message=UserMessage(type="stockade.v1.Violation", value=b"\xff\xff"))))
    with pytest.raises(CommsError, match=r"is no stockade\.v1\.Violation"):
        pair.ours.recv_message(report_pb2.Violation)
    pair.theirs.send_int(5)
    assert pair.ours.recv_int() == 5


NONSENSE = {
    "empty": b"",
    "no protobuf": b"\xff\xff\xff",
    "an unknown type": b"\xfa\x07\x00",
    "two at once": encode(Value(data=Data())) + encode(Value(text=Text())),
    "a number too long": b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x02",
    "no UTF-8": b"\x22\x03\x0a\x01\xff",
    "a field too many": b"\x42\x02\x08\x01",
    "a type with a name too long": encode(Value(message=UserMessage(type="a" * 513))),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_ends_the_connection(pair: Pair, name: str) -> None:
    pair.send_frame(NONSENSE[name])
    with pytest.raises(CommsError, match="nonsense"):
        pair.ours.recv_int(timeout=PATIENCE)
    with pytest.raises(CommsError, match="of no use any more"):
        pair.ours.recv_int(timeout=PATIENCE)
    with pytest.raises(CommsError, match="of no use any more"):
        pair.ours.send_int(1)
    assert pair.raw.recv(1) == b""  # the other side sees it too


DESCRIPTORS = {
    "with a number": (encode(Value(signed=lean_values.Signed())), 1, None),
    "two for one": (encode(Value(descriptor=Descriptor())), 2, None),
    "none": (encode(Value(descriptor=Descriptor())), 0, None),
    "announced, but not there": (encode(Value(descriptor=Descriptor())), 0, 1),
    "not announced": (encode(Value(descriptor=Descriptor())), 1, 0),
    "as many as the kernel takes": (encode(Value(descriptor=Descriptor())), 253, None),
}


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_wrong_number_of_descriptors_is_an_error_and_leaves_none_open(pair: Pair, name: str) -> None:
    payload, count, said = DESCRIPTORS[name]
    before = open_descriptors()
    pair.send_frame(payload, [0] * count, said)
    with pytest.raises(CommsError, match="descriptors"):
        pair.ours.recv_descriptor(timeout=PATIENCE)
    assert set(open_descriptors()) <= set(before)


def test_more_than_the_limit_is_not_read() -> None:
    made = Pair(limit=1000)
    made.raw.sendall(struct.pack("<II", 0xFFFFFFFF, 0))
    with pytest.raises(CommsError, match="4294967295 bytes"):
        made.ours.recv_bytes(timeout=PATIENCE)
    made.close()
    made = Pair(limit=1000)
    made.send_frame(encode(Value(data=Data(value=bytes(1001)))))  # within what names and lengths may add
    with pytest.raises(CommsError, match="more than 1000 bytes"):
        made.ours.recv_bytes(timeout=PATIENCE)
    made.close()


def test_small_pieces_cost_no_more_memory_than_large_ones() -> None:
    script = """
import resource, socket, struct, threading
from stockade._proto.lean_values import Data, Value
from stockade._proto.wire import encode
from stockade.comms.channel import Channel
from stockade.comms.values import Comms
ours, theirs = socket.socketpair()
payload = encode(Value(data=Data(value=bytes(1_000_000))))
def trickle():
    theirs.sendall(struct.pack("<II", len(payload), 0))
    for start in range(0, len(payload), 2):
        theirs.send(payload[start:start + 2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
thread = threading.Thread(target=trickle)
thread.start()
assert len(Comms(Channel(ours)).recv_bytes()) == 1_000_000
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert int(run_script(script).stdout) < 12_000  # KiB: some copies of the value, not an object for each piece


# --- time and ends ---


def test_nothing_in_time_leaves_the_connection_usable(pair: Pair) -> None:
    with pytest.raises(CommsTimeoutError, match="nothing in time") as caught:
        pair.ours.recv_int(timeout=0)
    assert isinstance(caught.value, TimeoutError)
    pair.theirs.send_int(5)
    assert pair.ours.recv_int(timeout=0) == 5


def test_a_message_that_never_ends_is_given_up(pair: Pair) -> None:
    pair.raw.sendall(struct.pack("<II", 100, 0) + b"half")
    with pytest.raises(CommsTimeoutError, match="too long over one message"):
        pair.ours.recv_bytes(timeout=0.01)
    with pytest.raises(CommsError, match="of no use any more"):
        pair.ours.recv_bytes(timeout=0.01)


def test_a_message_that_trickles_for_ever_is_given_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is always one more byte to read: the deadline is that of the whole message."""
    asked: list[int] = []

    def one_byte(_: Channel, size: int, *__: object) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
        asked.append(size)
        return b"a" if len(asked) > 1 else struct.pack("<II", 1_000_000, 0), [], 0

    monkeypatch.setattr(Channel, "_receive_part", one_byte)
    with pytest.raises(CommsTimeoutError, match="too long over one message"):
        pair.ours.recv_bytes(timeout=0)
    assert len(asked) < 20


def test_a_reader_that_reads_nothing_is_given_up() -> None:
    made = Pair()
    with pytest.raises(CommsTimeoutError, match="too long over one message"):
        made.ours.send_bytes(bytes(10_000_000), timeout=0.05)
    with pytest.raises(CommsError, match="of no use any more"):
        made.ours.send_int(1)
    made.close()
    made = Pair()
    with pytest.raises(CommsTimeoutError, match="took nothing in time"):
        while True:
            made.ours.send_bytes(bytes(1000), timeout=0)
    made.theirs.recv_bytes(timeout=PATIENCE)
    made.theirs.recv_bytes(timeout=PATIENCE)
    made.close()


def test_the_end_of_the_connection(pair: Pair) -> None:
    pair.theirs.send_int(5)
    pair.hang_up()
    assert pair.ours.recv_int(timeout=PATIENCE) == 5
    with pytest.raises(CommsClosedError) as caught:
        pair.ours.recv_int(timeout=PATIENCE)
    assert isinstance(caught.value, EOFError)
    assert isinstance(caught.value, ChannelError)


def test_the_end_within_a_message(pair: Pair) -> None:
    pair.raw.sendall(struct.pack("<II", 100, 0) + b"half")
    pair.hang_up()
    with pytest.raises(CommsClosedError, match="within a message"):
        pair.ours.recv_bytes(timeout=PATIENCE)


def test_a_reader_that_is_gone_is_an_error_and_no_signal() -> None:
    script = """
import signal
from stockade.comms.channel import Channel
from stockade.comms.values import Comms, CommsClosedError
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for size in (1, 10_000_000):
    for timeout in (None, 5):
        ours, theirs = Channel.pair()
        theirs.close()
        try:
            Comms(ours).send_bytes(bytes(size), timeout=timeout)
        except CommsClosedError:
            print("survived")
"""
    assert run_script(script).stdout == "survived\n" * 4


def test_a_closed_end_says_so(pair: Pair) -> None:
    with pair.ours as comms:
        assert comms.fileno() >= 0
    assert comms.fileno() == -1
    comms.close()
    with pytest.raises(CommsError, match="closed here"):
        comms.send_int(1)
    with pytest.raises(CommsClosedError):
        pair.theirs.recv_int(timeout=PATIENCE)


def test_an_interrupt_within_a_message_ends_the_connection(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Channel, "receive_rest", interrupted)
    pair.theirs.send_int(1)
    with pytest.raises(KeyboardInterrupt):
        pair.ours.recv_int(timeout=PATIENCE)
    with pytest.raises(CommsError, match="of no use any more: interrupted"):
        pair.ours.recv_int(timeout=PATIENCE)


# --- any bytes at all ---


def receive_everything(comms: Comms, asked: list[str]) -> None:
    """Receive what there is, and keep nothing."""
    for kind in asked:
        wanted = (report_pb2.Violation,) if kind == "message" else ()
        try:
            value = getattr(comms, f"recv_{kind}")(*wanted, timeout=PATIENCE)
        except CommsError as error:
            assert len(str(error)) < 2000
            continue
        if kind == "descriptor":
            os.close(value)


ASKED = st.lists(st.sampled_from([*KINDS, "message"]), min_size=1, max_size=5)


@given(st.binary(max_size=200), st.integers(0, 3), ASKED)
def test_random_bytes_only_raise(data: bytes, count: int, asked: list[str]) -> None:
    made = Pair(limit=100_000)
    before = open_descriptors()
    if data:
        socket.send_fds(made.raw, [data], [0] * count)
    made.hang_up()
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    receive_everything(made.ours, asked)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 50_000  # KiB
    made.close()
    assert set(open_descriptors()) <= set(before)


@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 3)), max_size=4), ASKED)
def test_random_frames_only_raise(frames: list[tuple[bytes, int]], asked: list[str]) -> None:
    made = Pair(limit=100_000)
    before = open_descriptors()
    for payload, count in frames:
        made.send_frame(payload, [0] * count)
    made.hang_up()
    receive_everything(made.ours, asked)
    made.close()
    assert set(open_descriptors()) <= set(before)


@st.composite
def values(draw: st.DrawFn) -> Value:
    """Any value of the schema."""
    name, _, _, cls = draw(st.sampled_from(sorted(Value.FIELDS.values(), key=str)))
    scalars: dict[int, st.SearchStrategy[Any]] = {
        wire.UINT64: st.integers(0, 2**64 - 1),
        wire.INT32: st.integers(-(2**31), 2**31 - 1),
        wire.BOOL: st.booleans(),
        wire.STRING: st.text(max_size=20),
        wire.BYTES: st.binary(max_size=20),
    }
    fields = {field: draw(scalars[kind]) for field, kind, _, _ in cls.FIELDS.values()}
    return Value(**{name: cls(**fields)})


@given(values(), st.data())
def test_a_changed_byte_only_raises(value: Value, data: st.DataObject) -> None:
    changed = bytearray(encode(value))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    made = Pair(limit=100_000)
    made.send_frame(bytes(changed), [0])
    made.hang_up()
    receive_everything(made.ours, data.draw(ASKED))
    made.close()


@given(values())
def test_google_reads_what_we_write_and_the_other_way_round(value: Value) -> None:
    theirs = values_pb2.Value.FromString(encode(value))
    assert wire.decode(Value, theirs.SerializeToString()) == value
    name = next(name for name, *_ in Value.FIELDS.values() if getattr(value, name) is not None)
    assert theirs.WhichOneof("value") == name
    for field, *_ in getattr(value, name).FIELDS.values():
        assert getattr(getattr(theirs, name), field) == getattr(getattr(value, name), field)


def test_every_message_of_the_schema_is_a_lean_class() -> None:
    for name, descriptor in values_pb2.DESCRIPTOR.message_types_by_name.items():
        fields = getattr(lean_values, name).FIELDS
        assert [(number, field[0]) for number, field in fields.items()] == sorted(
            (field.number, field.name) for field in descriptor.fields
        )


# --- names ---


@given(st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z"), st.integers(3, 2**31 - 1), max_size=5))
def test_announced_names_are_read(numbers: dict[str, int]) -> None:
    assert names.announced(names.announce(numbers)) == numbers


@given(st.text(max_size=50))
@example("a=3,a=4")
@example("a=2")
@example("a=-3")
@example("a=³")
@example("a=99999999999")
@example("=3")
@example("a=3,")
def test_other_announcements_are_an_error(text: str) -> None:
    try:
        numbers = names.announced(text)
    except ValueError as error:
        assert len(str(error)) < 300
        return
    assert [part.partition("=")[0] for part in text.split(",") if part] == list(numbers)
    assert all(number >= 3 for number in numbers.values())


@pytest.mark.parametrize("name", ["", "1a", "a b", "a=b", "a,b", "é", "a" * 65, "stockade.x", "-a", ".a", "a\n"])
def test_names_that_may_not_be_given(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a descriptor"):
        names.check_name(name)


@pytest.mark.parametrize("name", ["a", "_", "A.b-c_1", "a" * 64, "stockade"])
def test_names_that_may_be_given(name: str) -> None:
    names.check_name(name)
