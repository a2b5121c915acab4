"""The small codec against google.protobuf, both ways, and against hostile bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stockade._proto import comms_pb2, lean, wire
from stockade._proto.wire import Message, WireError, decode, encode

CLASSES: dict[str, type[Message]] = {
    name: value
    for name, value in vars(lean).items()
    if isinstance(value, type) and issubclass(value, Message) and value is not Message
}
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    wire.UINT32: st.integers(0, 2**32 - 1),
    wire.UINT64: st.integers(0, 2**64 - 1),
    wire.INT32: st.integers(-(2**31), 2**31 - 1),
    wire.BOOL: st.booleans(),
    wire.STRING: st.text(max_size=20),
    wire.BYTES: st.binary(max_size=20),
}


@st.composite
def messages(draw: st.DrawFn, cls: type[Message]) -> Message:
    """Draw a message of `cls` in which any field may be set, but only one member of each oneof."""
    values: dict[str, Any] = {}
    for name, kind, repeated, detail in cls.FIELDS.values():
        if kind == wire.MESSAGE:
            item: st.SearchStrategy[Any] = messages(detail)
        elif kind == wire.ENUM:
            item = st.sampled_from(sorted(detail))
        else:
            item = SCALARS[kind]
        if repeated:
            values[name] = draw(st.lists(item, max_size=4))
        elif draw(st.booleans()):
            values[name] = draw(item)
    for group in cls.ONEOFS:
        kept = draw(st.sampled_from(group))
        values = {name: value for name, value in values.items() if name not in group or name == kept}
    return cls(**values)


def any_message() -> st.SearchStrategy[Message]:
    """Any message of any class."""
    return st.sampled_from(sorted(CLASSES.values(), key=lambda cls: cls.__name__)).flatmap(messages)


def to_google(message: Message) -> Any:
    """Return the google.protobuf message that says the same."""
    target = getattr(comms_pb2, type(message).__name__)()
    for name, kind, repeated, _ in message.FIELDS.values():
        value = getattr(message, name)
        if kind == wire.MESSAGE:
            for item in value if repeated else [value]:
                if item is not None:
                    place = getattr(target, name).add() if repeated else getattr(target, name)
                    place.SetInParent()
                    place.MergeFrom(to_google(item))
        elif repeated:
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)
    return target


def test_every_message_of_comms_has_a_lean_class() -> None:
    assert set(CLASSES) == set(comms_pb2.DESCRIPTOR.message_types_by_name)
    for name, cls in CLASSES.items():
        descriptor = comms_pb2.DESCRIPTOR.message_types_by_name[name]
        assert [(number, field[0]) for number, field in cls.FIELDS.items()] == sorted(
            (field.number, field.name) for field in descriptor.fields
        )


@given(any_message())
@example(lean.Command(go=lean.Go()))
@example(lean.Launch(nice=-1, argv=[b"", b"x"], descriptors=[0, 2**32 - 1], policy=bytes(300)))
def test_google_reads_what_we_write(message: Message) -> None:
    expected = to_google(message)
    assert type(expected).FromString(encode(message)) == expected
    assert encode(message) == expected.SerializeToString(deterministic=True)


@given(any_message())
@example(lean.Command(launch=lean.Launch(nice=-(2**31), rlimits=[lean.ResourceLimit(hard=2**64 - 1)])))
def test_we_read_what_google_writes(message: Message) -> None:
    assert decode(type(message), to_google(message).SerializeToString()) == message


def test_repeated_numbers_are_read_packed_and_unpacked() -> None:
    assert decode(lean.Launch, b"\x4a\x03\x05\xac\x02").descriptors == [5, 300]
    assert decode(lean.Launch, b"\x48\x05\x48\xac\x02").descriptors == [5, 300]
    assert decode(lean.Launch, b"\x48\x05\x4a\x02\xac\x02\x48\x07").descriptors == [5, 300, 7]


# field 11 (umask) is a uint32, 12 (nice) an int32, 1 (policy) bytes, 3 (programs) messages, 13 a bool
HOSTILE = {
    "key cut off": (lean.Launch, b"\x80"),
    "number cut off": (lean.Launch, b"\x58\xff"),
    "number missing": (lean.Launch, b"\x58"),
    "length missing": (lean.Launch, b"\x0a"),
    "bytes cut off": (lean.Launch, b"\x0a\x05abcd"),
    "huge length": (lean.Launch, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    "length of 2 GiB": (lean.Launch, b"\x0a\x80\x80\x80\x80\x08" + b"a" * 100),
    "varint of eleven bytes": (lean.Launch, b"\x58" + b"\x80" * 10 + b"\x01"),
    "varint of eleven bytes that says zero": (lean.Launch, b"\x58" + b"\x80" * 10 + b"\x00"),
    "endless varint": (lean.Launch, b"\x58" + b"\xff" * 100_000),
    "varint of 65 bits": (lean.Launch, b"\x58" + b"\xff" * 9 + b"\x02"),
    "over-long key": (lean.Launch, b"\xd8" + b"\x80" * 9 + b"\x02\x01"),
    "uint32 of 33 bits": (lean.Launch, b"\x58\x80\x80\x80\x80\x10"),
    "int32 of 33 bits": (lean.Launch, b"\x60\x80\x80\x80\x80\x10"),
    "negative int32 of 33 bits": (lean.Launch, b"\x60\xff\xff\xff\xff\xe7\xff\xff\xff\xff\x01"),
    "bool of two": (lean.Launch, b"\x68\x02"),
    "unknown enum value": (lean.MountOperation, b"\x08\x63"),
    "unknown field": (lean.Launch, b"\xa0\x06\x01"),
    "unknown field of a message without fields": (lean.Go, b"\x08\x01"),
    "field number zero": (lean.Launch, b"\x00\x01"),
    "unknown field in a submessage": (lean.Command, b"\x12\x02\x08\x01"),
    "bytes as number": (lean.Launch, b"\x08\x01"),
    "number as bytes": (lean.Launch, b"\x5a\x01\x01"),
    "number as fixed32": (lean.Launch, b"\x5d\x01\x00\x00\x00"),
    "number as fixed64": (lean.Launch, b"\x59\x01\x00\x00\x00\x00\x00\x00\x00"),
    "group": (lean.Launch, b"\x5b\x5c"),
    "wire type seven": (lean.Launch, b"\x5f\x01"),
    "single field twice": (lean.Launch, b"\x58\x01\x58\x01"),
    "two of a oneof": (lean.Command, b"\x0a\x00\x12\x00"),
    "invalid UTF-8": (lean.SetupFailure, b"\x0a\x01\xff"),
    "surrogate in UTF-8": (lean.SetupFailure, b"\x0a\x03\xed\xa0\x80"),
    "over-long UTF-8": (lean.SetupFailure, b"\x0a\x02\xc0\xaf"),
    "packed number cut off": (lean.Launch, b"\x4a\x02\x05\xac"),
    "submessage reads beyond its end": (lean.Launch, b"\x1a\x02\x12\x05abcde"),
}


@pytest.mark.parametrize(("cls", "data"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_an_error(cls: type[Message], data: bytes) -> None:
    with pytest.raises(WireError):
        decode(cls, data)


@pytest.mark.parametrize("name", ["varint of eleven bytes", "endless varint", "varint of 65 bits", "over-long key"])
def test_long_varints_are_not_read_to_their_end(name: str) -> None:
    with pytest.raises(WireError, match="more than 64 bits"):
        decode(*HOSTILE[name])


def test_the_greatest_numbers_are_read() -> None:
    greatest = b"\x10" + b"\xff" * 9 + b"\x01"
    assert decode(lean.ResourceLimit, greatest).soft == 2**64 - 1
    assert decode(lean.Launch, b"\x68\x01").danger_speculation is True


@given(any_message(), st.data())
def test_a_message_cut_off_is_an_error_or_a_shorter_message(message: Message, data: st.DataObject) -> None:
    whole = encode(message)
    part = whole[: data.draw(st.integers(0, max(0, len(whole) - 1)))]
    try:
        shorter = decode(type(message), part)
    except WireError:
        return
    assert encode(shorter) == part  # it was cut between two fields


@given(st.sampled_from(sorted(CLASSES)), st.binary(max_size=200))
def test_random_bytes_give_a_message_that_google_reads_alike_or_an_error(name: str, data: bytes) -> None:
    try:
        message = decode(CLASSES[name], data)
    except WireError:
        return
    assert getattr(comms_pb2, name).FromString(data) == to_google(message)


@given(any_message(), st.data())
def test_a_changed_byte_gives_a_message_that_google_reads_alike_or_an_error(
    message: Message, data: st.DataObject
) -> None:
    changed = bytearray(encode(message) or b"\0")
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode(type(message), bytes(changed))
    except WireError:
        return
    assert type(to_google(read)).FromString(bytes(changed)) == to_google(read)


class Nested(Message):
    """A message that may contain itself; the schema has none, so that only this can test the limit."""

    __slots__ = ("inner",)
    inner: Nested | None


Nested.FIELDS = {1: ("inner", wire.MESSAGE, False, Nested)}


def nested(depth: int) -> bytes:
    """Return the encoding of `depth` messages, one in the other."""
    data = b""
    for level in range(depth - 1):
        data = encode(lean.Ready(program=data)) if level else b"\x0a\x00"  # field 1, delimited, is `inner` too
    return data


def test_nesting_is_limited() -> None:
    assert decode(Nested, nested(wire.MAX_DEPTH)).inner is not None
    with pytest.raises(WireError, match="nested deeper"):
        decode(Nested, nested(wire.MAX_DEPTH + 1))
    with pytest.raises(WireError, match="nested deeper"):
        decode(Nested, nested(5_000))


BAD_VALUES = {
    "too big": lean.Launch(umask=2**32),
    "negative": lean.Launch(umask=-1),
    "too small": lean.Launch(nice=-(2**31) - 1),
    "too big for 64 bits": lean.ResourceLimit(soft=2**64),
    "in a list": lean.Launch(descriptors=[0, -1]),
    "enum": lean.MountOperation(kind=99),
    "surrogate": lean.SetupFailure(step="\ud800"),
    "two of a oneof": lean.Command(launch=lean.Launch(), go=lean.Go()),
    "text as bytes": lean.Launch(policy="text"),  # type: ignore[arg-type]
    "bytes as text": lean.SetupFailure(step=b"text"),  # type: ignore[arg-type]
    "text as number": lean.Launch(umask="7"),  # type: ignore[arg-type]
    "other message": lean.Command(launch=lean.Go()),  # type: ignore[arg-type]
    "none in a list": lean.Launch(argv=[None]),  # type: ignore[list-item]
}


@pytest.mark.parametrize("message", BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_values_that_do_not_fit_are_not_written(message: Message) -> None:
    with pytest.raises(WireError):
        encode(message)


def test_messages_compare_by_value_and_name_unknown_fields() -> None:
    assert lean.Ready(program=b"a") == lean.Ready(program=b"a") != lean.Ready(program=b"b")
    assert lean.Ready() != lean.Go()
    assert lean.Launch().argv is not lean.Launch().argv
    assert "program=b'a'" in repr(lean.Ready(program=b"a"))
    with pytest.raises(TypeError, match="Ready has no field programme"):
        lean.Ready(programme=b"a")  # type: ignore[call-arg]


def test_class_constants_follow_the_schema() -> None:
    assert lean.MountOperation.BIND_FILE == comms_pb2.MountOperation.BIND_FILE == 1
    assert set(comms_pb2.MountOperation.Kind.values()) == lean.MountOperation.KIND_VALUES
