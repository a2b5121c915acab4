"""Writing policies as text protobuf in one canonical form: fields in the schema's order, short messages on one line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import cast

from google.protobuf import text_format as protobuf_text
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from stockade._proto import policy_pb2

WIDTH = 110
_INDENT = "  "


def format_message(message: Message) -> str:
    """Give the canonical text of a message, one top-level field per line at least. Equal messages have equal text."""
    lines: list[str] = []
    for field, value in _values(message):
        lines += _lines(field, value, "")
    return "".join(line + "\n" for line in lines)


def format_inline(message: Message) -> str:
    """Give a message on one line, without its braces."""
    return " ".join(_inline(field, value) for field, value in _values(message))


def _values(message: Message) -> Iterator[tuple[FieldDescriptor, object]]:
    """Walk the fields that are set, in the order of their numbers, repeated ones element by element."""
    if isinstance(message, policy_pb2.Condition) and not message.argument:
        # Argument 0 is the default of its field, but a reader should not have to know that.
        yield cast(FieldDescriptor, message.DESCRIPTOR.fields_by_name["argument"]), 0
    for field, value in sorted(message.ListFields(), key=lambda item: item[0].number):
        if _is_repeated(field):
            yield from ((field, each) for each in value)
        else:
            yield field, value


def _is_repeated(field: FieldDescriptor) -> bool:
    # FieldDescriptor.label is deprecated since protobuf 6.31, is_repeated does not exist in 5.29.
    modern: bool | None = getattr(field, "is_repeated", None)
    return getattr(field, "label", None) == FieldDescriptor.LABEL_REPEATED if modern is None else modern


def _lines(field: FieldDescriptor, value: object, indent: str) -> list[str]:
    line = indent + _inline(field, value)
    if not isinstance(value, Message) or (indent and len(line) <= WIDTH) or not value.ListFields():
        return [line]
    inner: list[str] = []
    for each, content in _values(value):
        inner += _lines(each, content, indent + _INDENT)
    return [f"{indent}{field.name} {{", *inner, f"{indent}}}"]


def _inline(field: FieldDescriptor, value: object) -> str:
    if isinstance(value, Message):
        body = format_inline(value)
        return f"{field.name} {{ {body} }}" if body else f"{field.name} {{}}"
    return f"{field.name}: {_scalar(field, value)}"


def _scalar(field: FieldDescriptor, value: object) -> str:
    """Write a scalar as the library does, which knows escapes and names of enum values."""
    out = io.StringIO()
    # What is not printable is written as an escape, so that a policy can be shown on a terminal.
    readable = not isinstance(value, str) or value.isprintable()
    protobuf_text.PrintFieldValue(field, value, out, as_utf8=readable)
    return out.getvalue()
