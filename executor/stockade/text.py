"""Showing text that somebody else chose. Every floor may import this module.

What comes from a sandboxee, a file name or a policy may hold terminal escapes, line breaks or marks that reorder a
line. Nothing of that kind reaches a terminal or a report except through `escape` or `quote`.
"""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
CUT_MARK = "…"


def _escape_character(character: str) -> str:
    """Return the printable form of one character that may not be printed as it is."""
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as surrogateescape keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(value: str | bytes, also: str = "") -> str:
    r"""Return `value` as one line of text that is safe to print on any terminal, and from which it can be told back.

    Kept as they are: printable characters as `str.isprintable` has them. Everything else is written as an escape: C0
    and C1 controls, ESC, DEL, line separators, bidirectional and zero-width controls, unassigned and private
    characters, bytes that are not UTF-8 (`\x9b`), and the backslash itself. `also` names further characters to escape
    with a backslash, such as the quotation mark around it.
    """
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if text.isprintable() and "\\" not in text and not any(mark in text for mark in also):
        return text
    return "".join(
        "\\" + character
        if character in also
        else character
        if character != "\\" and character.isprintable()
        else _escape_character(character)
        for character in text
    )


def quote(value: str | bytes, limit: int = 256) -> str:
    """Return `value` escaped in double quotes; beyond `limit` bytes (of a str: characters) it is cut and marked.

    The mark stands behind the closing quote, where no value can put one itself.
    """
    cut = len(value) > limit
    return f'"{escape(value[:limit], also=chr(34))}"' + (CUT_MARK if cut else "")
