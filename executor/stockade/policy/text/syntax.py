"""Reading one text into a policy message: characters, syntax and field names, with errors by line and column.

What the message says is judged elsewhere (`validate`), and what it takes from other files, too (`include`).
"""

from __future__ import annotations

import re

from google.protobuf import text_format as protobuf_text
from google.protobuf.descriptor import EnumDescriptor

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.finding import closest
from stockade.text import CUT_MARK, escape

# Larger texts are no policies that a person could review.
MAX_TEXT = 1 << 20
# Characters that an error shows of what was written.
_SHOWN = 200

_NO_FIELD = re.compile(r'Message type "(?P<type>[^"]+)" has no field named "(?P<name>.*)"', re.DOTALL)
_NO_VALUE = re.compile(r'Enum type "(?P<type>[^"]+)" has no value named (?P<name>\S+?)\.?$')
_TWICE = re.compile(r'should not have multiple "(?P<name>[^"]+)" fields')
_BOTH = re.compile(r'Field "(?P<name>\w+)" is specified along with field "(?P<other>\w+)"')
# What makes a text read differently on a screen than here: control characters (a lone carriage return among them), line
# separators, marks that reorder a line, and a byte order mark.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\r(?!\n)")


def parse_message(text: str, source: str) -> policy_pb2.Policy:
    """Read a text as a message. Lines may end in LF or in CR LF.

    Raises PolicyError, with `source`, line and column, for what is no text protobuf of a policy, for unknown fields and
    values (with the closest known name), and for characters that hide or reorder what is written.
    """
    _check_characters(text, source)
    message = policy_pb2.Policy()
    try:
        protobuf_text.Parse(text, message)
    except protobuf_text.ParseError as error:
        raise _syntax_error(error, text, source) from None
    return message


def decode(data: bytes, source: str) -> str:
    """Decode the content of a file. Raises PolicyError for what is no text in UTF-8, or longer than MAX_TEXT."""
    check_size(len(data), source)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PolicyError("the policy is not valid UTF-8 but UTF-16: save it as UTF-8", source=source, line=1)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(0)) + 1
        raise PolicyError("the file holds NUL bytes: it is binary, and no text policy", source=source, line=line)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError("the policy is not valid UTF-8", source=source, line=line) from None


def check_size(length: int, source: str) -> None:
    """Raise PolicyError for a text of more than MAX_TEXT bytes."""
    if length > MAX_TEXT:
        raise PolicyError(f"the policy is longer than {MAX_TEXT >> 20} MiB", source=source)


def _check_characters(text: str, source: str) -> None:
    check_size(len(text), source)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise PolicyError("the policy holds characters that are not valid Unicode", source=source, line=line) from None
    if match := _UNSEEN.search(text):
        at = match.start()
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise PolicyError(_unseen_text(match.group(), at), source=source, line=line, column=column)


def _unseen_text(character: str, at: int) -> str:
    if character == "\ufeff" and at == 0:
        return "the policy begins with a byte order mark: save it as UTF-8 without one"
    if character == "\r":
        return "a carriage return without a line feed: lines end in LF or CR LF"
    return (
        f"the character U+{ord(character):04X} does not show, or changes how the text shows: in a string write "
        "it as an escape"
    )


def _syntax_error(error: protobuf_text.ParseError, text: str, source: str) -> PolicyError:
    """Turn an error of the protobuf library into ours: its own place, our words, the closest known name."""
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    message, suggestion = _explain(_bare_message(error, text, line))
    return PolicyError(message, source=source, line=line, column=column, suggestion=suggestion)


def _bare_message(error: protobuf_text.ParseError, text: str, line: int) -> str:
    """Cut the position and the quoted source line off a message of the library."""
    message = str(error)
    message = re.sub(r"^\d+:\d+ : ", "", message)
    lines = text.split("\n")
    quoted = f"'{lines[line - 1]}': " if line <= len(lines) else "'': "
    for prefix in (quoted, "'': "):
        if message.startswith(prefix):
            return message[len(prefix) :]
    return message


def _explain(message: str) -> tuple[str, str | None]:
    """Say in our words what the library complains about, with the closest known name."""
    pool = policy_pb2.DESCRIPTOR.pool
    if match := _NO_FIELD.search(message):
        known = [field.name for field in pool.FindMessageTypeByName(match["type"]).fields]
        where = match["type"].rpartition(".")[2]
        return f'unknown field "{_short(match["name"])}" in {where}', closest(match["name"], known)
    if match := _NO_VALUE.search(message):
        values: EnumDescriptor = pool.FindEnumTypeByName(match["type"])
        known = [value.name for value in values.values if not value.name.endswith("_UNSPECIFIED")]
        return f"unknown value {_short(match['name'])}: it is one of {', '.join(known)}", closest(match["name"], known)
    if match := _TWICE.search(message):
        return f'field "{match["name"]}" is given twice', None
    if match := _BOTH.search(message):
        return f'"{match["name"]}" and "{match["other"]}" exclude each other', None
    if "unicodeescape" in message:
        return "a string holds an escape that is not complete", None
    return _short(message).removesuffix("."), None


def _short(text: str) -> str:
    """Escape what somebody wrote, and cut it where nobody would read on."""
    return escape(text[:_SHOWN]) + CUT_MARK * (len(text) > _SHOWN)
