"""A small codec for the protobuf wire format, driven by the field tables of `lean`.

It is stricter than protobuf asks for, because what it reads may be hostile: a field that the table does not have, a
second value for a single field, a number too big for its type, an unknown enum value, two members of a oneof and a
deep nesting are all errors. What google.protobuf writes, it reads, and the other way round.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar

    # name, kind, repeated, message class (MESSAGE) or known values (ENUM) or None
    Field = tuple[str, int, bool, Any]
    AnyMessage = TypeVar("AnyMessage", bound="Message")

UINT32, UINT64, INT32, BOOL, ENUM, STRING, BYTES, MESSAGE = range(8)

VARINT, DELIMITED = 0, 2  # wire types; everything that we use is one of the two
RANGES = ((0, 2**32 - 1), (0, 2**64 - 1), (-(2**31), 2**31 - 1), (0, 1), (-(2**31), 2**31 - 1))  # by kind
DEFAULTS = (0, 0, 0, False, 0, "", b"", None)  # by kind
MAX_DEPTH = 8
MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are no valid encoding of the message that was expected, or a value does not fit its field."""


class Message:
    """Base of the classes in `lean`. Compares by value; attributes are the fields, with proto3 defaults.

    `FIELDS` maps field numbers to (name, kind, repeated, message class or known enum values); `ONEOFS` lists groups of
    fields of which at most one may be set. Message fields are None when unset. An unknown keyword is a TypeError.
    """

    __slots__ = ()
    FIELDS: ClassVar[dict[int, Field]] = {}
    ONEOFS: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def __init__(self, **values: Any) -> None:
        for name, kind, repeated, _ in self.FIELDS.values():
            setattr(self, name, values.pop(name) if name in values else [] if repeated else DEFAULTS[kind])
        if values:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(values))}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, field[0]) == getattr(other, field[0]) for field in self.FIELDS.values())

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        fields = ", ".join(f"{field[0]}={getattr(self, field[0])!r}" for field in self.FIELDS.values())
        return f"{type(self).__name__}({fields})"


def encode(message: Message) -> bytes:
    """Return the serialised message: fields by number, defaults left out, repeated numbers packed.

    Raises WireError when a value does not fit its field or two members of a oneof are set.
    """
    _check_oneofs(message)
    out = bytearray()
    for number, (name, kind, repeated, detail) in message.FIELDS.items():
        value = getattr(message, name)
        if repeated and kind <= ENUM:
            if value:
                _put_delimited(out, number, b"".join(_varint(_checked(item, kind, name, detail)) for item in value))
        elif kind <= ENUM:
            if value:
                out += _varint(number << 3 | VARINT) + _varint(_checked(value, kind, name, detail))
        else:
            for item in value if repeated else (value,):
                if repeated or (item is not None and item != DEFAULTS[kind]):
                    _put_delimited(out, number, _payload(item, kind, name, detail))
    return bytes(out)


def decode(cls: type[AnyMessage], data: bytes) -> AnyMessage:
    """Read `data`, one serialised message of class `cls`. Raises WireError for anything that is not exactly that."""
    return _decode(cls, data, 0, len(data), 1)


def _decode(cls: type[AnyMessage], data: bytes, position: int, end: int, depth: int) -> AnyMessage:
    """Read the message that fills data[position:end]."""
    if depth > MAX_DEPTH:
        raise WireError(f"{cls.__name__}: nested deeper than {MAX_DEPTH}")
    message = cls()
    seen = set()
    while position < end:
        key, position = _read_varint(data, position, end)
        field = cls.FIELDS.get(key >> 3)
        if field is None:
            raise WireError(f"{cls.__name__}: unknown field {key >> 3}")
        name, kind, repeated, detail = field
        if not repeated:
            if name in seen:
                raise WireError(f"{cls.__name__}.{name}: occurs twice")
            seen.add(name)
        value: Any
        if key & 7 == DELIMITED and (kind > ENUM or repeated):
            length, position = _read_varint(data, position, end)
            start, position = position, position + length
            if position > end:
                raise WireError(f"{cls.__name__}.{name}: truncated")
            if kind <= ENUM:
                getattr(message, name).extend(_unpack(data, start, position, kind, name, detail))
                continue
            value = _delimited_value(data, start, position, field, depth)
        elif key & 7 == VARINT and kind <= ENUM:
            raw, position = _read_varint(data, position, end)
            value = _number(raw, kind, name, detail)
        else:
            raise WireError(f"{cls.__name__}.{name}: wrong wire type {key & 7}")
        if repeated:
            getattr(message, name).append(value)
        else:
            setattr(message, name, value)
    _check_oneofs(message)
    return message


def _delimited_value(data: bytes, start: int, end: int, field: Field, depth: int) -> bytes | str | Message:
    """Return the value of a bytes, string or message field."""
    name, kind, _, detail = field
    if kind == MESSAGE:
        message: Message = _decode(detail, data, start, end, depth + 1)
        return message
    if kind == BYTES:
        return data[start:end]
    try:
        return data[start:end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"{name}: {error}") from None


def _read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the unsigned number at `position`, at most 64 bits, and the position after it."""
    if position < end and data[position] < 0x80:  # most are of one byte
        return data[position], position + 1
    value = 0
    for count in range(MAX_VARINT_BYTES):
        if position >= end:
            raise WireError("truncated varint")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, position
    raise WireError("varint of more than 64 bits")


def _unpack(data: bytes, position: int, end: int, kind: int, name: str, detail: Any) -> list[int]:
    """Return the numbers of a packed field."""
    numbers = []
    while position < end:
        raw, position = _read_varint(data, position, end)
        numbers.append(_number(raw, kind, name, detail))
    return numbers


def _number(raw: int, kind: int, name: str, known: Any) -> int:
    """Turn an unsigned 64-bit number of the wire into the value of its field."""
    if kind in (INT32, ENUM) and raw >= 2**63:
        raw -= 2**64  # negative numbers are sign-extended to 64 bits
    value = _checked(raw, kind, name, known)
    return bool(value) if kind == BOOL else value


def _checked(value: int, kind: int, name: str, known: Any) -> int:
    """Return `value` if a field of this kind may hold it."""
    if not isinstance(value, int):
        raise WireError(f"{name}: {value!r} is no number")
    low, high = RANGES[kind]
    if not low <= value <= high or (known is not None and value not in known):
        raise WireError(f"{name}: {value} is out of range or unknown")
    return value


def _check_oneofs(message: Message) -> None:
    for names in message.ONEOFS:
        if sum(getattr(message, name) is not None for name in names) > 1:
            raise WireError(f"{type(message).__name__}: more than one of {', '.join(names)} is set")


def _varint(value: int) -> bytes:
    """Return `value` as a varint; negative numbers as 64-bit two's complement."""
    if 0 <= value < 0x80:  # most are
        return bytes((value,))
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _put_delimited(out: bytearray, number: int, payload: bytes) -> None:
    out += _varint(number << 3 | DELIMITED) + _varint(len(payload)) + payload


def _payload(value: Any, kind: int, name: str, message_class: Any) -> bytes:
    """Return the bytes of a string, bytes or message value."""
    if kind == MESSAGE and isinstance(value, message_class):
        return encode(value)
    if kind == BYTES and isinstance(value, bytes):
        return value
    if kind == STRING and isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise WireError(f"{name}: {error}") from None
    raise WireError(f"{name}: a value of type {type(value).__name__} does not belong there")
