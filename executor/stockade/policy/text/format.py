"""Writing policies as text protobuf in one canonical form: fields in the schema's order, laid out by `text_layout`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import cast

from google.protobuf import text_format as protobuf_text
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from stockade._proto import policy_pb2
from stockade.policy.text.layout import WIDTH, Body, Field, inline, layout

__all__ = ["WIDTH", "format_inline", "format_message", "is_repeated", "scalar_text"]

# Texts of several lines are written as one string a line.
_TEXTS = frozenset({"description", "assembly"})


def format_message(message: Message) -> str:
    """Give the canonical text of a message, one top-level field per line at least. Equal messages have equal text."""
    return layout(_body(message))


def format_inline(message: Message) -> str:
    """Give a message on one line, without its braces."""
    return inline(_body(message))


def _body(message: Message) -> Body:
    return Body([_field(field, value) for field, value in _values(message)])


def _field(field: FieldDescriptor, value: object) -> Field:
    if isinstance(value, Message):
        return Field(field.name, body=_body(value))
    return Field(field.name, scalar_text(field, value))


def _values(message: Message) -> Iterator[tuple[FieldDescriptor, object]]:
    """Walk the fields that are set, in the order of their numbers, repeated ones element by element."""
    if isinstance(message, policy_pb2.Condition) and not message.argument:
        # Argument 0 is the default of its field, but a reader should not have to know that.
        yield cast(FieldDescriptor, message.DESCRIPTOR.fields_by_name["argument"]), 0
    for field, value in sorted(message.ListFields(), key=lambda item: item[0].number):
        if is_repeated(field):
            yield from ((field, each) for each in value)
        else:
            yield field, value


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether a field holds a list."""
    # FieldDescriptor.label is deprecated since protobuf 6.31, is_repeated does not exist in 5.29.
    modern: bool | None = getattr(field, "is_repeated", None)
    return getattr(field, "label", None) == FieldDescriptor.LABEL_REPEATED if modern is None else modern


def scalar_text(field: FieldDescriptor, value: object) -> tuple[str, ...]:
    """Write a scalar; a text of several lines as several strings, which reading joins again."""
    if isinstance(value, str) and field.name in _TEXTS and "\n" in value[:-1]:
        *lines, last = value[:-1].split("\n")
        return (*(_one(field, line + "\n") for line in lines), _one(field, last + value[-1]))
    return (_one(field, value),)


def _one(field: FieldDescriptor, value: object) -> str:
    """Write a scalar as the library does, which knows escapes and names of enum values."""
    out = io.StringIO()
    # What is not printable is written as an escape, so that a policy can be shown on a terminal.
    readable = not isinstance(value, str) or value.isprintable()
    protobuf_text.PrintFieldValue(field, value, out, as_utf8=readable)
    return out.getvalue()
