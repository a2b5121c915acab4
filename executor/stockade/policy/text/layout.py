"""The one layout of policy texts: fields as a tree with their comments, written with two blanks of indentation.

A message stands on one line when it is short and holds no comment; at the top level only when it holds no other
message. Otherwise each field has a line of its own, but short values of one repeated field share lines ("syscall",
"value"). Single blank lines stay, between fields and between comments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

WIDTH = 120
_INDENT = "  "
# Values of repeated fields share lines from this depth on: lists of calls and constants, but not of libraries.
_SHARE_FROM = 2


@dataclass(slots=True)
class Comment:
    """A comment on a line of its own, with its #."""

    text: str
    blank_before: bool = False


@dataclass(slots=True)
class Field:
    """One field as written: a scalar, or a message with its `body`.

    `values` is the text of the scalar; several are pieces of one string, each on its own line. `comments` stand above
    it, `trailing` stands behind it.
    """

    name: str
    values: tuple[str, ...] = ()
    body: Body | None = None
    comments: list[Comment] = field(default_factory=list)
    blank_before: bool = False
    trailing: str = ""

    def has_comments(self) -> bool:
        """Whether it, or anything in it, has a comment that keeps it from standing within a line."""
        return bool(self.comments or self.trailing) or (self.body is not None and self.body.has_comments())


@dataclass(slots=True)
class Body:
    """The fields of a message; `opening` is the comment behind its opening brace, `closing` stand before the other."""

    fields: list[Field] = field(default_factory=list)
    opening: str = ""
    closing: list[Comment] = field(default_factory=list)

    def has_comments(self) -> bool:
        """Whether anything in it has a comment."""
        return bool(self.opening or self.closing) or any(each.has_comments() for each in self.fields)


def layout(body: Body) -> str:
    """Write a whole policy."""
    return "".join(line + "\n" for line in _lines(body, 0))


def inline(body: Body) -> str:
    """Write the fields of a message on one line, without braces and comments."""
    return " ".join(_inline(each) for each in body.fields)


def _inline(each: Field) -> str:
    if each.body is None:
        return f"{each.name}: {' '.join(each.values)}"
    return f"{each.name} {{ {inline(each.body)} }}" if each.body.fields else f"{each.name} {{}}"


def _lines(body: Body, depth: int) -> list[str]:
    lines: list[str] = []
    before: Field | None = None
    for each in body.fields:
        lines += _above(each, depth, first=not lines)
        written = list(_field_lines(each, depth))
        more = " " + written[0].lstrip()
        if before is not None and _may_share(before, each, depth) and len(lines[-1] + more) <= WIDTH:
            lines[-1] += more
        else:
            lines += written
        before = each
    for comment in body.closing:
        lines += [""] * (comment.blank_before and bool(lines)) + [_INDENT * depth + comment.text]
    return lines


def _above(each: Field, depth: int, first: bool) -> Iterator[str]:
    """Write what stands above a field: blank lines and comments."""
    for comment in each.comments:
        if comment.blank_before and not first:
            yield ""
        first = False
        yield _INDENT * depth + comment.text
    if each.blank_before and not first:
        yield ""


def _may_share(before: Field, each: Field, depth: int) -> bool:
    """Whether a field may stand on the line of the one before it, if there is room."""
    plain = each.body is None and before.body is None and len(each.values) == len(before.values) == 1
    alone = each.blank_before or each.comments or before.trailing
    return plain and each.name == before.name and depth >= _SHARE_FROM and not alone


def _field_lines(each: Field, depth: int) -> Iterator[str]:
    indent, behind = _INDENT * depth, f"  {each.trailing}" if each.trailing else ""
    if each.body is None and len(each.values) > 1:
        yield f"{indent}{each.name}:"
        yield from (indent + _INDENT + value for value in each.values[:-1])
        yield indent + _INDENT + each.values[-1] + behind
    elif each.body is None or _fits(each, each.body, depth):
        yield indent + _inline(each) + behind
    else:
        yield f"{indent}{each.name} {{" + (f"  {each.body.opening}" if each.body.opening else "")
        yield from _lines(each.body, depth + 1)
        yield indent + "}" + behind


def _fits(each: Field, body: Body, depth: int) -> bool:
    """Whether a message may stand on one line."""
    if body.has_comments() or any(_is_long(inner) for inner in body.fields):
        return False
    if not body.fields:
        return True
    if not depth and any(inner.body is not None for inner in body.fields):
        return False
    return len(_INDENT) * depth + len(_inline(each)) <= WIDTH


def _is_long(each: Field) -> bool:
    """Whether a field holds text of several lines."""
    return len(each.values) > 1 if each.body is None else any(_is_long(inner) for inner in each.body.fields)
