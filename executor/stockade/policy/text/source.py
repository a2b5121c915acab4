"""Laying out a text policy anew without changing what it says: comments, and the order of fields, stay.

The tree is read from the tokens of the text, its values are taken from the message that the text was parsed to, and the
result is compared with it.
"""

from __future__ import annotations

from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from stockade.errors import MonitorError, PolicyError
from stockade.policy.text.format import is_repeated, scalar_text
from stockade.policy.text.layout import Body, Comment, Field, layout
from stockade.policy.text.syntax import MAX_TEXT, parse_message
from stockade.policy.text.tokens import CLOSING, Token, tokens

_END = Token("end", "", 0, 0)
_NUMBERS = frozenset({FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64})


def format_source(text: str, source: str = "<text>") -> str:
    """Give a text policy in canonical layout, with all of its comments. Formatting the result changes nothing.

    Lists in brackets become repeated fields; quotation marks, indentation, line ends and blank lines are made alike.
    Only the syntax is judged: raises PolicyError as reading the text does for what is no policy text. Includes and
    variables stay as they are. Raises MonitorError, and gives nothing, if the result would not say the same.
    """
    message = parse_message(text, source)
    written = tokens(text)
    try:
        formatted = layout(_Reader(written).policy(message))
    except (IndexError, KeyError) as error:
        raise MonitorError(f"{source}: the layout of this policy could not be read") from error
    if len(formatted) > MAX_TEXT:
        raise PolicyError(f"in canonical layout it would be longer than {MAX_TEXT >> 20} MiB", source=source)
    if parse_message(formatted, source) != message or _comments(tokens(formatted)) != _comments(written):
        raise MonitorError(f"{source}: the policy would not be the same after formatting")
    return formatted


def _comments(written: list[Token]) -> list[str]:
    return sorted(token.text.rstrip() for token in written if token.kind == "comment")


class _Reader:
    """Reads the fields of a text, which is known to be valid, with the comments around them."""

    def __init__(self, written: list[Token]) -> None:
        self._tokens = written
        self._next = 0
        # Comments that stand above whatever comes next.
        self._waiting: list[Comment] = []
        # The field that a comment on the same line belongs to.
        self._last: Field | None = None

    def policy(self, message: Message) -> Body:
        body = Body()
        self._fields(body, message, closing="")
        return body

    def _peek(self) -> Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else _END

    def _take(self) -> Token:
        """Take the next token that is no comment; comments before it wait for the next field."""
        self._collect()
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _collect(self) -> None:
        """Take comments: the one behind a field belongs to it, others wait."""
        while self._peek().kind == "comment":
            comment = self._peek()
            text = comment.text.rstrip()
            if self._last is not None and not self._last.trailing and self._gap(comment) == 0:
                self._last.trailing = text
            else:
                self._waiting.append(Comment(text, self._gap(comment) > 1))
            self._next += 1

    def _gap(self, token: Token) -> int:
        """Count the line ends between the token before `token`, which is the next one, and `token`."""
        return token.line - self._tokens[self._next - 1].last_line if self._next else 1

    def _fields(self, body: Body, message: Message, closing: str) -> None:
        counts: dict[str, int] = {}
        while True:
            self._collect()
            if self._peek() is _END or self._peek().text == closing:
                break
            blank = self._gap(self._peek()) > 1
            name = self._take()
            if name.text in (",", ";"):
                continue
            self._field(body, message, name.text, blank, counts)
        body.closing, self._waiting = self._waiting, []
        if closing:
            self._next += 1

    def _field(self, body: Body, message: Message, name: str, blank: bool, counts: dict[str, int]) -> None:
        """Read the rest of one field, behind its name; a list in brackets gives several."""
        self._last = None
        above, self._waiting = self._waiting, []
        self._collect()
        if self._peek().text == ":":
            self._take()
            self._collect()
        # What stood between name and value goes above the field, below the blank line.
        if self._waiting:
            self._waiting[0].blank_before, blank = blank, False
        self._waiting = above + self._plain(self._waiting)
        if self._peek().text != "[":
            body.fields.append(self._value(message, name, blank, counts))
            return
        self._take()
        while True:
            self._collect()
            if self._peek().text == "]":
                break
            if self._peek().text == ",":
                self._take()
                continue
            body.fields.append(self._value(message, name, blank, counts))
            blank = False
        self._take()

    @staticmethod
    def _plain(comments: list[Comment]) -> list[Comment]:
        """Give comments from within a field without the blank lines between them."""
        return [Comment(each.text, each.blank_before and not index) for index, each in enumerate(comments)]

    def _value(self, message: Message, name: str, blank: bool, counts: dict[str, int]) -> Field:
        descriptor = cast(FieldDescriptor, message.DESCRIPTOR.fields_by_name[name])
        index = counts[name] = counts.get(name, -1) + 1
        value = getattr(message, name)[index] if is_repeated(descriptor) else getattr(message, name)
        found = Field(name, comments=self._waiting, blank_before=blank)
        self._waiting, self._last = [], None
        token = self._take()
        if token.text in CLOSING and token.kind == "mark":
            found.body = Body()
            if self._peek().kind == "comment" and self._gap(self._peek()) == 0:
                found.body.opening = self._peek().text.rstrip()
                self._next += 1
            self._fields(found.body, cast(Message, value), CLOSING[token.text])
        else:
            self._adjacent(found, token)
            as_written = descriptor.cpp_type in _NUMBERS
            found.values = ("".join(token.text.split()),) if as_written else scalar_text(descriptor, value)
        self._last = found
        return found

    def _adjacent(self, found: Field, token: Token) -> None:
        """Skip further strings of the same value; comments between them go above the field."""
        while token.kind == "string":
            ahead = self._next
            while ahead < len(self._tokens) and self._tokens[ahead].kind == "comment":
                ahead += 1
            if ahead == len(self._tokens) or self._tokens[ahead].kind != "string":
                return
            between = [Comment(each.text.rstrip()) for each in self._tokens[self._next : ahead]]
            if between:
                between[0].blank_before, found.blank_before = found.blank_before, False
            found.comments += between
            self._next = ahead + 1
